package layout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	tarBlock = 512
	tarMode  = 0o644
	// tarExecutable is the mode of what a snapshot carries for hosts to run.
	tarExecutable = 0o755
	// ustar's octal size field ends at 8 GiB; larger entries take GNU's binary one.
	maxUstarSize = 1<<33 - 1
)

// ArchiveWriter writes an oci-archive aside. All sizes are known beforehand, hence
// all offsets: blobs are written side by side, in any order, and the result is
// the same. The old archive, if there is one, is replaced as a whole at the end,
// with whatever else it held: an archive carries one snapshot under one tag.
type ArchiveWriter struct {
	Place // the archive that is there, or none

	name    string
	file    *os.File
	entries map[snapshot.Digest]extent
	total   int64
	tag     string
	top     oci.Descriptor
	carried []oci.CarriedFile
	images  []oci.NamedImage

	mu      sync.Mutex
	written map[snapshot.Digest]struct{}
}

// noArchive is an archive that is not there yet.
type noArchive struct{ name string }

func (n noArchive) index() ([]byte, error) {
	return nil, fmt.Errorf("oci-archive %s: %w", n.name, oci.ErrNotFound)
}
func (n noArchive) size(snapshot.Digest) (int64, error) { return 0, snapshot.ErrNotExist }
func (n noArchive) Open(context.Context, snapshot.Blob, int64) (*snapshot.Content, error) {
	return nil, snapshot.ErrNotExist
}

// NewArchiveWriter opens the old archive for reading. Nothing is written before the first put.
func NewArchiveWriter(ctx context.Context, name, tag string) (*ArchiveWriter, error) {
	old, err := OpenArchive(ctx, name)
	if errors.Is(err, oci.ErrNotFound) {
		old, err = Place{noArchive{name}}, nil
	} else if err != nil {
		err = fmt.Errorf("%w; it is replaced only if it is an oci-archive", err)
	}
	if err != nil {
		return nil, err
	}
	return &ArchiveWriter{Place: old, name: name, tag: tag, written: map[snapshot.Digest]struct{}{}}, nil
}

// Has is false for everything: the new archive begins empty.
func (w *ArchiveWriter) Has(context.Context, oci.Descriptor) (bool, error) { return false, nil }

// Begin lays out the archive: oci-layout, index.json, blobs by digest, and for
// hosts that have nothing but tar the names of the files that the snapshot
// carries for them: hard links to their blobs, which are executable then.
func (w *ArchiveWriter) Begin(c oci.Contents, _ bool) error {
	w.top, w.carried, w.images = c.Root, c.Runnable, c.Images
	blobs := slices.SortedFunc(c.Blobs, func(a, b snapshot.Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	blobs = slices.Compact(blobs)
	index, err := w.newIndex()
	if err != nil {
		return err
	}
	w.entries = make(map[snapshot.Digest]extent, len(blobs))
	w.total = tarSpan(int64(len(layoutMarker))) + tarSpan(int64(len(index)))
	for _, b := range blobs {
		w.entries[b.Digest] = extent{w.total + tarBlock, b.Size}
		w.total += tarSpan(b.Size)
	}
	w.total += int64(len(w.carried)) * tarBlock
	w.total += 2 * tarBlock // the end of a tar
	return nil
}

// tarSpan is what an entry takes with header and padding.
func tarSpan(size int64) int64 {
	return tarBlock + (size+tarBlock-1)/tarBlock*tarBlock
}

// newIndex is the archive's index.json.
func (w *ArchiveWriter) newIndex() ([]byte, error) {
	x := layoutIndex{}
	x.set(w.tag, w.top) // the first: what reads one entry only takes the snapshot
	x.setImages(w.images)
	return x.encode()
}

// create creates the temporary file.
func (w *ArchiveWriter) create() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		return nil
	}
	dir, base := filepath.Split(w.name)
	stem := filepath.Join(dir, "."+base+durable.TempPrefix)
	removeLeft(stem)
	f, err := createLocked(stem)
	if err != nil {
		return err
	}
	w.file = f
	return f.Truncate(w.total)
}

// createLocked creates a file that is locked as long as it is in use.
func createLocked(stem string) (*os.File, error) {
	const tries = 16
	for range tries {
		f, err := os.OpenFile(fmt.Sprintf("%s%016x", stem, rand.Uint64()), os.O_RDWR|os.O_CREATE|os.O_EXCL, tarMode)
		if err != nil {
			return nil, err
		}
		err = durable.TryLock(f)
		if _, gone := os.Lstat(f.Name()); err == nil && gone == nil {
			return f, nil
		}
		f.Close() // another push took it for a leftover in between
	}
	return nil, fmt.Errorf("no temporary file beside %s", stem)
}

