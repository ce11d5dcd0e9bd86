package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.org/mmoci/internal/serve/pages"
	"example.org/mmoci/internal/serve/web"
)

const (
	// maxPages bounds the pages that are made at once and read whole tables, and the small ones beside them.
	maxPages = 4
	// maxPageBytes bounds the pages that are made and not yet taken by their clients.
	maxPageBytes = 64 << 20
)

// turn waits until a page may be made, a small one among others like it. False if the client went
// away, else the caller ends the turn with done before the first byte is sent: a
// client that takes its page slowly must not keep others from theirs.
func (req *request) turn(small bool) (done func(), ok bool) {
	making := req.s.making
	if small {
		making = req.s.makeSmall
	}
	select {
	case making <- struct{}{}:
		return func() { <-making }, true
	case <-req.r.Context().Done():
		return nil, false
	}
}

// page answers with something that is made for this client and may be large, or says why there is none.
func (req *request) page(p *pages.Page, err error) {
	if err != nil {
		req.pageError(err)
		return
	}
	if p.Archive != "" {
		req.archive = p.Archive
	}
	done, ok := req.turn(p.Small)
	if !ok {
		return
	}
	body, err := func() ([]byte, error) { defer done(); return p.Build() }()
	switch {
	case errors.Is(err, web.ErrNoDirectory):
		req.fail(http.StatusNotFound, err.Error())
		return
	case err != nil:
		req.cause = err
		req.fail(http.StatusInternalServerError, "the page cannot be made")
		return
	}
	size := min(int64(len(body)), maxPageBytes)
	ctx, cancel := req.patient()
	err = req.s.sending.Acquire(ctx, size)
	cancel()
	if err != nil {
		req.broken(http.StatusServiceUnavailable, "many pages are being sent now", err)
		return
	}
	defer req.s.sending.Release(size)
	req.extend(idleWrite) // what it waited is gone
	if p.Snapshot != "" {
		req.snapshot = p.Snapshot
	}
	if p.Type != plainText {
		req.guarded()
	}
	req.text(http.StatusOK, p.Type, body)
}

// pageError answers where there is no page.
func (req *request) pageError(err error) {
	if opened, ok := errors.AsType[*pages.OpenError](err); ok {
		req.snapshotError(opened.ID, opened.Err)
		return
	}
	why, ok := errors.AsType[*pages.Error](err)
	switch {
	case !ok:
		req.broken(http.StatusInternalServerError, "the page cannot be made", err)
	case why.Cause != nil:
		req.broken(why.Status, why.Reason, why.Cause)
	default:
		req.fail(why.Status, why.Reason)
	}
}

// guarded sets the headers of a page.
func (req *request) guarded() {
	h := req.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", web.SecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
}

// root is the relative URL of the front page.
func (req *request) root() string {
	if depth := strings.Count(req.s.relative(req.r.URL.Path), "/"); depth > 0 {
		return strings.Repeat("../", depth)
	}
	return "./"
}

// site is the server as pages take it: at this instant, by the address of this request.
func (req *request) site() pages.Site {
	return req.siteOf(req.s.view.Load())
}

func (req *request) siteOf(v *view) pages.Site {
	out := pages.Site{Base: req.base(), Root: req.root(), Key: *req.s.siteKey.Load(), Ring: req.s.siteRing.Load(), Troubles: req.s.troubles(), Mirrors: req.s.front.Names(v.prefixes(), req.s.registry != nil)}
	for i, f := range req.s.followers {
		failing, refusal := f.health()
		r := pages.Reference{Name: f.source.Name(), Failing: failing, IDs: f.source.IDs, Tags: f.source.Tags}
		if refusal != nil {
			r.Refusal = refusal
		}
		if h := v.current[i]; h != nil {
			page := h.page()
			r.Current = &page
		}
		if len(v.previous[i]) > 0 {
			page := v.previous[i][0].page()
			r.Before = &page
		}
		out.References = append(out.References, r)
	}
	return out
}

