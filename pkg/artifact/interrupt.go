package artifact

import (
	"context"
	"io"
	"os"
	"time"
)

// interrupted is why ctx has ended, nil while it lasts. Whoever writes returns it
// instead of nil: a writer that stopped because of ctx has not done its work.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// whileReader reads as long as ctx lasts.
type whileReader struct {
	ctx context.Context
	io.Reader
}

func (w whileReader) Read(p []byte) (int, error) {
	if err := interrupted(w.ctx); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// copyPiece is how much is copied from file to file before the context is asked again: less
// than half a second's work of a slow stick.
const copyPiece = 4 << 20

// copyFile copies from file to file, within the kernel where it can, as long as ctx lasts.
func copyFile(ctx context.Context, to, from *os.File) (n int64, err error) {
	for {
		if err := interrupted(ctx); err != nil {
			return n, err
		}
		m, err := io.CopyN(to, from, copyPiece)
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// tagGrace is how long an interrupted writer waits for the answer to a tag that it was about to move.
const tagGrace = 300 * time.Millisecond

// outlive returns a context that ends a while after ctx has.
func outlive(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(while, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() { stop(); cancel(nil) }
}

// InterruptedTagging is the error of a writer that was interrupted while it named a snapshot.
type InterruptedTagging struct {
	What string // which tags are set, or may be
	Err  error  // the interruption
}

func (e *InterruptedTagging) Error() string { return e.Err.Error() + "; " + e.What }

// Unwrap returns the interruption.
func (e *InterruptedTagging) Unwrap() error { return e.Err }
