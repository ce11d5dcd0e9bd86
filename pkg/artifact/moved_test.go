package artifact

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// After a failed sync nothing that had no name yet gets one, also not when the push is closed, and the error says what was
// synced; the rerun writes it again.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(6))
	for fail := int64(1); ; fail++ {
		ref := layoutRef(t)
		var syncs atomic.Int64
		named := 0
		o := Options{Tuning: places.Tuning{Layout: layout.Options{Sync: func(fd int) error {
			if syncs.Add(1) == fail { // the kernel tells of it once
				named = len(blobsIn(t, ref))
				return syscall.EIO
			}
			return unix.Syncfs(fd)
		}}}}
		_, err := Push(t.Context(), ref, s, PushOptions{Options: o})
		if err == nil {
			if fail < 3 {
				t.Errorf("only %d syncs", fail-1)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "sync "+ref.Name) {
			t.Error(err)
		}
		if now := len(blobsIn(t, ref)); now != named {
			t.Errorf("sync %d failed: %d blobs had names before, %d afterwards", fail, named, now)
		}
		if _, err := Resolve(t.Context(), ref, Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("sync %d failed: tagged, %v", fail, err)
		}
		checkNoLeftovers(t, ref.Name)
		mustPush(t, ref, s, PushOptions{})
		if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
			t.Error(err)
		}
	}
}

func blobsIn(t *testing.T, ref Reference) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(ref.Name, layoutBlobs))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// A push that began before another one to the same tag ended does not undo it: the tag is looked at again just before it
// moves. What the caller read before counts from then on.
func TestMovedMeanwhile(t *testing.T) {
	t.Parallel()
	first, newer, older := takeOf(t, synthFiles(2)), takeOf(t, changedFiles(synthFiles(3))), takeOf(t, synthFiles(5))
	for kind, ref := range everyKind(t) {
		var pushed snapshot.Digest
		overtake := sync.OnceFunc(func() { pushed = mustPush(t, ref, newer, PushOptions{}).Root })
		before := mustPush(t, ref, first, PushOptions{}).Root
		o := Options{Progress: func(Event) { overtake() }}
		_, err := Push(t.Context(), ref, older, PushOptions{Options: o})
		if !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), pushed.String()) {
			t.Errorf("%s: %v", kind, err)
		}
		if now := reopen(t, ref).Root; now != pushed {
			t.Errorf("%s: the tag names %s", kind, now)
		}
		for _, expect := range []snapshot.Digest{before, {}} {
			if _, err := Push(t.Context(), ref, older, PushOptions{Expect: &expect}); !errors.Is(err, ErrMoved) {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if ref.Kind != Archive { // an archive has one tag
			tags, err := TagNames(t.Context(), ref, Options{})
			if err != nil || len(tags) != 3 {
				t.Errorf("%s: tags %q, %v", kind, tags, err)
			}
		}
		mustPush(t, ref, newer, PushOptions{Expect: &before}) // it is what was wanted
		mustPush(t, ref, older, PushOptions{Expect: &pushed})
	}
}

// The same for a copy within one place.
func TestMovedBeforeRetag(t *testing.T) {
	t.Parallel()
	one, other := takeOf(t, synthFiles(2)), takeOf(t, synthFiles(3))
	f := newFakeRegistry(t)
	for _, dst := range []Reference{f.ref(t, "production"), layoutRef(t)} {
		src := dst
		src.Tag = "testing"
		mustPush(t, src, one, PushOptions{})
		now := mustPush(t, dst, other, PushOptions{}).Root
		for _, expect := range []snapshot.Digest{{}, {1}} {
			if _, err := Copy(t.Context(), src, dst, PushOptions{Expect: &expect}); !errors.Is(err, ErrMoved) {
				t.Error(err)
			}
		}
		if _, err := Copy(t.Context(), src, dst, PushOptions{Expect: &now}); err != nil {
			t.Error(err)
		}
	}
	// At a registry, at the last moment: between its two tags.
	src, dst := f.ref(t, "testing"), f.ref(t, "production2")
	theirs := f.ref(t, "theirs")
	mustPush(t, theirs, other, PushOptions{})
	var once atomic.Bool
	f.answer(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "production2-2026") && once.CompareAndSwap(false, true) {
			if _, err := Copy(t.Context(), theirs, dst, PushOptions{}); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if _, err := Copy(t.Context(), src, dst, PushOptions{}); !errors.Is(err, ErrMoved) {
		t.Error(err)
	}
	if now := reopen(t, dst).Root; now != reopen(t, theirs).Root {
		t.Errorf("the tag names %s", now)
	}
}
