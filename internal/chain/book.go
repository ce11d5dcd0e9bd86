// Package chain follows single packages of a snapshot from upstream's key to
// the digest of their blob, and says of each step who verified it and by which
// command a person checks it by hand. What it reads on the way, the stanzas,
// it keeps off the heap and finds again: by name, by word and by dependency.
package chain

import (
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/spool"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Options say which packages Read reads, and by which keys their archives are proved.
type Options struct {
	Snapshot *snapshot.Snapshot
	Upstream map[string]*pgp.Keyring // upstream's keys by prefix; none: that archive is not proved
	Site     *pgp.Keyring            // proves archives of class site
	Pinned   bool                    // somebody named the snapshot by its digest
	// Want says which packages; nil: all. Archives without one of them are not read.
	Want func(row snapshot.Row) bool
}

// Book is what the indices of a snapshot say of its packages. The stanzas are
// those under upstream's signature where an archive has that, else the site's.
// Immutable; safe for concurrent use.
type Book struct {
	snapshot *snapshot.Snapshot
	keys     Options
	suites   []*suite
	indices  []index
	entries  []entry  // in order of name, then the highest version first
	sketches []sketch // of their names
	words    words    // of names, sources, descriptions and relations
	sections []string
	sets     []string          // of suites, by comma
	answered answered          // by Search
	text     *spool.Bytes      // the stanzas, and the lines of the lock
	seed     maphash.Seed      // of the sums of stanzas
	reasons  []reason          // in order of name
	built    map[string]string // what the lock says of the builds of the site's packages, by "ARCHIVE DIGEST"
	WhyNot   error             // why the lock could not be read; nil: it was
	how      pgp.How           // the statement was verified
	Lost     []error           // archives whose stanzas could not be read
}

// suite is a suite whose Release was read.
type suite struct {
	archive  *snapshot.Archive
	name     string
	base     string // directory of its Release, with final slash
	signed   snapshot.SuiteFile
	detached *snapshot.SuiteFile // Release.gpg, where signed is a Release
	release  *archive.Release
	wrong    error // its signature is not one of the key's
	known    atomic.Pointer[knownKey]
}

// knownKey is what a keyring says, in one minute, of the key that signed a suite: to tell that takes more time than all else of a proof.
type knownKey struct {
	minute int64
	info   pgp.KeyInfo
	ok     bool
}

// signer is the key that signed the Release.
func (s *suite) signer(ring *pgp.Keyring, now time.Time) (pgp.KeyInfo, bool) {
	minute := now.Unix() / 60
	k := s.known.Load()
	if k == nil || k.minute != minute {
		info, ok := ring.Info(s.release.How.Signer, now)
		k = &knownKey{minute, info, ok}
		s.known.Store(k)
	}
	return k.info, k.ok
}

// index is a Packages index that a Release lists.
type index struct {
	suite *suite
	file  archive.ReleaseFile
	blob  snapshot.Blob
}

type entry struct {
	sum            uint64 // of its stanza as it was verified
	at, size       uint32 // of its stanza in text
	name, source   uint32 // words
	index, section uint16
	suites         uint16 // those that have it, a set
	capital        bool   // the name has letters that are not in lower case
}

// errChanged says that what was kept is no longer what was verified.
var errChanged = fmt.Errorf("%w: a stanza that was kept in a temporary file is not what was read", snapshot.ErrIntegrity)

// none is the index of a package that no index names.
const none = 1<<16 - 1

// Size is the memory that a book takes, about, in bytes.
func (b *Book) Size() int64 {
	return int64((40+maxAnswered*Ranks/8)*len(b.entries)+24*len(b.reasons)) + b.words.size() + b.text.Memory()
}

// Len is the number of packages.
func (b *Book) Len() int { return len(b.entries) }

// Package is a package with its stanza; without, if no index that could be read names it.
type Package struct {
	snapshot.Row
	Stanza deb.Stanza
	entry  int
}

// Get reads the i-th package in order of name, the highest version of one name first.
func (b *Book) Get(i int) (Package, error) {
	e := b.entries[i]
	if e.index == none {
		return Package{b.snapshot.Table.Row(int(e.at)), nil, i}, nil
	}
	st := make([]byte, e.size)
	if _, err := b.text.ReadAt(st, int64(e.at)); err != nil && err != io.EOF {
		return Package{}, err
	}
	if maphash.Bytes(b.seed, st) != e.sum {
		return Package{}, errChanged
	}
	row, err := b.rowOf(st, b.indices[e.index].suite.archive.Prefix+"/")
	return Package{row, st, i}, err
}

// rowOf is the row of the file that a stanza names, below dir: it was found when the stanza was read.
func (b *Book) rowOf(st deb.Stanza, dir string) (snapshot.Row, error) {
	if row, ok := b.snapshot.Table.Find(dir + st.Get("Filename")); ok { // as the path is spelled mostly
		return row, nil
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return snapshot.Row{}, err
	}
	row, ok := b.snapshot.Table.Find(dir + f.Filename)
	if !ok {
		return snapshot.Row{}, snapshot.ErrNotExist
	}
	return row, nil
}

// name is the name of the i-th package in lower case, not to be changed.
func (b *Book) name(i int) []byte { return b.words.word(b.entries[i].name) }

// spelled is its name as it is.
func (b *Book) spelled(i int) string {
	if b.entries[i].capital {
		if p, err := b.Get(i); err == nil {
			return p.Name
		}
	}
	return string(b.name(i))
}

// home is its archive.
func (b *Book) home(i int) string { return b.prefix(b.entries[i]) }

// Named are the packages of a name, the highest version first.
func (b *Book) Named(name string) (out []Package, err error) {
	for i := range b.at(name) {
		p, err := b.Get(i)
		if err != nil {
			return nil, err
		}
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out, nil
}

// Home is the archive that has packages of a name: the given one if it is among them, else the first of the others; "": none has.
func (b *Book) Home(name, first string) (archive string) {
	for i := range b.at(name) {
		if b.spelled(i) != name {
			continue
		}
		home := b.home(i)
		if home == first {
			return home
		}
		if archive == "" || home < archive {
			archive = home
		}
	}
	return archive
}

// at yields the entries whose name is name, but for the case of letters.
func (b *Book) at(name string) func(yield func(int) bool) {
	word, ok := b.words.find(strings.ToLower(clean(name)))
	return func(yield func(int) bool) {
		if !ok {
			return
		}
		i := sort.Search(len(b.entries), func(i int) bool { return b.entries[i].name >= word }) // words have the numbers of their order
		for ; i < len(b.entries) && b.entries[i].name == word; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// Dependents are the packages that depend on a name or recommend it, in order of name, each name once. most bounds them.
func (b *Book) Dependents(name string, most int) (out []string, more bool) {
	return b.using(name, asNeed, most)
}

// Providers are the packages that provide a name, as Dependents.
func (b *Book) Providers(name string, most int) (out []string, more bool) {
	return b.using(name, asProvided, most)
}

func (b *Book) using(name string, as, most int) (out []string, more bool) {
	last := -1
	for i := range b.words.related(strings.ToLower(clean(name)), as) {
		if last >= 0 && b.entries[i].name == b.entries[last].name {
			continue
		}
		if len(out) == most {
			return out, true
		}
		last, out = i, append(out, b.spelled(i))
	}
	return out, false
}

// Sections are the sections of the packages, in order.
func (b *Book) Sections() []string { return slices.Sorted(slices.Values(b.sections)) }

// Suite is the suite by whose index a package is proved; "": by none.
func (b *Book) Suite(p Package) string {
	if e := b.entries[p.entry]; e.index != none {
		return b.indices[e.index].suite.name
	}
	return ""
}

// Suites are the suites of its archive whose indices name a package, by comma; "": none does.
func (b *Book) Suites(p Package) string {
	if e := b.entries[p.entry]; e.index != none {
		return b.sets[e.suites]
	}
	return ""
}

// Signer is the fingerprint of the key that signed the Release above a package; "": no key that was given did.
func (b *Book) Signer(p Package) string {
	e := b.entries[p.entry]
	if e.index == none {
		return ""
	}
	if s := b.indices[e.index].suite; s.wrong == nil && s.release.How.Kind == pgp.Signed {
		return s.release.How.Signer
	}
	return ""
}

// prefix is the archive of an entry.
func (b *Book) prefix(e entry) string {
	if e.index != none {
		return b.indices[e.index].suite.archive.Prefix
	}
	return b.snapshot.Table.Row(int(e.at)).Archive()
}
