// Package layout reads and writes OCI layouts: as a directory, in place, and as
// an oci-archive, a tar with the same files. What it writes is durable and verified before
// it has its final name.
package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobsDir   = "blobs/sha256"
)

// Options are for tests: the zero value is what everybody else uses.
type Options struct {
	Settle time.Duration      // age that a file must have before its hash is remembered; negative: none
	Sync   func(fd int) error // in place of syncfs
}

// layout is a directory of image-spec's image-layout.md, read in place.
type layout struct {
	dir    string
	hashed *hashedFiles
}

// Open opens a layout for reading. Nothing is kept open.
func Open(dir string, o Options) Place { return Place{newLayout(dir, o)} }

func newLayout(dir string, o Options) *layout { return &layout{dir, newHashedFiles(o.Settle)} }

func (l *layout) index() ([]byte, error) {
	if err := checkMarker(l.dir); err != nil {
		return nil, err
	}
	data, err := oci.ReadFile(filepath.Join(l.dir, indexFile), maxLayoutIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("layout %w: %s has no index.json", oci.ErrNotFound, l.dir)
	}
	return data, err
}

// checkMarker reads oci-layout.
func checkMarker(dir string) error {
	data, err := oci.ReadFile(filepath.Join(dir, layoutFile), oci.MaxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("layout %w: %s has no file oci-layout", oci.ErrNotFound, dir)
	} else if err != nil {
		return err
	}
	return parseMarker(data)
}

func parseMarker(data []byte) error {
	var marker struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(data, &marker); err != nil || marker.Version != "1.0.0" {
		return fmt.Errorf("oci-layout is not of version 1.0.0: %.100q", data)
	}
	return nil
}

func blobPath(layout string, d snapshot.Digest) string {
	return filepath.Join(layout, blobsDir, d.Hex())
}

func (l *layout) size(d snapshot.Digest) (int64, error) {
	info, err := os.Lstat(blobPath(l.dir, d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("blob %s: %w", d, snapshot.ErrNotExist)
	} else if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("blob %s is no regular file", d)
	}
	return info.Size(), nil
}

// Open opens a blob's file in place.
func (l *layout) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	f, info, err := oci.OpenRegular(blobPath(l.dir, b.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s in %s: %w", b.Digest, l.dir, snapshot.ErrNotExist)
	} else if err != nil {
		return nil, err
	}
	if info.Size() != b.Size {
		f.Close()
		return nil, oci.Integrity("blob %s in %s has %d bytes, want %d", b.Digest, l.dir, info.Size(), b.Size)
	}
	c := &snapshot.Content{R: f}
	if offset > 0 {
		return c.At(offset)
	}
	id := identify(info)
	if l.hashed.right(b.Digest, id) {
		c.File = f
		return c, nil
	}
	c.Verified = func() {
		if now, err := f.Stat(); err == nil && identify(now) == id {
			l.hashed.add(b.Digest, id)
		}
	}
	return c, nil
}

// fileIdentity changes whenever a file's content may have.
type fileIdentity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identify(info os.FileInfo) fileIdentity {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileIdentity{}
	}
	return fileIdentity{uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Mtim), unix.Timespec(st.Ctim)}
}

const (
	maxHashed     = 1 << 18               // files remembered
	defaultSettle = 50 * time.Millisecond // coarser than any clock a kernel stamps files with
)

// hashedFiles remembers which files were hashed in full and found right, so
// that they can be sent without hashing as long as they do not change. Safe for concurrent use.
type hashedFiles struct {
	mu     sync.Mutex
	files  map[snapshot.Digest]fileIdentity
	settle time.Duration
}

func newHashedFiles(settle time.Duration) *hashedFiles {
	if settle == 0 {
		settle = defaultSettle
	}
	return &hashedFiles{files: map[snapshot.Digest]fileIdentity{}, settle: settle}
}

func (h *hashedFiles) right(d snapshot.Digest, id fileIdentity) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.files[d]
	return ok && known == id
}

// add remembers a file. One that changed a moment ago is not remembered: a
// second change within the same tick of the kernel's clock would not show.
func (h *hashedFiles) add(d snapshot.Digest, id fileIdentity) {
	if id == (fileIdentity{}) || time.Since(time.Unix(id.ctime.Unix())) < h.settle {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.files) >= maxHashed {
		for victim := range h.files { // any: this is a cache
			delete(h.files, victim)
			break
		}
	}
	h.files[d] = id
}

