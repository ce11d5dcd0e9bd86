package serve

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/config"
	places "example.org/mmoci/internal/place"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
)

// beyond is the upstream of a faulty server's archive.
type beyond struct {
	mu    sync.Mutex
	asked []string
	alter func([]byte) []byte
	files map[string][]byte
}

// ServeHTTP implements http.Handler.
func (b *beyond) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, r.URL.Path)
	data, ok := b.files["/docker"+r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(b.alter(slices.Clone(data))) // who goes away has what it wants
}

func (b *beyond) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// What the registry cannot give of the pool comes from upstream, by the same
// digest: right, or not completed. Nothing else is asked for there, and nothing while the registry gives it.
func TestFallbackToUpstream(t *testing.T) {
	t.Parallel()
	const small, large = "/docker/pool/p/small_1_amd64.deb", "/docker/pool/p/large_1_amd64.deb"
	same := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		registry testarchive.Broken
		upstream func([]byte) []byte
		served   bool
	}{
		"500":                        {testarchive.Broken{Status: 500}, same, true},
		"reset":                      {testarchive.Broken{Reset: true}, same, true},
		"lost":                       {testarchive.Broken{Status: 404}, same, true},
		"wrong bytes":                {testarchive.Broken{Flip: true}, same, true},
		"500, upstream has another":  {testarchive.Broken{Status: 500}, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, false},
		"500, upstream has half":     {testarchive.Broken{Status: 500}, func(b []byte) []byte { return b[:len(b)/2] }, false},
		"500, upstream has too much": {testarchive.Broken{Status: 500}, func(b []byte) []byte { return append(b, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			up := &beyond{files: f.files, alter: c.upstream}
			site := httptest.NewServer(up)
			t.Cleanup(site.Close)
			var err error
			if f.fallback, err = places.NewFallback([]config.Archive{{Prefix: "docker", URLs: []string{site.URL}}}, nil); err != nil {
				t.Fatal(err)
			}
			log := &lockedWriter{w: &bytes.Buffer{}}
			f.start(Options{Access: slog.New(slog.NewJSONHandler(log, nil))}, 0)
			f.eventually("/docker/pool/p/held-small_1_amd64.deb")
			if asked := up.said(); len(asked) > 0 {
				t.Errorf("upstream was asked beside a registry that is well: %v", asked)
			}
			f.registry.Fault(func(testregistry.Request, int) testarchive.Broken { return c.registry })
			for _, target := range []string{small, large} {
				if !c.served {
					if f.get(target) { // get holds what is completed against the bytes
						t.Errorf("%s: served out of nothing", target)
					}
					continue
				}
				f.eventually(target)
			}
			if f.get("/docker/dists/bookworm/main/binary-amd64/Packages.gz") {
				t.Error("an index came from nowhere")
			}
			for _, p := range up.said() {
				if p != strings.TrimPrefix(small, "/docker") && p != strings.TrimPrefix(large, "/docker") {
					t.Errorf("upstream was asked for %s", p)
				}
			}
			if !c.served {
				return
			}
			// A client that was sent away while upstream was asked gets it from the store the next time.
			eventually(t, func() bool {
				return strings.Contains(log.String(), `"from":"`+site.URL) || strings.Contains(log.String(), `"status":50`)
			})
			if asked := up.said(); len(asked) < 2 {
				t.Errorf("upstream was asked for %v only", asked)
			}
			site.Close()
			for _, target := range []string{small, large} {
				if !f.get(target) {
					t.Errorf("%s was not kept", path.Base(target))
				}
			}
		})
	}
}

// An archive without a url: has no upstream.
func TestFallbackWithoutUpstream(t *testing.T) {
	t.Parallel()
	if _, err := places.NewFallback([]config.Archive{{Prefix: "own", Debs: "debs"}}, nil); err == nil {
		t.Error("no error")
	}
}
