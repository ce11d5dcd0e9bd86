package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	batchFiles = 1000            // files of a batch
	batchAge   = 2 * time.Second // a batch is not kept open longer
)

// Writer writes into a layout. Blobs get temporary names in a directory of this
// push. A batch of them is made durable by one sync and then renamed, in the order of
// completion: a final name holds verified, durable bytes, and a manifest gets its name after its blobs.
type Writer struct {
	Place
	layout  *layout
	recheck bool // Has reads and hashes what is there

	disk  *durable.Syncer
	tmp   *os.File // locked as long as it is in use
	blobs *os.File

	commitMu sync.Mutex // serialises commits: names appear in order
	mu       sync.Mutex
	pending  []string // complete temporary files
	timer    *time.Timer
	failed   error // of any commit: from then on nothing gets a name
}

// NewWriter opens a layout for writing, and makes one of an empty or absent
// directory. Close must be called.
func NewWriter(ctx context.Context, dir string, o Options) (*Writer, error) {
	if err := prepareLayout(dir); err != nil {
		return nil, err
	}
	l := newLayout(dir, o)
	w := &Writer{Place: Place{l}, layout: l}
	if err := w.open(ctx, o.Sync); err != nil {
		return nil, errors.Join(err, w.Close(ctx))
	}
	return w, nil
}

// prepareLayout makes an empty or absent directory a layout; any other that is none is refused.
func prepareLayout(dir string) error {
	err := checkMarker(dir)
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	if err != nil {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if name := e.Name(); name != "blobs" && !strings.HasPrefix(name, durable.TempPrefix) {
				if checkMarker(dir) == nil {
					return nil // another push was faster
				}
				return fmt.Errorf("%s is no OCI layout and holds %s; give a layout, an empty or a new directory", dir, name)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, blobsDir), 0o755); err != nil {
		return err
	}
	if err == nil {
		return nil
	}
	if err := durable.WriteFile(filepath.Join(dir, layoutFile), []byte(layoutMarker), 0o644); err != nil {
		if checkMarker(dir) == nil {
			return nil // another push was faster
		}
		return err
	}
	return nil
}

// open cleans up after killed pushes and makes this one's directory, under the lock.
func (w *Writer) open(ctx context.Context, sync func(fd int) error) error {
	unlock, err := lockLayout(ctx, w.layout.dir)
	if err != nil {
		return err
	}
	defer unlock()
	removeLeft(filepath.Join(w.layout.dir, durable.TempPrefix))
	if w.disk, err = durable.Open(w.layout.dir, sync); err != nil {
		return err
	}
	if w.tmp, err = durable.MkdirTemp(w.layout.dir, durable.TempPrefix); err != nil {
		return err
	}
	w.blobs, err = os.Open(filepath.Join(w.layout.dir, blobsDir))
	return err
}

// lockLayout locks a layout against other writers of index.json, which have it for moments; but
// for a prune, which collects meanwhile. The lock is on oci-layout: index.json itself is
// replaced, and would take its lock with it.
func lockLayout(ctx context.Context, dir string) (unlock func(), err error) {
	return durable.Lock(ctx, filepath.Join(dir, layoutFile), 0)
}

// removeLeft removes what pushes that were killed left behind.
func removeLeft(stem string) {
	left, err := filepath.Glob(globEscape(stem) + "*")
	if err != nil {
		return
	}
	for _, name := range left {
		_ = durable.RemoveUnlocked(name) // the next one tries again
	}
}

