package layout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// maxTarEntries bounds the index of a tar: more than the format's 1.3 million files with their shards.
const maxTarEntries = 2 << 20

// tarStore is a layout within a tar (oci-archive), read through the offsets of
// its entries; nothing is extracted. The open file is released by the garbage
// collector: what reads it has no end that this package is told of.
type tarStore struct {
	f     seekerAt
	name  string
	small map[string][]byte // oci-layout, index.json
	blobs map[snapshot.Digest]extent
}

// seekerAt is an *os.File, but for the fuzzer.
type seekerAt interface {
	io.ReadSeeker
	io.ReaderAt
}

// extent is where an entry's bytes are.
type extent struct{ offset, size int64 }

// OpenArchive reads all headers of an oci-archive once.
func OpenArchive(ctx context.Context, name string) (Place, error) {
	t, err := openTar(ctx, name)
	return Place{t}, err
}

func openTar(ctx context.Context, name string) (*tarStore, error) {
	f, err := openWhole(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("oci-archive %s: %w", name, oci.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("oci-archive %s: %w", name, err)
	}
	t, err := scanTar(name, f)
	if err != nil {
		if c, ok := f.(io.Closer); ok {
			c.Close()
		}
		return nil, fmt.Errorf("oci-archive %s: %w", name, err)
	}
	return t, nil
}

// openWhole opens a file, or the parts that it was split into.
func openWhole(ctx context.Context, name string) (seekerAt, error) {
	f, _, err := oci.OpenRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		if parts, err := openParts(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			return parts, err
		}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// scanTar makes the index.
func scanTar(name string, f seekerAt) (*tarStore, error) {
	t := &tarStore{f: f, name: name, small: map[string][]byte{}, blobs: map[snapshot.Digest]extent{}}
	return t, t.scan()
}

// scan walks the headers. archive/tar reads no byte beyond a header before it
// is asked to, and seeks over content, so the file's offset is the entry's.
func (t *tarStore) scan() error {
	r := tar.NewReader(t.f)
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if n >= maxTarEntries {
			return fmt.Errorf("more than %d entries", maxTarEntries)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := t.note(h, r); err != nil {
			return err
		}
	}
}

func (t *tarStore) note(h *tar.Header, r io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	switch {
	case name == layoutFile || name == indexFile:
		if t.small[name] != nil {
			return fmt.Errorf("%s twice", name)
		}
		data, err := oci.ReadLimited(r, maxLayoutIndex)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.small[name] = data
	case path.Dir(name) == blobsDir:
		d, err := snapshot.ParseDigest("sha256:" + path.Base(name))
		if err != nil {
			return nil // not a blob; verification would refuse it anyway
		}
		if _, twice := t.blobs[d]; twice {
			return fmt.Errorf("blob %s twice", d)
		}
		offset, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		t.blobs[d] = extent{offset, h.Size}
	}
	return nil
}

func (t *tarStore) index() ([]byte, error) {
	marker, ok := t.small[layoutFile]
	if !ok {
		return nil, fmt.Errorf("layout %w: no oci-layout in the archive", oci.ErrNotFound)
	}
	if err := parseMarker(marker); err != nil {
		return nil, err
	}
	data, ok := t.small[indexFile]
	if !ok {
		return nil, fmt.Errorf("layout %w: no index.json in the archive", oci.ErrNotFound)
	}
	return data, nil
}

func (t *tarStore) size(d snapshot.Digest) (int64, error) {
	e, ok := t.blobs[d]
	if !ok {
		return 0, fmt.Errorf("blob %s: %w", d, snapshot.ErrNotExist)
	}
	return e.size, nil
}

// Open reads a blob at its place in the tar.
func (t *tarStore) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	e, ok := t.blobs[b.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s in %s: %w", b.Digest, t.name, snapshot.ErrNotExist)
	}
	if e.size != b.Size {
		return nil, oci.Integrity("blob %s in %s has %d bytes, want %d", b.Digest, t.name, e.size, b.Size)
	}
	return &snapshot.Content{R: section{io.NewSectionReader(t.f, e.offset+offset, e.size-offset)}}, nil
}

// section is an entry of the tar; the file stays open for others.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }
