package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// job brings one blob into the store: it verifies the file that is there, or
// fetches it. Any number of readers wait for it, or read while it writes.
type job struct {
	s       *Store
	e       *entry
	done    chan struct{} // closed at the end, when err is set
	streams chan struct{} // closed when bytes of a large blob begin to come
	err     error

	mu      sync.Mutex
	from    string   // where the bytes come from; "" if they were here
	file    *os.File // being written; readers use ReadAt
	users   int      // of file: the job and its readers
	written int64
	grown   chan struct{} // closed and replaced whenever written or ended changes
	ended   bool
}

func newJob(s *Store, e *entry) *job {
	return &job{s: s, e: e, done: make(chan struct{}), streams: make(chan struct{}), grown: make(chan struct{})}
}

// run ends with the blob verified and known to the entry, or with an error.
func (j *job) run(ctx context.Context, next snapshot.Blobs) {
	err := j.verifyCached()
	if errors.Is(err, fs.ErrNotExist) {
		err = j.fetch(ctx, next)
	}
	j.s.settled(j, err)
	j.mu.Lock()
	j.ended = true
	close(j.grown)
	j.mu.Unlock()
	if j.file != nil {
		j.leave()
	}
}

// settled ends a job. A blob that could not be fetched is forgotten.
func (s *Store) settled(j *job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := j.e
	switch {
	case errors.Is(err, errNotKept): // its readers go on from next by themselves
	case err != nil:
		s.stats.Failed++
		s.stats.Failing = true
	case j.file != nil: // it was fetched
		s.stats.Failing = false
	}
	if err != nil && e.refs == 0 && s.entries[e.blob.Digest] == e {
		delete(s.entries, e.blob.Digest)
	}
	e.job = nil
	j.err = err
	close(j.done)
}

// verifyCached hashes the file that has the blob's name, before a byte of it is
// read: it may be of another process or of before a power cut, or damaged. A wrong one is
// removed. fs.ErrNotExist if there is none (any more).
func (j *job) verifyCached() error {
	path := j.s.final(j.e.blob.Digest)
	f, err := os.Open(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errNotKept, err)
		}
		return err
	}
	defer f.Close()
	before, err := identify(f) // if it changes from here on, nobody will take it for verified
	if err == nil {
		_, err = io.Copy(io.Discard, snapshot.NewReader(io.NopCloser(f), j.e.blob))
	}
	if err != nil {
		return j.discard(path, err)
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	j.e.path, j.e.id, j.e.waiting = path, before, false // not for the batch of a file that went bad
	return nil
}

// discard removes a file that is not what its name says, or cannot be read.
func (j *job) discard(path string, cause error) error {
	j.s.mu.Lock()
	j.s.stats.Corrupt++
	j.s.mu.Unlock()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w; %w", errNotKept, cause, err)
	}
	return fs.ErrNotExist
}

// fetch reads the blob from next into a temporary file.
func (j *job) fetch(ctx context.Context, next snapshot.Blobs) error {
	select {
	case j.s.slots <- struct{}{}:
		defer func() { <-j.s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	size := j.e.blob.Size
	if err := j.s.reserve(size); err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	err := j.fill(ctx, next)
	if err != nil {
		j.s.unreserve(size)
	}
	return err
}

func (j *job) fill(ctx context.Context, next snapshot.Blobs) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(j.s.o.Stall, func() { cancel(fmt.Errorf("nothing came for %s: %w", j.s.o.Stall, os.ErrDeadlineExceeded)) })
	defer stall.Stop()
	c, err := next.Open(ctx, j.e.blob, 0)
	if err != nil {
		return causeOf(ctx, err)
	}
	if c.R == nil {
		c.R = c.File
	}
	src := c.R
	r := c.Reader(j.e.blob)
	defer r.Close()
	// A read that ignores the context is woken by closing what it reads from.
	defer context.AfterFunc(ctx, func() { src.Close() })()
	mark := j.s.durable.Mark()
	f, err := j.s.create(j.e.blob.Digest)
	if err != nil {
		j.s.refuse(err)
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	j.mu.Lock()
	j.file, j.users, j.from = f, 1, c.From
	j.mu.Unlock()
	if j.e.blob.Size >= streamFrom {
		close(j.streams)
	}
	_, err = r.WriteTo(&growing{j: j, stall: stall})
	if err == nil {
		err = j.s.keep(j.e, f, mark)
	}
	if err != nil {
		os.Remove(f.Name())
		return causeOf(ctx, err)
	}
	return nil
}

// causeOf says why the context ended a read, if it did.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, errNotKept) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// create makes a temporary file, under a name that no other had: a file that was
// replaced may still wait for its batch.
func (s *Store) create(d snapshot.Digest) (*os.File, error) {
	s.mu.Lock()
	s.names++
	name := filepath.Join(s.own.Name(), fmt.Sprintf("%s.%d", d.Hex(), s.names))
	s.mu.Unlock()
	open := func() (*os.File, error) { return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444) }
	f, err := open()
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	// Somebody removed the directory.
	if err := os.MkdirAll(s.own.Name(), 0o755); err != nil {
		return nil, err
	}
	return open()
}

// growing is what a fetch writes to.
type growing struct {
	j     *job
	stall *time.Timer
}

func (g *growing) Write(p []byte) (int, error) {
	g.stall.Reset(g.j.s.o.Stall)
	n, err := g.j.s.write(g.j.file, p)
	if err != nil {
		g.j.s.refuse(err)
		return n, fmt.Errorf("%w: %w", errNotKept, err)
	}
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	g.j.written += int64(n)
	close(g.j.grown)
	g.j.grown = make(chan struct{})
	return n, nil
}

// leave closes the file after its last user.
func (j *job) leave() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.users--; j.users == 0 {
		j.file.Close()
	}
}

// content reads the blob while the job writes it; nil if the job has ended. It does
// not set File: nothing is verified yet, and the caller does that.
func (j *job) content(ctx context.Context, next snapshot.Blobs) *snapshot.Content {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return nil
	}
	j.users++
	return &snapshot.Content{From: j.from, R: &jobReader{
		j: j, gone: ctx.Done(),
		direct: func(offset int64) (*snapshot.Content, error) { return next.Open(ctx, j.e.blob, offset) },
	}}
}

// jobReader reads a file while a job writes it. When the job cannot go on writing,
// it reads the rest from next.
type jobReader struct {
	j      *job
	gone   <-chan struct{}
	direct func(offset int64) (*snapshot.Content, error)
	off    int64
	own    io.ReadCloser // opened by direct
	closed bool
}

func (f *jobReader) Read(p []byte) (int, error) {
	if f.own != nil {
		return f.own.Read(p)
	}
	for {
		f.j.mu.Lock()
		there, ended, grown := f.j.written-f.off, f.j.ended, f.j.grown
		f.j.mu.Unlock()
		switch {
		case there > 0:
			n, err := f.j.file.ReadAt(p[:min(int64(len(p)), there)], f.off)
			f.off += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		case !ended:
			select {
			case <-grown:
			case <-f.gone:
				return 0, context.Canceled
			}
		case f.j.err == nil:
			return 0, io.EOF
		case !errors.Is(f.j.err, errNotKept):
			return 0, f.j.err
		default:
			if err := f.alone(); err != nil {
				return 0, err
			}
			return f.own.Read(p)
		}
	}
}

// alone opens the rest of the blob from next.
func (f *jobReader) alone() error {
	c, err := f.direct(f.off)
	if err != nil {
		return err
	}
	f.own = c.R
	return nil
}

func (f *jobReader) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	f.j.leave()
	if f.own != nil {
		return f.own.Close()
	}
	return nil
}
