package deb

import (
	"io"
	"iter"
)

// Version is a parsed version, [epoch:]upstream[-revision] (deb-version(7)).
type Version struct {
	Epoch              uint32
	Upstream, Revision string
}

// ParseVersion reads a version as leniently as dpkg does ("v1.2.3" is odd but
// taken; "", "1.0-", a negative or huge epoch are errors).
func ParseVersion(s string) (Version, error) { panic("contract") }

// String gives the version back in its canonical spelling.
func (v Version) String() string { panic("contract") }

// Compare orders two version strings by deb-version(7): -1, 0 or +1. It does
// not allocate. Strings that do not parse are compared by the same algorithm.
func Compare(a, b string) int { panic("contract") }

// Op is a comparison in a relation.
type Op uint8

const (
	Any Op = iota // no version asked for
	LT            // <<
	LE            // <=, and the obsolete <
	EQ            // =
	GE            // >=, and the obsolete >
	GT            // >>
)

// Relation is one alternative of a dependency: a name, perhaps with an
// architecture qualifier ("any", "native", an architecture) and a version.
type Relation struct {
	Name, Qualifier string
	Op              Op
	Version         string
}

// String is the relation as it is written in a control file: "libc6:any (>= 2.36)".
func (r Relation) String() string { panic("contract") }

// Satisfied tells whether version v fulfils the relation's version condition.
func (r Relation) Satisfied(v string) bool { panic("contract") }

// ParseRelations reads the value of Depends and its like (deb-control(5)): the
// outer slice is joined by AND, the inner by OR. Architecture lists and build
// profiles are evaluated for arch (they occur in Build-Depends only).
func ParseRelations(value, arch string) ([][]Relation, error) { panic("contract") }

// Stanza is one record of an index, byte for byte, without the empty line that
// ends it (deb822(5)). It is a view of the caller's bytes.
type Stanza []byte

// Get returns the value of a field, its name in any letter case, with
// continuation lines joined by "\n" as they stand and the surrounding blanks
// trimmed. A field that occurs twice is an error when the stanza is scanned,
// so Get need not look on after the first.
func (s Stanza) Get(field string) string { panic("contract") }

// Fields yields name and value of every field in the order of the stanza.
func (s Stanza) Fields() iter.Seq2[string, string] { panic("contract") }

// Stanzas yields each stanza of an index that is wholly in memory, with its
// byte offset, or an error with line number for one that is malformed
// (duplicate field, line without colon, NUL, a line over the limit); the
// reading goes on behind it. The stanzas are views of data.
func Stanzas(data []byte) iter.Seq2[Stanza, error] { panic("contract") }

// Control reads the control stanza of a .deb and nothing behind it (deb(5)).
func Control(r io.Reader) (Stanza, error) { panic("contract") }