// Has asks the file system; with recheck the file is hashed, and a wrong one is not there.
func (w *Writer) Has(ctx context.Context, d oci.Descriptor) (bool, error) {
	var st unix.Stat_t // by the open directory: this is asked for every blob
	err := unix.Fstatat(int(w.blobs.Fd()), d.Digest.Hex(), &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("%s: %w", d.Digest, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != d.Size {
		return false, nil
	}
	if !w.recheck {
		return true, nil
	}
	c, err := w.Open(ctx, d.Blob, 0)
	if err != nil {
		return false, err
	}
	r := snapshot.NewReader(c.R, d.Blob)
	defer r.Close()
	_, err = io.Copy(io.Discard, oci.WithContext(ctx, r))
	if errors.Is(err, snapshot.ErrIntegrity) {
		return false, nil
	}
	return err == nil, err
}

// Put writes a blob to a temporary name and leaves it to the next batch.
func (w *Writer) Put(ctx context.Context, l oci.Layer, open oci.Opener) (int64, error) {
	r, err := open(ctx, l.Blob)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", l.Name(), err)
	}
	name := l.Digest.Hex()
	err = w.writeTemporary(ctx, name, l.Size, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return 0, fmt.Errorf("%s: %w", l.Name(), err)
	}
	return l.Size, w.complete(name)
}

// PutDocument writes a manifest as Put writes a blob.
func (w *Writer) PutDocument(ctx context.Context, d oci.Descriptor, data []byte) error {
	if err := w.writeTemporary(ctx, d.Digest.Hex(), d.Size, oci.InMemory(data)); err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	return w.complete(d.Digest.Hex())
}

// writeTemporary takes four system calls for a small blob: os.File would add those of the poller.
func (w *Writer) writeTemporary(ctx context.Context, name string, size int64, r oci.Verified) (err error) {
	fd, err := unix.Openat(int(w.tmp.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	if r.File != nil {
		f := os.NewFile(uintptr(fd), name)
		n, err := copyFile(ctx, f, r.File) // by copy_file_range or a reflink
		if err == nil && n != size {
			err = oci.Integrity("%d bytes, want %d", n, size)
		}
		return errors.Join(err, f.Close())
	}
	n, err := io.Copy(fdWriter(fd), oci.WithContext(ctx, r))
	if err == nil && n != size {
		err = oci.Integrity("%d bytes, want %d", n, size)
	}
	return errors.Join(err, unix.Close(fd))
}

type fdWriter int

func (fd fdWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(fd), p[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// complete adds a finished temporary file to the batch.
func (w *Writer) complete(name string) error {
	w.mu.Lock()
	w.pending = append(w.pending, name)
	full := len(w.pending) >= batchFiles
	if w.timer == nil {
		w.timer = time.AfterFunc(batchAge, func() { _ = w.commit() }) // failed keeps its error
	}
	err := w.failed
	w.mu.Unlock()
	if full && err == nil {
		err = w.commit()
	}
	return err
}

// commit makes the batch durable and gives it its names. If the process dies in
// between, what is renamed is right, and the rest is written again by the next push.
//
// After a failed sync nothing that has no name yet gets one (package durable).
func (w *Writer) commit() error {
	w.commitMu.Lock()
	defer w.commitMu.Unlock()
	err := w.commitLocked()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed = err
	}
	return w.failed
}

func (w *Writer) commitLocked() error {
	w.mu.Lock()
	batch := w.pending
	if w.failed != nil {
		batch = nil
	}
	w.pending = nil
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := w.disk.Sync(); err != nil {
		return fmt.Errorf("%w; what was written since the last one is not believed", err)
	}
	for _, name := range batch {
		if err := unix.Renameat(int(w.tmp.Fd()), name, int(w.blobs.Fd()), name); err != nil {
			return fmt.Errorf("blob %s: %w", name, err)
		}
	}
	return nil
}

// Begin has nothing to prepare.
func (w *Writer) Begin(_ oci.Contents, recheck bool) error {
	w.recheck = recheck
	return nil
}

// Publish commits everything, syncs the names, and only then moves the tags, both in one index.json.
func (w *Writer) Publish(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, tags ...string) error {
	there, err := w.Has(ctx, d)
	if err != nil {
		return err
	}
	if !there {
		if err := w.PutDocument(ctx, d, data); err != nil {
			return err
		}
	}
	if err := w.commit(); err != nil {
		return err
	}
	if err := w.disk.Sync(); err != nil { // the names
		return err
	}
	return w.setTags(ctx, d, expected, tags)
}

// NameImages makes index.json name images whose blobs are there or were put: all of it, or nothing.
// Names that stand there already cost nothing but a look.
func (w *Writer) NameImages(ctx context.Context, images []oci.NamedImage) error {
	for _, durably := range []bool{false, true} {
		changed, err := w.nameImages(ctx, images, durably)
		if err != nil || !changed {
			return err
		}
		if durably {
			break
		}
		if err := w.commit(); err != nil {
			return err
		}
		if err := w.disk.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// nameImages tells whether index.json lacks names, and writes them if what they name is durable.
func (w *Writer) nameImages(ctx context.Context, images []oci.NamedImage, durably bool) (changed bool, err error) {
	unlock, err := lockLayout(ctx, w.layout.dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	x, err := readIndex(w.layout.dir)
	if err != nil {
		return false, err
	}
	if changed = x.setImages(images); !changed || !durably {
		return changed, nil
	}
	if err := oci.Interrupted(ctx); err != nil {
		return false, err
	}
	data, err := x.encode()
	if err != nil {
		return false, err
	}
	return true, durable.WriteFile(filepath.Join(w.layout.dir, indexFile), data, 0o644)
}

// readIndex reads the index.json of a layout that is written to; none is an empty one.
func readIndex(dir string) (*layoutIndex, error) {
	data, err := oci.ReadFile(filepath.Join(dir, indexFile), maxLayoutIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return &layoutIndex{}, nil
	} else if err != nil {
		return nil, err
	}
	return parseLayoutIndex(data)
}

// setTags moves the tags under the lock, if the last one names what is expected.
func (w *Writer) setTags(ctx context.Context, d oci.Descriptor, expected *snapshot.Digest, tags []string) error {
	unlock, err := lockLayout(ctx, w.layout.dir)
	if err != nil {
		return err
	}
	defer unlock()
	x, err := readIndex(w.layout.dir)
	if err != nil {
		return err
	}
	now, _ := x.find(tags[len(tags)-1])
	if err := oci.CheckMoved(tags[len(tags)-1], now.Digest, d.Digest, expected); err != nil {
		return err
	}
	if err := oci.Interrupted(ctx); err != nil {
		return err
	}
	for _, tag := range tags {
		x.set(tag, d)
	}
	data, err := x.encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(w.layout.dir, indexFile), data, 0o644)
}

// Close keeps what is complete, so that a rerun need not fetch it again, and removes the rest.
// An interrupted writer does not wait for another sync, which takes minutes on a slow stick: that
// costs the rerun two seconds' work.
func (w *Writer) Close(ctx context.Context) error {
	ended := oci.Interrupted(ctx)
	w.mu.Lock()
	if ended != nil && w.failed == nil {
		w.failed = ended
	}
	w.mu.Unlock()
	var err error
	if w.tmp != nil && w.blobs != nil {
		if err = w.commit(); ended != nil { // it waits for a sync that is under way, and begins none
			err = nil
		}
	}
	if w.blobs != nil {
		err = errors.Join(err, w.blobs.Close())
	}
	if w.tmp != nil {
		err = errors.Join(err, os.RemoveAll(w.tmp.Name()), w.tmp.Close())
	}
	if w.disk != nil {
		err = errors.Join(err, w.disk.Close())
	}
	return err
}

// copyPiece is how much is copied from file to file before the context is asked again: less
// than half a second's work of a slow stick.
const copyPiece = 4 << 20

// copyFile copies from file to file, within the kernel where it can, as long as ctx lasts.
func copyFile(ctx context.Context, to, from *os.File) (n int64, err error) {
	for {
		if err := oci.Interrupted(ctx); err != nil {
			return n, err
		}
		m, err := io.CopyN(to, from, copyPiece)
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