// frontPage says what is served, and answers a search.
func (req *request) frontPage() {
	if base := req.s.basePath; base != "" && req.r.URL.Path == base {
		req.toDirectory(base)
		return
	}
	ctx, cancel := req.patient()
	defer cancel()
	if asked := req.r.URL.Query(); asked.Has("q") {
		if len(asked.Get("q")) > web.MaxQuery {
			req.fail(http.StatusBadRequest, fmt.Sprintf("a search has at most %d bytes", web.MaxQuery))
			return
		}
		req.page(req.s.pages.Search(ctx, req.site(), web.ParseAsked(asked)), nil)
		return
	}
	req.page(req.s.pages.Front(ctx, req.site()), nil)
}

// packagePage answers for a path that is that of a page of packages of a snapshot; false if it is none. id is how the
// path names the snapshot; "": it is a current one.
func (req *request) packagePage(h *served, id, p string) bool {
	if h == nil {
		return false
	}
	ctx, cancel := req.patient()
	defer cancel()
	page, err := req.s.pages.Package(ctx, req.site(), h.page(), id, p, req.r.URL.Query())
	if page == nil && err == nil {
		return false
	}
	req.page(page, err)
	return true
}

// snapshotList lists the snapshots at hand.
func (req *request) snapshotList() {
	ctx, cancel := req.patient()
	defer cancel()
	req.page(req.s.pages.List(ctx, req.site()))
}

// changes compares two snapshots, or the current ones with those before them.
func (req *request) changes() {
	ctx, cancel := req.patient()
	defer cancel()
	req.page(req.s.pages.Changes(ctx, req.site(), req.r.URL.Query()))
}

// fixedView is what pages of the snapshot of an ID are made of.
func (req *request) fixedView(id string, h *served) web.View {
	ctx, cancel := req.patient()
	defer cancel()
	return req.s.pages.FixedView(ctx, req.site(), id, h.page())
}

// setup answers /setup/..: what a host needs to use this server, made for the
// address that it was asked at.
func (req *request) setup(v web.View, name string) {
	req.w.Header().Set("Cache-Control", "no-cache")
	name, v.KeyFiles = strings.CutPrefix(name, web.KeyFiles)
	switch {
	case name == "":
		req.w.Header().Add("Vary", "Accept")
		if acceptsHTML(req.r) && !v.KeyFiles {
			req.page(req.s.pages.SetupPage(v), nil)
			return
		}
		req.text(http.StatusOK, plainText, []byte(v.Setup()))
		return
	case name == "site.asc" && len(v.Key.Armor) > 0:
		req.text(http.StatusOK, plainText, v.Key.Armor)
		return
	}
	if text, prefix, ok := req.s.front.Text(v, name, req.s.registry != nil); ok {
		req.archive = prefix
		req.text(http.StatusOK, plainText, []byte(text))
		return
	}
	if page := req.s.pages.Setup(v, name); page != nil {
		req.page(page, nil)
		return
	}
	text, prefix, of := v.Text(name)
	req.archive, req.snapshot = prefix, of
	switch {
	case text != nil:
		req.text(http.StatusOK, plainText, text)
	case prefix == "" || of != "":
		req.fail(http.StatusNotFound, "nothing here; see /setup/")
	default:
		req.noArchive(prefix)
	}
}

// errorPage answers a browser with an error in the frame of the other pages; false for every other client. The status line
// stays as it is.
func (req *request) errorPage(status int, reason string) bool {
	if status < 400 || req.s.pages == nil {
		return false
	}
	if req.w.Header().Add("Vary", "Accept"); !acceptsHTML(req.r) {
		return false
	}
	current := req.s.view.Load()
	if current == nil {
		return false
	}
	if status == http.StatusNotFound { // near names are looked for in all that there are
		done, ok := req.turn(false)
		if !ok {
			return false
		}
		defer done()
	}
	body, err := req.s.pages.Error(req.siteOf(current), pages.Trouble{
		Status: status, Reason: reason, Path: req.r.URL.Path, Below: req.s.relative(req.r.URL.Path), Rule: req.rule,
	})
	if err != nil {
		return false
	}
	req.guarded()
	req.w.Header().Set("Cache-Control", "no-store")
	req.text(status, pages.HTML, body)
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
