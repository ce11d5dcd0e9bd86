package mirror

import "golang.org/x/sync/errgroup"

// inOrder calls f for each item, several at once, and keeps the order of items:
// of the answers, and of the errors, of which the first item's is told. What one
// of them finds wrong is found wrong whichever is done first.
func inOrder[T, R any](items []T, f func(T) (R, error)) ([]R, error) {
	out, errs := make([]R, len(items)), make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(workers)
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
