// Package place knows where the blobs of a snapshot come from: mirrors, the place that
// a reference names, and upstream. The next one is asked where one lacks a blob, fails,
// is slow or gave wrong bytes.
package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// A place other than the last is left if it is slower than slowRate for slowWindow. Only
// the time that a reader waits for bytes counts.
const (
	slowRate   = 32 << 10 // bytes a second
	slowWindow = 8 * time.Second
	// skippedFor is how long a place is not tried after it failed. A command ends
	// before; a server tries it again.
	skippedFor = 10 * time.Minute
)

// places are where one snapshot's blobs are, tried in order: mirrors, and at
// last the origin. Safe for concurrent use.
type places struct {
	root   snapshot.Digest
	o      artifact.Options
	log    outcome.Log
	rate   int64 // slowRate, slowWindow; tests are faster
	window time.Duration

	mu   sync.Mutex
	list []*mirror
}

// mirror is one of the places.
type mirror struct {
	ref     artifact.Reference
	blobs   snapshot.Blobs // nil: not opened yet
	skipped time.Time      // until when it is not tried
}

// OpenAnywhere opens the snapshot that ref names, its content coming from the
// mirrors in their order and at last from ref's own place. The tag is resolved
// there only: a mirror is asked for the digest, so a stale one can neither
// delay nor turn back anything. A mirror that lacks the snapshot, fails, gives
// wrong bytes or is slow is skipped and named in the log.
func OpenAnywhere(ctx context.Context, ref artifact.Reference, mirrors []artifact.Reference, o artifact.Options, log outcome.Log) (*snapshot.Sealed, error) {
	if len(mirrors) == 0 {
		return artifact.Open(ctx, ref, o)
	}
	p := &places{root: ref.Digest, o: o, log: log, rate: slowRate, window: slowWindow}
	if p.root.IsZero() {
		var err error
		if p.root, err = artifact.Resolve(ctx, ref, o); err != nil {
			return nil, fmt.Errorf("%w (a tag is asked for at its own place only; mirrors are asked by digest)", err)
		}
	}
	for _, m := range append(append([]artifact.Reference{}, mirrors...), ref) {
		m.Tag, m.Digest = "", p.root
		p.list = append(p.list, &mirror{ref: m})
	}
	return p.seal(ctx, !ref.Digest.IsZero())
}

// seal reads root and core at the first place that has them.
func (p *places) seal(ctx context.Context, pinned bool) (*snapshot.Sealed, error) {
	var failures everywhere
	for _, s := range p.list {
		open, cancel := p.patience(ctx, s)
		sealed, err := artifact.Open(open, s.ref, p.o)
		err = patienceError(open, err)
		cancel()
		if err == nil {
			s.blobs = sealed.Blobs
			sealed.Blobs, sealed.Pinned = p, pinned
			return sealed, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, err)
		p.skip(s, err)
	}
	return nil, failures
}

// everywhere is the errors of all places, in one line.
type everywhere []error

func (e everywhere) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e everywhere) Unwrap() []error { return e }

// errSlow marks a place that was left because it was too slow.
var errSlow = errors.New("too slow")

// patience bounds the time that a place may take to open. The last place has no bound.
func (p *places) patience(ctx context.Context, s *mirror) (context.Context, context.CancelFunc) {
	if s == p.list[len(p.list)-1] {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, p.window, fmt.Errorf("%w: no answer in %s", errSlow, p.window))
}

// patienceError returns the slowness of a place in place of the cancelled request's error.
func patienceError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errSlow) {
		return cause
	}
	return err
}

// skip leaves a place out for skippedFor, and logs that.
func (p *places) skip(s *mirror, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(s.skipped) {
		return
	}
	s.skipped = now.Add(skippedFor)
	if s != p.list[len(p.list)-1] {
		p.log.Printf("mirror %s is skipped: %s", s.ref.Name, why)
	}
}

// from are the places to try now: those that are not skipped, and always the last.
func (p *places) from() []*mirror {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*mirror
	now := time.Now()
	for i, s := range p.list {
		if !now.Before(s.skipped) || i == len(p.list)-1 {
			out = append(out, s)
		}
	}
	return out
}

// content opens a blob at a place from an offset on. It opens the place before its first blob.
func (p *places) content(ctx context.Context, s *mirror, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	p.mu.Lock()
	blobs := s.blobs
	p.mu.Unlock()
	if blobs == nil {
		sealed, err := artifact.Open(ctx, s.ref, p.o)
		if err != nil {
			return nil, err
		}
		blobs = sealed.Blobs
		p.mu.Lock()
		s.blobs = blobs
		p.mu.Unlock()
	}
	c, err := blobs.Open(ctx, b, offset)
	if err == nil {
		place := s.ref
		place.Digest = snapshot.Digest{}
		c.From = place.String()
	}
	return c, err
}

