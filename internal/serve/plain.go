package serve

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"path"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// maxPlain bounds an index that is unpacked for a client, in bytes; of a larger
// one there is the compressed form only.
const maxPlain = 64 << 20

// plain answers with an index under its uncompressed name, which a Release
// lists and no snapshot stores, unpacked from its .gz: apt never asks for it,
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
	leave, ok := ex.turn()
	if !ok {
		return true // the client went away
	}
	defer leave()
	packed, err := h.ReadBlob(ctx, row.Blob(), maxPlain)
	if err != nil {
		ex.unavailable(content{}, err)
		return true
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(z, maxPlain+1))
	if err != nil || len(data) > maxPlain {
		ex.fail(http.StatusNotFound, base+" is too large to be unpacked here; take "+base+".gz")
		return true
	}
	ex.snapshot = h.name
	ex.content(content{blob: snapshot.BlobOf(data), modified: h.Statement.Date, name: p, cache: cacheControl(p, fixed), bytes: data})
	return true
}
