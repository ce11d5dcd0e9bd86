package serve

import (
	"net/http"
	"strings"
)

func (ex *exchange) frontPage() {
	ex.setupList(place{base: ex.base()})
}

func (ex *exchange) snapshotPage(h *held) {
	ex.document(h, "statement", "no-cache")
}

func (ex *exchange) directory(h *held, prefix, p string) {
	ex.fail(http.StatusNotFound, strings.TrimSuffix(p, "/")+" is a directory")
}

// snapshotList lists the snapshots at hand, newest first, one ID a line.
func (ex *exchange) snapshotList() {
	var b strings.Builder
	for _, l := range ex.s.lanes {
		ids, err := l.source.IDs(ex.r.Context())
		if err != nil {
			ex.broken(http.StatusBadGateway, "the registry does not tell now", err)
			return
		}
		for _, id := range ids {
			b.WriteString(id + "\n")
		}
	}
	ex.w.Header().Set("Cache-Control", "no-cache")
	ex.text(http.StatusOK, plainText, []byte(b.String()))
}
