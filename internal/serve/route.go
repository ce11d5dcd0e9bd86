package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"example.org/mmoci/internal/serve/front"
	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := s.begin(w, r)
	defer req.end()
	defer req.recovered()
	p := s.relative(r.URL.Path)
	if s.registry != nil && (p == "v2" || strings.HasPrefix(p, "v2/")) {
		req.beginRegistry()
	}
	if s.front.Asks(r) {
		req.fail(http.StatusLoopDetected, "this server is in its own list of mirrors")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		req.fail(http.StatusMethodNotAllowed, "only GET and HEAD")
		return
	}
	if !s.authorized(r, p) {
		w.Header().Set("WWW-Authenticate", `Basic realm="mmoci", charset="UTF-8"`)
		where := "see auth.conf(5) of apt"
		if req.v2 != nil {
			where = "log in to this registry"
		}
		req.fail(http.StatusUnauthorized, "credentials needed; "+where)
		return
	}
	if req.v2 != nil {
		req.fromRegistry(strings.TrimPrefix(p, "v2"))
		return
	}
	// apt asks for the files of a flat archive "./" by PREFIX/./InRelease.
	req.route(strings.ReplaceAll(p, "/./", "/"))
}

// relative takes the base path and the first slash off. A path is decoded
// once, by net/http; from here on there is one spelling of each.
func (s *Server) relative(path string) string {
	if rest, ok := strings.CutPrefix(path, s.basePath+"/"); ok {
		return rest
	}
	if s.basePath != "" && path == s.basePath {
		return ""
	}
	return strings.TrimPrefix(path, "/")
}

// route answers a decoded path without its first slash. Files are found in the
// table of a snapshot and nowhere else: there is no file system behind a path,
// so no spelling leads out of one.
func (req *request) route(p string) {
	head, rest, more := strings.Cut(p, "/")
	switch {
	case head == "" && more: // an empty part
		req.fail(http.StatusNotFound, "not a canonical path")
	case head == "":
		req.frontPage()
	case more && (head == "healthz" || head == "readyz" || head == "metrics"):
		req.fail(http.StatusNotFound, "nothing here")
	case head == "healthz":
		req.healthz()
	case head == "readyz":
		req.readyz()
	case head == "metrics":
		req.status = http.StatusOK
		req.s.metrics.Handler.ServeHTTP(req.w, req.r)
	case head == "setup":
		req.setup(req.s.pages.View(req.site()), rest)
	case head == snapshot.Bootstrap:
		req.bundledFile(snapshot.Bootstrap)
	case req.s.front != nil && strings.HasPrefix(p, front.DirectPath):
		req.direct = true
		req.moving(strings.TrimPrefix(p, front.DirectPath))
	case head == "mmoci":
		req.documents(rest)
	case head == "changes" && !more && req.s.view.Load().of(head) == nil:
		req.changes()
	case head == "mirror" && more && req.s.view.Load().of(head) == nil:
		req.byAddress(rest)
	case head == "snapshot":
		req.fixed(rest)
	default:
		req.moving(p)
	}
}

