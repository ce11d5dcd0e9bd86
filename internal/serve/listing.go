package serve

import (
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// directoryEntry is a line of a directory listing.
type directoryEntry struct {
	Name, Href, Digest string
	Size               string
}

// directory lists what is in a directory of a snapshot, or answers 404.
func (ex *exchange) directory(h *held, p string) {
	if !ex.turn() {
		return
	}
	defer ex.leave()
	data := struct {
		shell
		Path, Snapshot string
		Entries        []directoryEntry
		More           bool
	}{shell: ex.shell(p), Path: "/" + p, Snapshot: h.name}
	data.Entries, data.More = listed(h, p)
	if len(data.Entries) == 0 {
		ex.fail(http.StatusNotFound, "no such directory in snapshot "+h.name)
		return
	}
	ex.snapshot = h.name
	ex.html("directory", data)
}

// listed are the files directly in a directory, and the directories. What
// upstream's view has in common with the archive (all, or the pool files, wherever these lie) is listed with its own.
func listed(h *held, dir string) (entries []directoryEntry, more bool) {
	entries, more = children(h.Table.Under(dir), dir)
	rest, upstream := strings.CutPrefix(dir, "upstream/")
	if !upstream {
		return entries, more
	}
	common, moreCommon := children(h.common(rest), rest)
	entries = append(entries, common...)
	slices.SortFunc(entries, func(a, b directoryEntry) int { return strings.Compare(a.Name, b.Name) })
	entries = slices.CompactFunc(entries, func(a, b directoryEntry) bool { return a.Name == b.Name })
	if len(entries) > maxListed {
		return entries[:maxListed], true
	}
	return entries, more || moreCommon
}

// common are the rows below a directory of an archive that upstream's view of it has, too.
func (h *held) common(dir string) iter.Seq[snapshot.Row] {
	return func(yield func(snapshot.Row) bool) {
		last := "" // a directory that is known to be there
		for row := range h.Table.Under(dir) {
			if last != "" && strings.HasPrefix(row.Path, last) {
				continue
			}
			if _, ok := h.Table.Resolve(h.Statement, "upstream/"+row.Path); !ok {
				continue
			}
			if !yield(row) {
				return
			}
			if name, _, deeper := strings.Cut(row.Path[len(dir):], "/"); deeper {
				last = dir + name + "/"
			}
		}
	}
}

// children are the files among the rows that lie directly in dir, and the directories.
func children(rows iter.Seq[snapshot.Row], dir string) (entries []directoryEntry, more bool) {
	last := ""
	for row := range rows {
		name, _, deeper := strings.Cut(row.Path[len(dir):], "/")
		if deeper {
			name += "/"
		}
		if name == last {
			continue
		}
		if last = name; len(entries) == maxListed {
			return entries, true
		}
		e := directoryEntry{Name: name, Href: link("./", name)}
		if !deeper {
			e.Size, e.Digest = strconv.FormatInt(row.Size, 10), row.Digest.Hex()
		}
		entries = append(entries, e)
	}
	return entries, false
}

// isDirectory tells whether something lies below p.
func isDirectory(h *held, p string) bool {
	for range h.Table.Under(p + "/") {
		return true
	}
	if rest, ok := strings.CutPrefix(p, "upstream/"); ok {
		for range h.common(rest + "/") {
			return true
		}
	}
	return false
}

// toDirectory sends people to the path with a slash, where relative links hold.
func (ex *exchange) toDirectory(p string) {
	last := p[strings.LastIndexByte(p, '/')+1:]
	ex.w.Header().Set("Location", "./"+url.PathEscape(last)+"/")
	ex.fail(http.StatusMovedPermanently, "a directory")
}

// listedID is a line of the list of snapshots.
type listedID struct {
	ID      string
	Current bool
}

// snapshotList lists the snapshots at hand, newest first.
func (ex *exchange) snapshotList() {
	ctx, cancel := ex.patient()
	defer cancel()
	data := struct {
		shell
		Base string
		IDs  []listedID
	}{shell: ex.shell("snapshots"), Base: ex.base()}
	for i, l := range ex.s.lanes {
		ids, err := l.source.IDs(ctx)
		if err != nil {
			ex.broken(http.StatusBadGateway, "the registry does not tell now which there are", err)
			return
		}
		now := ex.s.view.Load().current[i]
		for _, id := range ids[:min(len(ids), maxListed)] {
			data.IDs = append(data.IDs, listedID{id, now != nil && now.is(id)})
		}
	}
	ex.html("snapshots", data)
}

// snapshotPage tells about one snapshot.
func (ex *exchange) snapshotPage(id string, h *held) {
	ex.learn(h)
	if !ex.turn() {
		return
	}
	defer ex.leave()
	ex.snapshot = h.name
	at := place{base: ex.base() + "/snapshot/" + id, fixed: h}
	ex.html("snapshot", struct {
		shell
		Reference reference
	}{ex.shell(h.name), ex.describe(h, at, "./")})
}

// changed is what became of a reference's packages.
type changed struct {
	Reference, Old, New, None string
	Rows                      []changedRow
	More                      bool
}

type changedRow struct{ Name, Architecture, Archive, Was, Is string }

// changes compares the snapshots in force with those before them.
func (ex *exchange) changes() {
	data := struct {
		shell
		Changes []changed
	}{shell: ex.shell("changes")}
	v := ex.s.view.Load()
	before := make([]*held, len(v.current))
	for i, h := range v.current {
		if h != nil {
			before[i] = ex.before(v, i)
		}
	}
	if !ex.turn() {
		return
	}
	defer ex.leave()
	for i, l := range ex.s.lanes {
		c := changed{Reference: l.source.Name(), None: "No snapshot before this one is at hand."}
		if before[i] != nil {
			c.compare(before[i], v.current[i])
		}
		data.Changes = append(data.Changes, c)
	}
	ex.html("changes", data)
}

func (c *changed) compare(old, h *held) {
	c.Old, c.New = old.name, h.name
	for d := range snapshot.Diff(old.Table, h.Table) {
		if len(c.Rows) == maxListed {
			c.More = true
			return
		}
		c.Rows = append(c.Rows, changedRow{d.Name, d.Architecture, d.Archive, d.Old.Version, d.New.Version})
	}
}

// before is the snapshot before the one in force of source i: still held, or
// the newest older one of the source. nil if there is none, or none can be had now.
func (ex *exchange) before(v *view, i int) *held {
	if len(v.previous[i]) > 0 {
		return v.previous[i][0]
	}
	ctx, cancel := ex.patient()
	defer cancel()
	ids, err := ex.s.lanes[i].source.IDs(ctx)
	if err != nil {
		return nil
	}
	now := slices.IndexFunc(ids, v.current[i].is)
	switch {
	case now < 0:
		return nil
	case now+1 < len(ids):
		now++
	case now > 0 && dateOf(ids[now-1]) == dateOf(ids[now]):
		now-- // of several of one date nobody knows which came first
	default:
		return nil
	}
	h, err := ex.s.openID(ctx, ids[now])
	if err != nil {
		return nil
	}
	return h
}

// dateOf is DATE of DATE-HEX12.
func dateOf(id string) string {
	date, _, _ := strings.Cut(id, "-")
	return date
}

// css answers with the pages' style sheet.
func (ex *exchange) css() {
	data := ex.s.pages.css
	b := snapshot.BlobOf(data)
	ex.content(content{blob: b, modified: snapshot.ModTime(b.Digest), name: "page.css", cache: "no-cache", bytes: data})
}
