package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/verified"
)

// errBelief says that something was not asked for and is not there.
var errBelief = errors.New("the place has lost what the previous snapshot promised")

// Modes of asking for a blob before it is sent.
const (
	askNone     int32 = iota // what the previous root does not hold is new
	askFrontier              // an earlier push got part of the way: ask until nothing is found
	askAll                   // believe nothing
)

// frontierMisses is after how many shards without a hit the frontier of an earlier push is passed.
const frontierMisses = 2

// writer writes one artifact to one place.
type writer struct {
	t         places.Destination
	ref       Reference
	p         *packed
	o         *PushOptions
	root      oci.Descriptor
	core      oci.Descriptor
	immutable string
	namer     images.Namer

	expected   snapshot.Digest            // what the tag must name when it moves
	previous   oci.Descriptor             // the root whose graph is believed; zero: none
	knownBlobs map[snapshot.Blob]struct{} // with their sizes: a registry takes any for a blob that it has
	sameShards map[snapshot.Digest]struct{}
	mode       atomic.Int32
	misses     atomic.Int32
	resumed    bool
	configured chan struct{} // closed when the config of all shards is there

	sentMu sync.Mutex
	sent   map[snapshot.Digest]struct{} // by this push: not asked for again
	// missing are those that their source could not give, with KeepGoing.
	missing map[snapshot.Digest]Lack

	uploaded, bytes, reused atomic.Int64
	manifests, refilled     atomic.Int64
	checkpoints             checkpoints
}

func newWriter(t places.Destination, ref Reference, p *packed, o *PushOptions) (*writer, error) {
	w := &writer{
		t: t, ref: ref, p: p, o: o,
		root: oci.Describe(oci.TypeIndex, snapshot.BlobOf(p.root)),
		core: oci.Describe(oci.TypeManifest, snapshot.BlobOf(p.core)),
		sent: map[snapshot.Digest]struct{}{},
	}
	var err error
	if w.immutable, err = beside(ref, p.date, w.root.Digest); err != nil {
		return nil, err
	}
	if o.Recheck || ref.Kind != Registry { // a file system answers for nothing
		w.mode.Store(askAll)
	}
	w.checkpoints.begin(o.Tuning.Checkpoint)
	w.namer = images.Namer{Ref: ref, Images: p.images, Open: p.open, Options: o, Sent: w.sentImage}
	return w, nil
}

func (w *writer) asksAll() bool { return w.mode.Load() == askAll }

func (w *writer) askAll() {
	w.mode.Store(askAll)
	w.previous = oci.Descriptor{}
	w.reused.Store(0)
}

// everything writes shards and the core's blobs, the core, the names of images, root and tags, in this order. An interrupted
// step may have nothing to tell, because nothing of it failed: the context is asked
// before the next one begins, and last before a tag moves.
func (w *writer) everything(ctx context.Context) error {
	for _, step := range []func(context.Context) error{w.writeBelow, w.hold, w.nameImages, w.stillBelieved, w.publish} {
		if err := oci.Interrupted(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// nameImages names the images of the snapshot in the place.
func (w *writer) nameImages(ctx context.Context) error {
	return w.namer.Name(ctx, w.t, w.p.omit)
}

// sentImage accounts for a blob of an image that is put a second time, under the image's name.
func (w *writer) sentImage(l oci.Layer, bytes int64) {
	if bytes > 0 {
		w.uploaded.Add(1)
		w.bytes.Add(bytes)
	}
}

// stillBelieved asks whether the root that was believed is still there.
func (w *writer) stillBelieved(ctx context.Context) error {
	if w.previous.Size == 0 || w.asksAll() {
		return nil
	}
	there, err := w.t.Has(ctx, w.previous)
	if err == nil && !there {
		err = errBelief
	}
	return err
}

func (w *writer) publish(ctx context.Context) error {
	tags := []string{w.immutable, w.ref.Tag}
	if w.immutable == "" {
		tags = tags[1:]
	}
	if err := w.t.Publish(ctx, w.root, w.p.root, &w.expected, tags...); err != nil {
		if remote.LacksContent(err) && !w.asksAll() {
			return fmt.Errorf("%w: %w", errBelief, err)
		}
		return fmt.Errorf("root: %w", err)
	}
	for _, tag := range tags {
		w.o.Tell(Event{Kind: Tagged, Path: tag, Digest: w.root.Digest, Bytes: w.root.Size})
	}
	return nil
}

// writeBelow writes the blobs of all shards, in their order, and each shard as soon as its last blob is there; then the core
// likewise, which does not wait for the last shards: over a long line each step that waits costs a round trip. It is not among
// the first, because a registry collects after an hour what no tag reaches, and a push may take longer.
func (w *writer) writeBelow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.o.Workers())
	w.configured = make(chan struct{})
	g.Go(func() error {
		if len(w.p.shards) == 0 {
			return nil
		}
		err := w.blob(ctx, oci.Layer{Descriptor: oci.EmptyConfigDescriptor()}, &tally{})
		if err == nil {
			close(w.configured)
		}
		return err
	})
	for i := range w.p.shards {
		if ctx.Err() != nil {
			break
		}
		if err := w.writeShard(ctx, g, &w.p.shards[i]); err != nil {
			g.Go(func() error { return err })
			break
		}
	}
	var pending atomic.Int32 // of the core's blobs
	pending.Store(int32(len(w.p.tops)))
	for _, l := range w.p.tops {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := w.writeTop(ctx, l); err != nil || pending.Add(-1) > 0 {
				return err
			}
			return w.writeCore(ctx)
		})
	}
	return g.Wait()
}

