package serve

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// route answers a decoded path without its first slash. Content is found by
// looking the path up in a snapshot's table and nowhere else: there is no
// file system behind a path, so no spelling can climb out of one.
func (ex *exchange) route(p string) {
	head, rest, more := strings.Cut(p, "/")
	switch head {
	case "":
		if more { // an empty part
			ex.fail(http.StatusNotFound, "not a canonical path")
			return
		}
		ex.frontPage()
	case "healthz":
		ex.health(more)
	case "readyz":
		ex.ready(more)
	case "metrics":
		ex.metricsText(more)
	case "setup":
		ex.setup(place{base: ex.base()}, rest)
	case snapshot.Bootstrap:
		ex.carriedFile(snapshot.Bootstrap)
	case "mmoci":
		ex.documents(rest)
	case "snapshot":
		ex.fixed(rest)
	default:
		ex.moving(p)
	}
}

// place is where a snapshot is served: the base of its URLs, and the snapshot
// itself when that is fixed by the path.
type place struct {
	base  string // without final slash
	fixed *held
}

// moving answers from the snapshots in force: /PREFIX/.., /upstream/PREFIX/..
func (ex *exchange) moving(p string) {
	prefix, ok := prefixOf(p)
	if !ok {
		ex.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	ex.archive = prefix
	v := ex.s.view.Load()
	h, row, ok := v.find(p, prefix, ex.s.now())
	if !ok && lasting(p) && v.known(prefix) {
		// A replica may be ahead, and its client came here for the rest.
		ex.s.recheck(ex.r.Context())
		v = ex.s.view.Load()
		h, row, ok = v.find(p, prefix, ex.s.now())
	}
	if !ok {
		if !ex.plain(v.inForce(prefix), p, false) {
			ex.missing(v.inForce(prefix), prefix, p)
		}
		return
	}
	ex.file(h, row, p, false)
}

// fixed answers /snapshot/ID/...
func (ex *exchange) fixed(rest string) {
	id, p, slash := strings.Cut(rest, "/")
	if id == "" {
		ex.snapshotList()
		return
	}
	ctx, cancel := ex.patient()
	h, err := ex.s.openID(ctx, id)
	cancel()
	if err != nil {
		ex.snapshotError(id, err)
		return
	}
	if after, ok := strings.CutPrefix(p, "setup/"); ok {
		ex.setup(place{base: ex.base() + "/snapshot/" + id, fixed: h}, after)
		return
	}
	if name, ok := strings.CutPrefix(p, "mmoci/"); ok {
		ex.document(h, name, cacheForEver)
		return
	}
	if p == "" {
		if !slash {
			ex.toDirectory(id)
			return
		}
		ex.snapshotPage(id, h)
		return
	}
	prefix, ok := prefixOf(p)
	if !ok {
		ex.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	ex.archive = prefix
	row, ok := h.Table.Resolve(h.Statement, p)
	if !ok {
		if !ex.plain(h, p, true) {
			ex.missing(h, prefix, p)
		}
		return
	}
	ex.file(h, row, p, true)
}

// file answers with a file of a snapshot if the policy lets it.
func (ex *exchange) file(h *held, row snapshot.Row, p string, fixed bool) {
	ex.snapshot = h.name
	if pkg, ok := packageOf(row); ok {
		ex.pkg = pkg
		if !ex.permitted(pkg) {
			return
		}
	}
	ex.content(content{
		blob:     row.Blob(),
		modified: h.modified(row),
		name:     row.Path,
		cache:    cacheControl(p, fixed),
		from:     h,
	})
}

// missing answers 404 in words that apt prints after the number.
func (ex *exchange) missing(h *held, prefix, p string) {
	if h == nil || h.archive(prefix) == nil {
		ex.noArchive(prefix)
		return
	}
	if strings.HasSuffix(p, "/") {
		ex.directory(h, p)
		return
	}
	if isDirectory(h, p) {
		ex.toDirectory(p)
		return
	}
	ex.snapshot = h.name
	ex.fail(http.StatusNotFound, fmt.Sprintf("%s is not in snapshot %s", path.Base(p), h.name))
}

// noArchive answers for an archive that is not here: not found, or not yet, if a
// reference has no snapshot; that one is asked for again.
func (ex *exchange) noArchive(prefix string) {
	for i, h := range ex.s.view.Load().current {
		if h == nil {
			ex.broken(http.StatusServiceUnavailable, "no snapshot to answer from yet", fmt.Errorf("%s: no snapshot yet", ex.s.lanes[i].source.Name()))
			return
		}
	}
	ex.fail(http.StatusNotFound, fmt.Sprintf("no archive %.100q here", prefix))
}

// prefixOf is the prefix of the archive that a path is of; false for a path
// that is not canonical (but for a final slash) or names no archive.
func prefixOf(p string) (string, bool) {
	if snapshot.ValidPath(strings.TrimSuffix(p, "/")) != nil {
		return "", false
	}
	p = strings.TrimPrefix(p, "upstream/")
	prefix, _, _ := strings.Cut(p, "/")
	return prefix, snapshot.ValidPrefix(prefix) == nil
}

// lasting tells whether what a path names does not change from snapshot to
// snapshot: a by-hash name, a pool file. Only these may be answered from the
// snapshot before; an index by its plain name must be of the same snapshot as
// the Release.
func lasting(p string) bool {
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

// flatIndex tells the names that a flat archive has beside its pool files.
func flatIndex(name string) bool {
	switch stem, _, _ := strings.Cut(name, "."); stem {
	case "InRelease", "Release", "Packages", "Sources", "Index":
		return true
	default:
		return strings.HasPrefix(name, "Translation-") || strings.HasPrefix(name, "Contents-")
	}
}

// packageOf is the package that policy decides on: what the table says of a
// binary package; of any other pool file the source package its name tells.
func packageOf(row snapshot.Row) (snapshot.Package, bool) {
	if row.Name != "" {
		return row.Package, true
	}
	p := strings.TrimPrefix(row.Path, "upstream/")
	_, p, _ = strings.Cut(p, "/")
	if strings.HasPrefix(p, "dists/") || flatIndex(path.Base(p)) || strings.Contains(p, "by-hash/") {
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

const cacheForEver = "public, max-age=31536000, immutable"

// cacheControl lets caches keep what can never differ, and has them ask for
// everything else: also for pool files, so that a package that is denied now
// is not handed out by a cache.
func cacheControl(p string, fixed bool) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(p, "upstream/"), "/")
	index := strings.HasPrefix(rest, "dists/") && !strings.HasSuffix(rest, ".deb")
	if strings.Contains(rest, "/by-hash/") || (fixed && index) {
		return cacheForEver
	}
	return "no-cache"
}
