package upstream

import (
	"context"
	"errors"
	"io"
)

// ErrNotFound marks a path that the upstream does not have (404, 410, no such file).
var ErrNotFound = errors.New("not found upstream")

// Options of an upstream. The zero value but for URLs works.
type Options struct {
	URLs       []string // http://, https://, file:// or a directory; tried in order
	CAFile     string
	ClientCert string
	AuthFile   string                           // netrc / apt auth.conf; default: the user's and apt's own
	Retries    int                              // per request; 0 means 5
	Log        func(format string, args ...any) // nil: silent
}

// Upstream opens paths. Safe for concurrent use.
type Upstream struct{ upstream }
type upstream struct{}

func New(o Options) (*Upstream, error) { panic("contract") }

// String is the first URL without credentials.
func (u *Upstream) String() string { panic("contract") }

// Open starts reading a path (relative, slash-separated, unescaped). A broken
// transfer is resumed by Range where the server can, transparently; size is the expected
// size or -1. The reader ends in an error when the transfer could not be completed or is stalled.
func (u *Upstream) Open(ctx context.Context, path string, size int64) (io.ReadCloser, error) {
	panic("contract")
}

// OpenIndex opens dir/name by its by-hash name first, then by its own.
// algorithm is "SHA256" or "SHA512", hash its hex digits.
func (u *Upstream) OpenIndex(ctx context.Context, path, algorithm, hash string, size int64) (io.ReadCloser, error) {
	panic("contract")
}

// Get reads a whole small file; more than limit bytes is an error.
func (u *Upstream) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	panic("contract")
}

// Served reports how many files and bytes each URL gave, for the summary.
func (u *Upstream) Served() []Served { panic("contract") }

// Served is what one URL gave.
type Served struct {
	URL   string
	Files int
	Bytes int64
}
