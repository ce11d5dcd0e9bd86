package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxPages bounds the pages that are made at once: they read whole tables.
	maxPages = 4
	// maxPageBytes bounds the pages that are made and not yet taken by their clients.
	maxPageBytes = 64 << 20
)

// turn waits until something large may be made. False if the client went away,
// else the caller ends the turn with done before the first byte is sent: a
// client that takes its page slowly must not keep others from theirs.
func (req *request) turn() (done func(), ok bool) {
	select {
	case req.s.making <- struct{}{}:
		return func() { <-req.s.making }, true
	case <-req.r.Context().Done():
		return nil, false
	}
}

// page answers with something that is made for this client and may be large.
func (req *request) page(contentType string, build func() ([]byte, error)) {
	done, ok := req.turn()
	if !ok {
		return
	}
	body, err := func() ([]byte, error) { defer done(); return build() }()
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
	req.text(http.StatusOK, contentType, body)
}

// html answers with a page for people.
func (req *request) html(build func() ([]byte, error)) {
	req.page(htmlText, func() ([]byte, error) {
		body, err := build()
		if err == nil {
			req.guarded()
		}
		return body, err
	})
}

// glance is how long the front page waits for what it can do without.
const glance = time.Second

const htmlText = "text/html; charset=utf-8"

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

// currentView is what pages of the current snapshots of a view are made of.
func (req *request) currentView(current *view) web.View {
	v := web.View{
		Base: req.base(), Root: req.root(), Policy: req.s.policy.Get(), LogOnly: req.s.o.PolicyLogOnly, Key: *req.s.siteKey.Load(), Now: req.s.o.Now(),
		UpstreamKeys: req.s.upstreamKeys, Site: req.s.siteRing.Load(),
	}
	for _, h := range current.current {
		if h != nil {
			v.Snapshots = append(v.Snapshots, h.page())
		}
	}
	return v
}

// fixedView is what pages of the snapshot of an ID are made of. It reads how long
// upstream's Releases are valid, as far as that is possible now.
func (req *request) fixedView(id string, h *served) web.View {
	ctx, cancel := req.patient()
	defer cancel()
	h.validities(ctx)
	v := req.currentView(newView([]*served{h}, nil))
	v.Base, v.Fixed = v.Base+"/snapshot/"+id, true
	return v
}

// frontPage says what is served, and answers a search.
func (req *request) frontPage() {
	if base := req.s.basePath; base != "" && req.r.URL.Path == base {
		req.toDirectory(base)
		return
	}
	if asked := req.r.URL.Query(); asked.Has("q") && len(asked.Get("q")) <= web.MaxQuery {
		req.search(web.ParseAsked(asked))
		return
	}
	current := req.s.view.Load()
	ctx, cancel := context.WithTimeout(req.r.Context(), glance)
	for _, h := range present(current) {
		h.validities(ctx)
	}
	cancel()
	req.html(func() ([]byte, error) {
		v := req.currentView(current)
		var references []web.Reference
		for i, h := range current.current {
			f := req.s.followers[i]
			failing, refusal := f.health()
			r := web.Reference{Name: f.source.Name(), Failing: failing}
			if refusal != nil {
				r.Refusal = refusal
			}
			if h != nil {
				page := h.page()
				r.Snapshot = &page
			}
			references = append(references, r)
		}
		return req.s.pages.Front(v, references, req.s.troubles(), req.changedLast(current))
	})
}

// directory lists a directory of a snapshot.
func (req *request) directory(h *served, p string) {
	req.html(func() ([]byte, error) {
		body, err := req.s.pages.Directory(web.View{Root: req.root()}, h.page(), p)
		if err != nil {
			return nil, fmt.Errorf("%w in snapshot %s", err, h.name)
		}
		req.snapshot = h.name
		return body, nil
	})
}

