package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"example.org/mmoci/internal/serve/opened"
	"example.org/mmoci/pkg/snapshot"
)

// documents answers /mmoci/..: what the current snapshots say of themselves. Of
// several references the one with the archive ?prefix.
func (req *request) documents(name string) {
	if name == "page.css" {
		css := req.s.pages.CSS()
		b := snapshot.BlobOf(css)
		req.answer(content{blob: b, modified: snapshot.ModTime(b.Digest), name: name, cache: "no-cache", bytes: css})
		return
	}
	if name == "changes" {
		req.changes()
		return
	}
	if req.bundledFile(name) {
		return
	}
	v, prefix := req.s.view.Load(), req.r.URL.Query().Get("prefix")
	h := v.of(prefix)
	if prefix == "" && len(v.current) == 1 {
		h = v.current[0]
	}
	switch {
	case h != nil:
		req.document(h, name, "no-cache")
	case len(v.current) == 1:
		req.noArchive(prefix)
	default:
		req.fail(http.StatusNotFound, "no such archive; with several references: ?prefix=PREFIX")
	}
}

// document answers with what a snapshot says of itself.
func (req *request) document(h *served, name, cache string) {
	c := content{name: name, cache: cache, modified: h.Statement.Date}
	switch name {
	case "statement":
		c.blob, c.bytes = snapshot.BlobOf(h.StatementBytes), h.StatementBytes
	case "table":
		c.blob, c.bytes = h.Statement.Table, h.Table.Bytes()
	case "lock":
		c.blob, c.from = h.Statement.Lock, h
	default:
		req.fail(http.StatusNotFound, "nothing here; there are statement, table, lock, changes")
		return
	}
	req.snapshot = h.name
	req.answer(c)
}

// bundledFile answers /mmoci/ARCHITECTURE and /bootstrap.sh from the first
// current snapshot that has it; false if none has a program of that name. Only
// the transport vouches for these: whoever does not trust it takes them from the artifact.
func (req *request) bundledFile(name string) bool {
	for _, h := range req.s.view.Load().current {
		if h == nil {
			continue
		}
		if row, ok := h.Table.Find(snapshot.CarriedDir + name); ok {
			req.snapshot = h.name
			req.answer(content{blob: row.Blob(), modified: h.modified(row), name: row.Path, cache: "no-cache", from: h})
			return true
		}
	}
	if name == snapshot.Bootstrap {
		req.fail(http.StatusNotFound, "no snapshot here bundles it (bundle: in mmoci.yaml)")
		return true
	}
	return false
}

// snapshotError answers for an ID that leads to no snapshot.
func (req *request) snapshotError(id string, err error) {
	switch {
	case errors.Is(err, errNotFixed):
		req.fail(http.StatusNotFound, fmt.Sprintf("%.100q is %v", id, errNotFixed))
	case errors.Is(err, snapshot.ErrNotExist):
		req.fail(http.StatusNotFound, fmt.Sprintf("no snapshot %s here", id))
	case errors.Is(err, opened.ErrBusy):
		req.broken(http.StatusServiceUnavailable, opened.ErrBusy.Error(), err)
	case errors.Is(err, context.DeadlineExceeded):
		req.s.noteLate()
		req.broken(http.StatusGatewayTimeout, "the registry does not answer", err)
	default:
		req.broken(http.StatusBadGateway, "the snapshot cannot be opened now", err)
	}
}
