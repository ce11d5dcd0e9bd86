package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"example.org/mmoci/internal/serve/opened"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

// From a registry that gives 1 KiB a second clients get what there is, and are
// not held; what is held comes at full speed meanwhile.
func TestSlowRegistry(t *testing.T) {
	t.Parallel()
	const large, held, first = "/docker/pool/p/large_1_amd64.deb", "/docker/pool/p/held-large_1_amd64.deb", 1 << 20
	f := newFaulty(t)
	f.start(Options{Slow: time.Second}, 0)
	f.eventually(held)
	f.registry.Fault(always(testarchive.Broken{Rate: 1 << 10, Burst: first}))
	for i := range 2 {
		start := time.Now()
		a := ask(t, f.base, "GET", large)
		if a.status != 200 || a.err == nil || len(a.body) < first/2 || !bytes.HasPrefix(f.files[large], a.body) {
			t.Errorf("%d: %d, %d bytes, %v", i, a.status, len(a.body), a.err)
		}
		if took := time.Since(start); took > tooLong {
			t.Errorf("%d: held for %s", i, took)
		}
		// The rest of it, which is not there yet.
		if a := ask(t, f.base, "GET", large, "Range", "bytes=2000000-"); a.status != 504 || len(a.body) == 0 {
			t.Errorf("%d: the rest: %d, %d bytes", i, a.status, len(a.body))
		}
		start = time.Now()
		if !f.get(held) || time.Since(start) > 5*time.Second {
			t.Errorf("%d: what is held took %s", i, time.Since(start))
		}
	}
	if n := f.registry.Requests().Count("GET", "blob"); n > 2*len(f.files) {
		t.Errorf("%d blobs were asked for", n)
	}
}

// Only what is slow for long is given up, and only the source's time counts.
func TestPaced(t *testing.T) {
	t.Parallel()
	data := bytesOf("paced", 300_000)
	got, err := io.ReadAll(&pacedReader{r: iotest.HalfReader(bytes.NewReader(data)), slow: time.Nanosecond})
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("a fast source: %d bytes, %v", len(got), err)
	}
	drips := readerFunc(func(p []byte) (int, error) { time.Sleep(20 * time.Millisecond); return copy(p, "x"), nil })
	got, err = io.ReadAll(&pacedReader{r: drips, slow: 100 * time.Millisecond})
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(got) == 0 {
		t.Errorf("a slow source: %d bytes, %v", len(got), err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// mute is a registry that takes every question and answers none.
type mute struct{ *tag }

func (m mute) IDs(ctx context.Context) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
func (m mute) Tags(ctx context.Context) (map[string][]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (m mute) Open(ctx context.Context, id string) (*snapshot.Snapshot, error) {
	if sn, err := m.tag.Open(ctx, id); err == nil {
		return sn, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A registry that does not answer keeps nobody waiting, nor those who want a page of what is here.
func TestMuteRegistry(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb([]byte("deb")).take(t, m)
	_, base := run(t, Options{Sources: []Source{mute{newTag(sn)}}, Patience: 5 * time.Second}, false)
	done := make(chan bool)
	for range 3 * maxPages {
		go func() {
			ask(t, base, "GET", "/snapshot/")
			ask(t, base, "GET", "/mmoci/changes")
			done <- true
		}()
	}
	start := time.Now()
	if a := ask(t, base, "GET", "/docker/"); a.status != 200 || time.Since(start) > 4*time.Second {
		t.Errorf("a page of what is here: %d after %s", a.status, time.Since(start))
	}
	a := ask(t, base, "GET", "/snapshot/20200101T000000Z-0123456789ab/docker/dists/bookworm/Release")
	if a.status != 504 || len(a.body) == 0 || a.header.Get("Retry-After") == "" || time.Since(start) > tooLong {
		t.Errorf("an ID: %d after %s", a.status, time.Since(start))
	}
	if a := ask(t, base, "GET", "/snapshot/"); a.status < 500 {
		t.Errorf("list of snapshots: %d", a.status)
	}
	for range 3 * maxPages {
		<-done
	}
}

// However many IDs nobody knows are asked for, few wait to be opened.
func TestAskedIDsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s, err := New(t.Context(), Options{Sources: []Source{mute{newTag(oneDeb([]byte("deb")).take(t, m))}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	busy := 0
	for i := range 2 * opened.MaxAsked {
		if _, err := s.openID(ctx, snapshot.Sum([]byte{byte(i)}).String()); errors.Is(err, opened.ErrBusy) {
			busy++
		}
	}
	if busy != opened.MaxAsked {
		t.Errorf("%d were refused, want %d", busy, opened.MaxAsked)
	}
}

// A server without a snapshot yet does not say that there is no such thing.
func TestNotReady(t *testing.T) {
	t.Parallel()
	g := newTag()
	g.fail(errors.New("connection refused"))
	_, base := run(t, Options{Sources: []Source{g}, Wait: true}, false)
	for _, target := range []string{"/docker/dists/bookworm/InRelease", "/docker/pool/x_1_all.deb", "/upstream/docker/dists/bookworm/InRelease", "/setup/docker.sources", "/mmoci/statement"} {
		if a := ask(t, base, "GET", target); a.status != 503 || len(a.body) == 0 || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", target, a.status, a.phrase)
		}
	}
}
