package mirror

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Pulling is the question to Pull.
type Pulling struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	Dir      string
	Log      Log
	// Progress, if not nil, is told of every file ([artifact.Watched] tells of the bytes on the way); called concurrently.
	Progress func(artifact.Event)
}

// Pulled is the answer.
type Pulled struct {
	Files  int
	Bytes  int64
	Reused int64
}

// Pull writes the apt tree of a snapshot (PREFIX/dists, PREFIX/pool) as files,
// every one of them proved through the chain.
func Pull(ctx context.Context, p Pulling) (*Pulled, error) {
	c := &chain{s: p.Snapshot, trust: p.Trust}
	want := map[string]snapshot.Blob{}
	for _, a := range p.Snapshot.Statement.Archives {
		v, err := c.bestView(a)
		if err != nil {
			return nil, fmt.Errorf("%w: archive %s: %w: --keyring %s=FILE", ErrIntegrity, a.Prefix, err, a.Prefix)
		}
		if err := c.proveArchive(ctx, a, v, want); err != nil {
			return nil, err
		}
	}
	out, err := openDir(p.Dir, want)
	if err != nil {
		return nil, err
	}
	defer out.close()
	out.events = p.Progress
	if err := out.fetch(ctx, p.Snapshot, nil); err != nil {
		return nil, err
	}
	return &Pulled{Files: len(want), Bytes: out.total, Reused: out.reused}, nil
}
