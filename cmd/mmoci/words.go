package main

import (
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// kindOf says what an archive of a snapshot is, for people.
func kindOf(mode snapshot.Mode, class snapshot.Class) string {
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

// reused says how much of what was fetched was there already; "" for nothing.
func reused(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return " (" + terminal.Size(bytes) + " of it were there)"
}

// reportRunnable says what an oci-archive names for hosts to run. The digest of the
// script is what somebody types there.
func reportRunnable(a *app, files []artifact.CarriedFile) {
	for _, f := range files {
		a.log("%s %s", f.Path, f.Digest)
	}
}