// fileStore is a layout, as a directory or within a tar.
type fileStore interface {
	snapshot.Blobs
	// index reads index.json; an error wraps ErrNotFound if there is no layout.
	index() ([]byte, error)
	// size of a blob's file; snapshot.ErrNotExist if there is none.
	size(d snapshot.Digest) (int64, error)
}

// Place reads artifacts of a layout or oci-archive. Its methods are those that
// package artifact asks of every place.
type Place struct{ fileStore }

func (p Place) layoutIndex() (*layoutIndex, error) {
	data, err := p.index()
	if err != nil {
		return nil, err
	}
	return parseLayoutIndex(data)
}

// find names the document of a reference. The media type is
// index.json's, "" for a digest that stands in no entry.
func (p Place) find(ref oci.Reference) (oci.Descriptor, error) {
	x, err := p.layoutIndex()
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("%s: %w", ref, err)
	}
	if ref.Digest.IsZero() {
		d, ok := x.find(ref.Tag)
		if !ok {
			return oci.Descriptor{}, fmt.Errorf("%s: tag %w (%s)", ref, oci.ErrNotFound, x.listTags())
		}
		return d, nil
	}
	for _, e := range x.entries {
		if e.Digest == ref.Digest {
			return e.Descriptor, nil
		}
	}
	size, err := p.size(ref.Digest)
	if errors.Is(err, snapshot.ErrNotExist) {
		return oci.Descriptor{}, fmt.Errorf("%s: digest %w", ref, oci.ErrNotFound)
	}
	return oci.Describe("", snapshot.Blob{Digest: ref.Digest, Size: size}), err
}

func (x *layoutIndex) listTags() string {
	const most = 8
	var names []string
	for _, t := range x.Tags() {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "there are none"
	case len(names) > most:
		return fmt.Sprintf("there are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "there are " + strings.Join(names, ", ")
}

func (p Place) Resolve(_ context.Context, ref oci.Reference) (snapshot.Digest, error) {
	d, err := p.find(ref)
	return d.Digest, err
}

func (p Place) Root(ctx context.Context, ref oci.Reference) (oci.Descriptor, []byte, error) {
	d, err := p.find(ref)
	if err != nil {
		return d, nil, err
	}
	data, err := oci.ReadBlob(ctx, p, "root", d.Blob, oci.MaxImageDocument)
	return d, data, err
}

func (p Place) Document(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	return oci.ReadBlob(ctx, p, "manifest", d.Blob, oci.MaxImageDocument)
}

// maxUnnamed is how many entries without a name are looked at for what they refer to.
const maxUnnamed = 1000

// Referrers finds the manifests that refer to another: on the list under the tag that a registry without
// an API for them has (regctl keeps it in layouts, too), and among the entries that have no name (oras).
func (p Place) Referrers(ctx context.Context, subject oci.Descriptor) ([]oci.Descriptor, error) {
	x, err := p.layoutIndex()
	if err != nil {
		return nil, err
	}
	var found []oci.Descriptor
	unnamed := 0
	for _, e := range x.entries {
		listed := e.tag == "sha256-"+subject.Digest.Hex()
		if e.tag == "" {
			unnamed++
		}
		if !e.IsManifest() || !listed && (e.tag != "" || e.Digest == subject.Digest || unnamed > maxUnnamed) {
			continue
		}
		data, err := p.Document(ctx, e.Descriptor)
		if errors.Is(err, snapshot.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		doc, err := oci.ParseImageDocument(data)
		if err != nil {
			continue // no business of this image
		}
		if listed {
			for _, m := range doc.Manifests {
				found = append(found, m.Descriptor)
			}
		} else if doc.Subject.Digest == subject.Digest {
			found = append(found, e.Descriptor)
		}
	}
	return found, nil
}

func (p Place) Has(_ context.Context, d oci.Descriptor) (bool, error) {
	size, err := p.size(d.Digest)
	if errors.Is(err, snapshot.ErrNotExist) {
		return false, nil
	}
	return size == d.Size, err
}

func (p Place) TagNames(ctx context.Context) ([]string, error) {
	tags, err := p.Tags(ctx)
	var names []string
	for _, t := range tags {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, err
}

func (p Place) Tags(context.Context) ([]oci.Tag, error) {
	x, err := p.layoutIndex()
	if err != nil {
		return nil, err
	}
	return x.Tags(), nil
}
