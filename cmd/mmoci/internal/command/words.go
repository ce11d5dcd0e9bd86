package command

import (
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// KindOf says what an archive of a snapshot is, for people.
func KindOf(mode snapshot.Mode, class snapshot.Class) string {
	switch {
	case mode == snapshot.Verbatim:
		return "verbatim"
	case class == snapshot.Site:
		return "the site's own"
	case class == snapshot.Merged:
		return "merged of others"
	}
	return "curated from upstream"
}

// Reused says how much of what was fetched was there already; "" for nothing.
func Reused(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return " (" + terminal.Size(bytes) + " of it were there)"
}

// ReportRunnable says what an oci-archive names for hosts to run. The digest of the
// script is what somebody types there.
func ReportRunnable(a *App, files []artifact.CarriedFile) {
	for _, f := range files {
		a.Log("%s %s", f.Path, f.Digest)
	}
}
