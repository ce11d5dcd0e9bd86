package mirrors

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// stallAfter is how long a mirror may be silent.
	stallAfter = 5 * time.Second
	// slowest is the rate below which a mirror is slow, in bytes a second, once stallAfter went by.
	slowest = 32 << 10
	// glimpse is how much is read of a blob where its size is looked at: that it comes is a part of it.
	glimpse = 16 << 10
	// maxCheckTime bounds one look, whatever the blob.
	maxCheckTime = time.Hour
)

// check is a look at a blob that clients may wait for.
type check struct {
	done    chan struct{}
	verdict verdict // once done is closed
}

// check looks at a blob at a mirror, once for all who ask meanwhile; nil: too much is being looked at. It goes on when nobody waits any more.
func (s *Set) check(m *member, b snapshot.Blob, bytes bool) *check {
	key := knownKey{m.id, b.Digest}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.checks[key]; c != nil {
		return c
	}
	places := s.looking
	if bytes {
		places = m.hashing
	}
	select {
	case places <- struct{}{}:
	default:
		return nil
	}
	c := &check{done: make(chan struct{})}
	s.checks[key] = c
	go func() {
		defer func() { <-places }()
		ctx, cancel := context.WithTimeout(context.Background(), maxCheckTime)
		defer cancel()
		v, f := s.look(ctx, m, b, bytes)
		if f != nil {
			s.leave(m, f, b, bytes)
		} else {
			s.learn(m, b, v, bytes || b.Size <= glimpse)
			c.verdict = v
		}
		s.mu.Lock()
		delete(s.checks, key)
		s.mu.Unlock()
		close(c.done)
		if v == whole && !bytes && b.Size > glimpse && m.nth()%sampled == 0 {
			s.check(m, b, true) // a sample of what a reliable mirror has
		}
	}()
	return c
}

// look asks a mirror for a blob: all of it, or its size and beginning. A fault is one of the mirror; what it has or has not is a verdict.
func (s *Set) look(ctx context.Context, m *member, b snapshot.Blob, bytes bool) (verdict, *Fault) {
	ctx, watch := transfer.NewWatch(ctx, s.o.stall)
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.blob(b.Digest.Hex()), nil)
	if err != nil {
		return unknown, &Fault{Refuses, err}
	}
	req.Header.Set("User-Agent", "mmoci-front")
	req.Header.Set(FrontHeader, s.id)
	part := min(b.Size, glimpse)
	if !bytes && part < b.Size {
		req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", part-1))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return unknown, faultOf(watch.Reason(err))
	}
	defer resp.Body.Close()
	watch.Progress()
	size := resp.ContentLength
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone:
		_, _ = io.CopyN(io.Discard, resp.Body, glimpse) // so that the connection is used again
		return missing, nil
	case code == http.StatusLoopDetected:
		return unknown, &Fault{Itself, errors.New("it is this server itself")}
	case (code == http.StatusTemporaryRedirect || code == http.StatusFound) && m.Check == Redirect:
		return whole, nil
	case code >= 300 && code < 400:
		to, _, _ := strings.Cut(resp.Header.Get("Location"), "?") // what follows may be a signature that opens the door
		return unknown, &Fault{Redirects, fmt.Errorf("it redirects to %.200q", transfer.Redact(to))}
	case code == http.StatusPartialContent && !bytes:
		span, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		if size, err = strconv.ParseInt(total, 10, 64); err != nil || size < 0 || !strings.HasPrefix(span, "bytes 0-") {
			return unknown, &Fault{Refuses, fmt.Errorf("%.100s: not the range that was asked for", resp.Status)}
		}
	case code != http.StatusOK:
		return unknown, &Fault{Refuses, fmt.Errorf("%.100s", resp.Status)}
	}
	if size >= 0 && size != b.Size {
		return wrong, nil
	}
	body := &watched{r: resp.Body, watch: watch, within: s.o.stall, start: time.Now()}
	if bytes || b.Size <= glimpse {
		return hashed(body, b)
	}
	if size < 0 && m.Check == Size {
		return unknown, &Fault{Refuses, errors.New("it does not say the size of a blob, so that check: size says nothing; take that out, and the bytes are looked at")}
	}
	if _, err := io.CopyN(io.Discard, body, part); err != nil {
		return unknown, faultOf(watch.Reason(err))
	}
	return whole, nil
}

// hashed reads a blob to its end.
func hashed(body *watched, b snapshot.Blob) (verdict, *Fault) {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(body, b.Size+1))
	switch {
	case err != nil:
		return unknown, faultOf(body.watch.Reason(err))
	case n < b.Size:
		return unknown, &Fault{Dead, fmt.Errorf("it broke off after %d of %d bytes", n, b.Size)}
	case n > b.Size || snapshot.Digest(h.Sum(nil)) != b.Digest:
		return wrong, nil
	}
	return whole, nil
}

// errSlow marks a mirror whose bytes come too slowly.
var errSlow = errors.New("too slow")

// watched tells a watch of what it reads. What comes more slowly than slowest once the time within is over, a byte now and
// then as well, is errSlow: it must not hold a place among the looks.
type watched struct {
	r      io.Reader
	watch  *transfer.Watch
	within time.Duration
	start  time.Time
	n      int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.watch.Progress()
	}
	w.n += int64(n)
	if took := time.Since(w.start); err == nil && took > w.within && float64(w.n) < took.Seconds()*slowest {
		err = fmt.Errorf("%w: %d bytes in %s", errSlow, w.n, took.Round(time.Second))
	}
	return n, err
}

// faultOf tells a mirror that is slow from one that is dead.
func faultOf(err error) *Fault {
	kind := Dead
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() || errors.Is(err, transfer.ErrStalled) || errors.Is(err, errSlow) || errors.Is(err, context.DeadlineExceeded) {
		kind = Slow
	}
	return &Fault{kind, errors.New(transfer.Redact(err.Error()))}
}
