package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
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
	Data         []byte // the text; not copied; must not change
	Text         Text   // the text in place of Data
	// Pin is the apt priority of the suite (apt_preferences(5)): 500, 100
	// (NotAutomatic and ButAutomaticUpgrades), 1 (NotAutomatic). 0 is taken for
	// DefaultPin, a negative one makes the index invisible to closures.
	Pin int
	// Keep, if not nil, tells which pool files are at hand: others are not
	// candidates. What it is given is valid during the call.
	Keep func(f archive.PackageFile) bool
	// SkipPhased leaves out the versions that are held back from some hosts
	// (Phased-Update-Percentage, as Ubuntu has it).
	SkipPhased bool
	// Whole says that most of the packages will be looked at: they are kept as they
	// are read, which takes less time than to read them again.
	Whole bool
}

// Text is the text of an index that is not held in memory. It must be safe for
// concurrent use, and must not change.
type Text interface {
	io.ReaderAt
	Size() int64
	// Open reads the text from the begin; an error that is not io.EOF if it is not
	// what was verified.
	Open() io.Reader
}

// Package is one candidate of a universe.
type Package = candidate.Package

// Universe is every package that may be chosen. Immutable; safe for concurrent
// use.
//
// Of each package it holds what a choice asks of every package (see record). The
// rest is read from the text when the package is looked at, and kept from then
// on: memory follows what is looked at, not the size of the archives.
type Universe struct {
	listings []*listing
	packages []atomic.Pointer[Package] // by id; nil: not looked at yet
	byName   map[string]nameID
	names    []string
	owners   groups // the packages that have a name: newest first, then in the order of the indices
	givers   groups // those that provide it, in the order of the indices
	skipped  []string
	fault    atomic.Pointer[error]
}

// id numbers the packages of a universe in the order of the indices.
type id uint32

// nameID numbers the names that packages have, provide or mention in a relation, in
// the order in which apt reads them. Where nothing else decides between two
// providers, apt takes the one of the higher number. That means nothing, but a
// closure that differs from apt's raises questions.
type nameID uint32

// NewUniverse reads the indices. A malformed stanza is left out and named in
// Skipped; an index that has malformed stanzas only is an error, and so is one that
// cannot be read to its end. Two different files under one name, version and
// architecture are an error naming both.
func NewUniverse(indices []Index) (*Universe, error) {
	if len(indices) >= MaxIndices {
		return nil, fmt.Errorf("%d indices, over the limit of %d", len(indices), MaxIndices)
	}
	u := &Universe{listings: readListings(indices)}
	var errs []error
	total, provides := 0, 0
	for _, l := range u.listings {
		if l.err == nil && total+len(l.records) > MaxStanzas {
			l.err = l.named(l.tooMany())
		}
		if l.err != nil {
			errs = append(errs, l.err)
		}
		l.first = id(total)
		total += len(l.records)
		provides += len(l.provides)
		u.skipped = append(u.skipped, l.skipped...)
	}
	switch {
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case provides > MaxProvides:
		return nil, fmt.Errorf("provided names, over the limit of %d", MaxProvides)
	}
	u.packages = make([]atomic.Pointer[Package], total)
	for _, l := range u.listings {
		for i := range l.kept {
			u.packages[l.first+id(i)].Store(l.kept[i])
		}
		l.kept = nil
	}
	u.joinNames(provides)
	return u, u.refuseDuplicates()
}

// joinNames makes one table of the names of all listings, and groups the packages by it.
func (u *Universe) joinNames(provides int) {
	for i, l := range u.listings {
		if i == 0 {
			u.byName, u.names = l.byName, l.names
		} else {
			l.rename(u.join(l.names))
		}
		l.byName, l.names = nil, nil
	}
	u.owners = newGroups(len(u.names), len(u.packages), func(yield func(nameID, id)) {
		for _, l := range u.listings {
			for i := range l.records {
				yield(l.records[i].name, l.first+id(i))
			}
		}
	})
	u.givers = newGroups(len(u.names), provides, func(yield func(nameID, id)) {
		for _, l := range u.listings {
			for _, p := range l.provides {
				yield(p.name, l.first+p.of)
			}
		}
	})
	for _, l := range u.listings {
		l.provides = nil
	}
	for n := range u.names {
		if same := u.owners.of(nameID(n)); len(same) > 1 {
			slices.SortStableFunc(same, func(a, b id) int {
				x, y := u.version(a), u.version(b)
				if x == y {
					return 0
				}
				return deb.Compare(y, x)
			})
		}
	}
}

// join adds names, and returns the numbers that they have.
func (u *Universe) join(names []string) []nameID {
	ids := make([]nameID, len(names))
	for i, name := range names {
		n, known := u.byName[name]
		if !known {
			n = nameID(len(u.names))
			u.byName[name], u.names = n, append(u.names, name)
		}
		ids[i] = n
	}
	return ids
}

// groups are the packages of each name.
type groups struct {
	start []uint32 // of each name's in all, and the end of the last
	all   []id
}

