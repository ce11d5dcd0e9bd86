package mirror

import "context"

// during is a log that says nothing once ctx has ended.
func (l Log) during(ctx context.Context) Log {
	return func(format string, args ...any) {
		if ctx.Err() == nil {
			l.printf(format, args...)
		}
	}
}

// while runs what mostly computes, and leaves it behind as soon as ctx ends: a choice over a whole
// release takes seconds and looks at no context. What is left behind must write nothing that lasts.
//
// It says nothing either: see [Log.during].
func while[T any](ctx context.Context, compute func() (T, error)) (T, error) {
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
