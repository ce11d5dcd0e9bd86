// Package upstream opens paths of an upstream: over HTTP(S) with by-hash,
// resume, retries, proxies, CAs and credentials, or in a directory. It verifies
// nothing and says so: its callers do.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/transfer"
)

// ErrNotFound marks a path that the upstream does not have (404, 410, no such file).
var ErrNotFound = errors.New("not found upstream")

// ErrChanged marks a file that is not the one that was expected, or not the
// same as when its transfer began: another size, another ETag. Upstream may be moving.
var ErrChanged = errors.New("changed upstream")

// Limits and times. They hold for each request.
const (
	// StallAfter is how long a server may be silent, while it is connected to, before
	// its answer begins and between two bytes; apt's Acquire::http::Timeout is the same.
	StallAfter = 30 * time.Second
	// SlowFor is how long a server may send less than SlowRate bytes a second of a file, where another URL has not been
	// asked for it: then that one is. A transfer that shares its server with others gets its share of the rate.
	SlowFor  = 8 * time.Second
	SlowRate = 32 << 10
	// Retries is how often a request is repeated if Options does not say.
	Retries = 5
	// maxSilent is how many attempts may end in silence, and maxSilentElsewhere where
	// there is another URL: each costs StallAfter.
	maxSilent          = 3
	maxSilentElsewhere = 1
	// maxElsewhere is how many attempts in all there are where there is another URL, and maxWrong after how many files of
	// other bytes than were signed a URL is asked for every file after the others.
	maxElsewhere = 3
	maxWrong     = 3
	// maxRefused is how many attempts may be refused a connection by a host that has not answered before: one that
	// restarts is back by then, a wrong address never. One that has answered gets all attempts.
	maxRefused = 3
	// firstPause is before the second attempt, doubled each time up to longestPause.
	firstPause   = 500 * time.Millisecond
	longestPause = 30 * time.Second
	// downFor is how long a URL that could not be reached is asked after the others.
	downFor = time.Minute
	// MaxRetryAfter bounds what a server may ask for by Retry-After; who asks for more is left at once.
	MaxRetryAfter = 2 * time.Minute
	// progress is how many bytes make a broken transfer count as a new one, so that a long file
	// over a bad line comes to its end and a server that sends crumbs does not go on for ever.
	progress = 1 << 20
)

