package snapshot

import "strings"

// PlainFile is the path below its archive of a file of an archive of plain files. ok is false for its lists and
// signatures, and for rows of other archives; a may be nil.
func (a *Archive) PlainFile(r Row) (name string, ok bool) {
	if a == nil || a.Format != FormatFiles {
		return "", false
	}
	name, ok = strings.CutPrefix(r.Path, a.Prefix+"/")
	return name, ok && name != "SHA256SUMS" && name != "SHA256SUMS.asc"
}
