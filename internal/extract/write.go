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
	"example.org/mmoci/pkg/snapshot/verified"
)

// A batch of files shares one syncfs before they get their names: to sync each file
// would cost more than the transfer. A killed run loses at most the last batch.
const (
	batchFiles = 1000
	batchAge   = 2 * time.Second
)

// fetch writes the files that are missing, several at once. vet, if not nil, examines each
// file, a new one before it gets its final name. After an integrity failure nothing
// of this run stays. After a failed sync nothing stays that it should have made durable.
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

// isFull tells whether the disk is full. Then parts of files only take space from others.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// order is the order of fetching: the largest file first, so that the run does not
// end with waiting for it.
func (o *outDir) order() []string {
	names := slices.Sorted(maps.Keys(o.want))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(o.want[b].Size, o.want[a].Size) })
	return names
}

// write fetches one blob into a temporary file and adds it, verified, to the batch. It
// goes on where an earlier run stopped, and begins anew if that, or one of several places,
// gave wrong bytes. After any other failure the part stays for a rerun.
func (o *outDir) write(ctx context.Context, s *snapshot.Snapshot, name string, vet vetting) error {
	dir := path.Dir(name)
	if err := o.mkdir(dir); err != nil {
		return err
	}
	temp, from := partOf(name), o.parts[name]
	o.tell(artifact.Started, name, o.want[name].Size-from)
	err := verified.Again(func() error {
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

// transfer streams a blob into its temporary file, which holds the first from bytes
// already. They are verified with the rest: without an error all bytes are right.
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
		// The bytes of the part are read, hashed and written in their place again.
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

// done adds a verified file to the batch, and commits a full batch.
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

// commit makes the batch durable, then gives the files their names. A power cut in
// between leaves temporary names, never a half file under a final name. After an error
// nothing may be committed any more: a second sync would succeed for bytes that never
// reached the disk.
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
// left, and the rest from other Blobs. It verifies nothing.
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

// joined reads two readers in turn and closes the second.
type joined struct {
	io.Reader
	io.Closer
}