// writeTop sends a blob of the core. It is asked for even if it is believed to be there: some
// registries take a manifest with this config type without looking.
func (w *writer) writeTop(ctx context.Context, l oci.Layer) error {
	if w.wasSent(l.Digest) {
		return nil
	}
	if _, known := w.knownBlobs[l.Blob]; known || w.mode.Load() != askNone {
		there, err := w.t.Has(ctx, l.Descriptor)
		if err != nil {
			return err
		}
		if there {
			w.skip(l)
			return nil
		}
	}
	return w.send(ctx, l)
}

// tally counts what was asked of a shard's blobs, and what of it was there.
type tally struct {
	pending, asked, hits atomic.Int32
}

func (w *writer) writeShard(ctx context.Context, g *errgroup.Group, s *shard) error {
	there, err := w.hasShard(ctx, s)
	if err != nil {
		return err
	}
	if there {
		for _, l := range s.layers {
			w.skip(l)
		}
		return nil
	}
	t := &tally{}
	t.pending.Store(1) // this loop's
	for batch := range slices.Chunk(s.sending(), w.batch()) {
		if ctx.Err() != nil {
			return oci.Interrupted(ctx)
		}
		t.pending.Add(int32(len(batch)))
		g.Go(func() error { return w.writeBatch(ctx, g, s, batch, t) })
	}
	return w.finishShard(ctx, s, t)
}

// batch is how many blobs one worker asks for: a file system answers in less time
// than it takes to hand a blob to another worker.
func (w *writer) batch() int {
	if w.ref.Kind == Registry {
		return 1
	}
	return 64
}

// writeBatch asks for blobs one after another. What is to be sent another worker sends, if one is free.
func (w *writer) writeBatch(ctx context.Context, g *errgroup.Group, s *shard, batch []oci.Layer, t *tally) error {
	for _, l := range batch {
		there, err := w.there(ctx, l, t)
		if err != nil {
			return err
		}
		write := func() error {
			if !there {
				if err := w.send(ctx, l); err != nil {
					return err
				}
			}
			return w.finishShard(ctx, s, t)
		}
		if !there && len(batch) > 1 && g.TryGo(write) {
			continue
		}
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// hasShard tells whether a shard is known to be there with all its blobs:
// because the previous root has it, or because an earlier push came that far.
func (w *writer) hasShard(ctx context.Context, s *shard) (bool, error) {
	switch w.mode.Load() {
	case askAll:
		return false, nil
	case askFrontier:
		if _, same := w.sameShards[s.Digest]; same {
			return true, nil
		}
		return w.t.Has(ctx, s.Descriptor)
	}
	_, same := w.sameShards[s.Digest]
	return same, nil
}

// finishShard puts the shard when the last of its blobs calls.
func (w *writer) finishShard(ctx context.Context, s *shard, t *tally) error {
	if err := oci.Interrupted(ctx); err != nil {
		return err
	}
	if t.pending.Add(-1) > 0 || w.lacks(s) {
		return nil
	}
	select {
	case <-w.configured:
	case <-ctx.Done():
		return oci.Interrupted(ctx)
	}
	if t.asked.Load() > 0 {
		if t.hits.Load() > 0 {
			w.misses.Store(0)
		} else if w.misses.Add(1) >= frontierMisses {
			w.mode.CompareAndSwap(askFrontier, askNone)
		}
	}
	if err := w.document(ctx, s.Descriptor, s.encode(), s.layers); err != nil {
		return fmt.Errorf("shard at %s: %w", s.layers[0].Name(), err)
	}
	return w.checkpoint(ctx, s.Descriptor)
}

// document puts a manifest. If the place refuses it because something below is
// missing, all of that is asked for and sent, once.
func (w *writer) document(ctx context.Context, d oci.Descriptor, data []byte, below []oci.Layer) error {
	if w.ref.Kind != Registry || w.o.Recheck {
		there, err := w.t.Has(ctx, d)
		if err != nil || there && w.ref.Kind != Registry {
			return err
		}
		if !there {
			w.manifests.Add(1)
			w.refilled.Add(d.Size)
		}
	}
	err := w.t.PutDocument(ctx, d, data)
	if err != nil && w.ref.Kind == Registry && remote.LacksContent(err) {
		if healing := w.heal(ctx, below); healing != nil {
			return errors.Join(err, healing)
		}
		err = w.t.PutDocument(ctx, d, data)
	}
	if err == nil {
		w.o.Tell(Event{Kind: Done, Digest: d.Digest, Bytes: d.Size})
	}
	return err
}

// heal asks for each blob of a manifest and sends what is not there.
func (w *writer) heal(ctx context.Context, below []oci.Layer) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.o.Workers())
	for _, l := range append([]oci.Layer{{Descriptor: oci.EmptyConfigDescriptor()}}, below...) {
		g.Go(func() error {
			there, err := w.t.Has(ctx, l.Descriptor)
			if there || err != nil {
				return err
			}
			return w.send(ctx, l)
		})
	}
	return g.Wait()
}