// moving answers from the current snapshots: /PREFIX/.., /upstream/PREFIX/..
func (req *request) moving(p string) {
	prefix, ok := paths.PrefixOf(p)
	if !ok {
		req.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	req.archive = prefix
	v := req.s.view.Load()
	h, row, ok := v.find(p, prefix, req.s.o.Now())
	if !ok && req.packagePage(v.of(prefix), "", p) {
		return
	}
	if !ok && paths.Lasting(p) {
		h, row, ok = req.s.pendingFile(p, prefix)
	}
	if !ok && paths.Lasting(p) && v.known(prefix) {
		// A replica may be ahead, and its client came here for the rest.
		req.s.recheck(req.r.Context())
		// In this order: a newcomer is in the view before it is pending no more.
		if h, row, ok = req.s.pendingFile(p, prefix); !ok {
			v = req.s.view.Load()
			h, row, ok = v.find(p, prefix, req.s.o.Now())
		}
	}
	if ok {
		req.file(h, row, p, false)
	} else if h = v.of(prefix); !req.plainIndex(h, p, false) {
		req.missing(h, prefix, p)
	}
}

// fixed answers /snapshot/ID/.. from one snapshot.
func (req *request) fixed(rest string) {
	id, p, slash := strings.Cut(rest, "/")
	if id == "" {
		req.snapshotList()
		return
	}
	ctx, cancel := req.patient()
	h, err := req.s.openID(ctx, id)
	cancel()
	if err != nil {
		req.snapshotError(id, err)
		return
	}
	if name, ok := strings.CutPrefix(p, "setup/"); ok {
		req.setup(req.fixedView(id, h), name)
		return
	}
	if name, ok := strings.CutPrefix(p, "mmoci/"); ok {
		req.document(h, name, req.s.access().CacheControl(paths.Forever))
		return
	}
	if p == "" && !slash {
		req.toDirectory(id)
		return
	}
	if p == "" {
		req.snapshot = h.name
		v := req.fixedView(id, h)
		req.page(req.s.pages.Snapshot(v), nil)
		return
	}
	prefix, ok := paths.PrefixOf(p)
	if !ok {
		req.fail(http.StatusNotFound, "not a canonical path")
		return
	}
	req.archive = prefix
	if row, ok := h.Table.Resolve(h.Statement, p); ok {
		req.file(h, row, p, true)
	} else if req.packagePage(h, id, p) {
		return
	} else if !req.plainIndex(h, p, true) {
		req.missing(h, prefix, p)
	}
}

// file answers with a file of a snapshot if the policy allows it. A denial has
// the rule's reason in the status line, which apt prints.
func (req *request) file(h *served, row snapshot.Row, p string, fixed bool) {
	req.snapshot = h.name
	if pkg, ok := paths.PackageOf(h.archive(row.Archive()), row); ok {
		req.pkg = pkg
		d := req.s.decide(pkg, req.archive)
		req.rule = d.Rule
		if !d.Allow {
			req.s.metrics.Denied(req.archive, d.Rule)
			req.fail(http.StatusForbidden, d.Reason)
			return
		}
	}
	req.answer(content{
		blob:     row.Blob(),
		modified: h.modified(row),
		name:     row.Path,
		cache:    req.cacheControl(h, row, fixed),
		from:     h,
		mirrored: paths.IsPoolFile(h.archive(row.Archive()), row),
	})
}

// missing answers for a path that is no file: a directory, or 404 in words that apt prints after the number.
func (req *request) missing(h *served, prefix, p string) {
	switch {
	case h == nil || h.archive(prefix) == nil:
		req.noArchive(prefix)
	case strings.HasSuffix(p, "/"):
		req.page(req.s.pages.Directory(req.site(), h.page(), p), nil)
	case web.IsDirectory(h.Snapshot, p):
		req.toDirectory(p)
	default:
		req.snapshot = h.name
		req.fail(http.StatusNotFound, fmt.Sprintf("%s is not in snapshot %s", path.Base(p), h.name))
	}
}

// noArchive answers for an archive that is not here: 404, or 503 while a
// reference has no snapshot, so that the client asks again.
func (req *request) noArchive(prefix string) {
	for i, h := range req.s.view.Load().current {
		if h == nil {
			req.broken(http.StatusServiceUnavailable, "no snapshot to answer from yet", fmt.Errorf("%s: no snapshot yet", req.s.followers[i].source.Name()))
			return
		}
	}
	req.fail(http.StatusNotFound, fmt.Sprintf("no archive %.100q here", prefix))
}

// toDirectory sends people to the path with a slash, where relative links hold.
func (req *request) toDirectory(p string) {
	last := p[strings.LastIndexByte(p, '/')+1:]
	req.w.Header().Set("Location", "./"+url.PathEscape(last)+"/")
	req.fail(http.StatusMovedPermanently, "a directory")
}

// access is what restricts who gets what, now.
func (s *Server) access() paths.Access {
	return paths.Access{Rules: s.policy.Get().Restricts(), Credentials: s.guard != nil}
}

// cacheControl is the Cache-Control of a file of h at a path.
func (req *request) cacheControl(h *served, row snapshot.Row, fixed bool) string {
	life := paths.Asked
	switch a := h.archive(row.Archive()); {
	case !paths.IsPoolFile(a, row):
		if fixed || strings.Contains(row.Path, "/by-hash/") || strings.Contains(req.r.URL.Path, "/by-hash/") {
			life = paths.Forever
		}
	case fixed || a != nil && a.Class == snapshot.Upstream && paths.Versioned(a, row):
		life = paths.UntilRules
	}
	return req.s.access().CacheControl(life)
}
