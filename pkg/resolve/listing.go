package resolve

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
)

// listing is an index as it was read.
type listing struct {
	*Index
	number   int
	suites   []string     // the names of its suite
	from     Text         // nil: Data
	seed     maphash.Seed // of the records' sums
	first    id           // the number of its first package
	records  []record
	versions string   // all versions, one behind the other
	arches   []string // architectures of its packages
	skipped  []string
	err      error

	kept []*Package // of a whole index, until the universe has them
	slab []byte     // room for the stanzas of these
	room []Package

	// Until the names of all listings are one table:

	byName   map[string]nameID
	names    []string
	provides []provided
}

// record is what is held of each package of an archive, so it is small and holds no pointer.
type record struct {
	sha256      [32]byte
	sum         uint64 // of the stanza, under a seed that only this process knows: what is read again must be what was verified
	at, size    uint32 // of the stanza
	version     uint32 // where it begins in versions
	name        nameID
	arch        uint8 // in arches
	versionSize uint8
}

// provided is a package that provides a name; of counts from the listing's first.
type provided struct {
	name nameID
	of   id
}

// typicalStanza is a guess at the length of a stanza, in bytes.
const typicalStanza = 750

// maxArches is how many architectures the packages of one index may have: a record
// holds the number of one in a byte.
const maxArches = 256

// maxRoom is for how many records room is made before any is there.
const maxRoom = 1 << 17

// readListings reads the indices, several at once.
func readListings(indices []Index) []*listing {
	out := make([]*listing, len(indices))
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	var g sync.WaitGroup
	for i := range indices {
		turn <- struct{}{}
		g.Go(func() {
			in := &indices[i]
			l := &listing{Index: in, number: i, suites: append([]string{in.Suite}, in.Names...), from: in.Text, seed: maphash.MakeSeed()}
			l.err = l.named(l.read())
			out[i] = l
			<-turn
		})
	}
	g.Wait()
	return out
}

func (l *listing) tooMany() error { return fmt.Errorf("over the limit of %d stanzas", MaxStanzas) }

// stanzaReader is what reads an index, in memory or not.
type stanzaReader interface {
	Next() (deb.Stanza, error)
	Line() int
	Offset() int
}

// read reads the index.
func (l *listing) read() error {
	size, in := int64(len(l.Data)), stanzaReader(deb.NewScanner(l.Data))
	if l.from != nil {
		size, in = l.from.Size(), deb.NewIndexReader(l.from.Open())
	}
	if size > MaxIndex {
		return fmt.Errorf("%d bytes, over the limit of %d", size, int64(MaxIndex))
	}
	room := int(min(size/typicalStanza, maxRoom))
	l.records, l.names, l.byName = make([]record, 0, room), make([]string, 0, room), make(map[string]nameID, room)
	bad := 0
	var first error
	var versions strings.Builder
	for {
		s, err := in.Next()
		if err == io.EOF {
			break
		}
		line := in.Line()
		var f archive.PackageFile
		if e, ok := errors.AsType[*deb.StanzaError](err); ok {
			line, err = e.Line, withoutLine(e)
		} else if err != nil {
			return err
		} else {
			if l.Whole && l.from != nil {
				s = l.keep(s)
			}
			f, err = archive.ParsePackageFile(s)
		}
		switch {
		case err != nil:
			first = cmp.Or(first, err)
			if bad++; bad <= maxSkipped {
				l.skipped = append(l.skipped, fmt.Sprintf("archive %s: %s line %d: %v", l.Archive, l.Path, line, err))
			}
		case l.Architecture != "" && f.Architecture != l.Architecture && f.Architecture != "all":
		case l.SkipPhased && isPhased(s):
		case l.Keep != nil && !l.Keep(f):
		case len(l.records) == MaxStanzas:
			return l.tooMany()
		default:
			if err := l.add(f, s, in.Offset(), &versions); err != nil {
				return err
			}
			if l.Whole {
				l.keepPackage(f, s)
			}
		}
		if len(l.provides) > MaxProvides {
			return fmt.Errorf("provided names, over the limit of %d", MaxProvides)
		}
	}
	l.versions = versions.String()
	if bad > maxSkipped {
		l.skipped = append(l.skipped, fmt.Sprintf("archive %s: %s: %d malformed stanzas in all", l.Archive, l.Path, bad))
	}
	if bad > 0 && len(l.records) == 0 {
		return fmt.Errorf("no good stanza: %w", first)
	}
	return nil
}

