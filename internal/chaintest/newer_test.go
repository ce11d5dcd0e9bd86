package chaintest

import (
	"errors"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestNewerFormat: a snapshot of a later mmoci is no damaged one, whatever is to be done with
// it: exit 1, which mmoci it needs, and it stays in its place.
func TestNewerFormat(t *testing.T) {
	t.Parallel()
	ref := forge.Write(t, world.Draft(t, world.Good()).Seal(forge.Kept), filepath.Join(testarchive.MemoryDir(t), "layout"), "day")
	forge.EditDocuments(t, ref, later)
	was, err := artifact.Resolve(t.Context(), ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other := artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(testarchive.MemoryDir(t), "other"), Tag: "day"}
	d := newDaily(t, testregistry.Options{})
	d.pushing.Ref = ref
	for what, do := range map[string]func() error{
		"open": func() error {
			_, err := prove.Open(t.Context(), ref, world.SiteTrust(t), artifact.Options{})
			return err
		},
		"look": func() error { _, err := place.OpenUnverified(t.Context(), ref, artifact.Options{}); return err },
		"copy": func() error {
			_, err := artifact.Copy(t.Context(), ref, other, artifact.PushOptions{})
			return err
		},
		"push over it": func() error { _, err := push.Run(t.Context(), d.pushing); return err },
		"serve": func() error {
			s := &place.Source{Ref: ref}
			_, err := s.Open(t.Context(), "")
			return err
		},
	} {
		err := do()
		if !errors.Is(err, snapshot.ErrNewer) {
			t.Errorf("%s: %v", what, err)
		}
		refused(t, err, 1, `snapshot format "3" needs mmoci >= 1.4`)
	}
	if is, err := artifact.Resolve(t.Context(), ref, artifact.Options{}); err != nil || is != was {
		t.Errorf("the tag names %s, %v; it named %s", is, err, was)
	}
}
