package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/listen"
	"example.org/mmoci/pkg/snapshot"
)

// stuck is a client that takes no byte until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	began chan struct{}
	free  chan struct{}
}

func newStuck(free chan struct{}) *stuck {
	return &stuck{httptest.NewRecorder(), make(chan struct{}, 1), free}
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case s.began <- struct{}{}:
	default:
	}
	<-s.free
	return s.ResponseRecorder.Write(p)
}

// serveStuck asks n times for a path by clients that take nothing, waits until each has
// something to take, and gives what lets them go and waits for their ends.
func serveStuck(t *testing.T, s *Server, n int, path string) (letGo func()) {
	t.Helper()
	free := make(chan struct{})
	var wg sync.WaitGroup
	for range n {
		w := newStuck(free)
		wg.Go(func() { s.ServeHTTP(w, httptest.NewRequest("GET", path, nil)) })
		select {
		case <-w.began:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing to take", path)
		}
	}
	return sync.OnceFunc(func() { close(free); wg.Wait() })
}

// Clients that take their pages slowly keep nobody else from his.
func TestSlowReadersOfPages(t *testing.T) {
	t.Parallel()
	sn := spec{date: day(1), debs: map[string][]byte{"docker/pool/d/docker-ce_1_amd64.deb": []byte("x")}}.take(t, newMemoryBlobs())
	s, err := New(t.Context(), Options{Sources: []Source{newTag(sn)}, Patience: time.Second, Policy: writeRules(t, "rules:\n- {deny: docker-ce, reason: x}\n")})
	if err != nil {
		t.Fatal(err)
	}
	var letGo []func()
	for _, path := range []string{"/", "/?q=docker", "/docker/pool/", "/snapshot/", "/mmoci/changes", "/setup/policy.pref", "/setup/cloud-init.yaml"} {
		letGo = append(letGo, serveStuck(t, s, maxPages, path))
	}
	answers := func() int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/docker/pool/", nil))
		return w.Code
	}
	if got := answers(); got != 200 {
		t.Errorf("beside slow readers: %d", got)
	}
	for _, f := range letGo {
		f()
	}
	// What is on its way has a bound.
	if !s.sending.TryAcquire(maxPageBytes) {
		t.Fatal("pages that were sent are still counted")
	}
	if got := answers(); got != 503 {
		t.Errorf("beyond the bound: %d", got)
	}
	s.sending.Release(maxPageBytes)
	if got := answers(); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
}

// An index is unpacked while it is sent: slow clients hold no copies of it.
func TestPlainIndexInLittleMemory(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	const size = 48 << 20
	for range size / (1 << 20) {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	m := newMemoryBlobs()
	sn := spec{date: day(1), files: map[string][]byte{"docker/dists/bookworm/extra/binary-amd64/Packages.gz": packed.Bytes()}}.take(t, m)
	s, err := New(t.Context(), Options{Sources: []Source{newTag(sn)}})
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var st runtime.MemStats
		runtime.ReadMemStats(&st)
		return st.HeapAlloc
	}
	before := heap()
	letGo := serveStuck(t, s, 8, "/docker/dists/bookworm/extra/binary-amd64/Packages")
	if took := int64(heap()) - int64(before); took > size/2 {
		t.Errorf("8 slow clients take %d MiB", took>>20)
	}
	letGo()
	head, part := httptest.NewRecorder(), httptest.NewRecorder()
	s.ServeHTTP(head, httptest.NewRequest("HEAD", "/docker/dists/bookworm/extra/binary-amd64/Packages", nil))
	r := httptest.NewRequest("GET", "/docker/dists/bookworm/extra/binary-amd64/Packages", nil)
	r.Header.Set("Range", "bytes=1000000-1000009")
	s.ServeHTTP(part, r)
	want := snapshot.BlobOf(make([]byte, size))
	if head.Code != 200 || head.Header().Get("Content-Length") != fmt.Sprint(size) || head.Header().Get("Etag") != `"`+want.Digest.String()+`"` {
		t.Errorf("HEAD: %d %v", head.Code, head.Header())
	}
	if part.Code != 206 || !bytes.Equal(part.Body.Bytes(), make([]byte, 10)) {
		t.Errorf("part: %d, %d bytes", part.Code, part.Body.Len())
	}
}

