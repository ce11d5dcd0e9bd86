package mirror

import (
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// countPackages counts the binary packages of each prefix.
func countPackages(t *snapshot.Table) map[string]int {
	out := map[string]int{}
	for r := range t.Rows() {
		prefix, _, _ := strings.Cut(r.Path, "/")
		if r.Package.Name != "" && prefix != "upstream" {
			out[prefix]++
		}
	}
	return out
}
