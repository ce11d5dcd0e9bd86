package config

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/exactlist"
)

// packageLists are the lists that packages-from: names, and list:, which says in what form they are.
type packageLists struct {
	exact bool // list: stx
	lines []exactlist.Line
}

// peek reads list: of a mapping before the lists that it is said of, wherever it stands.
func (p *packageLists) peek(n document.Node) {
	pairs, _ := n.Pairs() // what is wrong is told when they are read
	for _, pair := range pairs {
		if s, ok := pair.Scalar(); ok && pair.Key == "list" {
			p.exact = s == "stx"
		}
	}
}

// kind reads list:.
func (p *packageLists) kind(n document.Node) error {
	s, err := n.Text()
	if err == nil && s != "stx" && s != "queries" {
		err = n.Errorf("is %q, should be stx (NAME VERSION [URL] a line) or queries (a query a line)", document.OneLine(s))
	}
	return err
}

// read reads the lists: queries go to to, and so do exact versions without a URL; those with one wait in lines.
func (p *packageLists) read(l *loader, n document.Node, to *[]Query) error {
	files, err := document.OneOrMore(n)
	if err != nil {
		return err
	}
	var faults document.Faults
	for _, f := range files {
		name := l.file(f)
		if p.exact {
			data, err := document.ReadFile(name, document.MaxList)
			if err == nil {
				var lines []exactlist.Line
				lines, err = exactlist.Parse(name, data)
				for _, line := range lines {
					if line.URL == nil {
						*to = append(*to, exactQuery(line, ""))
					} else {
						p.lines = append(p.lines, line)
					}
				}
			}
			faults.Add(err)
			continue
		}
		qs, err := ReadList(name)
		if err == nil && len(qs) == 0 {
			err = document.Errorf(document.At(name, 1), "no package in the list; name packages, or write packages: all or none in %s", l.plan.File)
		}
		faults.Add(err)
		*to = append(*to, qs...)
	}
	return faults.Err()
}

func exactQuery(l exactlist.Line, pool string) Query {
	e := &Exact{Name: l.Name, Version: l.Version, Pool: pool}
	if l.URL != nil {
		e.URL = l.URL.String()
	}
	return Query{Text: l.Query(), Position: l.Position, Exact: e}
}

// drawExact gives each line with a URL its archive: one that has the file, the dated one of its timestamp,
// else one of files by their URLs, for which the site vouches.
func (l *loader) drawExact() error {
	var faults document.Faults
	configured := len(l.plan.Archives)
	for i := range configured {
		d := &l.archived[i]
		if len(d.lists.lines) == 0 {
			continue
		}
		for _, line := range d.lists.lines {
			faults.Add(l.place(line, i, configured))
		}
		if a := &l.plan.Archives[i]; len(a.Packages) == 0 {
			a.None = true // its list asks of its dated archives alone
		}
	}
	for _, line := range l.common.lines {
		faults.Add(l.place(line, -1, configured))
	}
	return faults.Err()
}

// place gives a line of the list of archive own, or of the one at the top (-1), its archive.
func (l *loader) place(line exactlist.Line, own, configured int) error {
	order := make([]int, 0, configured+1)
	if own >= 0 {
		order = append(order, own) // its own archive comes first
	}
	for i := range configured {
		order = append(order, i)
	}
	for _, i := range order {
		a := &l.plan.Archives[i]
		for _, u := range append(slices.Clip(l.archived[i].urls), l.archived[i].mirrorURL) {
			if file, ok := line.Below(u); ok && u != "" && !a.Verbatim && !a.All {
				a.Packages, a.None = append(a.Packages, exactQuery(line, file)), false
				return nil
			}
		}
	}
	if dated, ok := line.Dated(); ok {
		for _, i := range order {
			if l.isCalled(i, dated.Archive) {
				return l.dated(line, dated, i)
			}
		}
		return document.Errorf(line.Position, "%s %s: %s is of an archive %s, and no url: of the configuration ends in /%s; add that archive, with the key that proves it and packages: none",
			line.Name, line.Version, line.URL, dated.Archive, dated.Archive)
	}
	prefix := "urls"
	if own >= 0 {
		prefix = l.plan.Archives[own].Prefix + "-urls"
	}
	a := l.madeArchive(prefix, func() Archive {
		made := Archive{Position: line.Position, Prefix: prefix, All: true, CheckValidUntil: true}
		if own >= 0 {
			from := l.plan.Archives[own]
			made.CAFile, made.ClientCert, made.AuthFile = from.CAFile, from.ClientCert, from.AuthFile
		}
		return made
	})
	a.Files = append(a.Files, File{Position: line.Position, Name: line.Name, Version: line.Version, URL: line.URL.String(), URLs: []string{line.URL.String()}})
	return nil
}

