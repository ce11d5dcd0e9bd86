package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/pkg/snapshot"
)

// slowIndices has the blobs of a snapshot's main index wait until they may come, or fail.
type slowIndices struct {
	may  chan struct{} // closed: they come
	mu   sync.Mutex
	fail error
	held map[snapshot.Digest]bool
}

func holdIndices(t *testing.T, sn *snapshot.Snapshot) (*slowIndices, *snapshot.Snapshot) {
	t.Helper()
	s := &slowIndices{may: make(chan struct{}), held: map[snapshot.Digest]bool{}}
	s.held[mustFind(t, sn, "docker/dists/bookworm/main/binary-amd64/Packages.gz").Digest] = true
	return s, sn.WithBlobs(func(blobs snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			if s.held[b.Digest] {
				select {
				case <-s.may:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if err := s.failure(); err != nil {
					return nil, err
				}
			}
			return blobs.Open(ctx, b, 0)
		})
	})
}

func (s *slowIndices) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *slowIndices) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

func readyzOf(t *testing.T, base string) (int, string) {
	a := ask(t, base, "GET", "/readyz")
	return a.status, string(a.body)
}

// readyzHas tells whether /readyz has a status and a text.
func readyzHas(t *testing.T, base string, status int, text string) bool {
	got, body := readyzOf(t, base)
	return got == status && bytes.Contains([]byte(body), []byte(text))
}

// The first snapshot is answered from at once; ready is the server when its indices are here.
func TestReadyWithIndices(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	held, sn := holdIndices(t, oneDeb([]byte("deb")).take(t, m))
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, Prefetch: prefetch.Indices, settle: time.Millisecond}, false)
	eventually(t, func() bool { return readyzHas(t, base, 503, "not ready: registry.example.org/site/mirror:noble: ") })
	eventually(t, func() bool { return readyzHas(t, base, 503, "1 of its indices are not here yet") })
	if got := counted(t, s, "mmoci_snapshot_ready"); got != 0 {
		t.Errorf("metrics say ready: %v", got)
	}
	if got := counted(t, s, "mmoci_snapshot_indices_missing"); got != 1 {
		t.Errorf("missing: %v", got)
	}
	if a := ask(t, base, "GET", "/"+debPath); a.status != http.StatusOK {
		t.Errorf("meanwhile: %d", a.status)
	}
	close(held.may)
	eventually(t, func() bool { return readyzHas(t, base, 200, "ready: ") })
	if got := counted(t, s, "mmoci_snapshot_ready") - counted(t, s, "mmoci_snapshot_indices_missing"); got != 1 {
		t.Errorf("metrics: %v", got)
	}
}

// Indices that cannot be had keep a server from being ready for so long, and no longer; it says so and goes on trying.
func TestReadyWithoutIndices(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	held, sn := holdIndices(t, oneDeb([]byte("deb")).take(t, m))
	held.set(errors.New("lost"))
	close(held.may)
	c := newClock()
	o := Options{Sources: []Source{newTag(sn)}, Prefetch: prefetch.Indices, settle: time.Millisecond, ReadyAfter: time.Minute, Follow: 10 * time.Millisecond, Now: c.now}
	s, base := run(t, o, false)
	eventually(t, func() bool { return readyzHas(t, base, 503, "1 of its indices are not here (prefetch docker/dists/") })
	c.advance(time.Minute)
	eventually(t, func() bool {
		return readyzHas(t, base, 200, "but: "+newServed(sn).name+": 1 of its indices are not here (prefetch docker/dists/")
	})
	if got := counted(t, s, "mmoci_snapshot_ready") * counted(t, s, "mmoci_snapshot_indices_missing"); got != 1 {
		t.Errorf("metrics: %v", got)
	}
	held.set(nil)
	eventually(t, func() bool { _, body := readyzOf(t, base); return !bytes.Contains([]byte(body), []byte("but:")) })
}

