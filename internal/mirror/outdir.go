package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// tempMark begins the names of files that are being written. They are never
// what a user asked for, and a rerun removes those that a killed run left.
const tempMark = ".mmoci-tmp-"

type readSeekCloser interface {
	io.ReadSeekCloser
}

// outDir is an output directory under construction. A final name appears only
// after its bytes were verified; what was there and is not ours is refused.
type outDir struct {
	dir     string
	root    *os.Root
	want    map[string]snapshot.Blob // by path, slash-separated
	have    map[string]bool
	total   int64
	reused  int64
	mu      sync.Mutex
	pending [][2]string // temporary and final name, verified, not yet committed
	written []string
}

// openDir opens or makes dir for exactly the files of want. Anything else in
// there is an error and stays untouched.
func openDir(dir string, want map[string]snapshot.Blob) (*outDir, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	o := &outDir{dir: dir, root: root, want: want, have: map[string]bool{}}
	for _, b := range want {
		o.total += b.Size
	}
	if err := o.survey(); err != nil {
		root.Close()
		return nil, err
	}
	return o, o.room()
}

func (o *outDir) close() { o.root.Close() }

// path is the name of a file for people and dpkg.
func (o *outDir) path(name string) string { return filepath.Join(o.dir, filepath.FromSlash(name)) }

// survey looks at what is there: files that verify are kept, temporary ones of
// a killed run removed, everything else refused.
func (o *outDir) survey() error {
	dirs := map[string]bool{".": true}
	for name := range o.want {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	return fs.WalkDir(o.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if !dirs[p] {
				return o.foreign(p)
			}
			return nil
		case strings.HasPrefix(path.Base(p), tempMark):
			return o.root.Remove(p)
		}
		blob, ok := o.want[p]
		if !ok || !d.Type().IsRegular() {
			return o.foreign(p)
		}
		if err := o.same(p, blob); err != nil {
			return err
		}
		o.have[p] = true
		o.reused += blob.Size
		return nil
	})
}

func (o *outDir) foreign(p string) error {
	return fmt.Errorf("%w: %s holds %s, which is not part of this; give an empty directory (-o DIR), nothing was changed", ErrRefused, o.dir, p)
}

// same hashes a file that is there.
func (o *outDir) same(p string, b snapshot.Blob) error {
	f, err := o.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != b.Size || snapshot.Digest(h.Sum(nil)) != b.Digest {
		return fmt.Errorf("%w: %s is there with other bytes than %s; move it away or give an empty directory, nothing was changed", ErrRefused, o.path(p), b.Digest)
	}
	return nil
}

// room says before anything is fetched if the disk cannot hold it.
func (o *outDir) room() error {
	var st unix.Statfs_t
	if err := unix.Statfs(o.dir, &st); err != nil {
		return nil // not every file system tells; writing will
	}
	if need, free := o.total-o.reused, int64(st.Bavail)*st.Bsize; need > free {
		o.root.Close()
		return fmt.Errorf("%s: %d bytes are needed and %d are free: %w", o.dir, need, free, unix.ENOSPC)
	}
	return nil
}

// fetch writes the files that are missing, several at once. vet, if not nil,
// looks at a file before it gets its final name. On an integrity failure
// nothing of this run stays.
func (o *outDir) fetch(ctx context.Context, s *snapshot.Snapshot, vet func(string, func() (readSeekCloser, error)) error) error {
	names := make([]string, 0, len(o.want))
	for name := range o.want {
		if !o.have[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, name := range names {
		g.Go(func() error {
			if err := o.write(gctx, s, name, vet); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if errors.Is(err, ErrIntegrity) {
		o.undo()
		return err
	}
	// Without an integrity failure what was verified stays, so that a rerun resumes.
	return errors.Join(err, o.commit(), o.sync())
}

// write streams one blob into a temporary file, verified while it is written,
// and gives it its name.
func (o *outDir) write(ctx context.Context, s *snapshot.Snapshot, name string, vet func(string, func() (readSeekCloser, error)) error) (err error) {
	blob := o.want[name]
	dir := path.Dir(name)
	if err := o.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp := path.Join(dir, tempMark+path.Base(name))
	w, err := o.root.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.Close()
			o.root.Remove(temp)
		}
	}()
	r, err := s.OpenBlob(ctx, blob)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(w, r.Reader); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if vet != nil {
		if err := vet(name, func() (readSeekCloser, error) { return o.root.Open(temp) }); err != nil {
			return err
		}
	}
	mtime := snapshot.ModTime(blob.Digest)
	if err := o.root.Chtimes(temp, mtime, mtime); err != nil {
		return err
	}
	return o.done(temp, name)
}

// batch is how many files share one syncfs before they get their names: a sync
// of each would cost more than the transfer.
const batch = 1000

// done puts a verified file into the batch, and commits a full batch.
func (o *outDir) done(temp, name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, [2]string{temp, name})
	if len(o.pending) < batch {
		return nil
	}
	return o.commit()
}

// commit makes the batch durable, then gives the files their names: after a
// power cut in between there are temporary names, never a half file under a
// final one.
func (o *outDir) commit() error {
	if err := o.sync(); err != nil {
		return err
	}
	for _, p := range o.pending {
		if err := o.root.Rename(p[0], p[1]); err != nil {
			return err
		}
		o.written = append(o.written, p[1])
	}
	o.pending = nil
	return nil
}

// undo removes what this run wrote.
func (o *outDir) undo() {
	for _, name := range o.written {
		o.root.Remove(name)
	}
	for _, p := range o.pending {
		o.root.Remove(p[0])
	}
}

// sync makes everything so far durable: bytes before names, names before success is reported.
func (o *outDir) sync() error {
	d, err := os.Open(o.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
