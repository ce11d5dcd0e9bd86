package serve

import (
	"context"
	"log/slog"
	"net/http"
	"time"

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
	// IDs lists the snapshots at hand, newest first.
	IDs(ctx context.Context) ([]string, error)
}

// Options of a server; the zero value but for Sources works.
type Options struct {
	Sources  []Source // several are a union of their prefixes
	StateDir string   // law 8 across restarts; "": within the process only
	Log      *slog.Logger
	Access   *slog.Logger // one record a request; nil: none
	SiteKey  []byte       // armoured public key, put into the .sources texts; nil: a path is named
	// Follow is how often the tag is asked for; 0 means 15 s.
	Follow time.Duration
	// Grace is how long the previous snapshot goes on being answered from; 0 means 1 h.
	Grace time.Duration
	Now   func() time.Time // nil: time.Now
}

// Server is an http.Handler. Safe for concurrent use.
type Server struct{ server }
type server struct{}

// New opens every source's snapshot; it fails if one cannot be opened.
func New(ctx context.Context, o Options) (*Server, error) { panic("contract") }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("contract") }

// Run follows the tags until ctx ends.
func (s *Server) Run(ctx context.Context) error { panic("contract") }

// ListenAndServe listens on each address (host:port, unix:PATH), calls ready with the addresses once all are open, and
// serves until ctx ends, then drains.
func (s *Server) ListenAndServe(ctx context.Context, addrs []string, ready func([]string)) error {
	panic("contract")
}
