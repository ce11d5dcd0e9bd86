package chaintest

import (
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// TestWrongBytesFromRegistry: verify, extract and pull -o end alike on a blob that a registry holds damaged.
func TestWrongBytesFromRegistry(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	layout, _ := f.written(t, forgery{}, f.good(), forge.Kept)
	r := testregistry.New(t, testregistry.Options{NoDelete: true})
	ref, err := artifact.ParseReference(r.Host() + "/site/mirror:latest")
	if err != nil {
		t.Fatal(err)
	}
	s, err := prove.Open(t.Context(), layout, world.SiteTrust(t), artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Push(t.Context(), ref, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	r.FlipBlob(t, "site/mirror", f.good().Rows[dockerCE].Digest.String())
	for i, a := range tryAll(t, ref, world.SiteTrust(t)) {
		if a.exit != 3 || !strings.Contains(a.message, f.good().Rows[dockerCE].Digest.Hex()) || strings.Contains(a.message, "\n") {
			t.Errorf("attempt %d: exit %d: %s", i, a.exit, a.message)
		}
	}
}

// TestNowhere: where no place has the snapshot, each is named, in one line.
func TestNowhere(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	ref, root := f.written(t, forgery{}, f.good(), forge.Kept)
	var refs []artifact.Reference
	for _, name := range []string{"one", "two", "three"} {
		refs = append(refs, artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(filepath.Dir(ref.Name), name)})
	}
	refs[2].Digest = root
	_, err := place.OpenAnywhere(t.Context(), refs[2], refs[:2], artifact.Options{}, nil)
	if exitOf(err) != 4 || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), filepath.Dir(ref.Name)) < 3 {
		t.Errorf("exit %d: %v", exitOf(err), err)
	}
}
