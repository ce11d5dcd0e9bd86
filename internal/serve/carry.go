package serve

import (
	"net/http"

	"example.org/mmoci/pkg/snapshot"
)

// carriedFile answers /mmoci/ARCHITECTURE and /bootstrap.sh, of the first
// snapshot in force that carries it. Nothing vouches for them on this way but
// the transport: who does not trust it takes them from the artifact.
func (ex *exchange) carriedFile(name string) bool {
	for _, h := range ex.s.view.Load().current {
		if h == nil {
			continue
		}
		row, ok := h.Table.Find(snapshot.CarriedDir + name)
		if !ok {
			continue
		}
		ex.snapshot = h.name
		ex.content(content{blob: row.Blob(), modified: h.modified(row), name: row.Path, cache: "no-cache", from: h})
		return true
	}
	if name == snapshot.Bootstrap {
		ex.fail(http.StatusNotFound, "no snapshot here bundles it (bundle: in mmoci.yaml)")
		return true
	}
	return false
}
