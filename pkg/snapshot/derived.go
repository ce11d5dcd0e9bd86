package snapshot

import (
	"errors"
	"strings"
)

const (
	byHashPart = "/by-hash/SHA256/"
	bySHA512   = "/by-hash/SHA512/"
	distsPart  = "dists"
)

var errSHA512 = errors.New("by-hash/SHA512 is never listed: files are found by SHA256")

// Resolve finds the row that answers a served path: listed ones and the
// derived ones of SPEC section 3 (by-hash/SHA256, upstream view). The row has its
// listed path. st says which archives are verbatim; without it (nil) there is no upstream view.
func (t *Table) Resolve(st *Statement, path string) (Row, bool) {
	if r, ok := t.Find(path); ok {
		return r, true
	}
	rest, upstream := strings.CutPrefix(path, upstreamView+"/")
	if !upstream {
		return t.byHash(st, path)
	}
	prefix, name, _ := strings.Cut(rest, "/")
	a := st.Archive(prefix)
	switch {
	case a == nil || a.Class != Upstream:
		return Row{}, false
	case a.Mode == Verbatim:
		// Its own view is upstream's.
		if r, ok := t.Find(rest); ok {
			return r, true
		}
		return t.byHash(st, rest)
	case a.isPool(name):
		return t.Find(rest)
	}
	return t.byHash(st, path)
}

// isPool tells whether a file, named relative to the archive, is a pool file, which the upstream view has
// in common with the curated archive. Below dists/, where some archives (Docker's) have their pool, and in the
// directory of a flat suite, where indices and packages lie side by side, they are told apart by name.
func (a *Archive) isPool(name string) bool {
	if a.Format != FormatDeb { // whatever the site has not made
		return name != "" && name != "SHA256SUMS" && name != "SHA256SUMS.asc"
	}
	if name == "" || strings.Contains(name, byHashPart[:len("/by-hash/")]) {
		return false
	}
	if strings.HasPrefix(name, distsPart+"/") && isIndexName(name[strings.LastIndexByte(name, '/')+1:]) {
		return false
	}
	for _, s := range a.Suites {
		if !IsFlat(s.Name) {
			continue
		}
		if below, ok := strings.CutPrefix(a.Prefix+"/"+name, SuiteDir(a.Prefix, s.Name)+"/"); ok {
			if first, _, _ := strings.Cut(below, "/"); first == "by-hash" || isIndexName(first) {
				return false
			}
		}
	}
	return true
}

// isIndexName tells the names that indices and signature files have, with whatever ending.
func isIndexName(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	switch stem {
	case "InRelease", "Release", "Packages", "Sources", "Index":
		return true
	}
	return strings.HasPrefix(stem, "Contents-") || strings.HasPrefix(stem, "Translation-")
}

// byHash finds the file that DIR/by-hash/SHA256/HEX names.
func (t *Table) byHash(st *Statement, path string) (Row, bool) {
	i := strings.LastIndex(path, byHashPart)
	if i < 0 || !st.hasByHash(path[:i]) {
		return Row{}, false
	}
	d, ok := parseHex(path[i+len(byHashPart):])
	if !ok {
		return Row{}, false
	}
	return t.findIn(path[:i+1], &d)
}

// hasByHash tells whether a directory has by-hash names: it is below dists/, or a flat suite's.
func (st *Statement) hasByHash(dir string) bool {
	own := strings.TrimPrefix(dir, upstreamView+"/")
	prefix, rest, _ := strings.Cut(own, "/")
	a := st.Archive(prefix)
	if a != nil && a.Format != FormatDeb {
		return false
	}
	if rest == distsPart || strings.HasPrefix(rest, distsPart+"/") {
		return true
	}
	if a == nil {
		return false
	}
	for _, s := range a.Suites {
		if IsFlat(s.Name) && own == SuiteDir(prefix, s.Name) {
			return true
		}
	}
	return false
}

// findIn searches the files directly in dir, which ends with a slash, for a
// digest. Directories below it are skipped: the search of dists/SUITE/main/ does not read those of all architectures.
func (t *Table) findIn(dir string, d *Digest) (Row, bool) {
	var c cursor
	ok := t.seek(&c, dir)
	for ok && c.under(dir) {
		if slash := slashAfter(c.path(), len(dir)); slash >= 0 {
			ok = t.seek(&c, after(c.path(), slash))
			continue
		}
		if c.hasDigest(d) {
			return c.row(""), true
		}
		ok = c.advance()
	}
	return Row{}, false
}

func slashAfter(path []byte, from int) int {
	for i := from; i < len(path); i++ {
		if path[i] == '/' {
			return i
		}
	}
	return -1
}
