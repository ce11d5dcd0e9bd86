package serve

import (
	"fmt"
	"net/http"

	"example.org/mmoci/pkg/snapshot"
)

// byAddress answers /mirror/HOST/PATH with the plain file that came from there, of the current snapshots. If several did
// that differ, nobody can tell which of them is meant.
func (req *request) byAddress(address string) {
	if snapshot.ValidPath(address) != nil {
		req.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	ctx, cancel := req.patient()
	defer cancel()
	var of *served
	var file snapshot.Row
	for _, h := range req.s.view.Load().current {
		if h == nil {
			continue
		}
		rows, err := h.addresses.Find(ctx, address)
		if err != nil {
			req.unavailable(err)
			return
		}
		for _, row := range rows {
			if of == nil {
				of, file = h, row
			} else if row.Digest != file.Digest {
				req.fail(http.StatusNotFound, fmt.Sprintf("files that differ came from %.200q: /%s and /%s", address, file.Path, row.Path))
				return
			}
		}
	}
	if of == nil {
		req.fail(http.StatusNotFound, fmt.Sprintf("no file is held here that came from %.200q", address))
		return
	}
	req.archive = file.Archive()
	req.file(of, file, file.Path, false)
}
