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
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxPlain bounds an index that is unpacked for a client, in bytes; of a larger
	// one there is the compressed form only.
	maxPlain = 64 << 20
	// maxUnpacked bounds the indices of which it is remembered what they unpack to.
	maxUnpacked = 256
)

// errTooLarge marks an index that is not unpacked.
var errTooLarge = errors.New("too large to be unpacked")

// plain answers with an index under its uncompressed name, which a Release
// lists and no snapshot stores, unpacked from its .gz while it is sent: apt never asks for it,
// debootstrap asks for nothing else. It tells whether it answered.
func (ex *exchange) plain(h *held, p string, fixed bool) bool {
	base := path.Base(p)
	if h == nil || (base != "Packages" && base != "Sources") || !strings.Contains(p, "/dists/") {
		return false
	}
	row, ok := h.Table.Resolve(h.Statement, p+".gz")
	if !ok || row.Size > maxPlain {
		return false
	}
	ctx, cancel := ex.patient()
	defer cancel()
	// What must be fetched is waited for before others are kept waiting.
	if err := h.bring(ctx, row.Blob()); err != nil {
		ex.unavailable(content{}, err)
		return true
	}
	blob, err := ex.unpacked(ctx, h, row.Blob())
	switch {
	case errors.Is(err, errTooLarge):
		ex.fail(http.StatusNotFound, base+" is too large to be unpacked here; take "+base+".gz")
		return true
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return false
	case ex.r.Context().Err() != nil:
		return true // the client went away
	case err != nil:
		ex.unavailable(content{}, err)
		return true
	}
	ex.snapshot = h.name
	ex.content(content{blob: blob, modified: h.Statement.Date, name: p, cache: cacheControl(p, fixed), from: h, packed: row.Blob()})
	return true
}

// unpacked is what a .gz holds. It is unpacked once for that, and nothing of it kept.
func (ex *exchange) unpacked(ctx context.Context, h *held, packed snapshot.Blob) (snapshot.Blob, error) {
	if b, ok := ex.s.indices.get(packed.Digest); ok {
		return b, nil
	}
	if !ex.turn() {
		return snapshot.Blob{}, context.Canceled
	}
	defer ex.leave()
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
	ex.s.indices.put(packed.Digest, b)
	return b, nil
}

// openUnpacked opens the content of a .gz, whose own bytes are verified as they are read.
func openUnpacked(ctx context.Context, h *held, packed snapshot.Blob) (io.ReadCloser, error) {
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

// unpackedIndices remembers what .gz files unpack to. Safe for concurrent use.
type unpackedIndices struct {
	mu sync.Mutex
	by map[snapshot.Digest]snapshot.Blob
}

func (u *unpackedIndices) get(packed snapshot.Digest) (snapshot.Blob, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, ok := u.by[packed]
	return b, ok
}

func (u *unpackedIndices) put(packed snapshot.Digest, b snapshot.Blob) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil || len(u.by) >= maxUnpacked {
		u.by = map[snapshot.Digest]snapshot.Blob{}
	}
	u.by[packed] = b
}
