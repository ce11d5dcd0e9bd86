package policy

import (
	"path"
	"strings"
)

// glob is a pattern of path.Match. Most are plain names, which need no matching.
type glob struct {
	pattern string
	kind    globKind
	begin   string // what comes before the first special character of a pattern
}

type globKind uint8

const (
	plain globKind = iota
	everything
	pattern
)

// special are the characters that path.Match reads as more than themselves.
const special = `*?[\`

// newGlob takes a pattern that path.Match understands.
func newGlob(s string) glob {
	switch {
	case s == "*":
		return glob{pattern: s, kind: everything}
	case strings.ContainsAny(s, special):
		return glob{pattern: s, kind: pattern, begin: s[:strings.IndexAny(s, special)]}
	}
	return glob{pattern: s}
}

// match tells whether all of s matches. There is no slash in a name.
func (g glob) match(s string) bool {
	switch g.kind {
	case everything:
		return true
	case plain:
		return g.pattern == s
	}
	if !strings.HasPrefix(s, g.begin) {
		return false
	}
	ok, err := path.Match(g.pattern, s)
	return ok && err == nil
}

// anyGlob tells whether one of the globs matches, or there are none.
func anyGlob(globs []glob, s string) bool {
	for _, g := range globs {
		if g.match(s) {
			return true
		}
	}
	return len(globs) == 0
}
