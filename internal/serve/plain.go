package serve

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"

	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxPlain bounds an index that is unpacked for a client, in bytes; of a larger
	// one there is the compressed form only.
	maxPlain = 64 << 20
)

// errTooLarge marks an index that is not unpacked.
var errTooLarge = errors.New("too large to be unpacked")

// plainIndex answers with an index under its uncompressed name, which a Release
// lists and no snapshot stores, unpacked from its .gz while it is sent: apt never
// asks for it, debootstrap asks for nothing else. It tells whether it answered.
func (req *request) plainIndex(h *served, p string, fixed bool) bool {
	base := path.Base(p)
	if h == nil || (base != "Packages" && base != "Sources") || !strings.Contains(p, "/dists/") {
		return false
	}
	row, ok := h.Table.Resolve(h.Statement, p+".gz")
	if !ok || row.Size > maxPlain {
		return false
	}
	ctx, cancel := req.patient()
	defer cancel()
	// It is fetched before a turn is taken, which others wait for.
	if err := prefetch.File(ctx, h.Snapshot, row.Blob()); err != nil {
		req.unavailable(err)
		return true
	}
	blob, err := req.unpacked(ctx, h, row.Blob())
	switch {
	case errors.Is(err, errTooLarge):
		req.fail(http.StatusNotFound, base+" is too large to be unpacked here; take "+base+".gz")
		return true
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return false
	case req.r.Context().Err() != nil:
		return true // the client went away
	case err != nil:
		req.unavailable(err)
		return true
	}
	req.snapshot = h.name
	req.answer(content{blob: blob, modified: h.Statement.Date, name: p, cache: req.cacheControl(h, row, fixed), from: h, packed: row.Blob()})
	return true
}

// unpacked is the blob that a .gz holds. It is unpacked once to know it, and nothing of it is kept.
func (req *request) unpacked(ctx context.Context, h *served, packed snapshot.Blob) (snapshot.Blob, error) {
	if b, ok := req.s.unpacked.Get(packed.Digest); ok {
		return b, nil
	}
	done, ok := req.turn(false)
	if !ok {
		return snapshot.Blob{}, context.Canceled
	}
	defer done()
	r, err := openUnpacked(ctx, h, packed)
	if err != nil {
		return snapshot.Blob{}, err
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(r, maxPlain+1))
	if err == nil && n > maxPlain {
		err = errTooLarge
	}
	if err != nil {
		return snapshot.Blob{}, err
	}
	b := snapshot.Blob{Digest: snapshot.Digest(sum.Sum(nil)), Size: n}
	req.s.unpacked.Put(packed.Digest, b)
	return b, nil
}

// openUnpacked opens the content of a .gz, whose own bytes are verified while they are read.
func openUnpacked(ctx context.Context, h *served, packed snapshot.Blob) (io.ReadCloser, error) {
	f, err := h.OpenBlob(ctx, packed)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}
