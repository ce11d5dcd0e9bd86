package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/query"
)

// Limits of a universe.
const (
	MaxIndex    = 2 << 30  // bytes of one index
	MaxStanzas  = 16 << 20 // stanzas of all indices
	MaxIndices  = 1 << 16
	MaxProvides = 16 << 20 // names provided by all packages
)

// Limits of what is reported of bad indices.
const (
	maxSkipped    = 100 // malformed stanzas of an index that are described; the rest is counted
	maxDuplicates = 10  // contradictory packages
)

// typicalStanza is a guess at the length of a stanza, in bytes.
const typicalStanza = 750

// DefaultPin is the apt priority of an Index that names none.
const DefaultPin = 500

// Index is a Packages index, decompressed, as it was verified.
type Index struct {
	Archive      string   // prefix
	Suite        string   // directory under dists/
	Names        []string // other names of the suite: Suite and Codename of its Release
	Component    string
	Architecture string // of the index; stanzas of others but "all" are passed over, as apt does
	Path         string // relative to the archive, for messages
	Data         []byte // not copied; must not change
	// Pin is the apt priority of the suite (apt_preferences(5)): 500, 100
	// (NotAutomatic and ButAutomaticUpgrades), 1 (NotAutomatic). 0 is taken for
	// DefaultPin, a negative one makes the index invisible to closures.
	Pin int
	// Keep, if not nil, tells which pool files are at hand: others are not
	// candidates.
	Keep func(f archive.PackageFile) bool
}

// Package is one candidate of a universe. Its strings are views of the index.
type Package struct {
	archive.PackageFile
	Archive, Suite, Component string
	Index                     int // which Index it came from
	Stanza                    deb.Stanza

	order int // in its universe
}

// Universe is every package that may be chosen. Immutable; safe for concurrent
// use.
type Universe struct {
	indices  []Index
	suites   [][]string // of each index the names of its suite
	packages []Package  // in the order of the indices
	names    map[string]*name
	skipped  []string
}

// name is a name that a package has, provides or mentions in a relation.
type name struct {
	// rank counts the names in the order in which apt reads them. Where nothing
	// else decides between two providers, apt takes the one of higher rank. That
	// means nothing, but a closure that differs from apt's raises questions.
	rank      int
	packages  []*Package // that have the name: newest first, then in the order of the indices
	providers []*Package // that provide the name, in the order of the indices
}

// NewUniverse reads the indices. A malformed stanza is left out and named in
// Skipped; an index that has malformed stanzas only is an error. Two different
// files under one name, version and architecture are an error naming both.
func NewUniverse(indices []Index) (*Universe, error) {
	if len(indices) >= MaxIndices {
		return nil, fmt.Errorf("%d indices, over the limit of %d", len(indices), MaxIndices)
	}
	total := 0
	for i := range indices {
		total += len(indices[i].Data)
	}
	u := &Universe{indices: indices, packages: make([]Package, 0, min(total/typicalStanza, MaxStanzas))}
	for _, in := range indices {
		u.suites = append(u.suites, append([]string{in.Suite}, in.Names...))
	}
	var errs []error
	for i := range indices {
		if err := u.read(i); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := u.readNames(); err != nil {
		return nil, err
	}
	return u, u.refuseDuplicates()
}

// read adds the packages of an index.
func (u *Universe) read(i int) error {
	in := &u.indices[i]
	if int64(len(in.Data)) > MaxIndex { // an int of 32 bits does not hold it
		return fmt.Errorf("index %s of archive %s: %d bytes, over the limit of %d", in.Path, in.Archive, len(in.Data), int64(MaxIndex))
	}
	before, bad := len(u.packages), 0
	var first error
	sc := deb.NewScanner(in.Data)
	for {
		s, err := sc.Next()
		if err == io.EOF {
			break
		}
		line := sc.Line()
		var f archive.PackageFile
		if err == nil {
			f, err = archive.ParsePackageFile(s)
		} else if e, ok := errors.AsType[*deb.StanzaError](err); ok {
			line, err = e.Line, withoutLine(e)
		}
		switch {
		case err != nil:
			if first == nil {
				first = err
			}
			if bad++; bad <= maxSkipped {
				u.skipped = append(u.skipped, fmt.Sprintf("archive %s: %s line %d: %v", in.Archive, in.Path, line, err))
			}
		case in.Architecture != "" && f.Architecture != in.Architecture && f.Architecture != "all":
		case in.Keep != nil && !in.Keep(f):
		case len(u.packages) == MaxStanzas:
			return fmt.Errorf("index %s of archive %s: over the limit of %d stanzas", in.Path, in.Archive, MaxStanzas)
		default:
			u.packages = append(u.packages, Package{PackageFile: f, Archive: in.Archive, Suite: in.Suite, Component: in.Component, Index: i, Stanza: s, order: len(u.packages)})
		}
	}
	if bad > maxSkipped {
		u.skipped = append(u.skipped, fmt.Sprintf("archive %s: %s: %d malformed stanzas in all", in.Archive, in.Path, bad))
	}
	if bad > 0 && len(u.packages) == before {
		return fmt.Errorf("index %s of archive %s: no good stanza: %w", in.Path, in.Archive, first)
	}
	return nil
}

// withoutLine is the error without the line, which Skipped writes itself.
func withoutLine(e *deb.StanzaError) error {
	if e.Package != "" {
		return fmt.Errorf("package %q: %w", e.Package, e.Err)
	}
	return e.Err
}

// relationFields are the fields in which apt reads names, in its order.
var relationFields = []string{fieldPreDepends, fieldDepends, fieldConflicts, fieldBreaks, fieldRecommends, "Suggests", "Replaces", "Enhances", "Provides"}

// readNames fills the table of names in the order in which apt reads them: of
// each stanza the package's, then those in its relations.
func (u *Universe) readNames() error {
	u.names = make(map[string]*name, 2*len(u.packages))
	values, provides := make([]string, len(relationFields)), 0
	for i := range u.packages {
		p := &u.packages[i]
		n := u.nameOf(p.Name)
		n.packages = append(n.packages, p)
		p.Stanza.Values(values, relationFields...)
		for k, value := range values {
			provided := k == len(relationFields)-1
			for word, qualified := range relationNames(value) {
				if provided {
					n := u.nameOf(word)
					n.providers = append(n.providers, p)
					provides++
				} else if !qualified { // to apt, "perl:any" is another name
					u.nameOf(word)
				}
			}
		}
		if provides > MaxProvides {
			return fmt.Errorf("provided names, over the limit of %d", MaxProvides)
		}
	}
	for _, n := range u.names {
		if len(n.packages) > 1 {
			slices.SortStableFunc(n.packages, func(a, b *Package) int { return deb.Compare(b.Version, a.Version) })
		}
	}
	return nil
}

// nameOf is the entry of a name, made at its first mention.
func (u *Universe) nameOf(word string) *name {
	n := u.names[word]
	if n == nil {
		n = &name{rank: len(u.names)}
		u.names[word] = n
	}
	return n
}

// relationNames yields the names in a relation field and whether each is
// qualified with an architecture. It reads less strictly than
// deb.ParseRelations, which has the last word on each package.
func relationNames(field string) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for field != "" {
			part := field
			if end := strings.IndexAny(field, ",|"); end >= 0 {
				part, field = field[:end], field[end+1:]
			} else {
				field = ""
			}
			part = strings.TrimLeft(part, " \t\r\n")
			qualified := false
			if end := strings.IndexAny(part, " \t\r\n(:[<"); end >= 0 {
				part, qualified = part[:end], part[end] == ':'
			}
			if part != "" && !yield(part, qualified) {
				return
			}
		}
	}
}

