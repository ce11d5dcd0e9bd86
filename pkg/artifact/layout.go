package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobsDir   = "blobs/sha256"
)

// layout is a directory of image-spec's image-layout.md, read in place.
type layout struct {
	dir    string
	hashed *hashedFiles
}

// openLayout opens a layout for reading. Nothing is kept open.
func openLayout(dir string, o *Options) (place, error) {
	return filePlace{&layout{dir, newHashedFiles(o.tuning.settle)}}, nil
}

func (l *layout) index() ([]byte, error) {
	if err := checkMarker(l.dir); err != nil {
		return nil, err
	}
	data, err := readSmall(filepath.Join(l.dir, indexFile), maxLayoutIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("layout %w: %s has no index.json", ErrNotFound, l.dir)
	}
	return data, err
}

// checkMarker reads oci-layout.
func checkMarker(dir string) error {
	data, err := readSmall(filepath.Join(dir, layoutFile), maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("layout %w: %s has no file oci-layout", ErrNotFound, dir)
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

// readSmall reads a regular file of limited size.
func readSmall(name string, limit int64) ([]byte, error) {
	f, _, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}

// readLimited reads all; more than limit is an error.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// openRegular opens a regular file and nothing else: a pipe put into a layout must not block a reader.
func openRegular(name string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func (l *layout) blobPath(d snapshot.Digest) string {
	return filepath.Join(l.dir, blobsDir, d.Hex())
}

func (l *layout) size(d snapshot.Digest) (int64, error) {
	info, err := os.Lstat(l.blobPath(d))
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
func (l *layout) Open(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	f, info, err := openRegular(l.blobPath(b.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s in %s: %w", b.Digest, l.dir, snapshot.ErrNotExist)
	} else if err != nil {
		return nil, err
	}
	if info.Size() != b.Size {
		f.Close()
		return nil, integrity("blob %s in %s has %d bytes, want %d", b.Digest, l.dir, info.Size(), b.Size)
	}
	c := &snapshot.Content{R: f}
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