// Open opens a blob at the first place that has it. What it yields goes on at
// the next place where one breaks or is slow. As only the caller can tell whether the
// bytes before an offset are right, wrong ones are no place's fault then.
func (p *places) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	r := &placesReader{p: p, ctx: ctx, blob: b, left: p.from(), offset: offset}
	c, err := r.next(nil)
	if err != nil {
		return nil, err
	}
	if c.File != nil {
		return c, nil // hashed before
	}
	out := &snapshot.Content{R: r, From: c.From}
	if offset == 0 {
		out.Wrong = r.wrong
	}
	if c.Verified != nil {
		out.Verified = func() {
			if len(r.used) == 1 { // else these were not the bytes of that file
				c.Verified()
			}
		}
	}
	return out, nil
}

// placesReader reads a blob from one place after the other. It goes on at the byte where
// the place before stopped. Not safe for concurrent use.
type placesReader struct {
	p    *places
	ctx  context.Context
	blob snapshot.Blob
	left []*mirror // to be tried, the present one first
	used []*mirror // that gave bytes

	r      io.ReadCloser
	cancel context.CancelCauseFunc
	offset int64
	spent  time.Duration // waited for the bytes of the present window
	moved  int64
}

// next opens the blob at the next place, at the present offset. why is the error of the
// present place, nil at the beginning.
func (r *placesReader) next(why error) (*snapshot.Content, error) {
	for {
		if why != nil {
			if r.ctx.Err() != nil {
				return nil, r.ctx.Err()
			}
			r.release()
			if len(r.left) == 1 {
				return nil, why
			}
			if !errors.Is(why, snapshot.ErrNotExist) {
				r.p.skip(r.left[0], why)
			} else {
				r.p.log.Printf("mirror %s lacks blob %s", r.left[0].ref.Name, r.blob.Digest)
			}
			r.left = r.left[1:]
		}
		c, err := r.connect()
		if err == nil {
			return c, nil
		}
		why = err
	}
}

// connect opens the blob at the present place.
func (r *placesReader) connect() (*snapshot.Content, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	stop := r.watch(cancel)
	c, err := r.p.content(ctx, r.left[0], r.blob, r.offset)
	stop()
	if err != nil {
		err = patienceError(ctx, err)
		cancel(nil)
		return nil, err
	}
	r.r, r.cancel, r.spent, r.moved = c.R, cancel, 0, 0
	r.used = append(r.used, r.left[0])
	return c, nil
}

// watch cancels a place that gives nothing for the whole window, unless it is the last.
func (r *placesReader) watch(cancel context.CancelCauseFunc) (stop func()) {
	if len(r.left) == 1 {
		return func() {}
	}
	t := time.AfterFunc(r.p.window, func() { cancel(fmt.Errorf("%w: nothing for %s", errSlow, r.p.window)) })
	return func() { t.Stop() }
}

// Read implements io.Reader. It goes on at the next place where one fails.
func (r *placesReader) Read(b []byte) (int, error) {
	for {
		if r.offset == r.blob.Size {
			return 0, io.EOF // what a place sends behind the end is not read
		}
		b = b[:min(int64(len(b)), r.blob.Size-r.offset)]
		n, err := r.read(b)
		if n > 0 {
			r.offset += int64(n)
			return n, r.pace(n)
		}
		if err == nil {
			return 0, nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if _, err := r.next(err); err != nil {
			return 0, err
		}
	}
}

func (r *placesReader) read(b []byte) (int, error) {
	if r.r == nil {
		return 0, io.ErrClosedPipe
	}
	stop := r.watch(r.cancel)
	begin := time.Now()
	n, err := r.r.Read(b)
	r.spent += time.Since(begin)
	stop()
	if len(r.left) > 1 && err != nil && err != io.EOF && errors.Is(err, context.Canceled) && r.ctx.Err() == nil {
		err = fmt.Errorf("%w: nothing for %s", errSlow, r.p.window)
	}
	return n, err
}

// pace leaves a place that is too slow.
func (r *placesReader) pace(n int) error {
	r.moved += int64(n)
	if r.spent < r.p.window || len(r.left) == 1 {
		return nil
	}
	rate := float64(r.moved) / r.spent.Seconds()
	r.spent, r.moved = 0, 0
	if rate >= float64(r.p.rate) || r.offset == r.blob.Size {
		return nil
	}
	_, err := r.next(fmt.Errorf("%w: %.0f bytes/s", errSlow, rate))
	return err
}

// wrong skips all places that gave a part of the wrong bytes, and tells whether another
// place can be read from. The last place is never skipped: it is then read alone.
func (r *placesReader) wrong(why error) bool {
	if len(r.used) == 1 && len(r.left) == 1 {
		return false
	}
	for _, s := range r.used {
		r.p.skip(s, why)
	}
	return true
}

func (r *placesReader) release() {
	if r.r != nil {
		r.cancel(nil)
		r.r.Close()
		r.r = nil
	}
}

// Close ends the transfer.
func (r *placesReader) Close() error {
	r.release()
	return nil
}
