package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/imagefind"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// packageDir is the directory below a prefix where the pages of its packages are.
const packageDir = "package/"

// MaxHistory is how many snapshots a history looks at, the newest ones.
const MaxHistory = 30

const (
	maxNeeds  = 300 // names in the relations of a package that are shown
	maxNeedBy = 100 // packages that need it
	maxNear   = 8   // names that are near another one
)

// ErrNoPackage marks a package that a snapshot does not have.
var ErrNoPackage = errors.New("no such package")

// Named is what the URL of a package page names.
type Named struct {
	Prefix, Name  string
	Version, Arch string // "": the highest, any
}

// ParsePackagePath reads PREFIX/package/NAME[/VERSION]; false: it is no such path.
func ParsePackagePath(p string) (n Named, ok bool) {
	prefix, rest, _ := strings.Cut(p, "/")
	rest, ok = strings.CutPrefix(rest, packageDir)
	if !ok || rest == "" {
		return n, false
	}
	n.Prefix = prefix
	n.Name, n.Version, _ = strings.Cut(rest, "/")
	return n, n.Name != "" && !strings.Contains(n.Version, "/")
}

// ParseArchivePath reads PREFIX/package/; false: it is no such path.
func ParseArchivePath(p string) (prefix string, ok bool) { return strings.CutSuffix(p, "/"+packageDir) }

// packageLink is the relative URL of a package page; version may be "".
func packageLink(root, prefix, name, version, arch string) string {
	at := root + url.PathEscape(prefix) + "/" + packageDir + escapePart(name)
	if version != "" {
		at += "/" + escapePart(version)
	}
	if arch != "" {
		at += "?arch=" + url.QueryEscape(arch)
	}
	return at
}

// escapePart escapes one part of a path. "." and ".." alone would be taken for steps.
func escapePart(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
}

// Aside is what a package page shows beside what the indices say, as it was asked for.
type Aside struct {
	History   []Held // newest first; nil: not asked for
	Changelog *Changelog
	Images    *Images
}

// Images are the images of a snapshot that have a package.
type Images struct {
	Holders []imagefind.Holder
	Unknown []string // images of which nothing is known
	Err     error
}

// Held is a snapshot at hand, for a history.
type Held struct {
	Snapshot
	Err error // it could not be opened now
}

// Changelog is what changed since the version before.
type Changelog struct {
	Since, Text string
	CVEs        []string
	Denied      bool // by the policy, and not read
	Err         error
}

// relation is a field of a stanza with its alternatives.
type relation struct {
	Field  string
	Groups [][]alternative
	More   bool
}

type alternative struct {
	Text, Href string
	By         []linked // who provides it
}

type linked struct{ Name, Href string }

// since is what became of a package in one snapshot.
type since struct {
	Snapshot, Href, Date, What string
	Versions                   []string
}

type packagePage struct {
	shell
	Package                chain.Package
	Prefix, Suites, Kind   string
	List                   string // URL of the packages of the archive
	Short, Long, Section   string
	Maintainer, Source     string
	Homepage, HomepageText string
	Size, Href, Self       string
	Others                 []linked
	Denied                 string
	Why                    []linked
	WhyNot                 string
	Needs                  []relation
	NeededBy               []linked
	NeededByMore           bool
	Install, Pin, Mmoci    string
	Proof                  chain.Proof
	Snapshot, SnapshotHref string
	Fields                 []pair
	History                []since
	HistoryAsked           bool
	Changelog              *Changelog // nil: not asked for
	RPM                    bool
	HasImages              bool    // the snapshot carries some
	Images                 *Images // nil: not asked for
}

type pair struct{ Name, Value string }

