package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// ErrStalled is the cause of a context that ended because the server was silent.
var ErrStalled = errors.New("stalled")

// Watch ends a request when the server is silent for too long.
type Watch struct {
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	timer  *time.Timer
	period time.Duration
	limit  atomic.Int64 // nanoseconds that run now
	moved  atomic.Bool  // it is bytes that are waited for, not an answer
}

// NewWatch returns the context for a request. It ends with ErrStalled as cause
// when there is no answer within a period, or no byte for so long. Stop must be called.
func NewWatch(ctx context.Context, period time.Duration) (context.Context, *Watch) {
	w := &Watch{period: period}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.limit.Store(int64(period))
	w.timer = time.AfterFunc(period, func() {
		what := "answer"
		if w.moved.Load() {
			what = "byte"
		}
		w.cancel(fmt.Errorf("%w: no %s for %s", ErrStalled, what, time.Duration(w.limit.Load())))
	})
	return w.ctx, w
}

// Progress begins a new period, for the next byte.
func (w *Watch) Progress() {
	w.limit.Store(int64(w.period))
	w.moved.Store(true)
	w.timer.Reset(w.period)
}

// Allow gives the server d to answer.
func (w *Watch) Allow(d time.Duration) {
	w.limit.Store(int64(d))
	w.moved.Store(false)
	w.timer.Reset(d)
}

// Pause stops the clock: it is not the server that is waited for.
func (w *Watch) Pause() { w.timer.Stop() }

// Stop ends the watch and the request.
func (w *Watch) Stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// Reason returns err, or in its place the silence that it comes of.
func (w *Watch) Reason(err error) error {
	if cause := context.Cause(w.ctx); err != nil && errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}

// Body watches the body of an answer. Only the time that passes within a Read
// counts: between two of them it is the caller who is waited for. Close ends the watch.
func (w *Watch) Body(body io.ReadCloser) io.ReadCloser {
	w.Pause()
	return &watchedBody{w, body}
}

type watchedBody struct {
	w    *Watch
	body io.ReadCloser
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.w.Progress()
	n, err := b.body.Read(p)
	b.w.Pause()
	if err != nil && err != io.EOF {
		err = b.w.Reason(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.w.Stop()
	return b.body.Close()
}
