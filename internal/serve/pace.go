package serve

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// slowFor is how long a file may come from behind slower than slowestSource
	// until its answer is broken off. The client asks again for the rest, and
	// the store, which goes on fetching, has more of it then.
	slowFor       = time.Minute
	slowestSource = 2 << 10 // bytes a second
)

// paced reads what is being fetched. What comes too slowly for slowFor ends in
// an error that wraps os.ErrDeadlineExceeded: a client must not be held for
// hours. Only the time spent reading counts, not a slow client's.
type paced struct {
	r      io.Reader
	slow   time.Duration
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
