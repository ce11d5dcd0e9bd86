package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"example.org/mmoci/internal/store"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Source is where snapshots come from: one followed reference.
type Source interface {
	// Name is the reference, for people and logs.
	Name() string
	// Resolve tells which root the tag names now. Cheap: asked often.
	Resolve(ctx context.Context) (snapshot.Digest, error)
	// Open opens the snapshot of an ID (an immutable tag, DATE-HEX12, a
	// digest; "" for the followed tag). ErrNotExist if there is none.
	Open(ctx context.Context, id string) (*snapshot.Snapshot, error)
	// IDs lists the snapshots at hand, newest first, as they were some seconds ago at most.
	IDs(ctx context.Context) ([]string, error)
	// Pinned tells whether the reference names its snapshot by digest.
	Pinned() bool
}

// Prefetch says what is read, and so kept by a store below, before a new
// snapshot is answered from.
type Prefetch string

const (
	PrefetchNone    Prefetch = ""        // nothing
	PrefetchIndices Prefetch = "indices" // everything under dists/
	PrefetchAll     Prefetch = "all"     // pool files too
)

// Options of a server; the zero value but for Sources works.
type Options struct {
	Sources  []Source // several are a union of their prefixes
	StateDir string   // law 8 across restarts; "": within the process only
	Log      *slog.Logger
	Access   *slog.Logger // one record a request; nil: none
	SiteKey  []byte       // armoured public key, put into the .sources texts and recipes; nil: a path is named
	// Keyrings are the public keys by the prefix of the archive that they sign,
	// "" for the site's, so that metrics tell when they expire; nil: not told. Where there is
	// a site's, no snapshot is put in force whose statement it does not verify.
	Keyrings map[string]*pgp.Keyring
	// ReadSiteKeys reads the site's keys anew where a statement does not verify by those
	// at hand, so that a rotation needs no restart; nil: those of Keyrings count for good.
	// Called by one goroutine a source.
	ReadSiteKeys func() (*pgp.Keyring, error)
	// Follow is how often the tag is asked for; 0 means 15 s.
	Follow time.Duration
	// Grace is how long the previous snapshot goes on being answered from; 0 means 1 h.
	Grace time.Duration
	// Patience is how long a client waits for the first byte of a file that must
	// be fetched, until it gets a 504 and may ask again, while the store goes on
	// fetching; 0 means 15 s, half of what apt waits for.
	Patience time.Duration
	// Slow is how long a file may come from behind at less than 2 KiB a second
	// until its answer is broken off, while the store goes on; 0 means 1 min.
	Slow time.Duration
	Now  func() time.Time // nil: time.Now
	// Hot bounds the memory for small files asked for lately, in bytes; 0 means 4 MiB, less none.
	Hot int64

	// Wait makes New succeed although a source cannot be opened yet: Run goes
	// on trying, and /readyz says so meanwhile.
	Wait bool
	// Prefetch happens before a switch, so that what clients will ask for first is at hand.
	Prefetch Prefetch
	// Policy is the path of a rules file (package policy), read again when it
	// changes; "": everything is allowed. PolicyLogOnly records what would have
	// been denied and allows it.
	Policy        string
	PolicyLogOnly bool
	// BaseURL is how clients reach the server ("https://site.example.org/apt");
	// its path is taken off requests that have it. "": the Host header tells.
	BaseURL string
	// TLSCert and TLSKey are PEM files; with them TCP addresses speak HTTPS.
	// Credentials is a file of lines USER:PASSWORD (basic) or TOKEN (bearer);
	// with it everything but /healthz and /readyz asks for one of them. All
	// three are read again when they change; bad ones leave those before.
	TLSCert, TLSKey, Credentials string
	// Store tells the counts of the store that the sources read through, for metrics; nil: none.
	Store func() store.Stats
	// TrustedProxies may say in X-Forwarded-For and X-Forwarded-Proto whom they speak for.
	TrustedProxies []netip.Prefix

	replaceState func(name string, data []byte, mode os.FileMode) error // nil: durable.WriteFile; tests fill disks with it
}

const (
	defaultFollow = 15 * time.Second
	defaultGrace  = time.Hour

	defaultPatience = 15 * time.Second
	defaultSlow     = time.Minute
)

// Server is an http.Handler. Safe for concurrent use.
type Server struct{ server }

