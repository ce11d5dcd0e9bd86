// Package opened keeps what was opened by an ID: the values that were used last, within a count and a size, each opened once
// however many ask for it.
package opened

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const (
	maxKept   = 16               // values
	maxBytes  = 128 << 20        // of them
	maxAbsent = 256              // IDs remembered not to be there
	absentFor = 10 * time.Second // and for how long
	maxAtOnce = 4                // values being opened
	// MaxAsked is how many are being opened and waiting for that.
	MaxAsked    = 64
	maxOpenTime = time.Minute // for opening one
)

// ErrBusy marks an ID that is not looked for, because so many others are.
var ErrBusy = errors.New("many other snapshots are being opened now")

// Options of a cache. Open and Size are needed; the zero value of the rest works.
type Options[T any] struct {
	// Open opens the value of an ID; ErrNotExist of package snapshot if there is none.
	Open func(ctx context.Context, id string) (T, error)
	// Size is the memory that a value takes, about, in bytes.
	Size     func(T) int64
	MaxBytes int64            // of the values; 0 means 128 MiB
	Now      func() time.Time // nil: time.Now
}

// Cache keeps values by ID. Safe for concurrent use.
type Cache[T any] struct {
	o      Options[T]
	atOnce chan struct{}

	mu      sync.Mutex
	uses    uint64
	asked   int // entries being opened
	entries map[string]*entry[T]
	absent  map[string]time.Time
}

// entry is a value in the cache, or one that is being opened.
type entry[T any] struct {
	done  chan struct{} // closed when value or err is set
	here  bool          // value is set
	value T
	size  int64
	err   error
	used  uint64
}

// New returns an empty cache.
func New[T any](o Options[T]) *Cache[T] {
	if o.MaxBytes == 0 {
		o.MaxBytes = maxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Cache[T]{o: o, atOnce: make(chan struct{}, maxAtOnce), entries: map[string]*entry[T]{}, absent: map[string]time.Time{}}
}

// Open returns the value of an ID, and opens it if it is not kept. An ID that led to nothing is not looked for again at once.
func (c *Cache[T]) Open(ctx context.Context, id string) (value T, err error) {
	c.mu.Lock()
	if until, ok := c.absent[id]; ok && c.o.Now().Before(until) {
		c.mu.Unlock()
		return value, snapshot.ErrNotExist
	}
	c.uses++
	e := c.entries[id]
	if e == nil && c.asked == MaxAsked {
		c.mu.Unlock()
		return value, ErrBusy
	}
	if e == nil {
		c.asked++
		e = &entry[T]{done: make(chan struct{})}
		c.entries[id] = e
		// Not bound to the request: others may wait for the same value.
		go c.fetch(context.WithoutCancel(ctx), id, e)
	}
	e.used = c.uses
	c.mu.Unlock()
	select {
	case <-e.done:
		return e.value, e.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

func (c *Cache[T]) fetch(ctx context.Context, id string, e *entry[T]) {
	c.atOnce <- struct{}{}
	defer func() { <-c.atOnce }()
	ctx, cancel := context.WithTimeout(ctx, maxOpenTime)
	defer cancel()
	value, err := c.o.Open(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked--
	e.value, e.err = value, err
	close(e.done)
	if err == nil {
		e.here, e.size = true, c.o.Size(value)
		c.evict()
		return
	}
	delete(c.entries, id)
	if errors.Is(err, snapshot.ErrNotExist) {
		if len(c.absent) >= maxAbsent {
			clear(c.absent)
		}
		c.absent[id] = c.o.Now().Add(absentFor)
	}
}

// Kept are the values in the cache, in any order.
func (c *Cache[T]) Kept() (all []T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		if e.here {
			all = append(all, e.value)
		}
	}
	return all
}

// evict drops the least recently used values; whoever has them goes on.
// One that is larger than the whole cache does not stay. The caller holds mu.
func (c *Cache[T]) evict() {
	for {
		oldest, size := "", int64(0)
		for id, e := range c.entries {
			if !e.here {
				continue
			}
			size += e.size
			if oldest == "" || e.used < c.entries[oldest].used {
				oldest = id
			}
		}
		if oldest == "" || len(c.entries) <= maxKept && size <= c.o.MaxBytes {
			return
		}
		delete(c.entries, oldest)
	}
}
