// Package serve hands snapshots over HTTP to apt. It verifies nothing that it
// cannot and says so: its clients verify. What it sends is at least what its
// digest says.
//
// A request is routed (route.go) to a file of a snapshot (snapshots.go), to a page, or to
// what package registry finds (registry.go), and answered (answer.go). Beside that one goroutine a reference
// follows its tag (follow.go) and replaces the view that requests are answered from.
package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/registry"
	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/internal/serve/front"
	"example.org/mmoci/internal/serve/listen"
	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/internal/serve/memory"
	"example.org/mmoci/internal/serve/metrics"
	"example.org/mmoci/internal/serve/opened"
	"example.org/mmoci/internal/serve/pages"
	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/internal/serve/secrets"
	"example.org/mmoci/internal/serve/watch"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Source is where snapshots come from: one followed reference.
type Source interface {
	// Name is the reference, for people and logs.
	Name() string
	// Resolve returns the root that the tag names now. It is called often.
	Resolve(ctx context.Context) (snapshot.Digest, error)
	// Open opens the snapshot of an ID (an immutable tag, DATE-HEX12, a
	// digest; "" for the followed tag). ErrNotExist if there is none.
	Open(ctx context.Context, id string) (*snapshot.Snapshot, error)
	// IDs lists the snapshots at hand, newest first, as they were some seconds ago at most.
	IDs(ctx context.Context) ([]string, error)
	// Tags are the names that those snapshots were given, by ID, as they were some seconds ago at most.
	Tags(ctx context.Context) (map[string][]string, error)
	// Pinned tells whether the reference names its snapshot by digest.
	Pinned() bool
}

// Options of a server; the zero value but for Sources works.
type Options struct {
	Version  string   // of the program, for metrics
	Sources  []Source // several are a union of their prefixes
	StateDir string   // keeps the Dates that were served across restarts; "": within the process only
	Log      *slog.Logger
	Access   *slog.Logger // one record a request; nil: none
	SiteKey  []byte       // armoured public key, put into the .sources texts and recipes; nil: a path is named
	// Keyrings are public keys, whose expiry is in the metrics and which /setup/ hands out, by the
	// prefix of the archive that they sign; "" is the site's. With the site's, no snapshot is served
	// whose statement it does not verify.
	Keyrings map[string]*pgp.Keyring
	// ReadSiteKeys reads the site's keys anew when a tag has moved, so that a rotation needs
	// no restart; nil, or while they cannot be read: those at hand are used.
	// It is called by one goroutine a source.
	ReadSiteKeys func() (*pgp.Keyring, error)
	// Follow is how often the tag is resolved; 0 means 15 s.
	Follow time.Duration
	// Grace is how long lasting files of the previous snapshot are still served; 0 means 1 h.
	Grace time.Duration
	// Patience is how long a client waits for the first byte of a file that must be
	// fetched. Then it gets a 504 and may ask again; the store goes on fetching. 0
	// means 15 s, half of what apt waits for.
	Patience time.Duration
	// Slow is how long a file may come from a registry at less than 2 KiB a second.
	// Then its answer is broken off; the store goes on fetching. 0 means 1 min.
	Slow time.Duration
	Now  func() time.Time // nil: time.Now

	// Wait makes New succeed although a source cannot be opened yet: Run goes
	// on trying, and /readyz says so meanwhile.
	Wait bool
	// Prefetch says which files of a snapshot are fetched before clients ask for them. A newcomer is not
	// switched to before it has them. The first snapshot is answered from at once, but
	// /readyz says that the server is not ready while indices are missing, for ReadyAfter at most; 0 means 5 min.
	Prefetch   prefetch.What
	ReadyAfter time.Duration
	// Policy is the path of a rules file (package policy), read again when it
	// changes; "": everything is allowed. With PolicyLogOnly denials are recorded and
	// not enforced.
	Policy        string
	PolicyLogOnly bool
	// FreshFor is up to which age pages show a snapshot as fresh, StaleAfter from which one as too old; 0 means 14 and 60 days.
	FreshFor, StaleAfter time.Duration
	// Registry has /v2/ answer for the container images of the snapshots, and for the
	// snapshots themselves, as a read-only OCI registry (package registry).
	Registry bool
	// Mirrors is the path of a list of mirrors (package mirrors), read again when it changes: GETs of blobs and
	// of pool files are answered with a redirect to one that has them. "": there are none.
	Mirrors string
	// Listen are the addresses that will be listened on, so that a mirror that is this server is refused; they may be left out.
	Listen []string
	// BaseURL is how clients reach the server ("https://site.example.org/apt");
	// its path is taken off requests that have it. "": the Host header tells.
	BaseURL string
	// TLSCert and TLSKey are PEM files; with them TCP addresses speak HTTPS.
	// Credentials is a file of lines USER:PASSWORD (basic) or TOKEN (bearer);
	// with it everything but /healthz and /readyz asks for one of them. All three
	// are read again when they change; a bad file leaves the value as it was.
	TLSCert, TLSKey, Credentials string
	// Store returns the counts of the store that the sources read through, for metrics; nil: none.
	Store func() store.Stats
	// TrustedProxies are the peers whose X-Forwarded-For and X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix

	// For tests.
	settle       time.Duration                                          // how long New fetches indices; 0: settleTime, less: not at all
	look         time.Duration                                          // how often files are looked at; 0: lookEvery
	keptBytes    int64                                                  // of snapshots opened by ID; 0: as package opened has it
	smallFiles   int                                                    // bytes of small files kept in memory; 0: maxSmallFiles, less: none
	replaceState func(name string, data []byte, mode os.FileMode) error // writes the state; nil: durable.WriteFile
}

