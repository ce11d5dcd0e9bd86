package serve

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// A download under way is finished after the server was told to end; a unix
// socket left by a killed server does not hinder the next.
func TestDrainAndSockets(t *testing.T) {
	t.Parallel()
	data := bytesOf("deb", bigSize)
	m := newMemoryBlobs()
	sn := oneDeb(data).take(t, m)
	goOn := make(chan struct{})
	target := mustFind(t, sn, debPath).Digest
	m.fault = func(b snapshot.Blob, d []byte) (io.Reader, error) {
		if b.Digest != target {
			return bytes.NewReader(d), nil
		}
		return io.MultiReader(bytes.NewReader(d[:len(d)/2]), gate(goOn), bytes.NewReader(d[len(d)/2:])), nil
	}
	socket := filepath.Join(t.TempDir(), "s")
	leaveStale(t, socket)
	s, err := New(t.Context(), Options{Sources: []Source{newTag(sn)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	addrs, ended := make(chan []string, 1), make(chan error, 1)
	go func() {
		ended <- s.ListenAndServe(ctx, []string{"127.0.0.1:0", "unix:" + socket}, func(a []string) { addrs <- a })
	}()
	names := <-addrs
	if names[1] != "unix:"+socket {
		t.Errorf("listening on %q", names)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a := exchangeOn(t, c, "GET", "/nowhere/x"); a.phrase != `no archive "nowhere" here` {
		t.Errorf("phrase %q", a.phrase)
	}
	res, err := http.Get("http://" + names[0] + "/" + debPath) // its header has come: the answer is under way
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	select {
	case err := <-ended:
		t.Fatalf("ended under a download: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func leaveStale(t *testing.T, socket string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// gate is an empty reader that ends when the channel is closed.
type gate chan struct{}

func (g gate) Read([]byte) (int, error) { <-g; return 0, io.EOF }

func TestListenErrors(t *testing.T) {
	t.Parallel()
	s, err := New(t.Context(), Options{Sources: []Source{newTag(oneDeb([]byte("x")).take(t, newMemoryBlobs()))}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, addrs := range [][]string{nil, {"nonsense"}, {"127.0.0.1:0", l.Addr().String()}, {"unix:/nowhere/at/all"}} {
		err := s.ListenAndServe(t.Context(), addrs, func([]string) { t.Error("ready") })
		if err == nil || !strings.HasPrefix(err.Error(), "listen") {
			t.Errorf("%q: %v", addrs, err)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	t.Parallel()
	src := []Source{newTag(oneDeb([]byte("x")).take(t, newMemoryBlobs()))}
	file := writeRules(t, "default: allow")
	for name, o := range map[string]Options{
		"no source": {}, "base": {Sources: src, BaseURL: "site.example.org/apt"}, "query": {Sources: src, BaseURL: "http://site.example.org/?x"},
		"policy": {Sources: src, Policy: file + ".none"}, "state": {Sources: src, StateDir: file},
	} {
		if _, err := New(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	s := &Server{o: Options{TrustedProxies: prefixes("127.0.0.0/8", "10.0.0.0/8")}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:99", "198.51.100.7", "192.0.2.1"},
		{"127.0.0.1:99", "", "127.0.0.1"},
		{"127.0.0.1:99", "198.51.100.7", "198.51.100.7"},
		{"127.0.0.1:99", "203.0.113.1, 198.51.100.7, 10.1.2.3", "198.51.100.7"},
		{"127.0.0.1:99", "nonsense", "127.0.0.1"},
		{"[2001:db8::1]:99", "198.51.100.7", "2001:db8::1"},
		{"@", "198.51.100.7", "@"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := (&request{s: s, r: r}).client(); got != c.want {
			t.Errorf("%v: %s", c, got)
		}
	}
}
