package artifact

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Incomplete is the error of a push with KeepGoing that named nothing: what could be had is there.
type Incomplete struct {
	Held    string // the tag that keeps it from being collected; "": a layout, which collects nothing by itself
	Missing []Lack
}

// Lack is a file that could not be had.
type Lack struct {
	Path   string
	Digest snapshot.Digest
	Err    error
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("%d files could not be had; no tag was moved", len(e.Missing))
}

// miss notes that the source of a blob failed, and not the place that it goes to. It tells whether the push goes on.
func (w *writer) miss(ctx context.Context, l oci.Layer, source *error, err error) bool {
	if source == nil || ctx.Err() != nil {
		return false
	}
	w.sentMu.Lock()
	defer w.sentMu.Unlock()
	if w.missing == nil {
		w.missing = map[snapshot.Digest]Lack{}
	}
	w.missing[l.Digest] = Lack{l.Path, l.Digest, err}
	return true
}

// lacks tells whether a blob of a shard is missing.
func (w *writer) lacks(s *shard) bool {
	w.sentMu.Lock()
	defer w.sentMu.Unlock()
	return len(w.missing) > 0 && slices.ContainsFunc(s.layers, func(l oci.Layer) bool { _, no := w.missing[l.Digest]; return no })
}

// watched is the opener of a blob that remembers what the source failed by at last.
func (w *writer) watched(failed *atomic.Pointer[error]) oci.Opener {
	return func(ctx context.Context, b snapshot.Blob) (oci.Verified, error) {
		failed.Store(nil)
		v, err := w.p.open(ctx, b)
		if err != nil {
			failed.Store(&err)
			return v, err
		}
		v.ReadCloser = &watchedSource{v.ReadCloser, failed}
		return v, nil
	}
}

type watchedSource struct {
	io.ReadCloser
	failed *atomic.Pointer[error]
}

func (s *watchedSource) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		s.failed.Store(&err)
	}
	return n, err
}

// hold ends a push that must not name what it wrote, because something is missing or would be: every shard that is whole, and
// of the others what is there, is put under one tag, so that no registry collects it before the next push.
func (w *writer) hold(ctx context.Context) error {
	if len(w.missing) == 0 && !w.o.HoldOnly {
		return nil
	}
	e := &Incomplete{}
	for l := range w.p.layers() {
		if m, no := w.missing[l.Digest]; no {
			e.Missing = append(e.Missing, m)
		}
	}
	if w.t.Registry == nil {
		return e
	}
	var held []oci.Descriptor
	for i := range w.p.shards {
		s := &w.p.shards[i]
		if !w.lacks(s) {
			held = append(held, s.Descriptor)
			continue
		}
		part := shard{layers: slices.DeleteFunc(slices.Clone(s.layers), func(l oci.Layer) bool { _, no := w.missing[l.Digest]; return no })}
		if len(part.layers) == 0 {
			continue
		}
		data := part.encode()
		part.Descriptor = oci.Describe(oci.TypeManifest, snapshot.BlobOf(data))
		if err := w.document(ctx, part.Descriptor, data, part.layers); err != nil {
			return fmt.Errorf("what is there of a shard: %w", err)
		}
		held = append(held, part.Descriptor)
	}
	if len(held) == 0 {
		return e
	}
	data := oci.EncodeIndex(held)
	root := oci.Describe(oci.TypeIndex, snapshot.BlobOf(data))
	tag := heldTag(w.ref.Tag)
	if err := w.t.Registry.PutTagged(ctx, root, data, tag); err != nil {
		return fmt.Errorf("tag %s, which holds what is there: %w", tag, err)
	}
	w.o.Tell(Event{Kind: Tagged, Path: tag, Digest: root.Digest, Bytes: root.Size})
	e.Held = tag
	return e
}

// heldTag is the checkpoint that holds what incomplete pushes to a tag wrote: one for each tag, for the next push
// has another root.
func heldTag(name string) string { return checkpointTag(name, snapshot.Sum([]byte("held "+name)), 0) }
