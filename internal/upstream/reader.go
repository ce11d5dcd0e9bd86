package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"example.org/mmoci/internal/transfer"
)

// reader reads a file, over as many requests and places as it takes. It is the io.ReadCloser of Open.
type reader struct {
	u    *Upstream
	ctx  context.Context // of Open: a reader has no other way to hear of its end
	path string
	want int64 // expected size, -1: not known
	at   int   // place that sends now
	rest []int // places that were not asked yet, in order
	pace *pace // nil: there is nowhere else to go

	cur      *answer           // nil between two requests
	first    *answer           // the first answer of this place: others must be of the same file
	off      int64             // given to the caller so far
	attempts transfer.Attempts // at this place, since the last progress
	mark     int64             // off at the last progress
	broken   error             // that the place is too slow, to be said with the next Read
	err      error             // how it ended
}

// start makes the first request at the current place.
func (t *reader) start() error {
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
func (t *reader) attempt() error {
	from := resume{offset: t.off, patience: t.u.patience(t.rest)}
	if t.isDown() {
		from.patience = t.u.slow
	}
	t.u.record(t.path, func(f *Origin) { f.Tries++ })
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
	t.cur, t.pace = a, nil
	if s, ok := t.u.places[t.at].(*site); ok {
		s.busy.Add(1)
		if len(t.rest) > 0 {
			t.pace = &pace{site: s, window: t.u.slow}
		}
	}
	t.setDown(false)
	return t.skip()
}

// accept tells whether an answer is of the file that is wanted.
func (t *reader) accept(a *answer) error {
	switch {
	case t.want >= 0 && a.size >= 0 && a.size != t.want:
		return fmt.Errorf("%w: %d bytes, expected %d", ErrChanged, a.size, t.want)
	case t.first == nil && t.off > 0 && a.size < 0:
		// Another place goes on with what this one began: its
		// size is all that tells that it is the same file.
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
func (t *reader) skip() error {
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

func (t *reader) drop() {
	if t.cur != nil {
		t.cur.body.Close()
		if s, ok := t.u.places[t.at].(*site); ok {
			s.busy.Add(-1)
		}
		t.cur = nil
	}
}

// again decides what follows a failed attempt: nil after a pause means
// another attempt, at this place or the next.
func (t *reader) again(cause error) error {
	t.drop()
	if err := context.Cause(t.ctx); err != nil {
		return err
	}
	if t.off-t.mark >= progress {
		t.attempts.Progress()
		t.mark = t.off
	}
	var passing *transfer.Failure
	if !errors.As(cause, &passing) {
		return t.failed(cause)
	}
	if t.isDown() {
		t.attempts.Attempts = 1
	}
	s, _ := t.u.places[t.at].(*site)
	if t.attempts.Refused = 0; s != nil && !s.answered.Load() {
		t.attempts.Refused = maxRefused
	}
	pause, err := t.attempts.Failed(passing)
	if err != nil {
		// One file that breaks off is no sign that the place is down: it may send the others well.
		if s == nil || t.first == nil || s.broken.Add(1) >= maxWrong {
			t.setDown(true)
		}
		return t.failed(fmt.Errorf("%w%s", err, t.u.remedy(err)))
	}
	if s == nil || !passing.Refused {
		t.u.log("%s: %v; trying again in %s", t.u.describe(t.at, t.path), cause, pause)
	} else if !s.saidRefused.Swap(true) { // once for all files and attempts
		t.u.log("%s: %v; trying again", s, cause)
	}
	return t.u.sleep(t.ctx, pause)
}

// failed ends the attempts at this place.
func (t *reader) failed(cause error) error {
	t.u.record(t.path, func(f *Origin) { f.fail(t.u.places[t.at].String(), cause) })
	return fmt.Errorf("%s: %w", t.u.describe(t.at, t.path), cause)
}

// A place that could not be reached in all attempts gets one short one from then on, and
// is asked after the others for a while, until it answers again: with hundreds of files nobody
// wants to wait for each.
func (t *reader) isDown() bool {
	s, ok := t.u.places[t.at].(*site)
	return ok && s.down.Load() != 0
}

func (t *reader) setDown(down bool) {
	s, ok := t.u.places[t.at].(*site)
	switch {
	case !ok:
	case down:
		s.down.Store(time.Now().Add(t.u.downFor).UnixNano())
	default:
		s.down.Store(0)
	}
}

// attempts begins to count those at one place, rest being what can be asked after it. There is no jitter: a site has
// one pusher, and what happens should be the same each time.
func (u *Upstream) attempts(rest []int) transfer.Attempts {
	l := transfer.Limits{Attempts: u.retries + 1, Silent: maxSilent, Backoff: firstPause, MaxBackoff: longestPause, MaxAfter: MaxRetryAfter}
	if len(rest) > 0 {
		l.Attempts, l.Silent = min(l.Attempts, maxElsewhere), maxSilentElsewhere
	}
	return transfer.Attempts{Limits: l}
}

// patience is how long a place may be silent, rest being what can be asked after it.
func (u *Upstream) patience(rest []int) time.Duration {
	if len(rest) > 0 {
		return u.slow
	}
	return u.stall
}

// Read implements io.Reader. io.EOF means that the transfer was complete.
func (t *reader) Read(p []byte) (int, error) {
	if t.err != nil || len(p) == 0 {
		return 0, t.err
	}
	for {
		n, err := t.read(p)
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
				if s, ok := t.u.places[t.at].(*site); ok {
					s.broken.Store(0)
				}
				t.u.record(t.path, func(f *Origin) { f.URL = t.u.places[t.at].String() })
				return 0, t.end(io.EOF)
			}
		}
		if err := t.resume(asTransient(err)); err != nil {
			return 0, t.end(err)
		}
	}
}

// read reads what the place sends, and leaves a place that is too slow where there is another.
func (t *reader) read(p []byte) (int, error) {
	if t.pace == nil {
		return t.cur.body.Read(p)
	}
	before := time.Now()
	n, err := t.cur.body.Read(p)
	slow := t.pace.read(n, time.Since(before))
	if err == nil && n == 0 || err == nil && slow != nil {
		t.broken, err = slow, nil // what came is given first
	}
	if n == 0 && t.broken != nil {
		err, t.broken = t.broken, nil
	}
	return n, err
}

func (t *reader) size() int64 {
	if t.want >= 0 {
		return t.want
	}
	return t.first.size
}

// complete tells whether the end of the body is the end of the file.
func (t *reader) complete() error {
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
func (t *reader) resume(cause error) error {
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
		if t.ctx.Err() != nil || t.want < 0 || len(t.rest) == 0 {
			return joined(errs)
		}
		next := t.rest[0]
		t.rest = t.rest[1:]
		t.u.log("%v; going on at %s", err, t.u.places[next])
		t.at, t.first, t.attempts, t.mark = next, nil, t.u.attempts(t.rest), t.off
		if cause = t.attempt(); cause == nil {
			return nil
		}
	}
}

func (t *reader) end(err error) error {
	t.err = err
	t.drop()
	return err
}

// Close implements io.Closer.
func (t *reader) Close() error {
	t.drop()
	if t.err == nil {
		t.err = errClosed
	}
	return nil
}

var errClosed = errors.New("read after close")

// Distrust says that a reader of Open gave other bytes than were signed. From
// then on the URL that they came from is asked for it after all others, and for every file once it has lied
// maxWrong times. True if the
// file may be right at another: opened anew, it comes from there. It is true
// at most once for each file and URL, so whoever repeats comes to an end.
func (t *reader) Distrust(why error) bool {
	u := t.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.records[t.path]; f != nil {
		f.URL = ""
		f.fail(u.places[t.at].String(), errWrong)
	}
	if len(u.places) == 1 {
		return false
	}
	if u.distrusted == nil {
		u.distrusted, u.wrong = map[int]int{}, map[wrongFile]bool{}
	}
	this := wrongFile{t.at, t.path}
	if u.wrong[this] {
		return false
	}
	u.distrusted[t.at]++
	u.wrong[this] = true
	if u.distrusted[t.at] == maxWrong {
		u.log("%s: %v; asking other URLs before it", u.describe(t.at, t.path), why)
	} else {
		u.log("%s: %v; asking other URLs for it", u.describe(t.at, t.path), why)
	}
	for i := range u.places {
		if !u.wrong[wrongFile{i, t.path}] {
			return true
		}
	}
	return false
}

// wrongFile is a file that a place has in other bytes than were signed.
type wrongFile struct {
	place int
	path  string
}

var errWrong = errors.New("other bytes than were signed")

// order is that in which the places are asked for a path: last those that gave wrong
// bytes, before them those that could not be reached lately.
func (u *Upstream) order(path string) []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now().UnixNano()
	rank := func(i int) int {
		s, ok := u.places[i].(*site)
		switch {
		case u.wrong[wrongFile{i, path}]:
			return 3
		case u.distrusted[i] >= maxWrong:
			return 2
		case ok && now < s.down.Load():
			return 1
		}
		return 0
	}
	order := make([]int, len(u.places))
	ranks := make([]int, len(u.places))
	for i := range order {
		order[i], ranks[i] = i, rank(i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ranks[a], ranks[b]) })
	return order
}