// keep is a copy of a stanza. Many share a piece of memory: a release has 60,000.
func (l *listing) keep(s deb.Stanza) deb.Stanza {
	if cap(l.slab)-len(l.slab) < len(s) {
		l.slab = make([]byte, 0, max(len(s), 128<<10))
	}
	n := len(l.slab)
	l.slab = append(l.slab, s...)
	return l.slab[n:len(l.slab):len(l.slab)]
}

// keepPackage keeps a package that was added; s is kept.
func (l *listing) keepPackage(f archive.PackageFile, s deb.Stanza) {
	if len(l.room) == cap(l.room) {
		l.room = make([]Package, 0, 256)
	}
	l.room = append(l.room, l.pkg(f, s))
	l.kept = append(l.kept, &l.room[len(l.room)-1])
}

func (l *listing) pkg(f archive.PackageFile, s deb.Stanza) Package {
	return Package{PackageFile: f, Archive: l.Archive, Suite: l.Suite, Component: l.Component, Index: l.number, Stanza: s}
}

// isPhased tells whether a version is held back from some hosts.
func isPhased(s deb.Stanza) bool {
	p := s.Get("Phased-Update-Percentage")
	return p != "" && p != "100"
}

// withoutLine is the error without the line, which Skipped writes itself.
func withoutLine(e *deb.StanzaError) error {
	if e.Package != "" {
		return fmt.Errorf("package %q: %w", e.Package, e.Err)
	}
	return e.Err
}

// add takes a package. f and s are views, and are not kept.
func (l *listing) add(f archive.PackageFile, s deb.Stanza, at int, versions *strings.Builder) error {
	r := record{at: uint32(at), size: uint32(len(s)), name: l.name(f.Name), versionSize: uint8(len(f.Version))}
	if l.from != nil {
		r.sum = maphash.Bytes(l.seed, s)
	}
	_, _ = hex.Decode(r.sha256[:], []byte(f.SHA256)) // it was validated
	// Packages of one source are neighbours mostly, and of one version.
	if n := len(l.records); n > 0 && l.versionIn(versions.String(), n-1) == f.Version {
		r.version = l.records[n-1].version
	} else {
		r.version = uint32(versions.Len())
		versions.WriteString(f.Version)
	}
	arch := slices.Index(l.arches, f.Architecture)
	if arch < 0 {
		if arch = len(l.arches); arch == maxArches {
			return fmt.Errorf("over the limit of %d architectures", maxArches)
		}
		l.arches = append(l.arches, strings.Clone(f.Architecture))
	}
	r.arch = uint8(arch)
	l.mention(s, id(len(l.records)))
	l.records = append(l.records, r)
	return nil
}

func (l *listing) versionIn(versions string, i int) string {
	r := &l.records[i]
	return versions[r.version : r.version+uint32(r.versionSize)]
}

// relationFields are the fields in which apt reads names, in its order.
var relationFields = []string{candidate.FieldPreDepends, candidate.FieldDepends, candidate.FieldConflicts, candidate.FieldBreaks, candidate.FieldRecommends, "Suggests", "Replaces", "Enhances", "Provides"}

// mention notes the names in the relations of a package in the order in which apt
// reads them.
func (l *listing) mention(s deb.Stanza, of id) {
	var values [9]string
	s.Values(values[:], relationFields...)
	for k, value := range values {
		isProvided := k == len(relationFields)-1
		for word, qualified := range relationNames(value) {
			if isProvided {
				l.provides = append(l.provides, provided{l.name(word), of})
			} else if !qualified { // to apt, "perl:any" is another name
				l.name(word)
			}
		}
	}
}

// name is the number of a name in the listing, given at its first mention.
func (l *listing) name(word string) nameID {
	n, known := l.byName[word]
	if !known {
		n = nameID(len(l.names))
		word = strings.Clone(word)
		l.byName[word], l.names = n, append(l.names, word)
	}
	return n
}

