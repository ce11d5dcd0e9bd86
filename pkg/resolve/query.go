package resolve

import (
	"path"
	"regexp"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// Query is a parsed package query (see ParseQuery). Immutable; safe for
// concurrent use.
type Query struct{ query }

type query struct {
	text     string
	root     node
	warnings []string
}

// String is the canonical spelling: same meaning, same string. It reads back
// as the same query: blanks, quotes, superfluous parentheses and obsolete
// operators are gone.
func (q *Query) String() string { return spell(q.root, levelOr) }

// Warnings are remarks on a query that reads well but may mean something else ("a | b, c").
func (q *Query) Warnings() []string { return q.warnings }

// node is a part of a parsed query.
type node interface {
	// match tells whether a package is selected.
	match(r *row) bool
}

// The inner nodes. orNode and andNode have two or more members, none of their own kind.
type (
	orNode  []node
	andNode []node
	notNode struct{ of node }
)

// fieldNode asks for the value of a field. op opNone: for it being there.
type fieldNode struct {
	name string // as written, "$Source" or "Section"
	cond condition
}

// dependencyNode asks for a package name, or one that is provided.
type dependencyNode struct {
	name string
	arch string // "" any
	cond condition
}

// exactNode is name_version_arch.
type exactNode struct{ name, version, arch string }

// setNode is "@essential" and its like.
type setNode string

// operator of a condition.
type operator uint8

const (
	opNone operator = iota
	opLT
	opLE
	opEQ
	opGE
	opGT
	opGlob
	opRegexp
)

func (o operator) String() string {
	return [...]string{"", "<<", "<=", "=", ">=", ">>", "%", "~"}[o]
}

// relation is the comparison of versions that o asks for.
func (o operator) relation() deb.Op {
	switch o {
	case opLT:
		return deb.LT
	case opLE:
		return deb.LE
	case opEQ:
		return deb.EQ
	case opGE:
		return deb.GE
	case opGT:
		return deb.GT
	}
	return deb.Any
}

// condition is an operator with its value.
type condition struct {
	op    operator
	value string
	re    *regexp.Regexp // of opRegexp
}

// version tells whether v fulfils the condition as a version.
func (c condition) version(v string) bool {
	switch c.op {
	case opGlob, opRegexp:
		return c.pattern(v)
	}
	return deb.Relation{Op: c.op.relation(), Version: c.value}.Satisfied(v)
}

// text tells whether v fulfils the condition as text. Two whole numbers are
// ordered as numbers, everything else byte by byte.
func (c condition) text(v string) bool {
	switch c.op {
	case opNone:
		return v != ""
	case opGlob, opRegexp:
		return c.pattern(v)
	case opEQ:
		return v == c.value
	}
	order := strings.Compare(v, c.value)
	if isNumber(v) && isNumber(c.value) {
		order = deb.Compare(v, c.value)
	}
	switch c.op {
	case opLT:
		return order < 0
	case opLE:
		return order <= 0
	case opGE:
		return order >= 0
	}
	return order > 0
}

func (c condition) pattern(v string) bool {
	if c.op == opRegexp {
		return c.re.MatchString(v)
	}
	ok, _ := path.Match(c.value, v) // the pattern was tried when it was read
	return ok
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}
