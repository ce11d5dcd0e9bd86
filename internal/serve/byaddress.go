package serve

import (
	"fmt"
	"net/http"

	"example.org/mmoci/pkg/snapshot"
)

// byAddress answers /mirror/HOST/PATH with the plain file that came from there, of the current snapshots.
func (req *request) byAddress(address string) {
	if snapshot.ValidPath(address) != nil {
		req.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	ctx, cancel := req.patient()
	defer cancel()
	for _, h := range req.s.view.Load().current {
		if h == nil {
			continue
		}
		row, ok, err := h.addresses.Find(ctx, address)
		if err != nil {
			req.unavailable(err)
			return
		}
		if ok {
			req.archive = row.Archive()
			req.file(h, row, row.Path, false)
			return
		}
	}
	req.fail(http.StatusNotFound, fmt.Sprintf("no file is held here that came from %.200q", address))
}
