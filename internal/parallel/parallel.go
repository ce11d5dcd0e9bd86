// Package parallel runs several transfers at once, within one bound for all use cases.
package parallel

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Workers is how many transfers of one use case run at once. Enough to hide
// the latency of a registry, few enough to be a polite client.
const Workers = 8

// InOrder calls f for each item, several at once. It returns the answers in the order of
// the items, or the error of the first item that has one, whichever is done first.
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

// Until runs compute, which looks at no context, and returns as soon as ctx ends: a choice over a
// whole release takes seconds. What is left behind must write nothing that lasts, and log
// nothing (outcome.Log.During).
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
