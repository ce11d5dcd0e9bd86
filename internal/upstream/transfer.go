package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// transfer is a file being read, over as many requests and places as it takes. It is the io.ReadCloser of Open.
type transfer struct {
	u    *Upstream
	ctx  context.Context // of Open: a reader has no other way to hear of its end
	path string
	want int64 // expected size, -1: not known
	at   int   // place that sends now

	cur      *answer // nil between two requests
	first    *answer // the first answer of this place: others must be of the same file
	off      int64   // given to the caller so far
	failures int     // since the last progress
	silent   int     // those of them that ended in silence
	mark     int64   // off when failures was last 0
	err      error   // how it ended
}

// start makes the first request at the current place.
func (t *transfer) start() error {
	for {
		err := t.attempt()
		if err == nil {
			return nil
		}
		if err := t.again(err); err != nil {
			return err
		}
	}
}

// attempt makes one request, from where the last one broke off.
func (t *transfer) attempt() error {
	from := resume{offset: t.off}
	if t.first != nil {
		from.validator = t.first.validator
	}
	a, err := t.u.places[t.at].begin(t.ctx, t.path, from)
	if err != nil && t.first != nil && errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w while it was read: it is gone now", ErrChanged)
	}
	if err != nil {
		return err
	}
	if err := t.accept(a); err != nil {
		a.body.Close()
		return err
	}
	if t.first == nil {
		t.first = a
	}
	t.cur = a
	t.setDown(false)
	return t.skip()
}

// accept tells whether an answer is of the file that is wanted.
func (t *transfer) accept(a *answer) error {
	switch {
	case t.want >= 0 && a.size >= 0 && a.size != t.want:
		return fmt.Errorf("%w: %d bytes, expected %d", ErrChanged, a.size, t.want)
	case t.first == nil && t.off > 0 && a.size < 0:
		// Another place goes on with what this one began: its size is all that tells that it is the same file.
		return errors.New("does not say the size of the file, so it cannot go on with what another began")
	case t.first == nil:
		return nil
	case differ(t.first.etag, a.etag) || t.first.etag == "" && differ(t.first.modified, a.modified),
		t.first.size >= 0 && a.size >= 0 && t.first.size != a.size:
		return fmt.Errorf("%w while it was read", ErrChanged)
	}
	return nil
}

func differ(a, b string) bool { return a != "" && b != "" && a != b }

// skip reads over what the caller has already, where the server ignores Range.
func (t *transfer) skip() error {
	n, err := io.CopyN(io.Discard, t.cur.body, t.off-t.cur.start)
	t.u.served[t.at].bytes.Add(n)
	if err == nil {
		return nil
	}
	t.drop()
	if err == io.EOF {
		return fmt.Errorf("%w while it was read: it is shorter now", ErrChanged)
	}
	return asTransient(err)
}

func (t *transfer) drop() {
	if t.cur != nil {
		t.cur.body.Close()
		t.cur = nil
	}
}

// again decides what follows a failed attempt: nil after a pause means
// another attempt, at this place or the next.
func (t *transfer) again(cause error) error {
	t.drop()
	if err := context.Cause(t.ctx); err != nil {
		return err
	}
	if t.off-t.mark >= progress {
		t.failures, t.silent, t.mark = 0, 0, t.off
	}
	var passing *transient
	if !errors.As(cause, &passing) {
		return t.failed(cause)
	}
	t.failures++
	if errors.Is(cause, errStalled) {
		t.silent++
	}
	if t.failures > t.u.retries || t.silent >= t.u.maxSilent() || t.isDown() {
		t.setDown(true)
		if t.failures > 1 {
			cause = fmt.Errorf("%w (%d attempts)", cause, t.failures)
		}
		return t.failed(fmt.Errorf("%w%s", cause, t.u.remedy(cause)))
	}
	if passing.after > MaxRetryAfter {
		t.setDown(true)
		return t.failed(fmt.Errorf("%w; it asks to wait %s, longer than %s%s", cause, passing.after, MaxRetryAfter, t.u.remedy(cause)))
	}
	pause := max(backoff(t.failures), passing.after)
	t.u.log("%s: %v; trying again in %s", t.u.describe(t.at, t.path), cause, pause)
	return t.u.sleep(t.ctx, pause)
}

