package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

// book is what the indices of a snapshot say of its packages. They are read when it is first asked for.
func (req *request) book(h *served) (*chain.Book, error) {
	ctx, cancel := req.patient()
	defer cancel()
	return req.s.shelf.Book(ctx, chain.Options{Snapshot: h.Snapshot, Upstream: req.s.o.Keyrings, Site: req.s.siteRing.Load()})
}

// packagePage answers for PREFIX/package/NAME[/VERSION] of a snapshot; false if p is no such path. id is how the
// path names the snapshot; "": it is the current one.
func (req *request) packagePage(h *served, id, p string) bool {
	n, ok := web.ParsePackagePath(p)
	if prefix, found := strings.CutSuffix(p, "/"+web.PackageDir); found && h != nil && h.archive(prefix) != nil {
		req.archivePage(h, id, prefix)
		return true
	}
	if !ok || h == nil || h.archive(n.Prefix) == nil {
		return false
	}
	asked := req.r.URL.Query()
	n.Arch = asked.Get("arch")
	req.archive = n.Prefix
	book, err := req.book(h)
	if err != nil {
		req.bookError(err)
		return true
	}
	pkg, err := web.Choose(book, n)
	if errors.Is(err, web.ErrNoPackage) {
		req.fail(http.StatusNotFound, fmt.Sprintf("no package %.100q in archive %s of snapshot %s", n.Name, n.Prefix, h.name))
		return true
	}
	if err != nil {
		req.broken(http.StatusInternalServerError, "the page cannot be made", err)
		return true
	}
	v := req.viewOf(h, id)
	aside := req.aside(h, pkg, asked.Get("show"))
	req.html(func() ([]byte, error) {
		body, err := req.s.pages.Package(v, h.page(), book, n, aside)
		req.snapshot = h.name
		return body, err
	})
	return true
}

// aside is what a package page has beside what the indices say.
func (req *request) aside(h *served, pkg chain.Package, show string) (a web.Aside) {
	ctx, cancel := req.patient()
	defer cancel()
	if text, err := h.ReadLock(ctx); err == nil {
		a.Lock = text
	}
	if show != "history" && show != "changelog" {
		return a
	}
	held := req.held(ctx, h)
	if show == "history" {
		a.History = append([]web.Held{}, held...)
		return a
	}
	older := held
	for i := range held {
		if held[i].Name == h.name {
			older = held[i+1:]
			break
		}
	}
	// What the policy denies is given by no path to its bytes.
	if d := req.s.decide(pkg.Package, pkg.Archive()); !d.Allow {
		a.Changelog = &web.Changelog{Err: errors.New(d.Reason)}
		return a
	}
	done, ok := req.turn()
	if !ok {
		return a
	}
	defer done()
	a.Changelog = web.ReadChangelog(ctx, h.Snapshot, pkg, web.Before(older, pkg))
	return a
}

// held are the newest snapshots of the reference that h comes from, the newest first.
func (req *request) held(ctx context.Context, h *served) (out []web.Held) {
	v := req.s.view.Load()
	for i, f := range req.s.followers {
		ids, err := f.source.IDs(ctx)
		if err != nil {
			continue
		}
		mine := v.current[i] != nil && v.current[i].name == h.name
		for _, id := range ids {
			mine = mine || h.is(id)
		}
		if !mine {
			continue
		}
		for _, id := range ids[:min(len(ids), web.MaxHistory)] {
			other, err := req.s.openID(ctx, id)
			if err != nil {
				out = append(out, web.Held{Snapshot: web.Snapshot{Name: id}, Err: err})
				continue
			}
			if len(out) == 0 || out[len(out)-1].Name != other.name {
				out = append(out, web.Held{Snapshot: other.page()})
			}
		}
		break
	}
	if len(out) == 0 {
		out = append(out, web.Held{Snapshot: h.page()})
	}
	return out
}

// bookError answers where the indices cannot be read.
func (req *request) bookError(err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		req.broken(http.StatusServiceUnavailable, "the indices of this snapshot are being read for the first time; ask again", err)
	case errors.Is(err, chain.ErrBusy):
		req.broken(http.StatusServiceUnavailable, chain.ErrBusy.Error(), err)
	case errors.Is(err, snapshot.ErrIntegrity):
		req.broken(http.StatusBadGateway, "the indices of this snapshot contradict themselves; the log says how", err)
	default:
		req.broken(http.StatusBadGateway, "the indices of this snapshot cannot be read now", err)
	}
}

// search answers a search. Where the indices of a snapshot cannot be read, it goes by names alone.
func (req *request) search(asked web.Asked) {
	current := req.s.view.Load()
	v := req.currentView(current)
	for i, h := range present(current) {
		if book, err := req.book(h); err == nil {
			v.Snapshots[i].Book = book
		}
	}
	contentType := htmlText
	if asked.JSON {
		contentType = "application/json"
	}
	req.page(contentType, func() ([]byte, error) {
		body, _, err := req.s.pages.Search(v, asked)
		if err == nil {
			req.guarded()
		}
		return body, err
	})
}

// present are the current snapshots of a view, as its pages list them.
func present(v *view) (out []*served) {
	for _, h := range v.current {
		if h != nil {
			out = append(out, h)
		}
	}
	return out
}

// archivePage answers for PREFIX/package/ of a snapshot.
func (req *request) archivePage(h *served, id, prefix string) {
	book, err := req.book(h)
	if err != nil {
		req.bookError(err)
		return
	}
	v := req.viewOf(h, id)
	req.html(func() ([]byte, error) {
		s := h.page()
		s.Book = book
		req.snapshot = h.name
		return req.s.pages.Archive(v, s, prefix, req.r.URL.Query())
	})
}

// viewOf is what pages of one snapshot are made of; id is how the path names it, "": it is the current one.
func (req *request) viewOf(h *served, id string) web.View {
	v := req.currentView(req.s.view.Load())
	if id != "" {
		v.Snapshots, v.Base, v.Fixed = []web.Snapshot{h.page()}, v.Base+"/snapshot/"+id, true
	}
	return v
}

// errorPage answers a browser with an error in the frame of the other pages; false for every other client. The status line
// stays as it is. Near names are told where the indices were read already: an error reads none.
func (req *request) errorPage(status int, reason string) bool {
	if req.s.pages == nil || !acceptsHTML(req.r) {
		return false
	}
	current := req.s.view.Load()
	if current == nil || status < 400 {
		return false
	}
	v := req.currentView(current)
	for i, h := range present(current) {
		v.Snapshots[i].Book = req.s.shelf.Read(h.Root)
	}
	t := web.Trouble{Status: status, Text: http.StatusText(status), Reason: reason, Path: req.r.URL.Path}
	switch status {
	case http.StatusForbidden:
		t.Denied = req.rule
	case http.StatusNotFound:
		t.Ask = web.NameOf(req.r.URL.Path)
		if n, ok := web.ParsePackagePath(req.s.relative(req.r.URL.Path)); ok {
			t.Ask = n.Name
		}
	}
	body, err := req.s.pages.Error(v, t)
	if err != nil {
		return false
	}
	req.guarded()
	req.w.Header().Set("Cache-Control", "no-store")
	req.w.Header().Add("Vary", "Accept")
	req.text(status, htmlText, body)
	return true
}

// acceptsHTML tells browsers, which ask for text/html by name, from apt, which does not.
func acceptsHTML(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(accept, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
				return true
			}
		}
	}
	return false
}
