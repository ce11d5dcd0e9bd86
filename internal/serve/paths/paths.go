// Package paths tells from the path of a file in a snapshot what may be done with it:
// whose archive it is, whether another snapshot may have another file there, and which package
// the policy is asked about.
package paths

import (
	"path"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// PrefixOf returns the prefix of the archive of a path; false for a path that is
// not canonical (but for a final slash) or names no archive.
func PrefixOf(p string) (string, bool) {
	if snapshot.ValidPath(strings.TrimSuffix(p, "/")) != nil {
		return "", false
	}
	p = strings.TrimPrefix(p, "upstream/")
	prefix, _, _ := strings.Cut(p, "/")
	return prefix, snapshot.ValidPrefix(prefix) == nil
}

// Lasting tells whether the file of a path is the same in every snapshot that has
// it: a by-hash name, a pool file. Only these may be answered from the snapshot
// before; an index by its plain name must be of the same snapshot as the Release.
func Lasting(p string) bool {
	if strings.HasSuffix(p, "/") {
		return false
	}
	p = strings.TrimPrefix(p, "upstream/")
	_, p, _ = strings.Cut(p, "/")
	if strings.HasPrefix(p, "dists/") { // some archives have their pool in there
		return strings.Contains(p, "/by-hash/") || strings.HasSuffix(p, ".deb")
	}
	return !flatIndex(path.Base(p))
}

// flatIndex tells whether a name is one that a flat archive has beside its pool files.
func flatIndex(name string) bool {
	switch stem, _, _ := strings.Cut(name, "."); stem {
	case "InRelease", "Release", "Packages", "Sources", "Index":
		return true
	default:
		return strings.HasPrefix(name, "Translation-") || strings.HasPrefix(name, "Contents-")
	}
}

// ArchitectureFile is the architecture by which rules know plain files.
const ArchitectureFile = "file"

// PackageOf returns the package that policy decides on: of a binary package what
// the table says, of a plain file its name, of any other pool file the source package in its name. a is the archive of
// the row; nil: it is of none.
func PackageOf(a *snapshot.Archive, row snapshot.Row) (snapshot.Package, bool) {
	if row.Name != "" {
		return row.Package, true
	}
	if a != nil && a.Format == snapshot.FormatFiles {
		name, is := a.PlainFile(row)
		if !is {
			return snapshot.Package{}, false
		}
		return snapshot.Package{Name: path.Base(name), Architecture: ArchitectureFile}, true
	}
	p := strings.TrimPrefix(row.Path, "upstream/")
	_, p, _ = strings.Cut(p, "/")
	if strings.HasPrefix(p, "dists/") || flatIndex(path.Base(p)) || strings.Contains(p, "by-hash/") || strings.HasPrefix(p, "repodata/") {
		return snapshot.Package{}, false
	}
	source, rest, ok := strings.Cut(path.Base(p), "_")
	if !ok {
		return snapshot.Package{}, false
	}
	version, _ := strings.CutSuffix(rest, ".dsc")
	if i := strings.Index(version, ".orig"); i >= 0 {
		version = version[:i]
	} else if i := strings.Index(version, ".debian.tar"); i >= 0 {
		version = version[:i]
	}
	return snapshot.Package{Name: source, Version: version, Architecture: "source", Source: source}, true
}

// ContentType is the media type of a file. It depends on the ending of its name alone, and is never a type that a browser runs.
func ContentType(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case strings.HasSuffix(base, ".deb"), strings.HasSuffix(base, ".udeb"):
		return "application/vnd.debian.binary-package"
	case strings.HasSuffix(base, ".gz"):
		return "application/gzip"
	case strings.HasSuffix(base, ".xz"):
		return "application/x-xz"
	case strings.HasSuffix(base, ".css"):
		return "text/css; charset=utf-8"
	case strings.HasSuffix(base, ".gpg"):
		return "application/pgp-signature"
	case base == "statement", base == "lock", base == "InRelease", base == "SHA256SUMS", base == "Release", base == "Packages", base == "Sources", strings.HasSuffix(base, ".dsc"):
		return "text/plain; charset=utf-8"
	default:
		return "application/octet-stream"
	}
}