// isCalled tells whether an archive is the one that a service of dated archives knows by a name: the last part of its URL.
func (l *loader) isCalled(i int, name string) bool {
	for _, s := range append(slices.Clip(l.archived[i].urls), l.archived[i].mirrorURL) {
		if u, err := url.Parse(s); err == nil && s != "" && path.Base(u.Path) == name {
			return true
		}
	}
	return false
}

// dated adds a line to the archive as it was at a timestamp: under the same key, of the suites that have it.
func (l *loader) dated(line exactlist.Line, dated exactlist.Dated, i int) error {
	of := l.plan.Archives[i]
	if of.SignedBy == "" && of.SignedByURL == "" {
		return document.Errorf(line.Position, "%s %s: archive %s has no signed-by:, whose key proves the archive of %s; write it", line.Name, line.Version, of.Prefix, dated.Timestamp)
	}
	if of.Verbatim {
		return document.Errorf(line.Position, "%s %s: archive %s is verbatim, so nothing is chosen of it at %s; write mode: curated", line.Name, line.Version, of.Prefix, dated.Timestamp)
	}
	prefix := of.Prefix + "-" + strings.ToLower(dated.Timestamp)
	a := l.madeArchive(prefix, func() Archive {
		made := Archive{
			Position: line.Position, Prefix: prefix, URLs: []string{dated.Base}, Dated: dated.Timestamp,
			Suites: of.Suites, Components: of.Components, Architectures: of.Architectures, SignedBy: of.SignedBy, SignedByURL: of.SignedByURL,
			UnnamedRelease: of.UnnamedRelease, Languages: of.Languages, WithSources: of.WithSources, Origin: of.Origin, Label: of.Label, Codename: of.Codename,
			CAFile: of.CAFile, ClientCert: of.ClientCert, AuthFile: of.AuthFile,
			// It is past its Valid-Until by its nature; the timestamp says which day is meant.
			CheckValidUntil: false,
		}
		if suites := l.archived[i].datedSuites; suites != nil {
			made.Suites = suites
		}
		return made
	})
	if a.Dated == "" || a.URLs[0] != dated.Base {
		return document.Errorf(line.Position, "%s %s: %s and %s are both of prefix %s; keep one of the two addresses", line.Name, line.Version, dated.Base, a.describe(), prefix)
	}
	a.Packages = append(a.Packages, exactQuery(line, dated.Path))
	return nil
}

// madeArchive is the archive of a prefix, made if it is not there.
func (l *loader) madeArchive(prefix string, made func() Archive) *Archive {
	for i := range l.plan.Archives {
		if l.plan.Archives[i].Prefix == prefix {
			return &l.plan.Archives[i]
		}
	}
	l.plan.Archives = append(l.plan.Archives, made())
	return &l.plan.Archives[len(l.plan.Archives)-1]
}

// Pools are the files in the pool that the archive's list names by URL, to what the list says of each.
func (a *Archive) Pools() map[string]Query {
	out := map[string]Query{}
	for _, q := range a.Packages {
		if q.Exact != nil && q.Exact.Pool != "" {
			out[q.Exact.Pool] = q
		}
	}
	return out
}

func (e *Exact) String() string { return fmt.Sprintf("%s %s", e.Name, e.Version) }
