// Package merge makes one .deb archive of several: of each package the highest version. Pure.
//
// The result is a function of the archives, not of the order in which they are given: push makes it, and verify makes
// it again to compare.
package merge

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Component is that of packages whose archive has none, as flat ones.
const Component = "main"

// Stanza is one of an index of an archive.
type Stanza struct {
	Archive   string // prefix
	Component string // "" in a flat archive
	Source    bool   // of a Sources index
	Own       bool   // of an archive of the site's own packages, of which Eclipsed tells
	Text      deb.Stanza
}

// Merged is what archives make together.
type Merged struct {
	Components []string // sorted; one at least
	// Architectures of its indices, sorted, "source" among them if it has sources; "all" is none.
	Architectures []string
	Stanzas       map[archive.ComponentArch][]deb.Stanza // of each index, in order
	Rows          []snapshot.Row                         // pool files, by paths relative to the archive, in order
	// Eclipsed are own packages that another archive has a higher version of, so that no host would get them: the highest
	// that an archive has, in order of archive, name and architecture.
	Eclipsed []Eclipsed
}

// Eclipsed is an own package that another archive has a higher version of.
type Eclipsed struct {
	Archive, Name, Version, Architecture string
	By, ByVersion                        string // the other archive
}

func (e Eclipsed) String() string {
	return fmt.Sprintf("%s %s %s of archive %s: archive %s has %s, which is higher", e.Name, e.Version, e.Architecture, e.Archive, e.By, e.ByVersion)
}

// ConflictError says that archives contradict each other: one version, or one path of the pool, with different bytes.
type ConflictError struct {
	What             string
	A, B             string // prefixes
	ADigest, BDigest snapshot.Digest
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: archive %s has %s, archive %s has %s", e.What, e.A, e.ADigest, e.B, e.BDigest)
}

// Merger collects the stanzas of archives. The zero value is empty. It keeps what may be in the result, so its memory
// follows from that.
type Merger struct {
	best map[key][]*candidate // of equal versions, in no order
	own  map[ownKey]string    // highest version of own packages
}

// key is what there is one version of.
type key struct {
	name, arch string // arch "source" of a source package
}

type ownKey struct {
	key
	archive string
}

// candidate is a stanza of the highest version so far.
type candidate struct {
	Stanza
	version string
	files   []snapshot.Row
}

// Add takes a stanza, of whatever index it stands in: a package for all architectures may be added once for each. The
// text must stay as it is. The error says what is wrong with the stanza.
func (m *Merger) Add(s Stanza) error {
	files, version, k, err := read(s)
	if err != nil {
		return fmt.Errorf("archive %s: %w", s.Archive, err)
	}
	if m.best == nil {
		m.best, m.own = map[key][]*candidate{}, map[ownKey]string{}
	}
	s.Component = cmp.Or(s.Component, Component)
	s.Text = bytes.TrimRight(s.Text, "\n") // line ends belong to the index
	if own := (ownKey{k, s.Archive}); s.Own && !s.Source {
		if was, ok := m.own[own]; !ok || cmp.Or(deb.Compare(version, was), cmp.Compare(was, version)) > 0 {
			m.own[own] = version
		}
	}
	c := &candidate{Stanza: s, version: version, files: files}
	was, order := m.best[k], 1
	if len(was) > 0 {
		order = deb.Compare(version, was[0].version)
	}
	switch {
	case order > 0:
		m.best[k] = []*candidate{c}
	case order == 0 && !slices.ContainsFunc(was, c.same):
		m.best[k] = append(was, c)
	}
	return nil
}