// A further attempt does not count as missing again what an earlier one brought.
func TestMissingWhileTriedAgain(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	held, sn := holdIndices(t, oneDeb([]byte("deb")).take(t, m))
	held.set(errors.New("lost"))
	close(held.may)
	var p prefetch.Progress
	if err := prefetch.Fetch(t.Context(), sn, prefetch.Indices, &p); err == nil || p.Missing() != 1 {
		t.Fatalf("the first attempt: %v, %d missing", err, p.Missing())
	}
	held.set(nil)
	asked := atomic.Int32{}
	watched := sn.WithBlobs(func(blobs snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			asked.Add(1)
			if got := p.Missing(); got != 1 {
				t.Errorf("%d missing", got)
			}
			return blobs.Open(ctx, b, 0)
		})
	})
	if err := prefetch.Fetch(t.Context(), watched, prefetch.Indices, &p); err != nil || p.Missing() != 0 || asked.Load() < 2 {
		t.Errorf("the second attempt: %v, %d missing, %d asked for", err, p.Missing(), asked.Load())
	}
}

// A newcomer is switched to when its indices are here; until then the one before is answered from, and what
// the clients of a replica that is ahead come for is given.
func TestSwitchWithIndices(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	first := spec{date: day(1), debs: debsUpTo(1)}.take(t, m)
	held, second := holdIndices(t, spec{date: day(2), debs: debsUpTo(2)}.take(t, m))
	held.set(errors.New("lost"))
	g := newTag(first)
	s, base := run(t, Options{Sources: []Source{g}, Prefetch: prefetch.Indices, settle: time.Hour, Follow: 10 * time.Millisecond}, true)
	if !readyzHas(t, base, 200, "ready: ") {
		t.Error("not ready at once, though all is at hand")
	}
	g.move(second)
	const next = "next: registry.example.org/site/mirror:noble: "
	eventually(t, func() bool { return readyzHas(t, base, 200, next+newServed(second).name) })
	current := func() snapshot.Digest { return s.view.Load().current[0].Root }
	var newest string
	for p := range debsUpTo(2) {
		if _, old := debsUpTo(1)[p]; !old {
			newest = p
		}
	}
	began := time.Now()
	if a := ask(t, base, "GET", "/"+newest); a.status != http.StatusOK {
		t.Errorf("%s, which a replica that is ahead serves: %d", newest, a.status)
	}
	if a := ask(t, base, "GET", "/docker/pool/none_1_all.deb"); a.status != http.StatusNotFound || time.Since(began) > missWait/2 {
		t.Errorf("what is in neither: %d after %s", a.status, time.Since(began))
	}
	if current() != first.Root {
		t.Error("switched to a snapshot without its index")
	}
	close(held.may) // and it fails
	eventually(t, func() bool { return counted(t, s, "mmoci_snapshot_follow_failing") == 1 })
	if !readyzHas(t, base, 200, "ready: ") || current() != first.Root {
		t.Error("the snapshot before is not answered from")
	}
	held.set(nil)
	eventually(t, func() bool { return current() == second.Root })
}

// Indices are fetched, all indices, pool files only by wish; each once.
func TestPrefetchedFiles(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := spec{date: day(1), debs: debsUpTo(3)}.take(t, m)
	for what, want := range map[prefetch.What]int{prefetch.None: 0, prefetch.Indices: 4, prefetch.All: 7} {
		m.opened = 0
		var p prefetch.Progress
		if err := prefetch.Fetch(t.Context(), sn, what, &p); err != nil || m.opened != want {
			t.Errorf("%q: %d opened, %v", what, m.opened, err)
		}
	}
	broken := errors.New("away")
	m.fault = func(snapshot.Blob, []byte) (io.Reader, error) { return nil, broken }
	var p prefetch.Progress
	if err := prefetch.Fetch(t.Context(), sn, prefetch.Indices, &p); !errors.Is(err, broken) || p.Missing() != 4 {
		t.Errorf("%d missing, error %v", p.Missing(), fmt.Sprint(err))
	}
}

// Whoever ends the server does not wait for files that do not come.
func TestEndWhileFetching(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	first := spec{date: day(1), debs: debsUpTo(1)}.take(t, m)
	_, second := holdIndices(t, spec{date: day(2), debs: debsUpTo(2)}.take(t, m))
	g := newTag(first)
	s, err := New(t.Context(), Options{Sources: []Source{g}, Prefetch: prefetch.Indices, settle: time.Hour, Follow: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	g.move(second)
	eventually(t, func() bool { return s.followers[0].pending.Load() != nil })
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the server does not end")
	}
}
