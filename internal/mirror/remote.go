package mirror

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Remote asks the place for every blob of the artifact s without reading any,
// and adds what is missing to the report.
func Remote(ctx context.Context, ref artifact.Reference, s *snapshot.Snapshot, r *Report, o artifact.Options) error {
	ref.Digest = s.Root // a tag may have moved meanwhile
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
