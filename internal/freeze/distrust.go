package freeze

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/pkg/snapshot"
)

// distrustable is a file of an upstream with several URLs.
type distrustable interface {
	io.ReadCloser
	Elsewhere() bool
	Distrust(why error) bool
}

// watchedOrigin holds what an upstream gives against its digest, so that the
// URL that gave other bytes is known and asked last. The error is then
// errElsewhere as long as there is a URL that may be right.
type watchedOrigin struct {
	distrustable
	blob snapshot.Blob
	hash hash.Hash
	off  int64
	err  error
}

func (w *watchedOrigin) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.distrustable.Read(p)
	w.hash.Write(p[:n])
	w.off += int64(n)
	if err != nil && err != io.EOF {
		return n, mark(err)
	}
	if w.off < w.blob.Size && err == nil {
		return n, nil
	}
	if got := hex.EncodeToString(w.hash.Sum(nil)); got != w.blob.Digest.Hex() {
		w.err = fmt.Errorf("%w: digest sha256:%s, expected %s", outcome.ErrIntegrity, got, w.blob.Digest)
		if w.Distrust(w.err) {
			w.err = fmt.Errorf("%w: %w", place.ErrElsewhere, w.err)
		}
		return 0, w.err
	}
	return n, err
}
