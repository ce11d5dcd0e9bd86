package resolve

import (
	"errors"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// ErrUnsatisfied marks a package or dependency that the archives cannot give (exit code 4).
var ErrUnsatisfied = errors.New("unsatisfied")

// ErrQuery marks a query that cannot be read (exit code 2).
var ErrQuery = errors.New("query")

// Index is a Packages index, decompressed, as it was verified.
type Index struct {
	Archive      string // prefix
	Suite        string
	Component    string
	Architecture string // of the index; its stanzas are of it or "all"
	Path         string // relative to the archive, for messages
	Data         []byte // not copied; must not change
	// Pin is the apt priority of the suite: 500, 100 (NotAutomatic and
	// ButAutomaticUpgrades), 1 (NotAutomatic).
	Pin int
	// Keep, if not nil, tells which pool files are at hand: others are not candidates.
	Keep func(f archive.PackageFile) bool
}

// Package is one candidate of a universe.
type Package struct {
	archive.PackageFile
	Archive, Suite, Component string
	Index                     int // which Index it came from
	Stanza                    deb.Stanza
}

// Universe is all candidates. Immutable; safe for concurrent use.
type Universe struct{ universe }
type universe struct{}

// NewUniverse scans the indices (in parallel). A stanza that is malformed is
// left out and named in Skipped; an index without one good stanza though it is not empty is an error.
// One name, version and architecture with two SHA256 within one archive, or over two, is an error naming both.
func NewUniverse(indices []Index) (*Universe, error) { panic("contract") }

// Skipped are the malformed stanzas, as one line each with archive, path, line and reason.
func (u *Universe) Skipped() []string { panic("contract") }

// Query is a parsed package query (aptly's language, see ParseQuery).
type Query struct{ query }
type query struct{}

// ParseQuery reads one query. Errors wrap ErrQuery and show column and caret.
func ParseQuery(s string) (*Query, error) { panic("contract") }

// String is the canonical spelling: same meaning, same string.
func (q *Query) String() string { panic("contract") }

// Warnings are remarks on a query that reads well but may mean something else ("a | b, c").
func (q *Query) Warnings() []string { panic("contract") }

// Root is one thing asked for.
type Root struct {
	Query   *Query
	Archive string // only in this archive; "": in any
	Origin  string // where it was asked for, for messages: "mmoci.yaml:12", "--package"
}

// Request is the question.
type Request struct {
	Roots         []Root
	Architectures []string // in order; the first is native
	Recommends    bool
	// Host, if not nil, is what is installed already: it is kept, satisfies dependencies and is not part of the result.
	Host *Host
	// Pins fixes name:arch to a version (a lock).
	Pins map[string]string
	// Whole takes every package of these archives (packages: all).
	Whole []string
	// NoClosure takes the roots alone.
	NoClosure bool
}

// Host is the dpkg status of a machine.
type Host struct{ host }
type host struct{}

// ParseStatus reads /var/lib/dpkg/status.
func ParseStatus(data []byte) (*Host, error) { panic("contract") }

// Result is the answer, ordered by name, version, architecture.
type Result struct {
	Packages []Chosen
}

// Chosen is a package of the closure with its reason.
type Chosen struct {
	*Package
	Reason Reason
}

// Reason tells why a package was chosen.
type Reason struct {
	Root   *Root    // asked for directly, or
	Parent *Package // because this one
	Field  string   // "Depends", "Pre-Depends", "Recommends"
	Clause string   // needs this: "libc6 (>= 2.36)"
}

// String: "asked for: docker-ce" or "docker.io Depends: containerd (>= 1.4~)". It holds no file positions.
func (r Reason) String() string { panic("contract") }

// Resolve answers. An *Unsatisfied (wrapping ErrUnsatisfied) lists every root that fails by itself.
func (u *Universe) Resolve(req Request) (*Result, error) { panic("contract") }

// Matches lists the candidates that a query selects (without closure), for search and tests.
func (u *Universe) Matches(q *Query, archive string) []*Package { panic("contract") }

// Versions lists the versions there are of a name, newest first, with archive and suite, for messages.
func (u *Universe) Versions(name string) []*Package { panic("contract") }

// Order sorts packages into groups that can be given to "dpkg -i" one after the
// other: dependencies before dependants, Pre-Depends configured first, a
// dependency loop in one group. Deterministic.
func Order(pkgs []*Package) [][]*Package { panic("contract") }
