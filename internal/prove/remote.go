package prove

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/internal/outcome"
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
		r.Failures = append(r.Failures, fmt.Sprintf("blob %s (%d bytes) is missing", b.Digest, b.Size))
	}
	if len(missing) > 0 {
		return outcome.Repair.For(fmt.Errorf("%w: %d blobs are missing; first: %s", outcome.ErrIntegrity, len(missing), missing[0].Digest))
	}
	return nil
}

// Incomplete words an error of opening ref: a snapshot of which a part was lost
// contradicts itself (ErrIntegrity); one that is not there at all stays not found.
func Incomplete(ctx context.Context, ref artifact.Reference, err error, o artifact.Options) error {
	if !errors.Is(err, snapshot.ErrNotExist) {
		return err
	}
	if _, absent := artifact.Resolve(ctx, ref, o); absent != nil {
		return err
	}
	return outcome.Repair.For(fmt.Errorf("%w: the snapshot is there in part only: %w", outcome.ErrIntegrity, err))
}