// snapshotList lists the snapshots at hand.
func (req *request) snapshotList() {
	ctx, cancel := req.patient()
	defer cancel()
	var lists [][]web.Listed
	v := req.s.view.Load()
	for i, f := range req.s.followers {
		ids, err := f.source.IDs(ctx)
		if err != nil {
			req.broken(http.StatusBadGateway, "the registry does not tell now which there are", err)
			return
		}
		var list []web.Listed
		for n, id := range ids {
			l := web.Listed{ID: id, Current: v.current[i] != nil && v.current[i].is(id)}
			if n < web.MaxOpened {
				if h, err := req.s.openID(ctx, id); err == nil {
					page := h.page()
					l.Snapshot = &page
				}
			}
			list = append(list, l)
		}
		lists = append(lists, list)
	}
	req.html(func() ([]byte, error) { return req.s.pages.List(req.currentView(v), lists) })
}

// changes compares the current snapshots with those before them.
func (req *request) changes() {
	v := req.s.view.Load()
	var changes []web.Change
	for i, h := range v.current {
		c := web.Change{Reference: req.s.followers[i].source.Name()}
		if h != nil {
			page := h.page()
			c.New = &page
			if old := req.before(v, i); old != nil {
				page := old.page()
				c.Old = &page
			}
		}
		changes = append(changes, c)
	}
	req.html(func() ([]byte, error) { return req.s.pages.Changes(req.currentView(v), changes, req.ids()) })
}

// changesBetween answers for /changes?from=&to=: any two snapshots at hand.
func (req *request) changesBetween() {
	asked := req.r.URL.Query()
	if !asked.Has("from") && !asked.Has("to") {
		req.changes()
		return
	}
	var two [2]web.Snapshot
	ctx, cancel := req.patient()
	defer cancel()
	for i, id := range []string{asked.Get("from"), asked.Get("to")} {
		h, err := req.s.openID(ctx, id)
		if err != nil {
			req.snapshotError(id, err)
			return
		}
		two[i] = h.page()
	}
	req.html(func() ([]byte, error) {
		steps := []web.Change{{Reference: "between two snapshots", Old: &two[0], New: &two[1]}}
		return req.s.pages.Changes(req.currentView(req.s.view.Load()), steps, req.ids())
	})
}

// ids are the snapshots at hand, as far as that can be told now.
func (req *request) ids() (all []string) {
	ctx, cancel := context.WithTimeout(req.r.Context(), glance)
	defer cancel()
	for _, f := range req.s.followers {
		ids, err := f.source.IDs(ctx)
		if err == nil {
			all = append(all, ids...)
		}
	}
	return all
}

// changedLast says of each reference what changed with its current snapshot, as far as the one before is still kept.
func (req *request) changedLast(v *view) (lines []string) {
	for i, h := range v.current {
		if h != nil && len(v.previous[i]) > 0 {
			old := v.previous[i][0]
			lines = append(lines, old.name+" to "+h.name+": "+req.s.pages.Difference(old.page(), h.page()))
		}
	}
	return lines
}

// before is the snapshot before the current one of source i: one that is still
// kept, or the newest older one of the source. nil if there is none, or none can be had now.
func (req *request) before(v *view, i int) *served {
	if len(v.previous[i]) > 0 {
		return v.previous[i][0]
	}
	ctx, cancel := req.patient()
	defer cancel()
	ids, err := req.s.followers[i].source.IDs(ctx)
	if err != nil {
		return nil
	}
	date := func(id string) string { date, _, _ := strings.Cut(id, "-"); return date } // of DATE-HEX12
	at := slices.IndexFunc(ids, v.current[i].is)
	switch {
	case at < 0:
		return nil
	case at+1 < len(ids):
		at++
	case at > 0 && date(ids[at-1]) == date(ids[at]):
		at-- // of several of one date nobody knows which came first
	default:
		return nil
	}
	h, err := req.s.openID(ctx, ids[at])
	if err != nil {
		return nil
	}
	return h
}