// read takes from a stanza what decides.
func read(s Stanza) (files []snapshot.Row, version string, k key, err error) {
	if s.Source {
		files, err = snapshot.SourceRows(s.Text)
		k = key{s.Text.Get("Package"), "source"}
		if version = s.Text.Get("Version"); err == nil {
			err = deb.ValidVersion(version)
		}
		if err == nil && (k.name == "" || len(files) == 0) {
			err = fmt.Errorf("a source without name or files")
		}
		if err != nil {
			err = fmt.Errorf("source %s: %w", k.name, err)
		}
		return files, version, k, err
	}
	f, err := archive.ParsePackageFile(s.Text)
	if err != nil {
		return nil, "", k, err
	}
	d, err := snapshot.ListedDigest(f.SHA256)
	if err != nil {
		return nil, "", k, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	p := snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	return []snapshot.Row{{Path: f.Filename, Size: f.Size, Digest: d, Package: p}}, f.Version, key{f.Name, f.Architecture}, nil
}

// first is the one of several stanzas of equal versions that is taken: the first in order of archive, component and text.
// It is an error if another one has other bytes.
func first(of []*candidate) (*candidate, error) {
	slices.SortFunc(of, func(x, y *candidate) int {
		return cmp.Or(cmp.Compare(x.Archive, y.Archive), cmp.Compare(x.Component, y.Component), bytes.Compare(x.Text, y.Text))
	})
	c := of[0]
	for _, o := range of[1:] {
		if d := o.content(); d != c.content() {
			return nil, &ConflictError{What: fmt.Sprintf("%s %s %s stands twice with other bytes", c.name(), c.version, c.arch()), A: c.Archive, ADigest: c.content(), B: o.Archive, BDigest: d}
		}
	}
	return c, nil
}

// same tells that a stanza stands in several indices of an archive.
func (c *candidate) same(o *candidate) bool {
	return c.Archive == o.Archive && c.Component == o.Component && bytes.Equal(c.Text, o.Text)
}

func (c *candidate) name() string { return c.Text.Get("Package") }

func (c *candidate) arch() string {
	if c.Source {
		return "source"
	}
	return c.Text.Get("Architecture")
}

// content is the digest of what the stanza names: of a package its file, of a source all of its files. The .dsc of a
// source names the others by their digests, so it alone decides; an index may list them in any order.
func (c *candidate) content() snapshot.Digest {
	if !c.Source {
		return c.files[0].Digest
	}
	for _, f := range c.files {
		if strings.HasSuffix(f.Path, ".dsc") {
			return f.Digest
		}
	}
	return c.files[0].Digest
}

// Merge is the result, with indices of the architectures that are given and of those that packages are for. A [*ConflictError] says that two archives have other bytes of what it would take.
func (m *Merger) Merge(architectures []string) (*Merged, error) {
	keys := slices.SortedFunc(maps.Keys(m.best), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.arch, b.arch))
	})
	out := &Merged{Stanzas: map[archive.ComponentArch][]deb.Stanza{}}
	components, paths := map[string]bool{}, map[string]placed{}
	sources := false
	best, archs := map[key]*candidate{}, map[string]bool{}
	for _, arch := range architectures {
		if arch != "" && arch != "all" && arch != "source" {
			archs[arch] = true
		}
	}
	for _, k := range keys {
		c, err := first(slices.Clone(m.best[k]))
		if err != nil {
			return nil, err
		}
		best[k] = c
		components[c.Component] = true
		if sources = sources || c.Source; !c.Source && k.arch != "all" {
			archs[k.arch] = true
		}
		for _, f := range c.files {
			was, ok := paths[f.Path]
			if !ok {
				paths[f.Path] = placed{f, c.Archive}
				continue
			}
			if was.row.Blob() != f.Blob() {
				return nil, &ConflictError{What: f.Path + " is two files", A: was.archive, ADigest: was.row.Digest, B: c.Archive, BDigest: f.Digest}
			}
			if !was.row.IsPackage() {
				paths[f.Path] = placed{f, c.Archive}
			}
		}
	}
	if len(components) == 0 {
		components[Component] = true
	}
	out.Components = slices.Sorted(maps.Keys(components))
	out.Architectures = slices.Sorted(maps.Keys(archs))
	out.fill(keys, best)
	if sources {
		out.Architectures = append(out.Architectures, "source")
		slices.Sort(out.Architectures)
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		out.Rows = append(out.Rows, paths[path].row)
	}
	out.Eclipsed = m.eclipsed(keys, best)
	return out, nil
}

// placed is a pool file with the archive that it is taken from.
type placed struct {
	row     snapshot.Row
	archive string
}

// fill puts the stanzas into their indices. Architectures has no "source" yet.
func (out *Merged) fill(keys []key, best map[key]*candidate) {
	for _, k := range keys {
		c := best[k]
		in := []string{k.arch}
		if !c.Source && k.arch == "all" {
			in = out.Architectures
		}
		for _, arch := range in {
			ca := archive.ComponentArch{Component: c.Component, Architecture: arch}
			out.Stanzas[ca] = append(out.Stanzas[ca], c.Text)
		}
	}
	for ca, stanzas := range out.Stanzas {
		slices.SortStableFunc(stanzas, func(a, b deb.Stanza) int {
			return cmp.Or(cmp.Compare(a.Get("Package"), b.Get("Package")), deb.Compare(a.Get("Version"), b.Get("Version")), cmp.Compare(a.Get("Architecture"), b.Get("Architecture")))
		})
		out.Stanzas[ca] = stanzas
	}
}

// eclipsed lists own packages that another archive has higher: of the same architecture, or where one of the two is for
// all architectures.
func (m *Merger) eclipsed(keys []key, best map[key]*candidate) (out []Eclipsed) {
	byName := map[string][]key{}
	for _, k := range keys {
		if k.arch != "source" && len(m.own) > 0 {
			byName[k.name] = append(byName[k.name], k)
		}
	}
	for own, version := range m.own {
		var by *candidate
		for _, k := range byName[own.name] {
			c := best[k]
			if c.Archive == own.archive || k.arch != own.arch && k.arch != "all" && own.arch != "all" || deb.Compare(c.version, version) <= 0 {
				continue
			}
			if by == nil || deb.Compare(c.version, by.version) > 0 {
				by = c
			}
		}
		if by != nil {
			out = append(out, Eclipsed{own.archive, own.name, version, own.arch, by.Archive, by.version})
		}
	}
	slices.SortFunc(out, func(a, b Eclipsed) int {
		return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	return out
}