const (
	defaultFollow   = 15 * time.Second
	defaultGrace    = time.Hour
	defaultPatience = 15 * time.Second
	defaultSlow     = time.Minute
	defaultReady    = 5 * time.Minute
	// lookEvery is how often rules, certificate and credentials are looked at.
	lookEvery = 2 * time.Second
	// settleTime is how long New fetches indices. Mostly they are in the store or a layout already, and
	// who waits for the address to be told finds the server ready.
	settleTime = 2 * time.Second
)

// Server is an http.Handler. Safe for concurrent use.
type Server struct {
	o         Options
	basePath  string // "" or "/apt"
	followers []*follower
	view      atomic.Pointer[view]
	switching sync.Mutex // one change of view at a time: it and dates move together
	dates     *dates.Served
	cache     *opened.Cache[*served]           // by ID
	registry  *registry.Registry               // nil: /v2/ is not answered
	policy    *watch.File[*policy.Policy]      // nil: everything is allowed
	certs     *watch.File[*tls.Certificate]    // nil: plain HTTP
	guard     *watch.File[secrets.Credentials] // nil: open to all
	front     *front.Front                     // nil: no client is sent elsewhere
	metrics   *metrics.Metrics
	pages     *pages.Pages
	making    chan struct{}               // a place for each page that is made now
	makeSmall chan struct{}               // the same for small ones
	sending   *semaphore.Weighted         // bytes of pages on their way
	siteKey   atomic.Pointer[web.Key]     // the site's key for hosts
	siteRing  atomic.Pointer[pgp.Keyring] // the site's keys that statements are verified by, as they were read last; nil: none is configured
	unpacked  memory.Unpacked
	small     memory.Files
	buffers   sync.Pool // *[]byte of copyBuffer
	draining  atomic.Bool
	following atomic.Bool
	lateAt    atomic.Int64 // Unix nanoseconds of when an answer last ended because a registry was slow; 0: never
}