type server struct {
	o         Options
	log       *slog.Logger
	now       func() time.Time
	basePath  string // "" or "/apt"
	lanes     []*lane
	view      atomic.Pointer[view]
	adoptMu   sync.Mutex // one switch at a time: view and marks move together
	marks     *marks
	shelf     *shelf
	rules     *rules
	certs     *watched[*tls.Certificate] // nil: plain HTTP
	guard     *watched[credentials]      // nil: open to all
	metrics   *metrics
	pages     *pages
	siteKey   atomic.Pointer[toldKey]     // what hosts are told of Options.SiteKey
	siteRing  atomic.Pointer[pgp.Keyring] // the site's keys as they were read last; nil: none is configured
	sending   *semaphore.Weighted         // bytes of pages on their way
	indices   unpackedIndices
	buffers   sync.Pool // *[]byte of copyBuffer
	hot       *hot
	draining  atomic.Bool
	following atomic.Bool
	lateAt    atomic.Int64 // Unix nanoseconds of when an answer last ended for a registry's slowness; 0: never
}

// New opens every source's snapshot; it fails if one can neither be opened and put in
// force, nor the one that was served last (but see Options.Wait), or if two
// sources have an archive of the same prefix.
func New(ctx context.Context, o Options) (*Server, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("serve: no reference")
	}
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, err
	}
	o.Follow = cmp.Or(o.Follow, defaultFollow)
	o.Grace = cmp.Or(o.Grace, defaultGrace)
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	o.Slow = cmp.Or(o.Slow, defaultSlow)
	s := &Server{server{o: o, log: o.Log, now: o.Now, basePath: base, metrics: newMetrics()}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.siteRing.Store(o.Keyrings[""])
	s.sending = newSending()
	s.hot = newHot(cmp.Or(o.Hot, defaultHot))
	s.buffers.New = func() any { b := make([]byte, copyBuffer); return &b }
	if s.pages, err = newPages(); err != nil {
		return nil, err
	}
	s.siteKey.Store(&toldKey{})
	if len(o.SiteKey) > 0 {
		ring, err := pgp.ReadKeyring(o.SiteKey)
		if err != nil {
			return nil, fmt.Errorf("serve: site's key: %w", err)
		}
		s.siteKey.Store(&toldKey{o.SiteKey, ring.Fingerprints()})
	}
	s.shelf = newShelf(o.Sources)
	if s.marks, err = openMarks(o.StateDir, s.log, s.now, o.replaceState); err != nil {
		return nil, err
	}
	if s.rules, err = openRules(o.Policy, o.PolicyLogOnly, s.log, s.metrics); err != nil {
		return nil, err
	}
	if err := s.openSecrets(); err != nil {
		return nil, err
	}
	for _, src := range o.Sources {
		s.lanes = append(s.lanes, newLane(src))
	}
	s.view.Store(newView(make([]*held, len(s.lanes)), make([][]*held, len(s.lanes))))
	for i, l := range s.lanes {
		if err := s.first(ctx, i); err != nil {
			if !o.Wait || errors.Is(err, errPrefixTwice) {
				return nil, fmt.Errorf("serve %s: %w", l.source.Name(), err)
			}
			s.log.Warn("not ready", "reference", l.source.Name(), "error", err)
		}
	}
	s.metrics.observe(s)
	return s, nil
}

// parseBase gives the path that requests may carry in front, without final slash.
func parseBase(base string) (string, error) {
	if base == "" {
		return "", nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("serve: base URL %q: not http(s)://HOST[/PATH]", base)
	}
	return strings.TrimSuffix(u.Path, "/"), nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ex := s.begin(w, r)
	defer ex.end()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		ex.fail(http.StatusMethodNotAllowed, "only GET and HEAD")
		return
	}
	path := s.relative(r.URL.Path)
	if !s.welcome(r, path) {
		w.Header().Set("WWW-Authenticate", `Basic realm="mmoci", charset="UTF-8"`)
		ex.fail(http.StatusUnauthorized, "credentials needed; see auth.conf(5) of apt")
		return
	}
	// apt asks for the files of a flat archive "./" by PREFIX/./InRelease.
	ex.route(strings.ReplaceAll(path, "/./", "/"))
}

// relative takes the base path and the first slash off. A path is decoded
// once, by net/http; from here on there is one spelling of each.
func (s *Server) relative(path string) string {
	if rest, ok := strings.CutPrefix(path, s.basePath+"/"); ok {
		return rest
	}
	if s.basePath != "" && path == s.basePath {
		return ""
	}
	return strings.TrimPrefix(path, "/")
}
