package chain

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const (
	maxBooks     = 4
	maxBookBytes = 14 << 20 // of the books together, but for the one that was asked for last
	// staleAfter is when something is asked for anew that could not be read.
	staleAfter = 20 * time.Second
	// maxReading snapshots are read at once, since each reading takes several times the memory of its book; of those that wait
	// for that and those that are read there are maxUnfinished.
	maxReading    = 2
	maxUnfinished = 8
	// large is how many packages a book has after whose reading the memory that is free is given back.
	large = 10_000
)

// ErrBusy marks a book that is not read, because so many others are.
var ErrBusy = errors.New("the indices of many other snapshots are being read now")

// Shelf keeps the books that were asked for last, within a bound. Nothing is read before it is asked for. The zero value is
// ready. Safe for concurrent use.
type Shelf struct {
	mu    sync.Mutex
	books []*reading    // the one that was asked for last is the last
	turns chan struct{} // holds maxReading; nil: nothing was read yet
	begun int           // readings that are not done
}

// reading is a book, or one that is being read.
type reading struct {
	root  snapshot.Digest
	trust string        // what its proofs hang on, and root does not say
	done  chan struct{} // closed when book or err is set
	book  *Book
	err   error
	stale time.Time // when it is read again, because something could not be read; zero: never
}

// Book is the book of a snapshot, as far as the site's keys and a pin have it believed now: the keys of upstream stay the same for
// a shelf. Several who ask at once wait for one reading, which goes on when they go away. One that failed is
// tried again by who asks some time later. Where many others are being read, the error is ErrBusy.
func (s *Shelf) Book(ctx context.Context, o Options) (*Book, error) {
	s.mu.Lock()
	trust := fmt.Sprint(o.Pinned, o.Site.Fingerprints())
	r := s.take(o.Snapshot.Root, trust)
	switch busy := s.begun == maxUnfinished; {
	case r == nil && busy:
		s.mu.Unlock()
		return nil, ErrBusy
	case r == nil, r.isStale() && !busy:
		r = &reading{root: o.Snapshot.Root, trust: trust, done: make(chan struct{})}
		if s.turns == nil {
			s.turns = make(chan struct{}, maxReading)
		}
		s.begun++
		go s.read(context.WithoutCancel(ctx), r, o)
	}
	s.books = append(s.books, r)
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.book, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Read is the book of a snapshot if it was read already; nil if not.
func (s *Shelf) Read(root snapshot.Digest) *Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.books {
		if r.root == root {
			return r.book
		}
	}
	return nil
}

// isStale tells whether it is time to read again. The caller holds the shelf's mu.
func (r *reading) isStale() bool {
	return r.isDone() && !r.stale.IsZero() && time.Now().After(r.stale)
}

func (r *reading) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// take removes the reading of a snapshot under some trust from its place; nil if there is none. The caller holds mu.
func (s *Shelf) take(root snapshot.Digest, trust string) *reading {
	for i, r := range s.books {
		if r.root == root && r.trust == trust {
			s.books = append(s.books[:i:i], s.books[i+1:]...)
			return r
		}
	}
	return nil
}

func (s *Shelf) read(ctx context.Context, r *reading, o Options) {
	s.turns <- struct{}{}
	book, err := Read(ctx, o)
	if err == nil && book.Len() > large {
		debug.FreeOSMemory() // reading took several times the memory of the book
	}
	<-s.turns
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun--
	if r.book, r.err = book, err; err != nil || len(book.Lost) > 0 {
		r.stale = time.Now().Add(staleAfter)
	}
	close(r.done)
	s.bound()
}

// bound drops what was not asked for longest; what is still being read stays, and one book. The caller holds mu.
func (s *Shelf) bound() {
	for {
		oldest, done, size := -1, 0, int64(0)
		for i, r := range slices.Backward(s.books) {
			if !r.isDone() {
				continue
			}
			oldest, done = i, done+1
			if r.book != nil {
				size += r.book.Size()
			}
		}
		if done <= 1 || done <= maxBooks && size <= maxBookBytes {
			return
		}
		s.books = slices.Delete(s.books, oldest, oldest+1)
	}
}
