package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
)

// fakeRegistry is go-containerregistry's registry made strict: manifests need
// their blobs and children, empty blobs and large manifests are refused. It counts
// requests and lets a test answer before it does.
type fakeRegistry struct {
	server *httptest.Server
	inner  http.Handler
	real   http.Handler // what the environment wants in its place; nil: nothing

	mu       sync.Mutex
	requests map[string]int  // "METHOD kind"
	blobs    map[string]bool // digests whose upload was completed
	before   func(w http.ResponseWriter, r *http.Request, n int) (answered bool)
	n        int
	lenient  bool // takes manifests with a config type of its own without looking
}

func newFakeRegistry(t testing.TB) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{
		real:     testregistry.RealRegistry(t),
		inner:    registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		requests: map[string]int{}, blobs: map[string]bool{},
	}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeRegistry) ref(t testing.TB, tag string) Reference {
	t.Helper()
	return mustParse(t, strings.TrimPrefix(f.server.URL, "http://")+"/site/mirror:"+tag)
}

// kindOf names what a request is about.
func kindOf(r *http.Request) string {
	switch {
	case strings.Contains(r.URL.Path, "/blobs/uploads"):
		return "upload"
	case strings.Contains(r.URL.Path, "/blobs/"):
		return "blob"
	case strings.Contains(r.URL.Path, "/tags/"):
		return "tags"
	}
	return "manifest"
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests[r.Method+" "+kindOf(r)]++
	n := f.n
	f.n++
	before := f.before
	f.mu.Unlock()
	if before != nil && before(w, r, n) {
		return
	}
	switch {
	case f.real != nil:
		f.real.ServeHTTP(w, r)
	case r.Method == http.MethodPut && kindOf(r) == "upload":
		f.putBlob(w, r)
	case r.Method == http.MethodPut && kindOf(r) == "manifest":
		f.putManifest(w, r)
	case kindOf(r) == "blob" && !f.has(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]):
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
	default:
		f.inner.ServeHTTP(w, r)
	}
}

func (f *fakeRegistry) has(d string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blobs[d]
}

func (f *fakeRegistry) forget(d string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blobs, d)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"refused"}]}`, code)
}

// putBlob keeps the inner registry's one lock out of the transfer.
func (f *fakeRegistry) putBlob(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
		return
	}
	d := r.URL.Query().Get("digest")
	if len(data) == 0 || digest.FromBytes(data).String() != d {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	f.inner.ServeHTTP(w, r)
	f.mu.Lock()
	f.blobs[d] = true
	f.mu.Unlock()
}

func (f *fakeRegistry) putManifest(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 4<<20+1))
	if err != nil || len(data) > 4<<20 {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		return
	}
	var m struct {
		Config *struct{ Digest, MediaType string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(data, &m); err != nil || len(m.Layers) > 500 {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID")
		return
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, struct{ Digest string }{m.Config.Digest})
	}
	for _, l := range m.Layers {
		if f.lenient && m.Config.MediaType != oci.TypeEmpty {
			break
		}
		if !f.has(l.Digest) {
			refuse(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN")
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	f.inner.ServeHTTP(w, r)
}

// statusOf is the HTTP status of an error, 0 if it is none.
func statusOf(err error) int {
	if e := new(errcode.ErrorResponse); errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// counts returns and resets the counters.
func (f *fakeRegistry) counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.requests
	f.requests, f.n = map[string]int{}, 0
	return c
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// answer sets what is asked before each request.
func (f *fakeRegistry) answer(before func(w http.ResponseWriter, r *http.Request, n int) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.n = before, 0
}

// TestMain keeps the credentials of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "artifact-test-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		os.Setenv(name, dir)
	}
	os.Unsetenv("REGISTRY_AUTH_FILE")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
