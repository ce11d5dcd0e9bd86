package freeze

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// UpstreamsFault tells errors that may come of an upstream that moves.
func UpstreamsFault(err error) bool {
	return errors.Is(err, outcome.ErrIntegrity) || errors.Is(err, upstream.ErrChanged) || errors.Is(err, upstream.ErrNotFound)
}

// digestOf is what a lock pins a suite by.
func digestOf(s *upstreamSuite) string { return snapshot.Sum(s.signed[0].data).String() }

// Moved asks the signature files of all suites again and names the first suite
// that has changed since it was frozen; "" if none has.
func (f *Frozen) Moved(ctx context.Context) (string, error) {
	for _, fa := range f.archives {
		for _, s := range fa.suites {
			if s.held != nil {
				continue
			}
			moved, err := hasMoved(ctx, fa, s)
			if err != nil {
				return "", err
			}
			if moved {
				return fmt.Sprintf("archive %s, suite %s", fa.Prefix, s.name), nil
			}
		}
	}
	return "", nil
}

// maxProbes bounds how many files are asked for to name all that are gone.
const maxProbes = 10_000

// Missing completes the error of a file that is gone for good: it names all
// that are. Mismatches speak for themselves.
func (f *Frozen) Missing(ctx context.Context, cause error) error {
	if errors.Is(cause, outcome.ErrIntegrity) || !errors.Is(cause, upstream.ErrNotFound) {
		return cause
	}
	gone := f.origins.gone(ctx)
	if len(gone) < 2 {
		return cause
	}
	return fmt.Errorf("%d files are listed and not there upstream: %w\n%s", len(gone), cause, strings.Join(gone, "\n"))
}

// gone asks for the beginning of every file and names those that are not there.
func (o *origins) gone(ctx context.Context) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if len(o.m) > maxProbes {
		return nil
	}
	var mu sync.Mutex
	var names []string
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, from := range o.m {
		g.Go(func() error {
			r, err := from.open(ctx)
			if err == nil {
				return r.Close()
			}
			if errors.Is(err, upstream.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				names = append(names, from.name)
			}
			return nil
		})
	}
	if g.Wait() != nil {
		return nil
	}
	slices.Sort(names)
	return names
}

// ServedBy is what one URL of an archive gave, signature files and indices included.
type ServedBy struct {
	Prefix string
	upstream.Served
	Others int // URLs that the archive has besides
}

// Served tells which URL gave how much, in order of archive and preference.
func (f *Frozen) Served() []ServedBy {
	var out []ServedBy
	for _, fa := range f.archives {
		if fa.up == nil {
			continue
		}
		all := fa.up.Served()
		for _, s := range all {
			out = append(out, ServedBy{fa.Prefix, s, len(all) - 1})
		}
	}
	return out
}
