package remote

import (
	"context"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// How long an answer is waited for goes with what the registry has to do for it.
func TestAnswerWithin(t *testing.T) {
	t.Parallel()
	r := &Repository{stall: stallTimeout, answer: answerTimeout}
	for _, c := range []struct {
		size, rate int64
		want       time.Duration
	}{
		{1000, storeRate, time.Minute},
		{400 << 20, storeRate, time.Minute + 100*time.Second},
		{40 << 30, storeRate, answerTimeout},
		{60 << 10, lookRate, 2 * time.Minute}, // a shard of 400 layers
		{1 << 20, lookRate, answerTimeout},
	} {
		if got := r.answerWithin(c.size, c.rate); got != c.want {
			t.Errorf("%d bytes: %s, want %s", c.size, got, c.want)
		}
	}
}

// Eight uploads together keep the pace.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{rate: 100_000}
		start := time.Now()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for sent := 0; sent < 50_000; {
					n := p.chunk(32 << 10)
					if err := p.wait(t.Context(), n); err != nil {
						t.Error(err)
						return
					}
					sent += n
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took < 3800*time.Millisecond || took > 4200*time.Millisecond {
			t.Errorf("400 kB at 100 kB/s took %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx, 1_000_000); err == nil {
			t.Error("a push that was interrupted waits")
		}
	})
	var none *pace
	if none.chunk(77) != 77 || none.wait(t.Context(), math.MaxInt) != nil {
		t.Error("no pace holds back")
	}
}

// Who asks again and again with Connections connects, and gets a token, once.
func TestConnectionsAreShared(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	r := testregistry.New(t, testregistry.Options{ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}})
	ref, err := oci.ParseReference(r.Host() + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(o *Options) int64 {
		before := opened.Load()
		for range 5 {
			p, err := Open(ref, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Resolve(t.Context(), ref); err == nil {
				t.Fatal("a tag that is not there")
			}
		}
		return opened.Load() - before
	}
	if n := ask(&Options{Connections: &Connections{}}); n != 1 {
		t.Errorf("shared: %d connections", n)
	}
	if n := ask(&Options{}); n != 5 {
		t.Errorf("not shared: %d connections", n)
	}
	c := &Connections{}
	a, err := c.client(ref, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.client(ref, &Options{Anonymous: true}); err != nil || a == b {
		t.Errorf("credentials and none share a client: %v", err)
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, loopback := range map[string]bool{"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "r.localhost": true,
		"registry.example.org": false, "192.0.2.1:5000": false, "localhost.example.org": false, "[2001:db8::1]": false, "127.0.0.1.example.org": false} {
		if IsLoopback(host) != loopback {
			t.Errorf("%s", host)
		}
	}
}

// Which redirects are followed, one by one.
func TestRedirect(t *testing.T) {
	t.Parallel()
	digest := snapshot.Sum(nil).String()
	request := func(method, u string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		plain    bool
		method   string
		from, to string
		ok       bool
	}{
		{true, "GET", "https://r.example.org/v2/a/b/blobs/" + digest, "http://s.example.org/x", true},
		{false, "GET", "https://r.example.org/v2/a/b/blobs/" + digest, "http://s.example.org/x", false},
		{false, "GET", "https://r.example.org/v2/a/b/blobs/" + digest, "http://127.0.0.1:80/x", true},
		{false, "GET", "https://r.example.org/v2/a/b/blobs/" + digest, "http://127.0.0.1.example.org/x", false},
		{false, "GET", "https://r.example.org/v2/a/b/blobs/" + digest, "https://s.example.org/x", true},
		{false, "GET", "http://127.0.0.1/v2/a/b/manifests/x", "http://s.example.org/x", true}, // no downgrade
		{true, "HEAD", "https://r.example.org/v2/a/b/blobs/" + digest, "http://s.example.org/x", false},
		{true, "POST", "https://r.example.org/v2/a/b/blobs/uploads/", "http://s.example.org/x", false},
		{true, "GET", "https://r.example.org/v2/a/b/manifests/" + digest, "http://s.example.org/x", false},
		{true, "GET", "https://r.example.org/v2/a/b/tags/list", "http://s.example.org/x", false},
		{true, "GET", "https://r.example.org/token?x=/v2/a/blobs/" + digest, "http://s.example.org/x", false},
		{true, "GET", "https://r.example.org/v2/a/blobs/latest", "http://s.example.org/x", false},
	} {
		err := redirect(c.plain)(request(c.method, c.to), []*http.Request{request(c.method, c.from)})
		if (err == nil) != c.ok {
			t.Errorf("%s %s to %s, plain %t: %v", c.method, c.from, c.to, c.plain, err)
		}
	}
	// In between, too.
	if err := redirect(true)(request("GET", "http://s.example.org/"), []*http.Request{request("GET", "http://127.0.0.1/v2/a/manifests/x"), request("GET", "https://s.example.org/")}); err == nil {
		t.Error("http, https, http is followed")
	}
}
