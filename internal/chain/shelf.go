package chain

import (
	"context"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const (
	maxBooks     = 4
	maxBookBytes = 14 << 20 // of the books together, but for the one that was asked for last
	// staleAfter is when something is asked for anew that could not be read.
	staleAfter = 20 * time.Second
)

// Shelf keeps the books that were asked for last, within a bound. Nothing is read before it is asked for. The zero value is
// ready. Safe for concurrent use.
type Shelf struct {
	mu    sync.Mutex
	books []*reading // the one that was asked for last is the last
}

// reading is a book, or one that is being read.
type reading struct {
	root  snapshot.Digest
	done  chan struct{} // closed when book or err is set
	book  *Book
	err   error
	stale time.Time // when it is read again, because something could not be read; zero: never
}

// Book is the book of a snapshot. Several who ask at once wait for one reading, which goes on when they go away. One that failed is
// tried again by who asks some time later.
func (s *Shelf) Book(ctx context.Context, o Options) (*Book, error) {
	s.mu.Lock()
	r := s.take(o.Snapshot.Root)
	if r != nil && r.isStale() {
		r = nil
	}
	if r == nil {
		r = &reading{root: o.Snapshot.Root, done: make(chan struct{})}
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
	select {
	case <-r.done:
		return !r.stale.IsZero() && time.Now().After(r.stale)
	default:
		return false
	}
}

// take removes the reading of a snapshot from its place; nil if there is none. The caller holds mu.
func (s *Shelf) take(root snapshot.Digest) *reading {
	for i, r := range s.books {
		if r.root == root {
			s.books = append(s.books[:i:i], s.books[i+1:]...)
			return r
		}
	}
	return nil
}

func (s *Shelf) read(ctx context.Context, r *reading, o Options) {
	book, err := Read(ctx, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.book, r.err = book, err; err != nil || len(book.Lost) > 0 {
		r.stale = time.Now().Add(staleAfter)
	}
	close(r.done)
	s.bound()
}

// bound drops what was not asked for longest. The caller holds mu.
func (s *Shelf) bound() {
	for len(s.books) > 1 {
		size := int64(0)
		for _, r := range s.books {
			if r.book != nil {
				size += r.book.Size()
			}
		}
		if len(s.books) <= maxBooks && size <= maxBookBytes {
			return
		}
		s.books = s.books[1:]
	}
}