// Package is the page of one package, the first of those that Choose found.
func (p *Pages) Package(v View, s Snapshot, book *chain.Book, chosen []chain.Package, aside Aside) ([]byte, error) {
	pkg := chosen[0]
	prefix := pkg.Archive()
	d := packagePage{
		shell: v.shell(pkg.Name), Package: pkg, Prefix: prefix, Size: size(pkg.Size), Snapshot: s.Name, Href: link(v.within(s), pkg.Path),
		SnapshotHref: v.Root + "snapshot/" + s.Name + "/",
	}
	d.List = v.within(s) + prefix + "/" + packageDir
	d.Self = packageLink(v.within(s), prefix, pkg.Name, pkg.Version, pkg.Architecture)
	a := s.Statement.Archive(prefix)
	d.Kind, d.RPM = kindOf(a), a.Format == snapshot.FormatRPM
	d.Suites = book.Suites(pkg)
	d.describe(pkg)
	for _, other := range chosen[1:] {
		d.Others = append(d.Others, linked{other.Version + " " + other.Architecture, packageLink(v.within(s), prefix, other.Name, other.Version, other.Architecture)})
	}
	if decision := v.Policy.Decide(pkg.Package, prefix); !decision.Allow {
		d.Denied = "denied by rule " + decision.Rule + ": " + decision.Reason
		if v.LogOnly {
			d.Denied = "not " + d.Denied + " (recorded only)"
		}
	}
	d.why(book, pkg, func(name string) string { return d.to(v, s, book, prefix, name) })
	d.needs(v, s, book, pkg)
	d.recipes(v, s, pkg)
	d.Proof = book.Prove(pkg, v.proofOptions(s, a, pkg))
	if d.HistoryAsked = aside.History != nil; d.HistoryAsked {
		d.History = p.history(v, aside.History, pkg)
	}
	d.Changelog, d.Images, d.HasImages = aside.Changelog, aside.Images, len(s.Statement.Images) > 0
	return p.page(d.write), nil
}

// Choose finds the packages of a name in an archive, the one that a page is about first. [ErrNoPackage] if the snapshot does not have that.
func Choose(book *chain.Book, n Named) ([]chain.Package, error) {
	all, err := book.Named(n.Name)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p chain.Package) bool { return p.Archive() != n.Prefix })
	i := slices.IndexFunc(all, func(p chain.Package) bool {
		return (n.Version == "" || p.Version == n.Version) && (n.Arch == "" || p.Architecture == n.Arch)
	})
	if i < 0 {
		return nil, ErrNoPackage
	}
	return append([]chain.Package{all[i]}, append(all[:i:i], all[i+1:]...)...), nil
}

// within is the relative URL of what is served below Base, for links to a snapshot's own files.
func (v View) within(s Snapshot) string {
	if v.Fixed {
		return v.Root + "snapshot/" + s.Name + "/"
	}
	return v.Root
}

// to is the page of another package of the snapshot, of this archive if that has it; "" if there is none.
func (d *packagePage) to(v View, s Snapshot, book *chain.Book, prefix, name string) string {
	archive := book.Home(name, prefix)
	if archive == "" {
		return ""
	}
	return packageLink(v.within(s), archive, name, "", "")
}

func (d *packagePage) describe(pkg chain.Package) {
	st := pkg.Stanza
	text := st.Get("Description")
	short, long, _ := strings.Cut(text, "\n")
	d.Short, d.Long = short, paragraphs(long)
	d.Section, d.Maintainer = st.Get("Section"), st.Get("Maintainer")
	d.Source = pkg.Source
	if name, version := st.Source(); st != nil && version != pkg.Version {
		d.Source = name + " (" + version + ")"
	}
	d.HomepageText = st.Get("Homepage")
	if u, err := url.Parse(d.HomepageText); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		d.Homepage = u.String()
	}
	for name, value := range st.Fields() {
		d.Fields = append(d.Fields, pair{name, value})
	}
}

// paragraphs takes the marks off the lines of a long description (Debian policy 5.6.13).
func paragraphs(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimRight(line, "\n"), " ")
		if line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func (d *packagePage) why(book *chain.Book, pkg chain.Package, to func(name string) string) {
	steps, err := book.Why(pkg.Name)
	switch {
	case book.WhyNot != nil || err != nil:
		d.WhyNot = "The lock of this snapshot cannot be read now, or not by this program."
	case len(steps) == 0:
		d.WhyNot = "The archive is mirrored as a whole; nobody chose this package."
	}
	for _, step := range steps {
		name, _, _ := strings.Cut(step, " ")
		d.Why = append(d.Why, linked{step, to(name)})
	}
}

