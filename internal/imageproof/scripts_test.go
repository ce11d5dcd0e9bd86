package imageproof

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
)

// What scripts made otherwise is no forgery: its files are named, and the site's statement alone vouches for them. Files that the
// site itself put there are not among that, and neither is anything where no script was run.
func TestScriptsThatMakeOther(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{Site: world.Ring(t, testarchive.SiteKey())})
	if err != nil {
		t.Fatal(err)
	}
	again := func(more, conf string) *imagebuild.Image {
		dir := t.TempDir()
		plan, err := im.PlanIn(dir)
		if err != nil {
			t.Fatal(err)
		}
		text := string(plan.Format()) + more
		if err := errors.Join(os.WriteFile(filepath.Join(dir, imageplan.Name), []byte(text), 0o644), os.WriteFile(filepath.Join(dir, "web.conf"), []byte(conf), 0o644)); err != nil {
			t.Fatal(err)
		}
		if plan, err = imageplan.Load(dir); err != nil {
			t.Fatal(err)
		}
		made, err := imagebuild.Build(t.Context(), imagebuild.Options{Plan: plan, Snapshot: m.snapshot, Trust: m.trust, Lock: im.Lock, Dry: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made.Close() })
		return made
	}
	const user = "users: [{name: web, uid: 10001}]\n" // stands for what a script writes into passwd
	want := again(user, "ours")
	if _, err := im.compare(t.Context(), want, 0, 0); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "the layer of system") || !strings.Contains(err.Error(), "/etc/group has another type") {
		t.Errorf("without scripts: %v", err)
	}
	want.Architectures[0].Scripts = imageplan.Run
	p, err := im.compare(t.Context(), want, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Unproved, []string{"system"}) || !slices.Equal(p.Otherwise, []string{"/etc/group", "/etc/passwd"}) || p.Proved != 2 || p.Generated != 0 || p.Files != 1 {
		t.Errorf("%+v", p)
	}
	for name, made := range map[string]*imagebuild.Image{"beside another system layer": again(user, "others"), "alone": again("", "others")} {
		made.Architectures[0].Scripts = imageplan.Run
		if _, err := im.compare(t.Context(), made, 0, 0); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "the layer of files") || !strings.Contains(err.Error(), "/etc/web.conf") {
			t.Errorf("another file of the site %s: %v", name, err)
		}
	}
}

// An index that leads to the same manifests for other platforms is not the one that was made.
func TestOtherIndex(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	blobs := memory{}
	for _, d := range im.image.Blobs {
		if blobs[d.Digest], err = im.read(t.Context(), d.Blob); err != nil {
			t.Fatal(err)
		}
	}
	_, index, _ := m.registry.Manifest("site/web", "1")
	m.put(t, im, bytes.Replace(index, []byte(`"architecture":"amd64"`), []byte(`"architecture":"arm64"`), 1), im.manifests, blobs, nil)
	if _, err := m.verify(t, nil); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "image index") {
		t.Errorf("got %v", err)
	}
}