// setup answers /setup/..: what a host needs to use this server, made for the
// address that it was asked at.
func (req *request) setup(v web.View, name string) {
	req.w.Header().Set("Cache-Control", "no-cache")
	name, v.KeyFiles = strings.CutPrefix(name, web.KeyFiles)
	switch {
	case name == "":
		req.text(http.StatusOK, plainText, []byte(v.Setup()))
		return
	case name == "site.asc" && len(v.Key.Armor) > 0:
		req.text(http.StatusOK, plainText, v.Key.Armor)
		return
	case name == "policy.pref":
		req.page(plainText, func() ([]byte, error) { return []byte(v.Preferences()), nil })
		return
	case slices.Contains(web.Recipes(), name):
		req.page(plainText, func() ([]byte, error) { return req.s.pages.Recipe(v, name) })
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

// documents answers /mmoci/..: what the current snapshots say of themselves. Of
// several references the one with the archive ?prefix.
func (req *request) documents(name string) {
	if name == "page.css" {
		css := req.s.pages.CSS
		b := snapshot.BlobOf(css)
		req.answer(content{blob: b, modified: snapshot.ModTime(b.Digest), name: name, cache: "no-cache", bytes: css})
		return
	}
	if name == "changes" {
		req.changesBetween()
		return
	}
	if req.bundledFile(name) {
		return
	}
	v, prefix := req.s.view.Load(), req.r.URL.Query().Get("prefix")
	h := v.of(prefix)
	if prefix == "" && len(v.current) == 1 {
		h = v.current[0]
	}
	switch {
	case h != nil:
		req.document(h, name, "no-cache")
	case len(v.current) == 1:
		req.noArchive(prefix)
	default:
		req.fail(http.StatusNotFound, "no such archive; with several references: ?prefix=PREFIX")
	}
}

// document answers with what a snapshot says of itself.
func (req *request) document(h *served, name, cache string) {
	c := content{name: name, cache: cache, modified: h.Statement.Date}
	switch name {
	case "statement":
		c.blob, c.bytes = snapshot.BlobOf(h.StatementBytes), h.StatementBytes
	case "table":
		c.blob, c.bytes = h.Statement.Table, h.Table.Bytes()
	case "lock":
		c.blob, c.from = h.Statement.Lock, h
	default:
		req.fail(http.StatusNotFound, "nothing here; there are statement, table, lock, changes")
		return
	}
	req.snapshot = h.name
	req.answer(c)
}

// bundledFile answers /mmoci/ARCHITECTURE and /bootstrap.sh from the first
// current snapshot that has it; false if none has a program of that name. Only
// the transport vouches for these: whoever does not trust it takes them from the artifact.
func (req *request) bundledFile(name string) bool {
	for _, h := range req.s.view.Load().current {
		if h == nil {
			continue
		}
		if row, ok := h.Table.Find(snapshot.CarriedDir + name); ok {
			req.snapshot = h.name
			req.answer(content{blob: row.Blob(), modified: h.modified(row), name: row.Path, cache: "no-cache", from: h})
			return true
		}
	}
	if name == snapshot.Bootstrap {
		req.fail(http.StatusNotFound, "no snapshot here bundles it (bundle: in mmoci.yaml)")
		return true
	}
	return false
}

// snapshotError answers for an ID that leads to no snapshot.
func (req *request) snapshotError(id string, err error) {
	switch {
	case errors.Is(err, errNotFixed):
		req.fail(http.StatusNotFound, fmt.Sprintf("%.100q is %v", id, errNotFixed))
	case errors.Is(err, snapshot.ErrNotExist):
		req.fail(http.StatusNotFound, fmt.Sprintf("no snapshot %s here", id))
	case errors.Is(err, errBusy):
		req.broken(http.StatusServiceUnavailable, errBusy.Error(), err)
	case errors.Is(err, context.DeadlineExceeded):
		req.s.noteLate()
		req.broken(http.StatusGatewayTimeout, "the registry does not answer", err)
	default:
		req.broken(http.StatusBadGateway, "the snapshot cannot be opened now", err)
	}
}
