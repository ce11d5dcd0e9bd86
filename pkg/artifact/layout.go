package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// LayoutOptions are for tests: the zero value is what everybody else uses.
type LayoutOptions struct {
	Settle time.Duration      // age that a file must have before its hash is remembered; negative: none
	Sync   func(fd int) error // in place of syncfs
}

// layout is a directory of image-spec's image-layout.md, read in place.
type layout struct {
	dir    string
	hashed *hashedFiles
}

// openLayout opens a layout for reading. Nothing is kept open.
func openLayout(dir string, o LayoutOptions) filePlace { return filePlace{newLayout(dir, o)} }

func newLayout(dir string, o LayoutOptions) *layout { return &layout{dir, newHashedFiles(o.Settle)} }

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
func (l *layout) Open(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	f, info, err := openRegular(blobPath(l.dir, b.Digest))
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