// failed ends the attempts at this place.
func (t *transfer) failed(cause error) error {
	return fmt.Errorf("%s: %w", t.u.describe(t.at, t.path), cause)
}

// A place that could not be reached in all attempts gets one from then on, and
// is asked after the others for a while, until it answers again: with hundreds of files nobody
// wants to wait for each. Only where there is another place.
func (t *transfer) isDown() bool {
	s, ok := t.u.places[t.at].(*site)
	return ok && len(t.u.places) > 1 && s.down.Load() != 0
}

func (t *transfer) setDown(down bool) {
	s, ok := t.u.places[t.at].(*site)
	switch {
	case !ok:
	case down:
		s.down.Store(time.Now().Add(t.u.downFor).UnixNano())
	default:
		s.down.Store(0)
	}
}

// maxSilent is how many attempts at one place may end in silence.
func (u *Upstream) maxSilent() int {
	if len(u.places) > 1 {
		return maxSilentElsewhere
	}
	return maxSilent
}

// Read implements io.Reader. io.EOF means that the transfer was complete.
func (t *transfer) Read(p []byte) (int, error) {
	if t.err != nil || len(p) == 0 {
		return 0, t.err
	}
	for {
		n, err := t.cur.body.Read(p)
		t.u.served[t.at].bytes.Add(int64(n))
		if n > 0 {
			t.off += int64(n)
			if size := t.size(); size >= 0 && t.off > size {
				return 0, t.end(t.failed(fmt.Errorf("%w: more than %d bytes", ErrChanged, size)))
			}
			// An error comes again with the next Read, and is dealt with there.
			return n, nil
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			if err = t.complete(); err == nil {
				t.u.served[t.at].files.Add(1)
				return 0, t.end(io.EOF)
			}
		}
		if err := t.resume(asTransient(err)); err != nil {
			return 0, t.end(err)
		}
	}
}

func (t *transfer) size() int64 {
	if t.want >= 0 {
		return t.want
	}
	return t.first.size
}

// complete tells whether the end of the body is the end of the file.
func (t *transfer) complete() error {
	switch size := t.size(); {
	case size < 0 || t.off == size:
		return nil
	case t.cur.size < 0 && t.cur.framed:
		return fmt.Errorf("%w: %d bytes, expected %d", ErrChanged, t.off, size)
	}
	return io.ErrUnexpectedEOF
}

// resume goes on after a break: here, or at the next places if the size of
// the file is known.
func (t *transfer) resume(cause error) error {
	var errs []error
	for {
		err := t.again(cause)
		if err == nil {
			if cause = t.attempt(); cause == nil {
				return nil
			}
			continue
		}
		errs = append(errs, err)
		if t.ctx.Err() != nil || t.want < 0 || t.at+1 >= len(t.u.places) {
			return joined(errs)
		}
		t.u.log("%v; going on at %s", err, t.u.places[t.at+1])
		t.at, t.first, t.failures, t.silent, t.mark = t.at+1, nil, 0, 0, t.off
		if cause = t.attempt(); cause == nil {
			return nil
		}
	}
}

func (t *transfer) end(err error) error {
	t.err = err
	t.drop()
	return err
}

// Close implements io.Closer.
func (t *transfer) Close() error {
	t.drop()
	if t.err == nil {
		t.err = errClosed
	}
	return nil
}

var errClosed = errors.New("read after close")

// backoff is the pause before attempt n+1: 0.5 s doubled each time, 30 s at
// most. There is no jitter: a site has one pusher, and what happens should be the same each time.
func backoff(n int) time.Duration {
	return min(500*time.Millisecond<<min(n-1, 10), 30*time.Second)
}
