// Package query reads the package queries of aptly, such as
// "docker-ce (>= 5:20) | Section (= admin), !Essential", and tells which
// packages they select.
package query

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"example.org/mmoci/pkg/deb"
)

// ErrInvalid marks a query that cannot be read.
var ErrInvalid = errors.New("query")

// Error tells what is wrong with a query. It wraps ErrInvalid.
type Error struct {
	Query   string // the text as it was given
	Column  int    // where, in characters from 1
	Message string // what, for people
}

// Error is "query: column 7: message", and below it the query with a caret
// under that column.
func (e *Error) Error() string {
	return fmt.Sprintf("%v: column %d: %s\n  %s\n  %s^", ErrInvalid, e.Column, e.Message,
		printable(e.Query), strings.Repeat(" ", e.Column-1))
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// errorAt makes an error at a byte offset of the query.
func errorAt(query string, offset int, format string, args ...any) *Error {
	return &Error{
		Query:   query,
		Column:  utf8.RuneCountInString(query[:min(offset, len(query))]) + 1,
		Message: fmt.Sprintf(format, args...),
	}
}

// printable replaces each control character, which a terminal might act on,
// with a blank, so that the caret stays below its column.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// Package is what a query looks at.
type Package struct {
	Name, Version, Architecture string
	Stanza                      deb.Stanza
	Suites                      []string // the names of the suite that lists it: of its directory, Suite and Codename
}

// Query is a parsed package query (see Parse). Immutable; safe for concurrent
// use.
type Query struct {
	root     node
	warnings []string
}

// Match tells whether the query selects a package.
func (q *Query) Match(p *Package) bool { return q.root.match(p) }

// String returns the canonical spelling: queries of one meaning have one
// spelling, and it reads back as the same query. Blanks, quotes, superfluous
// parentheses and obsolete operators are gone.
func (q *Query) String() string { return spell(q.root, levelOr) }

// Warnings returns remarks on a query that reads well but may mean something
// else ("a | b, c").
func (q *Query) Warnings() []string { return q.warnings }

// Dependency returns name and architecture ("": any) of a query that is a plain
// dependency, NAME[/SUITE] [condition] [{ARCH}]. ok is false for every other query.
func (q *Query) Dependency() (name, arch string, ok bool) {
	d, ok := q.root.(dependencyNode)
	return d.name, d.arch, ok
}

// Suite returns the suite that a plain dependency asks for, "nginx/bookworm-backports"; "" if it asks for none.
func (q *Query) Suite() string {
	d, _ := q.root.(dependencyNode)
	return d.suite
}

// PackageName returns the name of the one package that the query is about: a
// plain dependency or NAME_VERSION_ARCH. It is "" for every other query.
func (q *Query) PackageName() string {
	switch n := q.root.(type) {
	case dependencyNode:
		return n.name
	case exactNode:
		return n.name
	}
	return ""
}

// Names returns names such that the query selects nothing but packages that
// have or provide one of them. ok is false if the query does not tell.
func (q *Query) Names() (names []string, ok bool) { return namesOf(q.root) }

func namesOf(n node) (names []string, ok bool) {
	switch n := n.(type) {
	case exactNode:
		return []string{n.name}, true
	case dependencyNode:
		return []string{n.name}, true
	case andNode:
		for _, m := range n {
			if names, ok := namesOf(m); ok {
				return names, true
			}
		}
	case orNode:
		for _, m := range n {
			more, ok := namesOf(m)
			if !ok {
				return nil, false
			}
			names = append(names, more...)
		}
		return names, true
	}
	return nil, false
}
