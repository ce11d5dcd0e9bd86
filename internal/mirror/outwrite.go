package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

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
// integrity failure nothing of this run stays.
func (o *outDir) fetch(ctx context.Context, s *snapshot.Snapshot, vet vetting) error {
	o.planned()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	if errors.Is(err, ErrIntegrity) {
		o.undo()
		return err
	}
	// Without an integrity failure what was verified stays, so that a rerun resumes.
	err = errors.Join(err, o.failed, o.commit())
	if isFull(err) {
		o.dropParts()
	}
	return errors.Join(err, o.sync())
}

// isFull tells that a disk is full: then parts of files are in the way of everybody.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// order is that of fetching: the largest first, so that none of them is still
// under way when all others are done.
func (o *outDir) order() []string {
	names := sortedKeys(o.want)
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
	err := again(func() error {
		err := o.transfer(ctx, s, name, from)
		if from > 0 && errors.Is(err, ErrIntegrity) {
			from = 0
			err = o.transfer(ctx, s, name, from)
		}
		return err
	})
	if err == nil && vet != nil {
		err = vet(name, func() (io.ReadCloser, error) { return o.root.Open(temp) })
	}
	if err == nil {
		mtime := snapshot.ModTime(o.want[name].Digest)
		err = o.root.Chtimes(temp, mtime, mtime)
	}
	if err != nil {
		if errors.Is(err, ErrIntegrity) || isFull(err) {
			o.root.Remove(temp)
		}
		return err
	}
	o.tell(artifact.Done, name, o.want[name].Size-o.parts[name])
	return o.done(temp, name)
}

// transfer streams a blob into its temporary file, of which the first from bytes
// are taken for those of the blob; no error means that all its bytes are right.
func (o *outDir) transfer(ctx context.Context, s *snapshot.Snapshot, name string, from int64) error {
	flags := os.O_CREATE | os.O_RDWR
	if from == 0 {
		flags |= os.O_TRUNC
	}
	w, err := o.root.OpenFile(partOf(name), flags, 0o644)
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
func (o *outDir) done(temp, name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, [2]string{temp, name})
	if o.failed == nil && len(o.pending) >= batchFiles {
		o.failed = o.commit()
	}
	if o.timer == nil {
		o.timer = time.AfterFunc(batchAge, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.timer, o.failed = nil, errors.Join(o.failed, o.commit())
		})
	}
	return o.failed
}

// commit makes the batch durable, then gives the files their names: after a
// power cut in between there are temporary names, never a half file under a
// final one.
func (o *outDir) commit() error {
	if len(o.pending) == 0 {
		return nil
	}
	if err := o.sync(); err != nil {
		return err
	}
	for i, p := range o.pending {
		if err := o.root.Rename(p[0], p[1]); err != nil {
			o.pending = o.pending[i:]
			return err
		}
		o.written = append(o.written, p[1])
	}
	o.pending = nil
	return nil
}

// undo removes what this run made.
func (o *outDir) undo() {
	for _, name := range o.written {
		o.root.Remove(name)
	}
	o.pending = nil
	o.dropParts()
	for _, dir := range slices.Backward(o.made) {
		o.root.Remove(dir)
	}
}

// dropParts removes what there is of files that are not whole.
func (o *outDir) dropParts() {
	for name := range o.want {
		if !o.have[name] {
			o.root.Remove(partOf(name))
		}
	}
}

// sync makes everything so far durable: bytes before names, names before success is reported.
func (o *outDir) sync() error { return unix.Syncfs(int(o.lock.Fd())) }