// rename gives the names other numbers.
func (l *listing) rename(to []nameID) {
	for i := range l.records {
		l.records[i].name = to[l.records[i].name]
	}
	for i := range l.provides {
		l.provides[i].name = to[l.provides[i].name]
	}
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

// The stanzas are read again by what follows.

// errReread says that a stanza is not the one that was verified: a disk that fails, most likely.
var errReread = errors.New("read again, its text is another")

// stanza is stanza i, to be kept.
func (l *listing) stanza(i int) (deb.Stanza, error) {
	r := &l.records[i]
	if l.from == nil {
		return l.Data[r.at : r.at+r.size : r.at+r.size], nil
	}
	s := make(deb.Stanza, r.size)
	_, err := l.from.ReadAt(s, int64(r.at))
	if err == io.EOF {
		err = nil // the sum tells
	}
	if err == nil && maphash.Bytes(l.seed, s) != r.sum {
		err = errReread
	}
	return s, l.named(err)
}

func (l *listing) named(err error) error {
	if err != nil {
		return fmt.Errorf("index %s of archive %s: %w", l.Path, l.Archive, err)
	}
	return nil
}

// rereadWindow is how much text is read at a time where all stanzas are looked at.
const rereadWindow = 256 << 10

// each calls visit with every stanza in order, which is valid during the call.
func (l *listing) each(visit func(i int, st deb.Stanza)) error {
	var window []byte
	var begin, end int64 // of what the window has
	for i := range l.records {
		if l.from == nil {
			s, _ := l.stanza(i)
			visit(i, s)
			continue
		}
		r := &l.records[i]
		from, to := int64(r.at), int64(r.at)+int64(r.size)
		if to > end {
			if need := max(int(r.size), rereadWindow); need > len(window) {
				window = make([]byte, need)
			}
			n, err := l.from.ReadAt(window, from)
			if err != nil && err != io.EOF {
				return l.named(err)
			}
			begin, end = from, from+int64(n)
		}
		if to > end {
			return l.named(errReread)
		}
		st := window[from-begin : to-begin : to-begin]
		if maphash.Bytes(l.seed, st) != r.sum {
			return l.named(errReread)
		}
		visit(i, st)
	}
	return nil
}

// What is held of a package.

// listingOf is the listing that a package is of.
func (u *Universe) listingOf(p id) *listing {
	i, found := slices.BinarySearchFunc(u.listings, p, func(l *listing, p id) int { return cmp.Compare(l.first, p) })
	if !found {
		return u.listings[i-1]
	}
	for len(u.listings[i].records) == 0 { // an empty one begins where the next does
		i++
	}
	return u.listings[i]
}

func (u *Universe) record(p id) *record {
	l := u.listingOf(p)
	return &l.records[p-l.first]
}

func (u *Universe) version(p id) string {
	l := u.listingOf(p)
	return l.versionIn(l.versions, int(p-l.first))
}

func (u *Universe) architecture(p id) string {
	l := u.listingOf(p)
	return l.arches[l.records[p-l.first].arch]
}

// look is a package with all that its stanza says, the same one each time.
func (u *Universe) look(p id) *Package {
	if had := u.packages[p].Load(); had != nil {
		return had
	}
	l := u.listingOf(p)
	i := int(p - l.first)
	r := &l.records[i]
	var f archive.PackageFile
	s, err := l.stanza(i)
	if err == nil {
		f, err = archive.ParsePackageFile(s)
	}
	if err != nil {
		u.fault.CompareAndSwap(nil, &err)
		f, s = archive.PackageFile{Name: u.names[r.name], Version: u.version(p), Architecture: u.architecture(p)}, nil
	}
	pkg := l.pkg(f, s)
	if !u.packages[p].CompareAndSwap(nil, &pkg) {
		return u.packages[p].Load()
	}
	return &pkg
}

// looked are packages with all that their stanzas say.
func (u *Universe) looked(of []id) []*Package {
	out := make([]*Package, len(of))
	for i, p := range of {
		out[i] = u.look(p)
	}
	return out
}
