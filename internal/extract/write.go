package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// A batch of files shares one syncfs before they get their names: a sync of
// each would cost more than the transfer. A killed run loses what the last
// batch held at most.
const (
	batchFiles = 1000
	batchAge   = 2 * time.Second
)

// fetch writes the files that are missing, several at once. vet, if not nil,
// looks at each file, at a new one before it gets its final name. On an
// integrity failure nothing of this run stays, and after a failed sync nothing
// that it was to make durable.
func (o *outDir) fetch(ctx context.Context, s *snapshot.Snapshot, vet vetting) error {
	if err := o.begin(); err != nil {
		return fmt.Errorf("output directory: %w", err)
	}
	o.planned()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, name := range o.order() {
		g.Go(func() (err error) {
			switch {
			case gctx.Err() != nil:
				return gctx.Err()
			case !o.have[name]:
				err = o.write(gctx, s, name, vet)
			case vet != nil:
				err = vet(name, func() (io.ReadCloser, error) { return o.root.Open(name) })
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if errors.Is(err, outcome.ErrIntegrity) {
		o.undo()
		return err
	}
	// Without an integrity failure what was verified stays, so that a rerun resumes.
	switch failed := o.settle(); {
	case failed != nil:
		err = failed
	case err == nil:
		err = o.publish(ctx)
	default:
		err = errors.Join(err, o.disk.Sync())
	}
	if o.disk.Lost(o.mark) {
		err = fmt.Errorf("%w: what was not on the disk for certain was removed; look at the disk, then run the same command again", err)
	}
	if isFull(err) || o.disk.Lost(o.mark) {
		o.dropParts()
	}
	return err
}

// isFull tells that a disk is full: then parts of files are in the way of everybody.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// order is that of fetching: the largest first, so that none of them is still
// under way when all others are done.
func (o *outDir) order() []string {
	names := slices.Sorted(maps.Keys(o.want))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(o.want[b].Size, o.want[a].Size) })
	return names
}

// write fetches one blob into a temporary file and leaves it, verified, to the
// next batch. It goes on where an earlier run stopped; if that gives wrong bytes, and where one of
// several places gave wrong ones, it begins anew. What came before a failure of the way stays, for a rerun.
func (o *outDir) write(ctx context.Context, s *snapshot.Snapshot, name string, vet vetting) error {
	dir := path.Dir(name)
	if err := o.mkdir(dir); err != nil {
		return err
	}
	temp, from := partOf(name), o.parts[name]
	o.tell(artifact.Started, name, o.want[name].Size-from)
	err := snapshot.Again(func() error {
		err := o.transfer(ctx, s, name, from)
		if from > 0 && errors.Is(err, outcome.ErrIntegrity) {
			from = 0
			err = o.transfer(ctx, s, name, from)
		}
		return err
	})
	if err == nil && vet != nil {
		err = vet(name, func() (io.ReadCloser, error) { return o.root.Open(temp) })
	}
	if err == nil {
		mtime := o.mtime(name)
		err = o.root.Chtimes(temp, mtime, mtime)
	}
	if err != nil {
		if errors.Is(err, outcome.ErrIntegrity) || isFull(err) {
			o.root.Remove(temp)
		}
		return err
	}
	o.tell(artifact.Done, name, o.want[name].Size-o.parts[name])
	return o.done(name)
}

// transfer streams a blob into its temporary file, of which the first from bytes
// are taken for those of the blob; no error means that all its bytes are right.
func (o *outDir) transfer(ctx context.Context, s *snapshot.Snapshot, name string, from int64) error {
	var w *os.File
	var err error
	if from == 0 {
		w, err = o.create(partOf(name))
	} else {
		w, err = o.root.OpenFile(partOf(name), os.O_RDWR, 0)
	}
	if err != nil {
		return err
	}
	if from > 0 {
		// What is read of the part is written in its place again: the file is what was hashed.
		s = s.WithBlobs(func(rest snapshot.Blobs) snapshot.Blobs { return resumedBlobs{rest, w, from} })
	}
	r, err := s.OpenBlob(ctx, o.want[name])
	if err != nil {
		return errors.Join(err, w.Close())
	}
	defer r.Close()
	_, err = io.Copy(w, r.Reader)
	return errors.Join(err, w.Close())
}

// done puts a verified file into the batch, and commits a full batch.
func (o *outDir) done(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.late(name) {
		o.held = append(o.held, name)
		return o.failed
	}
	o.pending = append(o.pending, name)
	if o.failed == nil && len(o.pending) >= batchFiles {
		o.failed = o.commit()
	}
	if o.timer == nil {
		o.timer = time.AfterFunc(batchAge, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.timer = nil; o.failed == nil {
				o.failed = o.commit()
			}
		})
	}
	return o.failed
}

// commit makes the batch durable, then gives the files their names: after a
// power cut in between there are temporary names, never a half file under a
// final one. After an error nothing may be committed any more: a second sync
// would say that all is well, of bytes that never reached the disk.
func (o *outDir) commit() error {
	if len(o.pending) == 0 {
		return nil
	}
	if err := o.disk.Sync(); err != nil {
		return err
	}
	for _, name := range o.pending {
		if err := o.root.Rename(partOf(name), name); err != nil {
			return err
		}
		o.written = append(o.written, name)
	}
	o.pending = nil
	return nil
}

// settle commits the last batch, unless a commit has failed.
func (o *outDir) settle() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	if o.failed == nil {
		o.failed = o.commit()
	}
	return o.failed
}

// undo removes what this run made.
func (o *outDir) undo() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	o.pending, o.held = nil, nil
	for _, name := range o.written {
		o.root.Remove(name)
	}
	o.dropParts()
	for _, dir := range slices.Backward(o.made) {
		o.root.Remove(dir)
	}
	o.forget()
}

// dropParts removes all files under temporary names.
func (o *outDir) dropParts() {
	for name := range o.want {
		if !o.have[name] {
			o.root.Remove(partOf(name))
		}
	}
	if o.tree != nil {
		for name := range o.tree.links {
			o.root.Remove(partOf(name))
		}
	}
}

// resumedBlobs reads the first bytes of a blob from a file that an earlier run
// left, and asks elsewhere for the rest only. Like every Blobs it verifies nothing.
type resumedBlobs struct {
	rest snapshot.Blobs
	part io.ReaderAt
	size int64 // of the part, at most the blob's
}

// Open implements snapshot.Blobs, for the one blob that the part is of.
func (p resumedBlobs) Open(ctx context.Context, b snapshot.Blob, _ int64) (*snapshot.Content, error) {
	had := io.NewSectionReader(p.part, 0, p.size)
	if p.size == b.Size {
		return &snapshot.Content{R: io.NopCloser(had)}, nil
	}
	c, err := p.rest.Open(ctx, b, p.size)
	if err != nil {
		return nil, err
	}
	return &snapshot.Content{R: joined{io.MultiReader(had, c.R), c.R}, From: c.From}, nil
}

// joined is two readers in turn, the second of which is to be closed.
type joined struct {
	io.Reader
	io.Closer
}
