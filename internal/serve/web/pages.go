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

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
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
	Files, Packages                                     int
	Bytes, Signer, SignerName, Class                    string
	Signed, Good                                        bool
	Archives                                            []describedArchive
	Images                                              []describedImage
}

// describedImage is a container image that travels with a snapshot.
type describedImage struct{ Name, Digest, Size string }

type describedArchive struct {
	Prefix, Kind, Href, Sources, UpstreamSources string
	Packages                                     int
	File                                         string // where a host has it
	Key, KeyFile                                 string // the key beside it; "": in it, or not known
	EndMark                                      string
	Suites                                       []describedSuite
	Plain                                        int // files, of an archive that has no packages
	Root                                         string
	Repo                                         string // what a host pastes, of an RPM repository
}

type describedSuite struct {
	Name, Date, Age, ValidUntil string
	Class                       string // good, warn or bad
}

// Ages are limits of ages: no news up to Fresh, and bad from Stale on: whoever follows a tag
// of which nothing came for so long does not get security updates. Zero means 14 and 60 days.
type Ages struct{ Fresh, Stale time.Duration }

const (
	freshFor   = 14 * 24 * time.Hour
	staleAfter = 60 * 24 * time.Hour
)

// class is how an age is coloured: by the end of its validity if there is one.
func (a Ages) class(made, until, now time.Time) string {
	stale := cmp.Or(a.Stale, max(staleAfter, a.Fresh))
	switch age := now.Sub(made); {
	case !until.IsZero() && now.After(until):
		return "bad"
	case !until.IsZero() && until.Sub(now) < until.Sub(made)/10:
		return "warn"
	case !until.IsZero() || age <= min(cmp.Or(a.Fresh, freshFor), stale):
		return "good"
	case age < stale:
		return "warn"
	}
	return "bad"
}

// Front is the first page: what is served, and how hosts use it.
// changed says of references what changed last.
func (p *Pages) Front(v View, references []Reference, troubles, changed []string) ([]byte, error) {
	data := struct {
		shell
		References []described
		Policy     string
		Troubles   []string
		Recipes    []string
		SiteKeys   []string
		Host       string
		Packages   int
		Archives   int
		Bytes      string
		Changed    []string
	}{shell: v.shell("packages"), Troubles: troubles, Recipes: Recipes(), SiteKeys: v.Key.Fingerprints, Changed: changed}
	_, data.Host, _ = strings.Cut(v.Base, "://")
	var bytes int64
	for _, r := range references {
		d := described{Health: "no snapshot yet"}
		if r.Snapshot != nil {
			d = v.describe(p.Totals(*r.Snapshot), *r.Snapshot, v.Root)
			t := p.Totals(*r.Snapshot)
			data.Packages, data.Archives, bytes = data.Packages+t.Packages, data.Archives+len(d.Archives), bytes+t.Bytes
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
	data.Bytes = size(bytes)
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
	}{v.shell(s.Name), v.describe(p.Totals(s), s, "./")})
}

// owner is the user ID of a key of the site's; "" if that is not known.
func (v View) owner(fingerprint string) string {
	if v.Site == nil {
		return ""
	}
	info, _ := v.Site.Info(fingerprint, v.Now)
	return info.UserID
}

// describe says what a snapshot consists of. root is the relative URL of Base.
func (v View) describe(t Totals, s Snapshot, root string) described {
	st := s.Statement
	d := described{
		Snapshot: s.Name, Date: stamp(st.Date), Age: chain.Age(st.Date, v.Now), Root: s.Root.String(), Files: s.Table.Len(), Signed: s.Signed,
		Packages: t.Packages, Bytes: size(t.Bytes), Class: v.Ages.class(st.Date, st.ValidUntil, v.Now),
	}
	if how := chain.Believed(s.Snapshot, v.Site, s.Pinned); how.Kind == pgp.Signed {
		d.Signer, d.SignerName = how.Signer, v.owner(how.Signer)
	}
	for _, m := range st.Images {
		d.Images = append(d.Images, describedImage{m.Name, m.Digest.String(), size(m.Size)})
	}
	if !st.ValidUntil.IsZero() {
		d.ValidUntil = stamp(st.ValidUntil)
	}
	for _, a := range st.Archives {
		da := describedArchive{
			Prefix: a.Prefix, Href: root + a.Prefix + "/", Packages: t.Archives[a.Prefix], File: "/" + sources.File(a.Prefix), EndMark: endMark, Root: root,
		}
		if a.Format == snapshot.FormatFiles {
			for row := range s.Table.Under(a.Prefix + "/") {
				if _, is := a.PlainFile(row); is {
					da.Plain++
				}
			}
		}
		if a.Format == snapshot.FormatRPM {
			da.Repo = v.setupRPM(s, &a, "").Paste
		}
		of := v.sources(a.Prefix, false, true)
		da.Sources = archive.Format(of.stanzas)
		if of.keyFile != "" {
			da.Key, da.KeyFile = string(of.key.Armor), "/"+of.keyFile
		}
		if da.Kind = kindOf(&a); a.Mode == snapshot.Curated && a.Class == snapshot.Upstream {
			da.UpstreamSources = archive.Format(v.sources(a.Prefix, true, false).stanzas)
		}
		for _, suite := range a.Suites {
			if len(suite.Files) > 0 {
				date := suite.Files[len(suite.Files)-1].Date // upstream's, of a curated archive that has it
				for _, f := range suite.Files {
					if f.Role.IsUpstream() {
						date = f.Date
					}
				}
				ds := describedSuite{Name: suite.Name, Date: stamp(date), Age: chain.Age(date, v.Now)}
				var until time.Time
				if s.ValidUntil != nil {
					until = s.ValidUntil(a.Prefix, suite.Name)
				}
				if ds.Class = v.Ages.class(date, until, v.Now); !until.IsZero() {
					ds.ValidUntil = stamp(until)
				}
				da.Suites = append(da.Suites, ds)
			}
		}
		d.Archives = append(d.Archives, da)
	}
	return d
}

// link is the relative URL of a path, escaped.
func link(root, p string) string { return root + (&url.URL{Path: "/" + p}).EscapedPath()[1:] }

// directoryEntry is a line of a directory listing.
type directoryEntry struct{ Name, Href, Digest, Size string }

// Directory lists a directory of a snapshot, which ends in a slash. [ErrNoDirectory] if nothing is below it.
func (p *Pages) Directory(v View, s Snapshot, dir string) ([]byte, error) {
	data := struct {
		shell
		Path, Snapshot, Packages string
		Entries                  []directoryEntry
		More                     bool
	}{shell: v.shell(dir), Path: "/" + dir, Snapshot: s.Name}
	if prefix, rest, _ := strings.Cut(dir, "/"); rest == "" && s.Statement.Archive(prefix) != nil {
		data.Packages = "./" + packageDir
	}
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
