package static

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/verified"
)

const (
	blobsDir     = "blobs/sha256"
	documentsDir = "documents/sha256"
	rootsDir     = "roots/sha256"
	referrersDir = "referrers/sha256"
)

// Copies share one sync before they get their names.
const (
	batchFiles = 1000
	batchBytes = 1 << 30
)

func blobPath(d snapshot.Digest) string { return blobsDir + "/" + d.Hex() }

func documentDir(d snapshot.Digest) string { return documentsDir + "/" + d.Hex() }

func documentPath(d oci.Descriptor) string {
	return documentDir(d.Digest) + "/document." + endings[d.MediaType]
}

// filler puts blobs. Safe for concurrent use.
type filler struct {
	*export
	blobs *os.File // the directory
	begun durable.Mark
	// linking is held while blobs get their names. The kernel names one after the other in a directory anyway; who waits there
	// holds a thread, who waits here lets others hash.
	linking sync.Mutex
	linked  []snapshot.Digest // in this run: until the next sync nothing of them is certain. Guarded by linking

	mu        sync.Mutex
	temp      bool            // tempDir is there
	pending   []snapshot.Blob // copied, hashed, without a name
	bytes     int64
	documents []oci.Descriptor // of this run, as linked
}

// fill puts the blobs that are missing and gives the documents among them their names, all on the disk when it returns. It returns
// the blobs that were there before, sorted.
func (e *export) fill(ctx context.Context) (had []snapshot.Digest, err error) {
	for _, dir := range []string{blobsDir, documentsDir, rootsDir, referrersDir} {
		if err := e.root.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	f := &filler{export: e, begun: e.disk.Mark()}
	if f.blobs, err = e.root.Open(blobsDir); err != nil {
		return nil, err
	}
	defer f.blobs.Close()
	defer func() { // nothing is left of copies that have no name
		if f.temp {
			err = errors.Join(err, e.root.RemoveAll(tempDir))
		}
	}()
	if had, err = e.digests(blobsDir); err != nil { // only what was hashed has such a name
		return nil, err
	}
	missing := f.missing(had)
	if len(missing) > 0 {
		// What was written to the layout a moment ago is on the disk before it is linked.
		if err := e.disk.Sync(); err != nil {
			return nil, err
		}
		if missing, err = inOrder(missing, e.contents); err != nil {
			return nil, err
		}
	}
	err = f.takeAll(ctx, missing)
	// What was copied and is right stays after any error but of the disk, so that a rerun goes on from there.
	err = errors.Join(err, f.commit())
	if err == nil {
		f.documents, err = e.linkDocuments()
	}
	// A run that was killed may have left names that are not on the disk for certain: a root without a list is synced for.
	if err == nil && (len(missing)+len(f.documents) > 0 || !e.allListed()) {
		err = e.disk.Sync()
	}
	if e.disk.Lost(f.begun) {
		return nil, f.forget(err)
	}
	return had, err
}

// allListed tells whether the tree has a list of each root: all of it was on the disk once.
func (e *export) allListed() bool {
	for _, c := range e.contents {
		for _, l := range c.lists {
			if _, err := e.root.Lstat(listPath(l.root)); err != nil {
				return false
			}
		}
	}
	return true
}

// wanted is a blob that is not there, with the content that it is of.
type wanted struct {
	snapshot.Blob
	*content
}

// missing are the blobs that are not among those which the tree had, each once.
func (f *filler) missing(had []snapshot.Digest) []wanted {
	var out []wanted
	var all int64
	reused, seen := make([]bool, len(had)), map[snapshot.Digest]bool{} // of had, of out
	for _, c := range f.contents {
		for _, l := range c.lists {
			there := make([]bool, len(l.blobs))
			common(had, l.blobs, func(i, j int) {
				there[j] = c.listed || f.fits(l.blobs[j])
				reused[i] = reused[i] || there[j]
			})
			for j, b := range l.blobs {
				if !there[j] && !seen[b.Digest] {
					seen[b.Digest] = true
					out = append(out, wanted{b, c})
					all += b.Size
				}
			}
		}
	}
	for _, was := range reused {
		if was {
			f.result.Reused++
		}
	}
	f.tell(artifact.Event{Kind: artifact.Planned, Files: len(out), Bytes: all})
	return out
}

// takeAll puts blobs, several batches at once.
func (f *filler) takeAll(ctx context.Context, missing []wanted) error {
	g, each := errgroup.WithContext(ctx)
	batches := inBatches(missing)
	var next atomic.Int64
	for range parallel.Workers {
		g.Go(func() error {
			for {
				if err := context.Cause(each); err != nil {
					return err
				}
				i := next.Add(1) - 1
				if i >= int64(len(batches)) {
					return nil
				}
				if err := f.take(each, batches[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// inBatches divides blobs. Those of a batch get their names together: most are small, and two that wait for each other's
// turn would take longer than a name does. Large ones are few in a batch, so that several are hashed at once.
func inBatches(all []wanted) (batches [][]wanted) {
	const most, bytes = 64, 1 << 20
	begin, size := 0, int64(0)
	for i := range all {
		if i > begin && (i-begin == most || size+all[i].Size > bytes) {
			batches = append(batches, all[begin:i])
			begin, size = i, 0
		}
		size += all[i].Size
	}
	if begin < len(all) {
		batches = append(batches, all[begin:])
	}
	return batches
}

// inOrder puts blobs into the order in which the directories of the layouts have them. File systems keep names in an order of their own,
// and take many names in that order in two thirds of the time.
func inOrder(missing []wanted, contents []*content) ([]wanted, error) {
	at := make(map[snapshot.Digest]int, len(missing))
	for i := range missing {
		at[missing[i].Digest] = i
	}
	out, placed := make([]wanted, 0, len(missing)), make([]bool, len(missing))
	add := func(i int) {
		if !placed[i] {
			placed[i] = true
			out = append(out, missing[i])
		}
	}
	for _, c := range contents {
		if c.blobs == nil {
			continue
		}
		names, err := c.blobs.Readdirnames(-1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.layout, err)
		}
		for _, name := range names {
			var d snapshot.Digest
			if n, err := hex.Decode(d[:], []byte(name[:min(len(name), 2*len(d))])); err == nil && n == len(d) { // or like a digest: it is looked up
				if i, ok := at[d]; ok {
					add(i)
				}
			}
		}
	}
	for i := range missing { // what no layout has
		add(i)
	}
	return out, nil
}

// fits tells whether a blob has its size: where it has not, it was damaged since it got its name.
func (f *filler) fits(b snapshot.Blob) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(f.blobs.Fd()), b.Digest.Hex(), &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == b.Size
}

func (f *filler) tell(ev artifact.Event) {
	if f.o.Progress != nil {
		f.o.Progress(ev)
	}
}

// take puts a batch.
func (f *filler) take(ctx context.Context, batch []wanted) error {
	fds := make([]int, 0, len(batch))
	defer func() {
		for _, fd := range fds {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}()
	for _, m := range batch {
		f.tell(artifact.Event{Kind: artifact.Started, Digest: m.Digest, Bytes: m.Size})
		fd := -1
		if m.blobs != nil && f.o.Mode != Copy {
			var err error
			if fd, err = f.hashed(ctx, m); err != nil {
				return fmt.Errorf("blob %s: %s: %w", m.Digest, m.layout, err)
			}
		}
		fds = append(fds, fd)
	}
	why := f.linkAll(batch, fds)
	for i, m := range batch {
		if why[i] == nil {
			continue
		}
		if f.o.Mode == Link && m.blobs != nil {
			return fmt.Errorf("blob %s: %w", m.Digest, outcome.CopyInstead.For(fmt.Errorf("%s in %s cannot be linked: %w", m.Digest.Hex(), m.layout, why[i])))
		}
		if err := f.copy(ctx, m); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, m := range batch {
		f.result.Bytes += m.Size
		if why[i] == nil {
			f.result.Linked++
		} else {
			f.result.Copied++
		}
		f.tell(artifact.Event{Kind: artifact.Done, Digest: m.Digest, Bytes: m.Size})
	}
	return nil
}

// hashed opens a blob of a layout and hashes it. It returns -1, and no error, for one that only some may read: it is not
// linked. It asks the kernel no more than it must: a release has tens of thousands.
func (f *filler) hashed(ctx context.Context, m wanted) (_ int, err error) {
	name := m.Digest.Hex()
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(int(m.blobs.Fd()), name, flags|unix.O_NOATIME, 0) // hashing is no use of the file, and writes no time
	if errors.Is(err, unix.EPERM) {                                          // that is for its owner and root
		fd, err = unix.Openat(int(m.blobs.Fd()), name, flags, 0)
	}
	if errors.Is(err, unix.ENOENT) {
		err = snapshot.ErrNotExist
	}
	if err != nil {
		return -1, err
	}
	keep := false
	defer func() {
		if !keep {
			unix.Close(fd)
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, errors.New("it is no regular file")
	}
	if got, err := hashOf(ctx, fd, m.Size); err != nil {
		return -1, err
	} else if got != m.Blob {
		return -1, oci.Integrity("its file has the bytes of %s, %d of them, want %d", got.Digest, got.Size, m.Size)
	}
	const everybody = 0o444
	if keep = st.Mode&everybody == everybody; !keep {
		return -1, nil
	}
	return fd, nil
}

// linkAll gives the very files that were hashed their names in the tree. It returns why those without one have none.
func (f *filler) linkAll(batch []wanted, fds []int) []error {
	f.linking.Lock()
	defer f.linking.Unlock()
	why := make([]error, len(batch))
	for i, fd := range fds {
		if fd < 0 {
			why[i] = unix.EACCES
			continue
		}
		name := batch[i].Digest.Hex()
		why[i] = f.linkOpen(fd, name)
		if errors.Is(why[i], unix.EEXIST) { // a file of another size has the name
			f.unlink(batch[i].Digest)
			why[i] = f.linkOpen(fd, name)
		}
		if why[i] == nil {
			f.linked = append(f.linked, batch[i].Digest)
		}
	}
	return why
}

// linkOpen gives an open file a name. The short way is for root, and for everybody since Linux 6.10.
func (f *filler) linkOpen(fd int, name string) error {
	err := unix.Linkat(fd, "", int(f.blobs.Fd()), name, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), int(f.blobs.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	}
	return err
}

// buffers are for hashing.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// hashOf reads an open file to its end. It stops when there is more than size.
func hashOf(ctx context.Context, fd int, size int64) (b snapshot.Blob, err error) {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	h := sha256.New()
	for b.Size <= size {
		if err := context.Cause(ctx); err != nil {
			return b, err
		}
		n, err := unix.Read(fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return b, err
		}
		h.Write(buf[:n])
		b.Size += int64(n)
		if n < len(buf) && b.Size == size || n == 0 { // a regular file gives less than was asked for at its end only
			break
		}
	}
	b.Digest = snapshot.Digest(h.Sum(nil))
	return b, nil
}

// unlink removes the name of a blob.
func (f *filler) unlink(d snapshot.Digest) {
	unix.Unlinkat(int(f.blobs.Fd()), d.Hex(), 0)
}

// copy reads a blob into a temporary file, and gives it its name with the batch.
func (f *filler) copy(ctx context.Context, m wanted) error {
	if err := f.makeTemp(); err != nil {
		return err
	}
	name := path.Join(tempDir, m.Digest.Hex())
	err := verified.Again(func() error {
		c, err := m.from.Open(ctx, m.Blob, 0)
		if err != nil {
			return err
		}
		r := c.Reader(m.Blob)
		defer r.Close()
		w, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, oci.WithContext(ctx, r))
		return errors.Join(err, w.Close())
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.ref, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = append(f.pending, m.Blob)
	f.bytes += m.Size
	if len(f.pending) < batchFiles && f.bytes < batchBytes {
		return nil
	}
	return f.named()
}

func (f *filler) makeTemp() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.temp {
		return nil
	}
	if err := f.root.RemoveAll(tempDir); err != nil { // of a killed run
		return err
	}
	f.temp = true
	return f.root.Mkdir(tempDir, 0o755)
}

func (f *filler) commit() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.named()
}

// named makes the batch durable and names it. f.mu is held.
func (f *filler) named() error {
	if len(f.pending) == 0 {
		return nil
	}
	if err := f.disk.Sync(); err != nil {
		return err
	}
	if f.disk.Lost(f.begun) {
		return errors.New("an earlier sync failed")
	}
	for _, b := range f.pending {
		if err := f.root.Rename(path.Join(tempDir, b.Digest.Hex()), blobPath(b.Digest)); err != nil {
			return err
		}
	}
	f.pending, f.bytes = nil, 0
	return nil
}

// forget removes the links of a run in which a sync failed: it is not known whose bytes were lost.
func (f *filler) forget(err error) error {
	for _, d := range f.linked {
		f.unlink(d)
	}
	for _, d := range f.documents {
		err = errors.Join(err, f.root.Remove(documentPath(d)))
	}
	return fmt.Errorf("%w: what was not on the disk for certain was removed; look at the disk, then run the same command again", err)
}

// linkDocuments gives the documents their names, and returns those that had none. After an error none of these is left: a later run takes
// what is there for durable.
func (e *export) linkDocuments() (made []oci.Descriptor, err error) {
	defer func() {
		if err != nil {
			for _, d := range made {
				err = errors.Join(err, e.root.Remove(documentPath(d)))
			}
			made = nil
		}
	}()
	for _, c := range e.contents {
		for _, l := range c.lists {
			for _, d := range l.documents {
				isNew, err := e.linkDocument(d)
				if err != nil {
					return made, fmt.Errorf("document %s: %w", d.Digest, err)
				}
				if isNew {
					made = append(made, d)
				}
			}
		}
	}
	return made, nil
}

// list writes the lists of what refers to what, and of roots: such a list means that all is there.
func (e *export) list() error {
	for subject, data := range referrerLists(e.contents) {
		if err := e.write(referrersDir+"/"+subject.Hex(), data); err != nil {
			return err
		}
	}
	for _, c := range e.contents {
		if c.listed {
			continue
		}
		for _, l := range c.lists {
			if err := e.write(listPath(l.root), l.encode()); err != nil {
				return err
			}
		}
	}
	return nil
}

// linkDocument gives a document its name, if it has none, and tells whether it did.
func (e *export) linkDocument(d oci.Descriptor) (bool, error) {
	name := documentPath(d)
	blob, err := e.root.Lstat(blobPath(d.Digest))
	if err != nil {
		return false, err
	}
	info, err := e.root.Lstat(name)
	if err == nil && os.SameFile(info, blob) {
		return false, nil
	}
	if err == nil {
		err = e.root.Remove(name)
	} else {
		err = e.root.MkdirAll(documentDir(d.Digest), 0o755)
	}
	if err != nil {
		return false, err
	}
	return true, e.root.Link(blobPath(d.Digest), name)
}