// refuseDuplicates finds packages that claim to be the same and are not.
func (u *Universe) refuseDuplicates() error {
	type key struct{ version, arch string }
	var errs []error
	for i := range u.packages {
		p := &u.packages[i]
		same := u.named(p.Name)
		if len(same) == 1 || same[0] != p { // each name once
			continue
		}
		seen := map[key]*Package{}
		for _, p := range same {
			k := key{p.Version, p.Architecture}
			if o := seen[k]; o != nil && o.SHA256 != p.SHA256 && len(errs) < maxDuplicates {
				errs = append(errs, fmt.Errorf("%s %s %s: %s and %s have different files under one version",
					p.Name, p.Version, p.Architecture, u.place(o), u.place(p)))
			}
			seen[k] = p
		}
	}
	return errors.Join(errs...)
}

// place is where a stanza stands, for messages.
func (u *Universe) place(p *Package) string {
	return fmt.Sprintf("archive %s (%s)", p.Archive, u.indices[p.Index].Path)
}

// pin is the apt priority of a package's suite.
func (u *Universe) pin(p *Package) int { return cmp.Or(u.indices[p.Index].Pin, DefaultPin) }

// Skipped returns the malformed stanzas, one line each with archive, path,
// line and reason.
func (u *Universe) Skipped() []string { return u.skipped }

// Versions returns the packages of a name, newest first. They must not be
// changed.
func (u *Universe) Versions(name string) []*Package { return slices.Clone(u.named(name)) }

// Matches returns the packages that a query selects, without closure: every
// version, ordered by name, version, architecture and index. archive "" means
// any.
func (u *Universe) Matches(q *query.Query, archive string) []*Package {
	all := u.selected(q, archive)
	slices.SortStableFunc(all, comparePackages)
	return all
}

// comparePackages orders by name, version, architecture and index.
func comparePackages(a, b *Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c // cmp.Or would compare the versions all the same, of each pair of a release
	}
	return cmp.Or(deb.Compare(a.Version, b.Version),
		cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Index, b.Index))
}

// named returns the packages of a name, newest first.
func (u *Universe) named(name string) []*Package {
	if n := u.names[name]; n != nil {
		return n.packages
	}
	return nil
}

// providing returns the packages that provide a name.
func (u *Universe) providing(name string) []*Package {
	if n := u.names[name]; n != nil {
		return n.providers
	}
	return nil
}

// selected returns what a query selects, in the order of the indices.
func (u *Universe) selected(q *query.Query, archive string) []*Package {
	var found []*Package
	take := func(p *Package) {
		if (archive == "" || p.Archive == archive) && u.matches(q, p) {
			found = append(found, p)
		}
	}
	if likely, some := u.likely(q); some {
		for _, p := range likely {
			take(p)
		}
		return found
	}
	for i := range u.packages {
		take(&u.packages[i])
	}
	return found
}

// likely returns the packages among which all matches of a query are, in the
// order of the indices, if the query tells names.
func (u *Universe) likely(q *query.Query) (all []*Package, some bool) {
	names, some := q.Names()
	for _, name := range names {
		all = slices.Concat(all, u.named(name), u.providing(name))
	}
	slices.SortFunc(all, func(a, b *Package) int { return cmp.Compare(a.order, b.order) })
	return slices.Compact(all), some
}

// matches tells whether a query selects a package. What is installed is of no suite.
func (u *Universe) matches(q *query.Query, p *Package) bool {
	asked := query.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Stanza: p.Stanza}
	if p.Index != noArchive {
		asked.Suites = u.suites[p.Index]
	}
	return q.Match(&asked)
}
