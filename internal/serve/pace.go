package serve

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// slowestSource is the rate, in bytes a second, below which a file comes too slowly from behind.
const slowestSource = 2 << 10

// paced reads what is being fetched. What comes too slowly for too long ends in
// an error that wraps os.ErrDeadlineExceeded: a client must not be held for
// hours. It asks again for the rest, and the store, which goes on fetching, has
// more of it then. Only the time spent reading counts, not a slow client's.
type paced struct {
	r      io.Reader
	slow   time.Duration // Options.Slow
	waited time.Duration
	got    int64 // while waited
}

func (p *paced) Read(b []byte) (int, error) {
	start := time.Now()
	n, err := p.r.Read(b)
	p.waited += time.Since(start)
	p.got += int64(n)
	if p.waited < p.slow || err != nil {
		return n, err
	}
	if p.got < int64(p.waited.Seconds()*slowestSource) {
		return n, fmt.Errorf("%d bytes in %s: %w", p.got, p.waited.Round(time.Second), os.ErrDeadlineExceeded)
	}
	p.waited, p.got = 0, 0
	return n, nil
}

// lately is how long /readyz says that a client was sent away for a registry's slowness.
const lately = time.Minute

// late notes that an answer ended because what lies behind was too slow.
func (s *Server) late() {
	s.metrics.late.Inc()
	s.lateAt.Store(s.now().UnixNano())
}

// patient is the request's context, with an end for what must be asked behind
// this server before there is an answer.
func (ex *exchange) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(ex.r.Context(), ex.s.o.Patience)
}