func (d *packagePage) needs(v View, s Snapshot, book *chain.Book, pkg chain.Package) {
	shown := 0
	for _, field := range []string{"Pre-Depends", "Depends", "Recommends", "Suggests", "Conflicts", "Breaks", "Provides"} {
		value := pkg.Stanza.Get(field)
		if value == "" {
			continue
		}
		relations, err := deb.ParseRelations(value, "")
		r := relation{Field: field}
		if err != nil {
			r.Groups = [][]alternative{{{Text: value}}}
		}
		for _, group := range relations {
			var alternatives []alternative
			for _, one := range group {
				if shown++; shown > maxNeeds {
					r.More = true
					break
				}
				alt := alternative{Text: one.String(), Href: d.to(v, s, book, d.Prefix, one.Name)}
				if alt.Href == "" && (field == "Depends" || field == "Pre-Depends" || field == "Recommends") {
					providers, _ := book.Providers(one.Name, 5)
					for _, name := range providers {
						alt.By = append(alt.By, linked{name, d.to(v, s, book, d.Prefix, name)})
					}
				}
				alternatives = append(alternatives, alt)
			}
			if len(alternatives) > 0 {
				r.Groups = append(r.Groups, alternatives)
			}
			if r.More {
				break
			}
		}
		d.Needs = append(d.Needs, r)
	}
	names, more := book.Dependents(pkg.Name, maxNeedBy)
	d.NeededByMore = more
	for _, name := range names {
		d.NeededBy = append(d.NeededBy, linked{name, d.to(v, s, book, d.Prefix, name)})
	}
}

// recipes are the lines that install the package, and that keep a host at this day.
func (d *packagePage) recipes(v View, s Snapshot, pkg chain.Package) {
	file, text := sources.File(d.Prefix), d.Prefix+".sources"
	d.Install = "apt-get install " + chain.Quote(pkg.Name+"="+pkg.Version)
	if d.RPM {
		file, text = repoPath(d.Prefix), d.Prefix+".repo"
		d.Install = "dnf install " + chain.Quote(pkg.Name+"-"+pkg.Version)
	}
	d.Pin = "curl -fsSo " + chain.Quote("/"+file) + " " + chain.Quote(v.host()+"/snapshot/"+s.Name+"/setup/"+text)
	if s.Registry != "" && !d.RPM {
		name, _, _ := strings.Cut(s.Registry, "@")
		d.Mmoci = "mmoci install --ref " + chain.Quote(name+"@"+s.Root.String()) + " " + chain.Quote(pkg.Name)
	}
}

// host is the URL of the server, which Base names a part of in a fixed View.
func (v View) host() string {
	if i := strings.LastIndex(v.Base, "/snapshot/"); v.Fixed && i >= 0 {
		return v.Base[:i]
	}
	return v.Base
}

// proofOptions word a proof for whoever reads the page, from the snapshot's own URLs, which stay.
func (v View) proofOptions(s Snapshot, a *snapshot.Archive, pkg chain.Package) chain.ProofOptions {
	base := v.host() + "/snapshot/" + s.Name
	o := chain.ProofOptions{
		Place: chain.Place{Base: base}, Who: "this server", Now: v.Now, Sends: "this server hashes it when it sends it, and sends no other bytes",
		Verify: "mmoci verify --keyring site.asc " + chain.Quote(cmp.Or(s.Registry, "REF")),
	}
	if s.Registry != "" {
		name, _, _ := strings.Cut(s.Registry, "@")
		o.Registry = chain.RepositoryOf(name)
		o.Verify = "mmoci verify --keyring site.asc " + chain.Quote(name+"@"+s.Root.String())
	}
	name := a.Prefix
	if a.Mode == snapshot.Curated && a.Class == snapshot.Upstream {
		name += "-upstream"
	}
	if len(v.key(a, a.Class == snapshot.Upstream).Armor) > 0 {
		o.Key = chain.KeyFile{File: "key.asc", Armored: true, Fetch: "curl -fsSo key.asc " + chain.Quote(base+"/setup/keys/"+name+".asc")}
	}
	return o
}

