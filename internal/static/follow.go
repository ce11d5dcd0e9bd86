package static

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// resolveTimeout bounds the question what a reference names.
	resolveTimeout = 10 * time.Second
	// maxQuiet is how long no export is made where no tag moved: what was left long enough ago goes, and new signatures of images come.
	maxQuiet = time.Hour
)

// Following says how [Follow] follows tags.
type Following struct {
	Every time.Duration       // how often each reference is asked for
	Done  func(*Result) error // called after each export; its error ends Follow

	quiet time.Duration // 0: maxQuiet; tests hurry
}

// Follow exports, and exports again whenever a reference names something else, until ctx ends: then it returns nil, or where an
// export was under way the cause of ctx. The tree is whole in any case, as [Export] says.
//
// The first error is returned, and later any outcome.ErrUsage. Others are logged, each once, and tried again when
// the references are asked for the next time.
func Follow(ctx context.Context, o Options, f Following) error {
	tick := time.NewTicker(f.Every)
	defer tick.Stop()
	var named []snapshot.Digest // at the last export
	var last time.Time
	failed := ""
	for first := true; ; first = false {
		now, err := ask(ctx, &o)
		if err != nil && ctx.Err() != nil && !first {
			return nil
		}
		if err == nil && (failed != "" || !slices.Equal(now, named) || time.Since(last) >= cmp.Or(f.quiet, maxQuiet)) {
			var res *Result
			if res, err = Export(ctx, o); err == nil {
				named, last = now, time.Now()
				if err := f.Done(res); err != nil {
					return err
				}
			}
		}
		switch {
		case err == nil:
			failed = ""
		case first, ctx.Err() != nil, errors.Is(err, outcome.ErrUsage):
			return err
		case err.Error() != failed:
			failed = err.Error()
			o.Log.Printf("%s; it is tried again every %s, and the tree stays as it is", failed, f.Every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask asks what each reference names now.
func ask(ctx context.Context, o *Options) ([]snapshot.Digest, error) {
	all := make([]snapshot.Digest, len(o.References))
	for i, ref := range o.References {
		bounded, cancel := context.WithTimeout(ctx, resolveTimeout)
		d, err := artifact.Resolve(bounded, ref, o.Places)
		late := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		if late {
			return nil, fmt.Errorf("%s: no answer within %s", ref, resolveTimeout)
		}
		if err != nil {
			return nil, err
		}
		all[i] = d
	}
	return all, nil
}
