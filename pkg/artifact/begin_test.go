package artifact

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// A layout that was opened ahead is looked at once: what is there is not written again,
// what is short is, and nothing is removed meanwhile.
func TestBegin(t *testing.T) {
	t.Parallel()
	files := synthFiles(20)
	old := takeOf(t, files)
	ref := layoutRef(t)
	mustPush(t, ref, old, PushOptions{})
	var large []snapshot.Row
	for r := range old.Table.Rows() {
		if r.Size > 1000 {
			large = append(large, r)
		}
	}
	short, gone := large[0], large[1]
	if err := os.Truncate(blobFile(ref, short.Digest), 1); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blobFile(ref, gone.Digest)); err != nil {
		t.Fatal(err)
	}
	begun, err := Begin(t.Context(), ref, old, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Remove(t.Context(), ref, []string{ref.Tag}, Options{}); !errors.Is(err, errBusy) {
		t.Errorf("removed beside a push: %v", err)
	}
	next := maps.Clone(files)
	names := slices.Sorted(maps.Keys(next))
	next[names[len(names)-1]] = noise("new", 5000)
	got := mustPush(t, ref, takeOf(t, next), PushOptions{Begun: begun})
	if err := begun.Close(); err != nil {
		t.Fatal(err)
	}
	if want := 3 + 4; got.Uploaded > want { // the two, the new one; core's
		t.Errorf("%d blobs written, want at most %d", got.Uploaded, want)
	}
	for _, r := range []snapshot.Row{short, gone} {
		if st, err := os.Stat(blobFile(ref, r.Digest)); err != nil || st.Size() != r.Size {
			t.Errorf("%s: %v, %v", r.Path, st, err)
		}
	}
	s := reopen(t, ref)
	for r := range s.Table.Rows() {
		if _, err := s.ReadBlob(t.Context(), r.Blob(), 1<<20); err != nil && r.Size > 0 {
			t.Errorf("%s: %v", r.Path, err)
		}
	}
	checkNoLeftovers(t, ref.Name)

	begun, err = Begin(t.Context(), ref, old, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := begun.Close(); err != nil {
		t.Fatal(err)
	}
	checkNoLeftovers(t, ref.Name)
}
