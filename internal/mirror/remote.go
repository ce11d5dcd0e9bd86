package mirror

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/artifact"
)

// RequireUpstream fails for archives that were not proved down from upstream's
// key; those of the site itself are named, not refused.
func (r *Report) RequireUpstream() error {
	for _, a := range r.Archives {
		if a.State == NotProved || a.State == Failed {
			return fmt.Errorf("%w: archive %s is %s: %s (--keyring %s=FILE)", ErrIntegrity, a.Prefix, a.State, a.Reason, a.Prefix)
		}
	}
	return nil
}

// Remote asks the place for every blob of the artifact without reading any,
// and adds what is missing to the report.
func Remote(ctx context.Context, ref artifact.Reference, r *Report, o artifact.Options) error {
	g, err := artifact.ReadGraph(ctx, ref, o)
	if err != nil {
		return err
	}
	missing, err := artifact.Missing(ctx, ref, g, o)
	if err != nil {
		return err
	}
	for _, b := range missing {
		r.Failures = append(r.Failures, fmt.Sprintf("blob %s (%d bytes) is missing (mmoci push --recheck heals it)", b.Digest, b.Size))
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %d blobs are missing; first: %s", ErrIntegrity, len(missing), missing[0].Digest)
	}
	return nil
}