func kindOf(a *snapshot.Archive) string {
	switch {
	case a == nil:
		return ""
	case a.Format == snapshot.FormatFiles && a.Class == snapshot.Site:
		return "files, by the site's digests"
	case a.Format == snapshot.FormatFiles:
		return "files, signed by upstream"
	case a.Format == snapshot.FormatRPM && a.Mode == snapshot.Curated:
		return "the site's own RPMs"
	case a.Format == snapshot.FormatRPM && a.Class == snapshot.Site:
		return "an RPM repository, which nobody signs"
	case a.Format == snapshot.FormatRPM:
		return "an RPM repository, under upstream's signature"
	case a.Mode == snapshot.Verbatim:
		return "verbatim, under upstream's signature"
	case a.Class == snapshot.Site:
		return "the site's own packages"
	case a.Class == snapshot.Merged:
		return "merged of " + strings.Join(a.Merge, " and ") + ": the highest version of each package"
	}
	return "curated from upstream, with proof"
}

// history is what became of a package, a line where that changed; the newest first.
func (p *Pages) history(v View, snapshots []Held, pkg chain.Package) (out []since) {
	var last *since
	for i := len(snapshots) - 1; i >= 0; i-- {
		s := snapshots[i]
		now := since{Snapshot: s.Name, Href: v.Root + "snapshot/" + s.Name + "/"}
		if s.Err != nil {
			continue
		}
		now.Date = s.Statement.Date.UTC().Format(time.DateOnly)
		for row := range p.names(s.Snapshot).Named(pkg.Name) {
			if row.Architecture == pkg.Architecture && !slices.Contains(now.Versions, row.Version) {
				now.Versions = append(now.Versions, row.Version)
			}
		}
		slices.SortFunc(now.Versions, func(a, b string) int { return -deb.Compare(a, b) })
		switch {
		case last == nil && len(now.Versions) == 0:
			continue
		case last == nil && i == len(snapshots)-1:
			now.What = "there already in the oldest of these snapshots"
		case last == nil:
			now.What = "first seen"
		case slices.Equal(last.Versions, now.Versions):
			continue
		case len(now.Versions) == 0:
			now.What = "left"
		case len(last.Versions) == 0:
			now.What = "came back"
		default:
			now.What = "changed"
		}
		out = append(out, now)
		last = &out[len(out)-1]
	}
	slices.Reverse(out)
	return out
}

// Before is the version that a package had in the first of older snapshots, the newest first, in which it had another one; "" if there is none.
func (p *Pages) Before(snapshots []Held, pkg chain.Package) string {
	for _, s := range snapshots {
		if s.Err != nil {
			continue
		}
		best := ""
		for row := range p.names(s.Snapshot).Named(pkg.Name) {
			if row.Architecture == pkg.Architecture && deb.Compare(row.Version, pkg.Version) < 0 && (best == "" || deb.Compare(row.Version, best) > 0) {
				best = row.Version
			}
		}
		if best != "" {
			return best
		}
	}
	return ""
}

// ReadChangelog reads what changed in a package since a version, out of its .deb.
func ReadChangelog(ctx context.Context, s *snapshot.Snapshot, pkg chain.Package, old string) *Changelog {
	text, err := changes.Changelog(ctx, s, pkg.Row, old)
	return &Changelog{Since: old, Text: text, CVEs: changes.CVEs(text), Err: err}
}

// size is a number of bytes, for people.
func size(n int64) string {
	switch {
	case n >= 10e9:
		return fmt.Sprintf("%d GB", n/1e9)
	case n >= 10e6:
		return fmt.Sprintf("%d MB", n/1e6)
	case n >= 10e3:
		return fmt.Sprintf("%d kB", n/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// NameOf is the package that the name of a .deb file is of, for hints.
func NameOf(p string) string {
	name, _, _ := strings.Cut(path.Base(p), "_")
	return name
}
