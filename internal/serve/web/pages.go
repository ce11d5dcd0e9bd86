package web

import (
	"cmp"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Reference is a followed reference.
type Reference struct {
	Name     string
	Snapshot *Snapshot // nil: none yet
	Refusal  error     // why the snapshot that the tag names is not served; nil: it is
	Failing  bool      // the tag cannot be resolved now
}

// described is what a page says of a snapshot, and of the reference that it comes from.
type described struct {
	Name, Snapshot, Date, Age, ValidUntil, Root, Health string
	Files                                               int
	Signed, Good                                        bool
	Archives                                            []describedArchive
}

type describedArchive struct {
	Prefix, Kind, Href, Sources, UpstreamSources string
	File                                         string // where a host has it
	Key, KeyFile                                 string // the key beside it; "": in it, or not known
	EndMark                                      string
	Suites                                       []describedSuite
}

type describedSuite struct{ Name, Date string }

// Front is the first page: what is served, and how hosts use it.
func (p *Pages) Front(v View, references []Reference, troubles []string) ([]byte, error) {
	data := struct {
		shell
		References []described
		Policy     string
		Troubles   []string
		Recipes    []string
		SiteKeys   []string
	}{shell: v.shell("archives"), Troubles: troubles, Recipes: Recipes(), SiteKeys: v.Key.Fingerprints}
	for _, r := range references {
		d := described{Health: "no snapshot yet"}
		if r.Snapshot != nil {
			d = v.describe(*r.Snapshot, v.Root)
			d.Good, d.Health = !r.Failing && r.Refusal == nil, "the tag is followed"
		}
		d.Name = r.Name
		switch {
		case r.Refusal != nil:
			d.Health = fmt.Sprintf("what the tag names now is not followed: %v", r.Refusal)
		case r.Failing && r.Snapshot != nil:
			d.Health = "the tag cannot be followed now; the last snapshot is served"
		}
		data.References = append(data.References, d)
	}
	if v.Policy != nil {
		data.Policy = fmt.Sprintf("Rules that are enforced: %d.", v.Policy.Rules())
		if v.LogOnly {
			data.Policy = fmt.Sprintf("Rules recorded and not enforced: %d.", v.Policy.Rules())
		}
	}
	return p.html("front", data)
}

// Snapshot is the page of the snapshot of a fixed View.
func (p *Pages) Snapshot(v View) ([]byte, error) {
	s := v.Snapshots[0]
	return p.html("snapshot", struct {
		shell
		Reference described
	}{v.shell(s.Name), v.describe(s, "./")})
}

// describe says what a snapshot consists of. root is the relative URL of Base.
func (v View) describe(s Snapshot, root string) described {
	st := s.Statement
	d := described{
		Snapshot: s.Name, Date: stamp(st.Date), Age: age(v.Now.Sub(st.Date)), Root: s.Root.String(), Files: s.Table.Len(), Signed: s.Signed,
	}
	if !st.ValidUntil.IsZero() {
		d.ValidUntil = stamp(st.ValidUntil)
	}
	for _, a := range st.Archives {
		da := describedArchive{
			Prefix: a.Prefix, Href: root + a.Prefix + "/", File: "/" + sources.File(a.Prefix), EndMark: endMark,
		}
		of := v.sources(a.Prefix, false, true)
		da.Sources = archive.Format(of.stanzas)
		if of.keyFile != "" {
			da.Key, da.KeyFile = string(of.key.Armor), "/"+of.keyFile
		}
		switch {
		case a.Mode == snapshot.Verbatim:
			da.Kind = "verbatim, under upstream's signature"
		case a.Class == snapshot.Site:
			da.Kind = "the site's own packages"
		default:
			da.Kind = "curated from upstream, with proof"
			da.UpstreamSources = archive.Format(v.sources(a.Prefix, true, false).stanzas)
		}
		for _, suite := range a.Suites {
			if len(suite.Files) > 0 {
				da.Suites = append(da.Suites, describedSuite{suite.Name, stamp(suite.Files[0].Date)})
			}
		}
		d.Archives = append(d.Archives, da)
	}
	return d
}

// age is a length of time in its two largest units.
func age(d time.Duration) string {
	d = max(0, d)
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	return fmt.Sprintf("%d min", minutes)
}

// found is a package of a search.
type found struct {
	snapshot.Package
	Archive, Href, Denied string
	Size                  int64
}

// Search lists the packages whose name contains q: all if that is "".
func (p *Pages) Search(v View, q string) ([]byte, error) {
	data := struct {
		shell
		Rows []found
		More bool
	}{shell: v.shell("search")}
	data.Query = q
	q = strings.ToLower(q) // as names of packages are
	for _, s := range v.Snapshots {
		for row := range s.Table.Rows() {
			if !row.IsPackage() || !strings.Contains(strings.ToLower(row.Name), q) {
				continue
			}
			if len(data.Rows) == maxFound {
				data.More = true
				break
			}
			f := found{Package: row.Package, Archive: row.Archive(), Href: link(data.Root, row.Path), Size: row.Size}
			if d := v.Policy.Decide(row.Package, f.Archive); !d.Allow {
				f.Denied = "denied by rule " + d.Rule + ": " + d.Reason
				if v.LogOnly {
					f.Denied = "not " + f.Denied + " (recorded only)"
				}
			}
			data.Rows = append(data.Rows, f)
		}
	}
	slices.SortFunc(data.Rows, func(a, b found) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Archive, b.Archive), strings.Compare(a.Version, b.Version))
	})
	return p.html("search", data)
}

