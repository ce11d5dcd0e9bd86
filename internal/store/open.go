package store

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Through reads blobs from the store, and those that it does not have from next,
// keeping them: a blob is fetched once however many ask for it at the same time.
// One that cannot be kept (disk full, larger than the bound) is passed through.
//
// Content.File is set for a file that was hashed and is durable. It is not set for
// one that waits for its batch, which the disk may still lose, nor for a large blob
// that is being fetched, which its readers get as it comes: both are hashed while they are read.
func (s *Store) Through(next snapshot.Blobs) snapshot.Blobs {
	return through{s, next}
}

type through struct {
	s    *Store
	next snapshot.Blobs
}

// Open implements snapshot.Blobs. Blobs are kept whole, so an offset saves nothing.
func (t through) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := t.s.open(ctx, b, t.next)
	if err != nil {
		return nil, err
	}
	return c.At(offset)
}

// maxTries bounds how often a file may vanish between being stored and being opened.
const maxTries = 3

func (s *Store) open(ctx context.Context, b snapshot.Blob, next snapshot.Blobs) (*snapshot.Content, error) {
	from := "" // the place, if it was read for this reader
	for range maxTries {
		if c := s.cached(b); c != nil {
			c.From = cmp.Or(from, "store")
			return c, nil
		}
		j, there := s.join(ctx, b, next)
		if there {
			continue
		}
		if j == nil {
			break
		}
		select {
		case <-j.done:
		case <-j.streams:
			if c := j.content(ctx, next); c != nil {
				return c, nil
			}
			<-j.done
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if errors.Is(j.err, errNotKept) {
			break
		}
		if j.err != nil {
			return nil, j.err
		}
		j.mu.Lock()
		from = j.from
		j.mu.Unlock()
	}
	c, err := next.Open(ctx, b, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Passed++
	if ctx.Err() == nil { // else the reader went away, which says nothing of next
		s.stats.Failing = err != nil
	}
	return c, err
}

// cached opens a file that this process has verified, if it is still the same
// and no sync failed before it was durable.
func (s *Store) cached(b snapshot.Blob) *snapshot.Content {
	for {
		s.mu.Lock()
		e := s.entries[b.Digest]
		if e == nil || e.id == (identity{}) || e.blob.Size != b.Size || s.lost(e) {
			s.mu.Unlock()
			return nil
		}
		e.refs++ // not evicted from here on
		e.used = time.Now()
		path := e.path
		s.mu.Unlock()
		if c, again := s.openCached(e, path); !again {
			return c
		}
	}
}

// openCached opens the file of an entry. again: its batch renamed it meanwhile.
func (s *Store) openCached(e *entry, path string) (c *snapshot.Content, again bool) {
	f, err := os.Open(path)
	var id identity
	if err == nil {
		id, err = identify(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && id == e.id {
		s.stats.Hits++
		c := &snapshot.Content{R: &cachedFile{File: f, release: sync.OnceFunc(func() { s.release(e) })}}
		if !e.waiting {
			c.File = f
		}
		return c, false
	}
	if f != nil {
		f.Close()
	}
	e.refs--
	if e.path != path {
		return nil, true
	}
	e.id = identity{}
	return nil, false
}

// lost tells whether the file of an entry is not to be believed: a sync failed
// while it waited for its batch. The caller holds mu.
func (s *Store) lost(e *entry) bool { return e.waiting && s.durable.Lost(e.mark) }

func (s *Store) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.refs--
}

// cachedFile is a file that is not evicted while it is open.
type cachedFile struct {
	*os.File
	release func()
}

func (h *cachedFile) Close() error {
	defer h.release()
	return h.File.Close()
}

// join returns the job that brings the blob into the store, and starts one if
// there is none; nil if the blob cannot be kept. there: it has been brought meanwhile.
func (s *Store) join(ctx context.Context, b snapshot.Blob, next snapshot.Blobs) (j *job, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (s.max > 0 && b.Size > s.max) {
		return nil, false
	}
	e := s.entry(b)
	if e.blob.Size != b.Size {
		if e.job != nil || e.refs > 0 || e.waiting {
			return nil, false // one of the two sizes is a lie; let the reader find out
		}
		*e = entry{blob: b}
	}
	if e.id != (identity{}) && !s.lost(e) {
		return nil, true
	}
	if e.job == nil {
		e.job = newJob(s, e)
		// Not bound to this reader: others may join, and a fetch that was begun is worth finishing.
		jctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(s.ended, cancel)
		j := e.job
		s.jobs.Go(func() {
			defer cancel()
			defer stop()
			j.run(jctx, next)
		})
	}
	return e.job, false
}

// errNotKept marks a job that ended because the store could not be written.
var errNotKept = errors.New("not kept")