// globEscape makes a path a pattern that matches itself only.
func globEscape(s string) string {
	var b []byte
	for i := range len(s) {
		switch s[i] {
		case '*', '?', '[', '\\':
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(b)
}

// Put writes a blob's entry.
func (w *ArchiveWriter) Put(ctx context.Context, l oci.Layer, open oci.Opener) (int64, error) {
	if err := w.create(); err != nil {
		return 0, err
	}
	r, err := open(ctx, l.Blob)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", l.Name(), err)
	}
	defer r.Close()
	return l.Size, w.write(ctx, l.Blob, l.Name(), r)
}

func (w *ArchiveWriter) write(ctx context.Context, b snapshot.Blob, name string, r io.Reader) error {
	e, ok := w.entries[b.Digest]
	if !ok || e.size != b.Size {
		return fmt.Errorf("%s is not of this archive", name)
	}
	n, err := io.Copy(io.NewOffsetWriter(w.file, e.offset), io.LimitReader(oci.WithContext(ctx, r), e.size))
	if err == nil {
		err = expectEOF(r)
	}
	if err == nil && n != e.size {
		err = oci.Integrity("%d bytes, want %d", n, e.size)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written[b.Digest] = struct{}{}
	return nil
}

// expectEOF reads the end, which is where verification speaks.
func expectEOF(r io.Reader) error {
	n, err := io.ReadFull(r, make([]byte, 1))
	if n > 0 {
		return oci.Integrity("more bytes than declared")
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// PutDocument writes a manifest's entry.
func (w *ArchiveWriter) PutDocument(ctx context.Context, d oci.Descriptor, data []byte) error {
	if err := w.create(); err != nil {
		return err
	}
	return w.write(ctx, d.Blob, d.Digest.String(), bytes.NewReader(data))
}

// Publish writes the headers and gives the file its name. If the process dies
// before the rename, the old archive is untouched, and the next push removes the temporary file.
// Only the last tag is written: an archive has one, so that copiers need not be told which.
func (w *ArchiveWriter) Publish(ctx context.Context, d oci.Descriptor, data []byte, expected *snapshot.Digest, _ ...string) error {
	if err := w.PutDocument(ctx, d, data); err != nil {
		return err
	}
	if len(w.written) != len(w.entries) {
		return fmt.Errorf("%d of %d entries written", len(w.written), len(w.entries))
	}
	if err := w.writeHeaders(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := w.unmoved(ctx, d, expected); err != nil {
		return err
	}
	if err := oci.Interrupted(ctx); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.name); err != nil {
		return err
	}
	err := errors.Join(w.file.Close(), durable.SyncDir(filepath.Dir(w.name)))
	w.file = nil
	return err
}

// unmoved looks at the archive that is there once more.
func (w *ArchiveWriter) unmoved(ctx context.Context, d oci.Descriptor, expected *snapshot.Digest) error {
	if expected == nil {
		return nil
	}
	var now snapshot.Digest
	there, err := OpenArchive(ctx, w.name)
	if err == nil {
		now, err = there.Resolve(ctx, oci.Reference{Kind: oci.Archive, Name: w.name, Tag: w.tag})
	}
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	return oci.CheckMoved(w.tag, now, d.Digest, expected)
}

func (w *ArchiveWriter) writeHeaders() error {
	index, err := w.newIndex()
	if err != nil {
		return err
	}
	offset := int64(0)
	for _, small := range []struct {
		name string
		data []byte
	}{{layoutFile, []byte(layoutMarker)}, {indexFile, index}} {
		h, err := tarHeader(small.name, int64(len(small.data)))
		if err == nil {
			_, err = w.file.WriteAt(append(h, small.data...), offset)
		}
		if err != nil {
			return err
		}
		offset += tarSpan(int64(len(small.data)))
	}
	type entry struct {
		snapshot.Digest
		extent
	}
	entries := make([]entry, 0, len(w.entries))
	for d, e := range w.entries {
		entries = append(entries, entry{d, e})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	for _, e := range entries {
		mode := int64(tarMode)
		if w.carries(e.Digest) {
			mode = tarExecutable
		}
		h, err := headerBlock(tar.Header{Typeflag: tar.TypeReg, Name: blobsDir + "/" + e.Hex(), Size: e.size, Mode: mode})
		if err == nil {
			_, err = w.file.WriteAt(h, e.offset-tarBlock)
		}
		if err != nil {
			return err
		}
	}
	offset = w.total - int64(2+len(w.carried))*tarBlock
	for _, c := range w.carried {
		h, err := headerBlock(tar.Header{Typeflag: tar.TypeLink, Name: c.Path, Linkname: blobsDir + "/" + c.Digest.Hex(), Mode: tarExecutable})
		if err == nil {
			_, err = w.file.WriteAt(h, offset)
		}
		if err != nil {
			return err
		}
		offset += tarBlock
	}
	return nil
}

func (w *ArchiveWriter) carries(d snapshot.Digest) bool {
	return slices.ContainsFunc(w.carried, func(c oci.CarriedFile) bool { return c.Digest == d })
}

// tarHeader is one block: owner 0, time 0.
func tarHeader(name string, size int64) ([]byte, error) {
	return headerBlock(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: tarMode})
}

func headerBlock(h tar.Header) ([]byte, error) {
	h.Format = tar.FormatUSTAR
	if h.Size > maxUstarSize {
		h.Format = tar.FormatGNU
	}
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		return nil, err
	}
	if b.Len() != tarBlock {
		return nil, fmt.Errorf("tar header of %d bytes", b.Len())
	}
	return b.Bytes(), nil
}

// Close removes what was not published.
func (w *ArchiveWriter) Close(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := errors.Join(os.Remove(w.file.Name()), w.file.Close())
	w.file = nil
	return err
}