// A file that is not what it was when it was verified is neither sent nor kept in memory.
func TestSmallFilesAreHashedFirst(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	data := bytesOf("deb", 5000)
	sn := oneDeb(data).take(t, m)
	dir := t.TempDir()
	file := filepath.Join(dir, "deb")
	if err := os.WriteFile(file, bytesOf("lost", 5000), 0o644); err != nil {
		t.Fatal(err)
	}
	sn = sn.WithBlobs(func(rest snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			if b.Size != 5000 {
				return rest.Open(ctx, b, 0)
			}
			f, err := os.Open(file)
			return &snapshot.Content{R: f, File: f}, err
		})
	})
	s, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	for range 2 {
		if a := ask(t, base, "GET", "/"+debPath); a.status != 502 {
			t.Errorf("%d, %d bytes", a.status, len(a.body))
		}
	}
	if got := s.small.Get(snapshot.BlobOf(data)); got != nil {
		t.Error("kept")
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, base, "GET", "/"+debPath); a.status != 200 || !bytes.Equal(a.body, data) {
		t.Errorf("the right bytes: %d", a.status)
	}
}

// Snapshots of before are in memory, and have a bound in bytes too.
func TestOldTablesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	var sns []*snapshot.Snapshot
	var ids []string
	for i := range 10 {
		sn := spec{date: day(1 + i), debs: debsUpTo(10)}.take(t, m)
		sns, ids = append(sns, sn), append(ids, newServed(sn).name)
	}
	one := newServed(sns[0]).size()
	for _, c := range []struct {
		bound int64
		most  int // that are kept
	}{{4*one + one/2, 4}, {one / 2, 0}} {
		s, err := New(t.Context(), Options{Sources: []Source{newTag(sns...)}, keptBytes: c.bound})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids[:9] {
			if h, err := s.openID(t.Context(), id); err != nil || h.Root != sns[i].Root {
				t.Fatalf("%s: %v", id, err)
			}
			if kept := len(s.cache.Kept()); kept != min(i+1, c.most) {
				t.Errorf("within %d bytes: %d after %d", c.bound, kept, i+1)
			}
		}
	}
	var previous []*served
	for _, sn := range sns {
		previous = append(previous, newServed(sn))
	}
	for max, want := range map[int64]int{0: 1, 3*one + one/2: 3, 100 * one: 10} {
		if got := bounded(previous, max); len(got) != want {
			t.Errorf("within %d bytes: %d", max, len(got))
		}
	}
}

// One client cannot have all connections; others, and those that a trusted proxy speaks for, go on.
func TestConnectionsOfOneClient(t *testing.T) {
	t.Parallel()
	s, base := run(t, Options{Sources: []Source{newTag(oneDeb([]byte("x")).take(t, newMemoryBlobs()))}, TrustedProxies: prefixes("127.0.0.3/32")}, false)
	address := strings.TrimPrefix(base, "http://")
	from := func(ip string) (net.Conn, bool) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		b := make([]byte, 15)
		_, err = io.ReadFull(c, b)
		return c, err == nil && string(b) == "HTTP/1.1 200 OK"
	}
	var conns []net.Conn
	for i := range listen.MaxPerClient {
		c, ok := from("127.0.0.1")
		if !ok {
			t.Fatalf("connection %d was closed", i+1)
		}
		conns = append(conns, c)
	}
	if _, ok := from("127.0.0.1"); ok {
		t.Error("one connection more than a client may have")
	}
	if got := counted(t, s, "mmoci_connections_turned_away_total"); got != 1 {
		t.Errorf("%v counted", got)
	}
	if _, ok := from("127.0.0.2"); !ok {
		t.Error("another client was turned away")
	}
	for i := range listen.MaxPerClient + 1 {
		if _, ok := from("127.0.0.3"); !ok {
			t.Fatalf("a trusted proxy was turned away at %d", i+1)
		}
	}
	conns[0].Close()
	eventually(t, func() bool { _, ok := from("127.0.0.1"); return ok })
}
