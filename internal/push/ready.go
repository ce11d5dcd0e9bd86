package push

import (
	"context"
	"fmt"

	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// ready reads the archives of the plan that are no Debian archives, each in the room of its kind. What a lock names and
// its place has lost may be in previous, which may be nil. It is asked again where an upstream moved meanwhile.
func (o Options) ready(ctx context.Context, previous *snapshot.Snapshot) ([]freeze.ReadyArchive, error) {
	var out []freeze.ReadyArchive
	for _, other := range o.Plan.Others {
		return out, fmt.Errorf("%w: archive %s: nothing here reads it", outcome.ErrUsage, other.Prefix)
	}
	return out, nil
}