// blob sends a blob unless it is there.
func (w *writer) blob(ctx context.Context, l oci.Layer, t *tally) error {
	if there, err := w.there(ctx, l, t); there || err != nil {
		return err
	}
	return w.send(ctx, l)
}

// there tells whether a blob need not be sent, and accounts for it then.
func (w *writer) there(ctx context.Context, l oci.Layer, t *tally) (bool, error) {
	if w.wasSent(l.Digest) {
		return true, nil
	}
	mode := w.mode.Load()
	_, there := w.knownBlobs[l.Blob]
	if there = there && mode != askAll; !there && mode != askNone {
		var err error
		if there, err = w.t.Has(ctx, l.Descriptor); err != nil {
			return false, err
		}
		t.asked.Add(1)
		if there {
			t.hits.Add(1)
		}
	}
	if there {
		w.skip(l)
	}
	return there, nil
}

func (w *writer) send(ctx context.Context, l oci.Layer) error {
	w.o.Tell(Event{Kind: Started, Path: l.Path, Digest: l.Digest, Bytes: l.Size})
	open, failed := w.p.open, new(atomic.Pointer[error])
	if w.o.KeepGoing {
		open = w.watched(failed)
	}
	var sent int64
	err := verified.Again(func() (err error) { // an upstream of several URLs may have given wrong bytes
		sent, err = w.t.Put(ctx, l, open)
		return err
	})
	if err != nil && w.miss(ctx, l, failed.Load(), err) {
		return nil
	}
	if err != nil {
		return err
	}
	w.sentMu.Lock()
	w.sent[l.Digest] = struct{}{}
	w.sentMu.Unlock()
	if sent == 0 {
		w.skip(l)
		return nil
	}
	w.uploaded.Add(1)
	w.bytes.Add(sent)
	w.o.Tell(Event{Kind: Done, Path: l.Path, Digest: l.Digest, Bytes: l.Size})
	return nil
}

func (w *writer) wasSent(d snapshot.Digest) bool {
	w.sentMu.Lock()
	defer w.sentMu.Unlock()
	_, sent := w.sent[d]
	return sent
}

func (w *writer) skip(l oci.Layer) {
	w.reused.Add(l.Size)
	w.o.Tell(Event{Kind: Skipped, Path: l.Path, Digest: l.Digest, Bytes: l.Size})
}

// writeCore writes the core, whose blobs are there.
func (w *writer) writeCore(ctx context.Context) error {
	if err := oci.Interrupted(ctx); err != nil {
		return err
	}
	if err := w.document(ctx, w.core, w.p.core, w.p.tops); err != nil {
		return fmt.Errorf("core: %w", err)
	}
	return nil
}

// ensureImmutable sets the immutable tag of a root that the alias names already.
func (w *writer) ensureImmutable(ctx context.Context) error {
	if w.immutable == "" {
		return nil
	}
	ref := w.ref
	ref.Tag = w.immutable
	now, err := w.t.Resolve(ctx, ref)
	if now == w.root.Digest && err == nil {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return w.t.Publish(ctx, w.root, w.p.root, nil, w.immutable)
}

// plan tells how much there is to write, or to find there.
func (w *writer) plan() {
	e := Event{Kind: Planned}
	for l := range w.p.layers() {
		e.Files, e.Bytes = e.Files+1, e.Bytes+l.Size
	}
	w.o.Tell(e)
}

// skipAll accounts for a push that had nothing to do.
func (w *writer) skipAll() {
	for l := range w.p.layers() {
		w.reused.Add(l.Size)
	}
}

func (w *writer) pushed(was snapshot.Digest) Pushed {
	r := Pushed{
		Root: w.root.Digest, Reference: w.ref, Immutable: w.immutable, Changed: was != w.root.Digest, Was: was,
		Uploaded: int(w.uploaded.Load()), Bytes: w.bytes.Load(), Reused: w.reused.Load(),
		Manifests: int(w.manifests.Load()), Refilled: w.refilled.Load(),
	}
	r.Reference.Digest = w.root.Digest
	if w.ref.Kind == Archive {
		r.Runnable = w.p.runnable()
	}
	for range w.p.layers() {
		r.Blobs++
	}
	return r
}
