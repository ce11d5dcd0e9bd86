package policy

import (
	"path"
	"strings"
)

// glob is a pattern of path.Match. Most are plain names, which need no matching.
type glob struct {
	pattern string
	kind    globKind
}

type globKind uint8

const (
	plain globKind = iota
	everything
	pattern
)

// newGlob takes a pattern that path.Match understands.
func newGlob(s string) glob {
	switch {
	case s == "*":
		return glob{s, everything}
	case strings.ContainsAny(s, `*?[\`):
		return glob{s, pattern}
	}
	return glob{s, plain}
}

// match tells whether all of s matches. There is no slash in a name.
func (g glob) match(s string) bool {
	switch g.kind {
	case everything:
		return true
	case plain:
		return g.pattern == s
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
