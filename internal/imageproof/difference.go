package imageproof

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
)

// difference is a path at which a layer is not what it was made to be.
type difference struct {
	path      string
	how       string
	directory bool // in both
}

// maxPathsTold is how many paths an answer names.
const maxPathsTold = 20

// Paths are some paths for a line of an answer.
func Paths(paths []string) string {
	more := ""
	if n := len(paths) - maxPathsTold; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(paths[:min(len(paths), maxPathsTold)], ", ") + more
}

// differences are the paths at which a layer of the image is not what was made, in the order of the image's layer, then those that it lacks.
func (im *Image) differences(ctx context.Context, want *imagebuild.Image, expected image.Layer, got layerAt) ([]difference, error) {
	wanted := map[string]seen{}
	var order []string
	w, err := openLayer(ctx, want, layerAt{expected.MediaType, expected.Blob})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	err = eachEntry(w, maxNames, func(name string, e seen) {
		wanted[name] = e
		order = append(order, name)
	})
	if err != nil {
		return nil, err
	}
	r, err := im.open(ctx, got)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []difference
	there := map[string]bool{}
	err = eachEntry(r, maxNames, func(name string, e seen) {
		x, ok := wanted[name]
		switch {
		case !ok || there[name]:
			out = append(out, difference{path: name, how: "is not expected there"})
		case x.shape != e.shape:
			out = append(out, difference{name, "has another type, owner, mode, size, time or target", x.shape.kind == tar.TypeDir && e.shape.kind == tar.TypeDir})
		case x.sum != e.sum:
			out = append(out, difference{path: name, how: "has other bytes"})
		}
		there[name] = true
	})
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read: %w", outcome.ErrIntegrity, err)
	}
	for _, name := range order {
		if !there[name] {
			out = append(out, difference{path: name, how: "is missing"})
		}
	}
	slices.SortStableFunc(out, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// seen is what is compared of an entry.
type seen struct {
	shape shape
	sum   [sha256.Size]byte
}

type shape struct {
	kind     byte
	mode     int64
	uid, gid int
	link     string
	size     int64
	time     int64
}

// eachEntry reads a layer, with at most so many bytes of paths. One has no more entries than the packages that it is made of may have.
func eachEntry(r io.Reader, most int, visit func(name string, e seen)) error {
	t := tar.NewReader(r)
	names := 0 // bytes
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == maxEntries {
			return fmt.Errorf("over %d entries", maxEntries)
		}
		if names += len(h.Name) + len(h.Linkname); names > most {
			return fmt.Errorf("paths of over %d bytes", most)
		}
		if isSparse(h) {
			return fmt.Errorf("/%s: a sparse file, which no layer of mmoci has", clean(h.Name))
		}
		e := seen{shape: shape{h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, h.Size, h.ModTime.Unix()}}
		sum := sha256.New()
		if _, err := io.Copy(sum, t); err != nil {
			return fmt.Errorf("/%s: %w", clean(h.Name), err)
		}
		sum.Sum(e.sum[:0])
		visit(clean(h.Name), e)
	}
}

// isSparse tells an entry whose content is not there byte by byte: few bytes stand for any number.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// maxEntries and maxNames, in bytes, bound what is compared of one layer: it is held in memory.
const (
	maxEntries = 4 * rootfs.MaxEntries
	maxNames   = 4 * rootfs.MaxPathBytes
)
