package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
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
	f.start(Options{Slow: time.Second, Patience: defaultPatience}, 0)
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
		if !f.prompt(held) {
			t.Errorf("%d: what is held is not served", i)
		}
	}
	if n := f.registry.Requests().Count("GET", "blob"); n > 2*len(f.files) {
		t.Errorf("%d blobs were asked for", n)
	}
}

// Only what is slow for long is given up, and only the source's time counts.
func TestPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		every := func(d time.Duration, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) { time.Sleep(d); return r.Read(p) })
		}
		data := bytesOf("paced", 300_000)
		got, err := io.ReadAll(&pacedReader{r: every(time.Millisecond, iotest.HalfReader(bytes.NewReader(data))), slow: time.Millisecond})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("a fast source: %d bytes, %v", len(got), err)
		}
		drips := iotest.OneByteReader(bytes.NewReader(data))
		got, err = io.ReadAll(&pacedReader{r: every(20*time.Millisecond, drips), slow: 100 * time.Millisecond})
		if !errors.Is(err, os.ErrDeadlineExceeded) || len(got) != 5 {
			t.Errorf("a slow source: %d bytes, %v", len(got), err)
		}
		// The time between its reads is the client's.
		r := &pacedReader{r: bytes.NewReader(data), slow: time.Millisecond}
		for range 10 {
			if _, err := r.Read(make([]byte, 1)); err != nil {
				t.Errorf("a slow client: %v", err)
			}
			time.Sleep(time.Hour)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// mute is a registry that takes every question and answers none, until it is closed.
type mute struct {
	*tag
	asked  *atomic.Int64
	closed chan struct{}
}

func newMute(g *tag) mute { return mute{g, &atomic.Int64{}, make(chan struct{})} }

func (m mute) silence(ctx context.Context) error {
	m.asked.Add(1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-m.closed:
		return io.ErrUnexpectedEOF
	}
}

func (m mute) IDs(ctx context.Context) ([]string, error)             { return nil, m.silence(ctx) }
func (m mute) Tags(ctx context.Context) (map[string][]string, error) { return nil, m.silence(ctx) }

func (m mute) Open(ctx context.Context, id string) (*snapshot.Snapshot, error) {
	if sn, err := m.tag.Open(ctx, id); err == nil {
		return sn, nil
	}
	return nil, m.silence(ctx)
}

// A registry that does not answer keeps nobody waiting for long.
func TestMuteRegistry(t *testing.T) {
	t.Parallel()
	sn := oneDeb([]byte("deb")).take(t, newMemoryBlobs())
	_, base := run(t, Options{Sources: []Source{newMute(newTag(sn))}, Patience: 100 * time.Millisecond}, false)
	start := time.Now()
	a := ask(t, base, "GET", "/snapshot/20200101T000000Z-0123456789ab/docker/dists/bookworm/Release")
	if a.status != 504 || len(a.body) == 0 || a.header.Get("Retry-After") == "" || time.Since(start) > tooLong {
		t.Errorf("an ID: %d after %s", a.status, time.Since(start))
	}
	if a := ask(t, base, "GET", "/snapshot/"); a.status < 500 {
		t.Errorf("list of snapshots: %d", a.status)
	}
}

// However many wait for a registry that does not answer, who wants a page of what is here gets it.
func TestPagesBesideMuteRegistry(t *testing.T) {
	t.Parallel()
	m := newMute(newTag(oneDeb([]byte("deb")).take(t, newMemoryBlobs())))
	_, base := run(t, Options{Sources: []Source{m}, Patience: time.Minute}, false)
	var wg sync.WaitGroup
	for range 3 * maxPages {
		for _, page := range []string{"/snapshot/", "/mmoci/changes"} {
			wg.Go(func() { ask(t, base, "GET", page) })
		}
	}
	eventually(t, func() bool { return m.asked.Load() >= maxPages })
	start := time.Now()
	if a := ask(t, base, "GET", "/docker/"); a.status != 200 || time.Since(start) > tooLong {
		t.Errorf("a page of what is here: %d after %s", a.status, time.Since(start))
	}
	close(m.closed)
	wg.Wait()
}

// However many IDs nobody knows are asked for, few wait to be opened.
func TestAskedIDsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s, err := New(t.Context(), Options{Sources: []Source{newMute(newTag(oneDeb([]byte("deb")).take(t, m)))}})
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
