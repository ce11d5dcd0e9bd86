package parallel

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Workers is how many transfers of one use case run at once. Enough to hide
// the latency of a registry, few enough to be a polite client.
const Workers = 8

// InOrder calls f for each item, several at once, and keeps the order of items:
// of the answers, and of the errors, of which the first item's is told. What one
// of them finds wrong is found wrong whichever is done first.
func InOrder[T, R any](items []T, f func(T) (R, error)) ([]R, error) {
	out, errs := make([]R, len(items)), make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(Workers)
	for i, item := range items {
		g.Go(func() error {
			out[i], errs[i] = f(item)
			return nil
		})
	}
	_ = g.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Until runs what mostly computes, and leaves it behind as soon as ctx ends: a choice over a whole
// release takes seconds and looks at no context. What is left behind must write nothing that lasts.
//
// It says nothing either: see [Log.during].
func Until[T any](ctx context.Context, compute func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := compute()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