// New opens the snapshot of every source; it fails if one can neither be opened
// and served, nor the one that was served last (but see Options.Wait), or if two
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
	o.ReadyAfter = cmp.Or(o.ReadyAfter, defaultReady)
	o.look = cmp.Or(o.look, lookEvery)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		o: o, basePath: base,
		making: make(chan struct{}, maxPages), makeSmall: make(chan struct{}, maxPages), sending: semaphore.NewWeighted(maxPageBytes),
		small: memory.Files{Max: cmp.Or(o.smallFiles, maxSmallFiles)},
	}
	s.metrics = metrics.New(s.state())
	if o.Registry {
		s.registry = registry.New()
	}
	s.cache = opened.New(opened.Options[*served]{Open: s.openAny, Size: (*served).size, MaxBytes: o.keptBytes, Now: o.Now})
	s.buffers.New = func() any { b := make([]byte, copyBuffer); return &b }
	if s.pages, err = pages.New(pages.Options{
		Upstream: o.Keyrings, Policy: func() *policy.Policy { return s.policy.Get() }, LogOnly: o.PolicyLogOnly, Decide: s.decide, Open: s.openPage, Now: o.Now,
		Ages: web.Ages{Fresh: o.FreshFor, Stale: o.StaleAfter},
	}); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s.siteRing.Store(o.Keyrings[""])
	s.siteKey.Store(&web.Key{})
	if len(o.SiteKey) > 0 {
		ring, err := pgp.ReadKeyring(o.SiteKey)
		if err != nil {
			return nil, fmt.Errorf("serve: site's key: %w", err)
		}
		s.siteKey.Store(&web.Key{Armor: o.SiteKey, Fingerprints: ring.Fingerprints()})
	}
	if s.dates, err = dates.Open(dates.Options{Dir: o.StateDir, Log: o.Log, Now: o.Now, Replace: o.replaceState}); err != nil {
		return nil, err
	}
	if err := s.openFiles(); err != nil {
		return nil, err
	}
	for _, src := range o.Sources {
		s.followers = append(s.followers, newFollower(src))
	}
	s.view.Store(newView(make([]*served, len(s.followers)), make([][]*served, len(s.followers))))
	for i, f := range s.followers {
		if err := s.first(ctx, i); err != nil {
			if !o.Wait || errors.Is(err, errPrefixTwice) {
				return nil, fmt.Errorf("serve %s: %w", f.source.Name(), err)
			}
			s.o.Log.Warn("not ready", "reference", f.source.Name(), "error", err)
		}
	}
	s.settle(ctx)
	return s, nil
}

// parseBase returns the path that requests may have in front, without final slash.
func parseBase(base string) (string, error) {
	if base == "" {
		return "", nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: base URL %q: not http(s)://HOST[/PATH]", outcome.ErrUsage, base)
	}
	return strings.TrimSuffix(u.Path, "/"), nil
}

// ListenAndServe listens on each address (host:port, unix:PATH), calls ready with the addresses once all are open, and
// serves and follows until ctx ends, then drains: answers under way are finished, for at most 25 s.
func (s *Server) ListenAndServe(ctx context.Context, addrs []string, ready func([]string)) error {
	o := listen.Options{
		Handler: s, Exempt: s.o.TrustedProxies, Log: s.o.Log, ErrorLog: logs.OfServer(s.o.Log), TurnedAway: s.metrics.TurnedAway.Inc,
		Draining: func() { s.draining.Store(true) }, // /readyz says so to those who ask on a connection they have
	}
	if s.certs != nil {
		o.TLS = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"http/1.1"}, // what apt speaks; it has a reason phrase, too
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certs.Get(), nil },
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return listen.Serve(gctx, addrs, ready, o) })
	g.Go(func() error { return s.Run(gctx) })
	return g.Wait()
}

// Run follows the tags, and the files that may change, until ctx ends; it returns an
// error only if it met a defect of the program.
// ListenAndServe does it too; a second call only waits.
func (s *Server) Run(ctx context.Context) error {
	if !s.following.CompareAndSwap(false, true) {
		<-ctx.Done()
		return nil
	}
	defer s.following.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	background := func(what string, work func()) {
		g.Go(func() (err error) {
			defer func() {
				if defect := recover(); defect != nil {
					err = fmt.Errorf("a defect of the program: %s: panic: %v", what, defect)
					s.o.Log.Error("a defect of the program ends the server", "in", what, "error", err, "stack", string(debug.Stack()))
				}
			}()
			work()
			return nil
		})
	}
	for i, f := range s.followers {
		background("following "+f.source.Name(), func() { s.follow(ctx, i) })
		if s.o.Prefetch != prefetch.None {
			background("fetching for "+f.source.Name(), func() { s.fill(ctx, i) })
		}
	}
	if s.front != nil {
		background("looking at mirrors", func() { s.front.Run(ctx) })
	}
	background("reading files again", func() {
		tick := time.NewTicker(s.o.look)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.lookAtFiles()
			}
		}
	})
	return g.Wait()
}

// Reload reads rules, certificate and credentials again and resolves every tag,
// as happens by itself now and then. A bad file leaves what was; answers under way go on.
func (s *Server) Reload(ctx context.Context) {
	s.o.Log.Info("reloading")
	s.lookAtFiles()
	var wg sync.WaitGroup
	for i, f := range s.followers {
		wg.Go(func() { s.ask(ctx, i, f.asked(), false) })
	}
	wg.Wait()
}