// newGroups groups n pairs by name; pairs yields them, the same each time.
func newGroups(names, n int, pairs func(yield func(nameID, id))) groups {
	g := groups{start: make([]uint32, names+2), all: make([]id, n)}
	pairs(func(n nameID, _ id) { g.start[n+2]++ })
	for i := range names {
		g.start[i+2] += g.start[i+1]
	}
	pairs(func(n nameID, p id) { // start[n+1] is where the next of n goes, and at last where n+1 begins
		g.all[g.start[n+1]] = p
		g.start[n+1]++
	})
	return g
}

func (g groups) of(n nameID) []id { return g.all[g.start[n]:g.start[n+1]] }

// Err returns the error that was met when a package was read again from its
// index; what was answered since is not to be relied on.
func (u *Universe) Err() error {
	if err := u.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// ErrDuplicate marks archives that contradict each other: a host could get either file.
var ErrDuplicate = errors.New("different files under one version")

// refuseDuplicates finds packages that claim to be the same and are not.
func (u *Universe) refuseDuplicates() error {
	type key struct{ version, arch string }
	var errs []error
	seen := map[key]id{}
	for _, l := range u.listings {
		for i := range l.records {
			p := l.first + id(i)
			same := u.owners.of(l.records[i].name)
			if len(same) == 1 || same[0] != p { // each name once
				continue
			}
			clear(seen)
			for _, p := range same {
				k := key{u.version(p), u.architecture(p)}
				if o, known := seen[k]; known && u.record(o).sha256 != u.record(p).sha256 && len(errs) < maxDuplicates {
					errs = append(errs, fmt.Errorf("%s %s %s: %s and %s have %w: sha256:%x and sha256:%x",
						u.names[u.record(p).name], k.version, k.arch, u.listingOf(o).place(), u.listingOf(p).place(), ErrDuplicate, u.record(o).sha256, u.record(p).sha256))
				}
				seen[k] = p
			}
		}
	}
	return errors.Join(errs...)
}

// place is where a stanza stands, for messages.
func (l *listing) place() string { return fmt.Sprintf("archive %s (%s)", l.Archive, l.Path) }

// pin is the apt priority of a package's suite.
func (u *Universe) pin(p id) int { return cmp.Or(u.listingOf(p).Pin, DefaultPin) }

// Skipped returns the malformed stanzas, one line each with archive, path,
// line and reason.
func (u *Universe) Skipped() []string { return u.skipped }

// Versions returns the packages of a name, newest first. They must not be
// changed.
func (u *Universe) Versions(name string) []*Package { return u.looked(u.named(name)) }

// Matches returns the packages that a query selects, without closure: every
// version, ordered by name, version, architecture and index. archive "" means
// any.
func (u *Universe) Matches(q *query.Query, archive string) []*Package {
	all := u.looked(u.selected(q, archive))
	slices.SortStableFunc(all, candidate.Compare)
	return all
}

// named returns the packages of a name, newest first.
func (u *Universe) named(name string) []id {
	if n, known := u.byName[name]; known {
		return u.owners.of(n)
	}
	return nil
}

// providing returns the packages that provide a name.
func (u *Universe) providing(name string) []id {
	if n, known := u.byName[name]; known {
		return u.givers.of(n)
	}
	return nil
}

// rank is the number of a name; 0 if it is none.
func (u *Universe) rank(name string) int { return int(u.byName[name]) }

// selected returns what a query selects, in the order of the indices.
func (u *Universe) selected(q *query.Query, archive string) []id {
	var found []id
	if likely, some := u.likely(q); some {
		for _, p := range likely {
			if (archive == "" || u.listingOf(p).Archive == archive) && u.matches(q, u.look(p)) {
				found = append(found, p)
			}
		}
		return found
	}
	for _, l := range u.listings {
		if archive != "" && l.Archive != archive {
			continue
		}
		err := l.each(func(i int, st deb.Stanza) {
			p := l.first + id(i)
			if q.Match(&query.Package{Name: u.names[l.records[i].name], Version: u.version(p), Architecture: u.architecture(p), Suites: l.suites, Stanza: st}) {
				found = append(found, p)
			}
		})
		if err != nil {
			u.fault.CompareAndSwap(nil, &err)
		}
	}
	return found
}

// likely returns the packages among which all matches of a query are, in the
// order of the indices, if the query tells names.
func (u *Universe) likely(q *query.Query) (all []id, some bool) {
	names, some := q.Names()
	for _, name := range names {
		all = slices.Concat(all, u.named(name), u.providing(name))
	}
	slices.Sort(all)
	return slices.Compact(all), some
}

// matches tells whether a query selects a package. What is installed is of no suite.
func (u *Universe) matches(q *query.Query, p *Package) bool {
	asked := query.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Stanza: p.Stanza}
	if p.Index != noArchive {
		asked.Suites = u.listings[p.Index].suites
	}
	return q.Match(&asked)
}
