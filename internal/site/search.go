package site

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"example.org/mmoci/internal/outcome"
)

// Search narrows a list by globs (* ? [a-z]); an empty one takes everything.
type Search struct{ Name, Version, Architecture, Source string }

// Check refuses a glob that is none.
func (q Search) Check() error {
	for _, glob := range q.globs() {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("%w: %q is no glob; it has * for any characters, ? for one, [a-z] for one of several", outcome.ErrUsage, glob)
		}
	}
	return nil
}

// Any tells whether something is asked for.
func (q Search) Any() bool { return q != Search{} }

// Takes tells whether a package is what is asked for. A package without a source of its own is its own source; a file and an image have
// no source, an image no architecture.
func (q Search) Takes(l Listed) bool {
	source := cmp.Or(l.Source, l.Name)
	if l.Image || l.Architecture == "file" {
		source = ""
	}
	source, _, _ = strings.Cut(source, " ")
	for i, value := range []string{l.Name, l.Version, l.Architecture, source} {
		if glob := q.globs()[i]; glob != "" && !matches(glob, value) {
			return false
		}
	}
	return true
}

func (q Search) globs() []string {
	return []string{q.Name, q.Version, q.Architecture, q.Source}
}

// matches is path.Match with * for slashes, too, which names of images have.
func matches(glob, value string) bool {
	const slash = "\x01"
	ok, err := path.Match(strings.ReplaceAll(glob, "/", slash), strings.ReplaceAll(value, "/", slash))
	return ok && err == nil
}
