package artifact

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"example.org/mmoci/internal/testarchive"
)

// Who asks again and again with Connections connects, and gets a token, once.
func TestConnectionsAreShared(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	r := testarchive.NewRegistry(t, testarchive.RegistryOptions{ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}})
	ref, err := ParseReference(r.Host() + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(o Options) int64 {
		before := opened.Load()
		for range 5 {
			if _, err := Resolve(t.Context(), ref, o); err == nil {
				t.Fatal("a tag that is not there")
			}
		}
		return opened.Load() - before
	}
	if n := ask(Options{Connections: &Connections{}}); n != 1 {
		t.Errorf("shared: %d connections", n)
	}
	if n := ask(Options{}); n != 5 {
		t.Errorf("not shared: %d connections", n)
	}
	c := &Connections{}
	a, err := c.client(ref, &RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.client(ref, &RegistryOptions{Anonymous: true}); err != nil || a == b {
		t.Errorf("credentials and none share a client: %v", err)
	}
}
