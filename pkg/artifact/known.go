package artifact

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// sampleSize is how many of the believed blobs are asked for at each push.
const sampleSize = 16

// learn finds out what need not be sent to a registry: the graph of the root that the tag names now
// is believed, after a sample of what would be skipped was asked for. Then the first unknown blobs
// are asked for: if one is there, an earlier push was interrupted, and its frontier is looked for.
func (w *writer) learn(ctx context.Context, previous snapshot.Digest) error {
	if w.asksAll() {
		return nil
	}
	if !previous.IsZero() {
		if err := w.readPrevious(ctx, previous); err != nil {
			return err
		}
		sample := w.sample()
		there, err := w.countThere(ctx, sample)
		if err != nil {
			return err
		}
		if there < len(sample) {
			w.askAll()
			return nil
		}
	}
	first := w.firstUnknown(2 * w.o.Workers())
	there, err := w.countThere(ctx, first)
	if there > 0 {
		w.resumed = true
		w.mode.Store(askFrontier)
	}
	return err
}

// readPrevious reads the previous root, and of its shards those that the new
// root does not have. What cannot be read or is not ours teaches nothing.
func (w *writer) readPrevious(ctx context.Context, digest snapshot.Digest) error {
	d, data, err := w.t.Root(ctx, Reference{Kind: w.ref.Kind, Name: w.ref.Name, Digest: digest})
	if err != nil {
		return w.forgive(ctx, err)
	}
	children, err := oci.ParseRoot(data)
	if err != nil {
		return nil
	}
	keep := make(map[snapshot.Digest]struct{}, len(w.p.shards))
	for _, s := range w.p.shards {
		keep[s.Digest] = struct{}{}
	}
	same, blobs := map[snapshot.Digest]struct{}{}, map[snapshot.Blob]struct{}{}
	blobs[oci.EmptyConfigDescriptor().Blob] = struct{}{}
	var mu sync.Mutex
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(w.o.Workers())
	for i, child := range children {
		if _, kept := keep[child.Digest]; kept {
			same[child.Digest] = struct{}{}
			continue
		}
		g.Go(func() error {
			m, err := w.previousManifest(each, child, i == 0)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range append(m.Layers, m.Config) {
				blobs[l.Blob] = struct{}{}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return w.forgive(ctx, err)
	}
	w.previous, w.sameShards, w.knownBlobs = d, same, blobs
	return nil
}

func (w *writer) previousManifest(ctx context.Context, d oci.Descriptor, core bool) (*oci.Manifest, error) {
	data, err := w.t.Document(ctx, d)
	if err != nil {
		return nil, err
	}
	if core {
		return oci.ParseCore(data)
	}
	return oci.ParseShard(data)
}

// forgive lets a push go on without a previous snapshot when that is broken, gone or foreign.
func (w *writer) forgive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, harmless := range []error{snapshot.ErrIntegrity, snapshot.ErrNotExist, ErrNotFound, ErrNotOurs} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}

// believed ranges over what belief would skip.
func (w *writer) believed(yield func(oci.Layer) bool) {
	for _, s := range w.p.shards {
		_, same := w.sameShards[s.Digest]
		for _, l := range s.layers {
			_, known := w.knownBlobs[l.Blob]
			if (same || known) && !yield(l) {
				return
			}
		}
	}
}

// sample picks evenly from what would be skipped, other ones for each root.
func (w *writer) sample() []oci.Layer {
	n := 0
	for range w.believed {
		n++
	}
	if n == 0 {
		return nil
	}
	size := min(n, sampleSize)
	offset := int(binary.BigEndian.Uint32(w.root.Digest[:4])) % n
	picks := make([]int, size)
	for i := range picks {
		picks[i] = (offset + i*n/size) % n
	}
	slices.Sort(picks)
	sample := make([]oci.Layer, 0, size)
	i := 0
	for l := range w.believed {
		if len(picks) > 0 && i == picks[0] {
			sample = append(sample, l)
			picks = picks[1:]
		}
		i++
	}
	return sample
}

// firstUnknown are the first blobs that a push without belief would send.
func (w *writer) firstUnknown(n int) []oci.Layer {
	var first []oci.Layer
	for _, s := range w.p.shards {
		if _, same := w.sameShards[s.Digest]; same {
			continue
		}
		for _, l := range s.sending() {
			if _, known := w.knownBlobs[l.Blob]; known {
				continue
			}
			if first = append(first, l); len(first) == n {
				return first
			}
		}
	}
	return first
}

// countThere asks for each blob, and returns how many are there.
func (w *writer) countThere(ctx context.Context, layers []oci.Layer) (n int, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.o.Workers())
	for _, l := range layers {
		g.Go(func() error {
			there, err := w.t.Has(ctx, l.Descriptor)
			if there {
				mu.Lock()
				n++
				mu.Unlock()
			}
			return err
		})
	}
	err = g.Wait()
	return n, err
}
