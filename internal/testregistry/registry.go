// Package testregistry is a strict OCI registry in memory for tests, which tells what it was
// asked and fails in named ways; or a real one, where a test is told of it.
package testregistry

import (
	"cmp"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/testarchive"
)

// What registries in the wild refuse; see RegistryOptions.
const (
	defaultMaxManifest = 4 << 20 // what everybody accepts at least (distribution-spec, "pushing manifests")
	defaultMaxLayers   = 500
)

// Options of a strict registry. The zero value is one that allows
// DELETE and Range, wants no credentials and has no bad moments.
type Options struct {
	// ConnState, if not nil, is told of every connection, as that of net/http.Server.
	ConnState     func(net.Conn, http.ConnState)
	MaxManifest   int      // bytes; 0: 4 MiB. More is 413
	MaxLayers     int      // per manifest; 0: 500. More is 405 UNSUPPORTED
	Every429      int      // every nth request is answered 429, but not two of one method in a row: an upload ends; 0: none
	RetryAfter    string   // header of these; "": "0"
	NoDelete      bool     // DELETE is 405
	ImmutableTags bool     // a tag that names another digest cannot be put again: 400 TAG_INVALID
	Mounts        bool     // mounts are 201; else they open an upload, 202
	NoRange       bool     // GET of a blob ignores Range
	Redirect      bool     // GET of a blob is 307 to a place that refuses credentials; not with TLS
	Basic, Bearer bool     // credentials are wanted, User and Password or a token got with them
	User          string   // "": "user"
	Password      string   // "": "secret"
	Repositories  []string // only these exist; nil: a push creates
	TLS           bool     // HTTPS with a certificate of httptest's
	Referrers     bool     // there is a referrers API; else 404
	Catalog       int      // _catalog answers, so many names a page; 0: 404
}

// Registry is an OCI registry in memory that is stricter than real ones: blobs
// belong to a repository, empty blobs are refused, a manifest's blobs and
// children must be there with the sizes it says, mediaType must be the
// Content-Type, Accept must allow what is found. What no tag reaches is gone
// after Collect. Safe for concurrent use.
type Registry struct {
	*httptest.Server
	o    Options
	real http.Handler // answers in its place; nil: nobody

	mu      sync.Mutex
	repos   map[string]*repository
	uploads map[string]*upload
	tokens  map[string]string // token to scope
	seen    map[string]int
	serial  int
	busy    string // method of the last request that Every429 refused
	fault   func(r Request, n int) testarchive.Broken

	logging sync.Mutex // guards log; it may be taken with mu held
	log     Requests
}

// repository is the content of one OCI repository. Blobs and manifests are by digest.
type repository struct {
	blobs     map[string][]byte
	manifests map[string]manifest
	tags      map[string]string
}

type manifest struct {
	mediaType string
	data      []byte
}

// Request is one request as it was answered.
type Request struct {
	Method string
	Kind   string // ping, blob, upload, manifest, tags, referrers, token, storage, other
	Repo   string
	Ref    string // digest, tag, or upload
	Status int    // 0: the connection was closed
}

// Requests is a log in the order of the answers.
type Requests []Request

// Count tells how many requests have this method and kind; "" is any.
func (rs Requests) Count(method, kind string) int {
	n := 0
	for _, r := range rs {
		if (method == "" || r.Method == method) && (kind == "" || r.Kind == kind) {
			n++
		}
	}
	return n
}

// New starts a registry that ends with the test. Without options, and where the
// environment names one ([RealRegistryVariable]), it hands on what it is asked: log
// and faults are as ever, but nothing is in memory for the methods that reach into it.
func New(t testing.TB, o Options) *Registry {
	t.Helper()
	var real http.Handler
	if reflect.ValueOf(o).IsZero() {
		real = RealRegistry(t)
	}
	o.MaxManifest = cmp.Or(o.MaxManifest, defaultMaxManifest)
	o.MaxLayers = cmp.Or(o.MaxLayers, defaultMaxLayers)
	o.RetryAfter = cmp.Or(o.RetryAfter, "0")
	o.User = cmp.Or(o.User, "user")
	o.Password = cmp.Or(o.Password, "secret")
	r := &Registry{
		o: o, real: real, repos: map[string]*repository{}, uploads: map[string]*upload{},
		tokens: map[string]string{}, seen: map[string]int{},
	}
	if o.Redirect && o.TLS {
		t.Fatal("testarchive: Redirect and TLS")
	}
	for _, name := range o.Repositories {
		r.repos[name] = newRepository()
	}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.Config.ConnState = o.ConnState
	if o.TLS {
		r.StartTLS()
	} else {
		r.Start()
	}
	t.Cleanup(r.Close)
	return r
}

func newRepository() *repository {
	return &repository{blobs: map[string][]byte{}, manifests: map[string]manifest{}, tags: map[string]string{}}
}

// Host is HOST:PORT, the first part of a reference to this registry.
func (r *Registry) Host() string {
	_, host, _ := strings.Cut(r.URL, "://")
	return host
}

// Requests is the log since the last call, of all answers that somebody may have got.
func (r *Registry) Requests() Requests {
	r.logging.Lock()
	defer r.logging.Unlock()
	l := r.log
	r.log = nil
	return l
}

// Fault is called before each request, Status still 0; it may return a Broken
// to misbehave. n counts the requests of that method and URL path, from 1. nil
// ends the misbehaviour. The function is called under no lock of the registry's,
// perhaps concurrently.
func (r *Registry) Fault(f func(req Request, n int) testarchive.Broken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// repo finds a repository; create makes it where that is allowed. Called with the lock held.
func (r *Registry) repo(name string, create bool) *repository {
	p, ok := r.repos[name]
	if !ok && create && r.o.Repositories == nil {
		p = newRepository()
		r.repos[name] = p
	}
	return p
}
