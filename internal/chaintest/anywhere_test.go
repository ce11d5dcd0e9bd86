package chaintest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestOpenAnywhere: the tag is resolved at the origin only, a stale mirror and
// a corrupt one are skipped and named, blobs come from the mirror that has them.
func TestOpenAnywhere(t *testing.T) {
	t.Parallel()
	now, old := world.Freeze(t, world.Good()), world.Freeze(t, world.Older(t))
	repo := func(s *snapshot.Snapshot) (*testregistry.Registry, artifact.Reference) {
		r := testregistry.New(t, testregistry.Options{})
		ref, err := artifact.ParseReference(r.Host() + "/site:noble")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Push(t.Context(), ref, s, artifact.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		return r, ref
	}
	_, stale := repo(old)
	corrupt, corruptRef := repo(now)
	for r := range now.Table.Rows() {
		if strings.HasSuffix(r.Path, ".deb") {
			corrupt.FlipBlob(t, "site", r.Digest.String())
		}
	}
	mirror, mirrorRef := repo(now)
	origin, ref := repo(now)
	mirror.Requests() // of the pushes
	origin.Requests()
	var mu sync.Mutex
	var said strings.Builder
	log := func(f string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&said, f+"\n", args...)
	}
	sealed, err := place.OpenAnywhere(t.Context(), ref, []artifact.Reference{stale, corruptRef, mirrorRef}, artifact.Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	trust := world.SiteTrust(t)
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		t.Fatal(err)
	}
	res, err := extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"docker-ce"}, Dir: testarchive.MemoryDir(t), Architecture: "amd64"})
	if err != nil || len(res.Groups) == 0 {
		t.Fatal(err)
	}
	for _, r := range []artifact.Reference{stale, corruptRef} {
		if !strings.Contains(said.String(), "mirror "+r.Name+" is skipped") {
			t.Errorf("%s is not named in:\n%s", r.Name, &said)
		}
	}
	asked := mirror.Requests()
	for _, r := range asked {
		if r.Ref == "noble" {
			t.Errorf("a mirror was asked for the tag: %v", r)
		}
	}
	if asked.Count("GET", "blob") == 0 {
		t.Error("the good mirror was not asked for a blob")
	}
	if got := origin.Requests(); len(got) != 1 || got[0].Method != "HEAD" {
		t.Errorf("the origin was asked more than the tag: %v", got)
	}
}
