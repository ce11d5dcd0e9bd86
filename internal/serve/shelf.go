package serve

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const (
	// nameTime and nameHex make the DATE-HEX12 of a snapshot: its date input
	// and the first digits of its root.
	nameTime = "20060102T150405Z"
	nameHex  = 12

	maxShelf      = 16               // opened snapshots kept; each has its table in memory
	maxShelfBytes = 128 << 20        // of these tables, with what else a snapshot says of itself
	maxAbsent     = 256              // IDs remembered not to be there
	absentFor     = 10 * time.Second // and for how long
	maxOpening    = 4                // snapshots being opened at once
	maxAsked      = 64               // and waiting for that
	shelfOpenTime = time.Minute      // for opening one
)

// immutableName is DATE-HEX12, alone or behind the name of a tag.
var immutableName = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9._-]*-)?([0-9]{8}T[0-9]{6}Z)-([0-9a-f]{12})$`)

var (
	// errNotFixed marks an ID that could name different snapshots at different times.
	errNotFixed = errors.New("not a digest, DATE-HEX12 or immutable tag")
	// errBusy marks an ID that is not looked for, because so many others are.
	errBusy = errors.New("many other snapshots are being opened now")
)

// shelf keeps the snapshots that were asked for by ID, the most recently used
// ones. Safe for concurrent use.
type shelf struct {
	sources  []Source
	maxBytes int64 // maxShelfBytes
	opening  chan struct{}

	mu     sync.Mutex
	uses   uint64
	asked  int // books on their way
	books  map[string]*book
	absent map[string]time.Time
}

// book is a snapshot on the shelf, or on its way there.
type book struct {
	done chan struct{} // closed when h or err is set
	h    *held
	err  error
	used uint64
}

func newShelf(sources []Source) *shelf {
	return &shelf{
		sources: sources, maxBytes: maxShelfBytes, opening: make(chan struct{}, maxOpening),
		books: map[string]*book{}, absent: map[string]time.Time{},
	}
}

// openID is the snapshot of an ID that names one for ever. What a name claims
// of date and root is held against what was opened: a tag may be moved.
func (s *Server) openID(ctx context.Context, id string) (*held, error) {
	if _, err := snapshot.ParseDigest(id); err != nil && !immutableName.MatchString(id) {
		return nil, errNotFixed
	}
	v := s.view.Load()
	for i, h := range v.current {
		for _, h := range append([]*held{h}, v.previous[i]...) {
			if h != nil && h.is(id) {
				return h, nil
			}
		}
	}
	return s.shelf.open(ctx, id, s.now())
}

// is tells whether id names exactly this snapshot.
func (h *held) is(id string) bool {
	if d, err := snapshot.ParseDigest(id); err == nil {
		return d == h.Root
	}
	m := immutableName.FindStringSubmatch(id)
	return m != nil && m[1]+"-"+m[2] == h.name
}

func (s *shelf) open(ctx context.Context, id string, now time.Time) (*held, error) {
	s.mu.Lock()
	if until, ok := s.absent[id]; ok && now.Before(until) {
		s.mu.Unlock()
		return nil, snapshot.ErrNotExist
	}
	s.uses++
	b := s.books[id]
	if b == nil && s.asked == maxAsked {
		s.mu.Unlock()
		return nil, errBusy
	}
	if b == nil {
		s.asked++
		b = &book{done: make(chan struct{})}
		s.books[id] = b
		// Not bound to the request: others may wait for the same snapshot.
		go s.fetch(context.WithoutCancel(ctx), id, b, now)
	}
	b.used = s.uses
	s.mu.Unlock()
	select {
	case <-b.done:
		return b.h, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch opens a snapshot from the first source that has it.
func (s *shelf) fetch(ctx context.Context, id string, b *book, now time.Time) {
	s.opening <- struct{}{}
	defer func() { <-s.opening }()
	ctx, cancel := context.WithTimeout(ctx, shelfOpenTime)
	defer cancel()
	h, err := s.find(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked--
	b.h, b.err = h, err
	close(b.done)
	if err == nil {
		s.evict()
		return
	}
	delete(s.books, id)
	if errors.Is(err, snapshot.ErrNotExist) {
		if len(s.absent) >= maxAbsent {
			clear(s.absent)
		}
		s.absent[id] = now.Add(absentFor)
	}
}

func (s *shelf) find(ctx context.Context, id string) (*held, error) {
	err := error(snapshot.ErrNotExist)
	for _, src := range s.sources {
		sn, openErr := src.Open(ctx, id)
		switch {
		case openErr == nil:
			h := newHeld(sn)
			if h.is(id) {
				return h, nil
			}
			err = fmt.Errorf("%s: %s names %s: %w", src.Name(), id, h.name, snapshot.ErrNotExist)
		case !errors.Is(openErr, snapshot.ErrNotExist):
			err = fmt.Errorf("%s: %w", src.Name(), openErr)
		}
	}
	return nil, err
}

// size is the memory that a snapshot takes, about, in bytes.
func (h *held) size() int64 { return int64(len(h.Table.Bytes()) + len(h.StatementBytes)) }

// size is the memory of the books on the shelf. The caller holds mu.
func (s *shelf) size() (sum int64) {
	for _, b := range s.books {
		if b.h != nil {
			sum += b.h.size()
		}
	}
	return sum
}

// evict takes the least recently used books off; requests that read them go on.
// One that is larger than the whole shelf does not stay.
func (s *shelf) evict() {
	for len(s.books) > maxShelf || s.size() > s.maxBytes {
		oldest, least := "", uint64(0)
		for id, b := range s.books {
			if b.h != nil && (oldest == "" || b.used < least) {
				oldest, least = id, b.used
			}
		}
		if oldest == "" {
			return
		}
		delete(s.books, oldest)
	}
}