// link is the relative URL of a path, escaped.
func link(root, p string) string { return root + (&url.URL{Path: "/" + p}).EscapedPath()[1:] }

// directoryEntry is a line of a directory listing.
type directoryEntry struct{ Name, Href, Digest, Size string }

// Directory lists a directory of a snapshot, which ends in a slash. [ErrNoDirectory] if nothing is below it.
func (p *Pages) Directory(v View, s Snapshot, dir string) ([]byte, error) {
	data := struct {
		shell
		Path, Snapshot string
		Entries        []directoryEntry
		More           bool
	}{shell: v.shell(dir), Path: "/" + dir, Snapshot: s.Name}
	if data.Entries, data.More = entriesOf(s, dir); len(data.Entries) == 0 {
		return nil, ErrNoDirectory
	}
	return p.html("directory", data)
}

// IsDirectory tells whether a snapshot has something below p, which does not end in a slash.
func IsDirectory(s *snapshot.Snapshot, p string) bool {
	for range s.Table.Under(p + "/") {
		return true
	}
	if rest, ok := strings.CutPrefix(p, "upstream/"); ok {
		for range common(s, rest+"/") {
			return true
		}
	}
	return false
}

// entriesOf are the files and directories that lie directly in a directory. In
// upstream's view these are its own, and those that it has in common with the
// archive: all, or the pool files, wherever they lie.
func entriesOf(s Snapshot, dir string) (entries []directoryEntry, more bool) {
	entries, more = children(s.Table.Under(dir), dir)
	rest, upstream := strings.CutPrefix(dir, "upstream/")
	if !upstream {
		return entries, more
	}
	shared, moreShared := children(common(s.Snapshot, rest), rest)
	entries = append(entries, shared...)
	slices.SortFunc(entries, func(a, b directoryEntry) int { return strings.Compare(a.Name, b.Name) })
	entries = slices.CompactFunc(entries, func(a, b directoryEntry) bool { return a.Name == b.Name })
	if len(entries) > maxListed {
		return entries[:maxListed], true
	}
	return entries, more || moreShared
}

// common are the rows below a directory of an archive that upstream's view of it has, too.
func common(s *snapshot.Snapshot, dir string) iter.Seq[snapshot.Row] {
	return func(yield func(snapshot.Row) bool) {
		last := "" // a directory that is known to be there
		for row := range s.Table.Under(dir) {
			if last != "" && strings.HasPrefix(row.Path, last) {
				continue
			}
			if _, ok := s.Table.Resolve(s.Statement, "upstream/"+row.Path); !ok {
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

// children are the files among rows that lie directly in dir, and the directories.
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

// Listed is a line of the list of snapshots.
type Listed struct {
	ID      string
	Current bool
}

// List is the page of all snapshots: of each reference the newest first.
func (p *Pages) List(v View, references [][]Listed) ([]byte, error) {
	data := struct {
		shell
		Base string
		IDs  []Listed
	}{shell: v.shell("snapshots"), Base: v.Base}
	for _, ids := range references {
		data.IDs = append(data.IDs, ids[:min(len(ids), maxListed)]...)
	}
	return p.html("snapshots", data)
}

// Change is the step of a reference to its current snapshot.
type Change struct {
	Reference string
	Old, New  *Snapshot // Old is nil if it is not at hand
}

type changedRow struct{ changes.Change }

// From is where the new version comes from, and the old one if that is elsewhere.
func (r changedRow) From() string {
	if r.OldArchive != "" {
		return r.OldArchive + " → " + r.Archive
	}
	return r.Archive
}

// Changes tells which packages the last step of each reference changed, those of one source together, security updates
// first: what diff tells without changelogs.
func (p *Pages) Changes(v View, steps []Change) ([]byte, error) {
	type changed struct {
		Reference, Old, New, None string
		Totals                    string
		Rows                      []changedRow
		More                      bool
	}
	data := struct {
		shell
		Changes []changed
	}{shell: v.shell("changes")}
	for _, c := range steps {
		d := changed{Reference: c.Reference, None: "No snapshot before this one is at hand."}
		if c.Old != nil {
			d.Old, d.New = c.Old.Name, c.New.Name
			list := changes.OfTables(c.Old.Snapshot, c.New.Snapshot)
			d.Totals = changes.Totals(list)
			for _, g := range changes.Groups(list) {
				for _, change := range g.Changes {
					d.Rows = append(d.Rows, changedRow{change})
				}
			}
			d.More = len(d.Rows) > maxListed
			d.Rows = d.Rows[:min(len(d.Rows), maxListed)]
		}
		data.Changes = append(data.Changes, d)
	}
	return p.html("changes", data)
}
