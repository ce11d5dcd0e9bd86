package artifact

import (
	"context"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// checkpointInterval is well below the hour after which registries collect what no tag reaches.
const checkpointInterval = 20 * time.Minute

// checkpoints keeps the shards of a long push reachable.
type checkpoints struct {
	mu       sync.Mutex
	interval time.Duration
	last     time.Time
	done     []oci.Descriptor
	tags     []checkpointTagged
}

type checkpointTagged struct {
	tag  string
	root oci.Descriptor
}

func (c *checkpoints) begin(interval time.Duration) {
	if interval <= 0 {
		interval = checkpointInterval
	}
	c.interval, c.last = interval, time.Now()
}

// checkpoint notes a shard that is there, and puts an index of all so far
// under NAME-ckpt-HEX12-N when it is time. Registries only.
func (w *writer) checkpoint(ctx context.Context, d oci.Descriptor) error {
	if w.t.Registry == nil {
		return nil
	}
	c := &w.checkpoints
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, d)
	if time.Since(c.last) < c.interval {
		return nil
	}
	data := oci.EncodeIndex(c.done)
	root := oci.Describe(oci.TypeIndex, snapshot.BlobOf(data))
	tag := checkpointTag(w.ref.Tag, w.root.Digest, len(c.tags))
	if err := w.t.Registry.PutTagged(ctx, root, data, tag); err != nil {
		return err
	}
	w.o.Tell(Event{Kind: Tagged, Path: tag, Digest: root.Digest, Bytes: root.Size})
	c.tags = append(c.tags, checkpointTagged{tag, root})
	c.last = time.Now()
	return nil
}

// removeCheckpoints removes this push's, and if it resumed an earlier one that
// one's too. The snapshot is published: what fails here is left to prune.
func (w *writer) removeCheckpoints(ctx context.Context) {
	r := w.t.Registry
	if r == nil {
		return
	}
	tags := w.checkpoints.tags
	if w.resumed {
		tags = append(tags, w.leftCheckpoints(ctx, r)...)
	}
	for _, t := range tags {
		if err := r.RemoveTag(ctx, t.tag, t.root); err != nil {
			return
		}
	}
}

func (w *writer) leftCheckpoints(ctx context.Context, r *remote.Target) (left []checkpointTagged) {
	names, err := r.TagNames(ctx)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if !strings.HasPrefix(name, checkpointStem(w.ref.Tag, w.root.Digest)) && name != heldTag(w.ref.Tag) {
			continue
		}
		if d, err := r.Resolve(ctx, Reference{Kind: Registry, Name: w.ref.Name, Tag: name}); err == nil {
			left = append(left, checkpointTagged{name, oci.Describe(oci.TypeIndex, snapshot.Blob{Digest: d})})
		}
	}
	return left
}
