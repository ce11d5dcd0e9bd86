package resolve

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// Limits of a universe.
const (
	MaxIndex    = 2 << 30  // bytes of one index
	MaxStanzas  = 16 << 20 // stanzas of all indices
	MaxIndices  = 1 << 16
	MaxProvides = 16 << 20 // names provided by all packages
)

// DefaultPin is the apt priority of an Index that names none.
const DefaultPin = 500

// Index is a Packages index, decompressed, as it was verified.
type Index struct {
	Archive      string // prefix
	Suite        string
	Component    string
	Architecture string // of the index; its stanzas are of it or "all"
	Path         string // relative to the archive, for messages
	Data         []byte // not copied; must not change
	// Pin is the apt priority of the suite (apt_preferences(5)): 500, 100
	// (NotAutomatic and ButAutomaticUpgrades), 1 (NotAutomatic). 0 is taken for
	// DefaultPin, a negative one makes the index invisible to closures.
	Pin int
	// Keep, if not nil, tells which pool files are at hand: others are not
	// candidates. It is called by several goroutines.
	Keep func(f archive.PackageFile) bool
}

// Package is one candidate of a universe. Its strings are views of the index.
type Package struct {
	archive.PackageFile
	Archive, Suite, Component string
	Index                     int // which Index it came from
	Stanza                    deb.Stanza
}

// Universe is all candidates. Immutable; safe for concurrent use.
type Universe struct{ universe }

type universe struct {
	indices  []Index
	records  []record
	arches   []string
	table    nameTable
	skipped  []string
	mentions mentions

	// What was asked for is kept: packages and their relations, each made once.
	packages []atomic.Pointer[Package]
	parsed   []atomic.Pointer[candidate]
}

// record is a stanza, found but not parsed. It holds no pointer: tens of
// thousands of them cost the garbage collector nothing.
type record struct {
	offset, length uint32 // of the stanza in its index
	// The values, by their offset in the stanza.
	nameOffset, version, provides uint32
	provideLength                 uint32
	relations, relationsLength    uint32 // from the first field of mentionFields to the last
	index                         uint16
	arch                          uint16 // in arches
	nameLength, versionLength     uint8
	multi                         multiArch
	plain                         bool // fields.plain
}

// NewUniverse scans the indices (in parallel). A stanza that is malformed is
// left out and named in Skipped; an index without one good stanza though it is not empty is an error.
// One name, version and architecture with two SHA256 within one archive, or over two, is an error naming both.
func NewUniverse(indices []Index) (*Universe, error) {
	if len(indices) >= MaxIndices {
		return nil, fmt.Errorf("%d indices, over the limit of %d", len(indices), MaxIndices)
	}
	u := &Universe{universe{indices: indices}}
	if err := u.scan(); err != nil {
		return nil, err
	}
	if len(u.records) > MaxStanzas {
		return nil, fmt.Errorf("%d stanzas, over the limit of %d", len(u.records), MaxStanzas)
	}
	var err error
	if u.table, err = newNameTable(u); err != nil {
		return nil, err
	}
	u.packages = make([]atomic.Pointer[Package], len(u.records))
	u.parsed = make([]atomic.Pointer[candidate], len(u.records))
	if err := u.refuseTwins(); err != nil {
		return nil, err
	}
	return u, nil
}

// Skipped are the malformed stanzas, as one line each with archive, path, line and reason.
func (u *Universe) Skipped() []string { return u.skipped }

// refuseTwins finds packages that claim to be the same and are not.
func (u *Universe) refuseTwins() error {
	var errs []error
	for ids := range u.table.groups() {
		for i := 1; i < len(ids) && len(errs) < maxTwins; i++ {
			a, b := ids[i-1], ids[i]
			if u.version(a) == u.version(b) && u.records[a].arch == u.records[b].arch && !u.sameFile(a, b) {
				errs = append(errs, fmt.Errorf("%s %s %s: %s and %s have different files under one version",
					u.name(a), u.version(a), u.archOf(a), u.place(a), u.place(b)))
			}
		}
	}
	return errors.Join(errs...)
}

// maxTwins bounds how many contradictions are reported.
const maxTwins = 10

// sameFile compares what both stanzas say of their file: the strongest digest
// that both have, else the size.
func (u *universe) sameFile(a, b int32) bool {
	var x, y [3]string
	fields := []string{"SHA256", "SHA512", "Size"}
	u.stanza(a).Values(x[:], fields...)
	u.stanza(b).Values(y[:], fields...)
	for i := range fields {
		if x[i] != "" && y[i] != "" {
			return strings.EqualFold(x[i], y[i])
		}
	}
	return false
}

// place is where a stanza stands, for messages.
func (u *universe) place(id int32) string {
	in := &u.indices[u.records[id].index]
	return fmt.Sprintf("archive %s (%s)", in.Archive, in.Path)
}

func (u *universe) stanza(id int32) deb.Stanza {
	r := &u.records[id]
	return deb.Stanza(u.indices[r.index].Data[r.offset : r.offset+r.length : r.offset+r.length])
}

// name, version and provides are views of the index.
func (u *universe) name(id int32) string {
	r := &u.records[id]
	return u.view(r, r.nameOffset, uint32(r.nameLength))
}

func (u *universe) version(id int32) string {
	r := &u.records[id]
	return u.view(r, r.version, uint32(r.versionLength))
}

func (u *universe) provides(id int32) string {
	r := &u.records[id]
	return u.view(r, r.provides, r.provideLength)
}

func (u *universe) archOf(id int32) string { return u.arches[u.records[id].arch] }

// view is a part of a stanza as a string.
func (u *universe) view(r *record, offset, length uint32) string {
	start := r.offset + offset
	return view(u.indices[r.index].Data[start : start+length])
}

// view is a part of an index as a string that shares its memory, which its
// owner promised not to change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// pin is the apt priority of the record's suite.
func (u *universe) pin(id int32) int {
	if p := u.indices[u.records[id].index].Pin; p != 0 {
		return p
	}
	return DefaultPin
}

// pkg is the Package of a record, the same pointer each time.
func (u *universe) pkg(id int32) *Package {
	if p := u.packages[id].Load(); p != nil {
		return p
	}
	s := u.stanza(id)
	in := u.records[id].index
	p := &Package{PackageFile: u.file(id), Archive: u.indices[in].Archive, Suite: u.indices[in].Suite,
		Component: u.indices[in].Component, Index: int(in), Stanza: s}
	if !u.packages[id].CompareAndSwap(nil, p) {
		p = u.packages[id].Load()
	}
	return p
}

// file is what a record's stanza says of its file.
func (u *universe) file(id int32) archive.PackageFile {
	s := u.stanza(id)
	if u.records[id].plain {
		f := pickFields(s)
		return f.file()
	}
	f, err := archive.ParsePackageFile(s)
	if err != nil {
		panic("resolve: stanza that was good is not: " + err.Error())
	}
	return f
}
