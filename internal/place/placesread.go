package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// placesReader reads a blob from one place after the other; what was read is
// kept when the place changes. Not safe for concurrent use.
type placesReader struct {
	p    *places
	ctx  context.Context
	blob snapshot.Blob
	left []*mirror // still to be tried, the present one first
	used []*mirror // gave bytes

	r      io.ReadCloser
	cancel context.CancelCauseFunc
	offset int64
	spent  time.Duration // waited for the bytes of the present window
	moved  int64
}

// next opens the blob at the next place, at the present offset. why is what
// was wrong with the present one, nil at the beginning.
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

// watch leaves a place that gives nothing for the whole window, unless it is the last.
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
			return 0, io.EOF // bytes behind the end would be nobody's: they are not read
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

// pace leaves a place that trickles.
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

// wrong distrusts all places that gave a part of what is not the blob. The last
// of several places is not found out by that: it is asked alone then.
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