// Options of an upstream. The zero value but for URLs works.
type Options struct {
	URLs       []string                         // http://, https://, file:// or a directory; tried in order
	CAFile     string                           // PEM, trusted beside the system's, for the hosts of URLs only
	ClientCert string                           // PEM with certificate and key, shown to the hosts of URLs only
	AuthFile   string                           // netrc / apt auth.conf; default: the user's and apt's own
	Retries    int                              // per request; 0 means 5, less than 0 none
	Log        func(format string, args ...any) // nil: silent; called by several goroutines at once

	// Record remembers of each path where it came from, for Origins.
	Record bool
	// Stall replaces StallAfter if it is not 0.
	Stall time.Duration
	// Slow replaces SlowFor if it is not 0; less than 0 is never.
	Slow time.Duration
	// Sleep waits between attempts; nil waits really. Tests do not.
	Sleep func(context.Context, time.Duration) error

	client *client // that of other upstreams; nil: its own
	// dial replaces the network in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Upstream opens paths. Safe for concurrent use. What it yields is not verified.
type Upstream struct {
	places  []place
	served  []served
	retries int
	stall   time.Duration
	slow    time.Duration
	downFor time.Duration // tests are faster
	sleep   func(context.Context, time.Duration) error
	log     func(format string, args ...any)

	mu         sync.Mutex
	byHash     map[byHashDir]byHashState
	distrusted map[int]int // how often places lied, see reader.Distrust
	wrong      map[wrongFile]bool
	records    map[string]*Origin // by path; nil: not wanted
}

// place is one of the URLs of an upstream.
type place interface {
	// String is the URL without credentials, without a final slash.
	String() string
	// begin starts reading a file at an offset, one attempt. Errors of a kind
	// that may pass are a [*transfer.Failure].
	begin(ctx context.Context, path string, from resume) (*answer, error)
}

// resume says where reading goes on.
type resume struct {
	offset int64
	// validator is for If-Range: reading goes on only in the same file. "": none.
	validator string
	// patience is how long the server may be silent.
	patience time.Duration
	// size asks for the size alone, without content.
	size bool
}

// answer is a file that a place began to send.
type answer struct {
	body           io.ReadCloser
	start          int64 // offset of the first byte
	size           int64 // of the whole file, -1 if not said
	framed         bool  // the end of body is known to be the end of the file
	etag, modified string
	validator      string
}

// Served is what one URL gave.
type Served struct {
	URL   string
	Files int
	Bytes int64
}

type served struct{ files, bytes atomic.Int64 }

// New makes an upstream. It reads certificates and credentials and opens
// directories, but asks no server. Proxies are those of the environment: http_proxy, https_proxy
// and no_proxy, in lower or upper case, lower case first.
func New(o Options) (*Upstream, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("upstream without URL")
	}
	u := &Upstream{
		retries: o.Retries, stall: o.Stall, downFor: downFor, sleep: o.Sleep, log: o.Log,
		served: make([]served, len(o.URLs)), byHash: map[byHashDir]byHashState{},
	}
	u.defaults()
	switch u.slow = o.Slow; {
	case o.Slow == 0:
		u.slow = min(SlowFor, u.stall)
	case o.Slow < 0:
		u.slow = u.stall
	}
	if o.Record {
		u.records = map[string]*Origin{}
	}
	c := o.client
	for _, s := range o.URLs {
		p, err := newPlace(s, func() (_ *client, err error) {
			if c == nil {
				o.Log = u.log
				c, err = newClient(o, u.stall)
			}
			return c, err
		})
		if err != nil {
			return nil, err
		}
		u.places = append(u.places, p)
	}
	return u, nil
}

func (u *Upstream) defaults() {
	switch {
	case u.retries == 0:
		u.retries = Retries
	case u.retries < 0:
		u.retries = 0
	}
	if u.stall <= 0 {
		u.stall = StallAfter
	}
	if u.sleep == nil {
		u.sleep = transfer.Sleep
	}
	if u.log == nil {
		u.log = func(string, ...any) {}
	}
}

func newPlace(s string, client func() (*client, error)) (place, error) {
	if !strings.Contains(s, "://") && !strings.HasPrefix(s, "file:") {
		return newDir(s)
	}
	v, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: not a URL", transfer.Redact(s))
	}
	switch v.Scheme {
	case "file":
		if v.Host != "" && v.Host != "localhost" || !filepath.IsAbs(v.Path) {
			return nil, fmt.Errorf("upstream %s: not of the form file:///DIRECTORY", s)
		}
		return newDir(v.Path)
	case "http", "https":
	default:
		return nil, fmt.Errorf("upstream %s: scheme %q; known are http, https, file and plain directories", transfer.Redact(s), v.Scheme)
	}
	if v.Hostname() == "" || v.RawQuery != "" || v.Fragment != "" {
		return nil, fmt.Errorf("upstream %s: needs a host, and can have no query and no fragment", transfer.Redact(s))
	}
	c, err := client()
	if err != nil {
		return nil, err
	}
	return c.at(v), nil
}

// String is the first URL without credentials.
func (u *Upstream) String() string { return u.places[0].String() }

// Served reports how many files and bytes each URL gave, for the summary. A
// file counts when it was read to its end; bytes count as they come.
func (u *Upstream) Served() []Served {
	out := make([]Served, len(u.places))
	for i, p := range u.places {
		out[i] = Served{p.String(), int(u.served[i].files.Load()), u.served[i].bytes.Load()}
	}
	return out
}
