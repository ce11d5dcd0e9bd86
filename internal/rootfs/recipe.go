package rootfs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"example.org/mmoci/internal/outcome"
)

// Recipe is what decides the bytes of a package layer beside the .deb. The zero
// value is a tree whose /usr is not merged, with nothing excluded.
type Recipe struct {
	// MergedUsr puts what a package has below bin, sbin, lib, lib32, lib64 and
	// libx32 below usr/; the skeleton layer has the symlinks.
	MergedUsr bool
	Exclude   Exclude
}

// Equal tells whether two recipes make the same layers.
func (r Recipe) Equal(o Recipe) bool {
	return r.MergedUsr == o.MergedUsr && r.Exclude.String() == o.Exclude.String()
}

// UsrLinks are the directories of the root that a merged /usr has as symlinks.
func UsrLinks() []string { return slices.Clone(merged) }

var merged = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// Place is where a path of a package stands in the layer.
func (r Recipe) Place(path string) string {
	if !r.MergedUsr {
		return path
	}
	first, _, _ := strings.Cut(path, "/")
	if slices.Contains(merged, first) {
		return "usr/" + path
	}
	return path
}

// Exclude is a set of paths that are left out of layers, and stay in dpkg's
// lists, as with dpkg's own path-exclude. The zero value excludes nothing.
type Exclude struct {
	words []string // sorted, each once
	globs []glob   // those words that are globs, in their order
}

// The named sets.
const (
	excludeDocs    = "docs"
	excludeLocales = "locales"
	excludeMan     = "man"
)

// ParseExclude reads words, each a named set (docs, locales, man) or a glob over
// whole paths, in which * and ? match slashes, too, as in dpkg's path-exclude.
// The copyright files below usr/share/doc stay unless a glob that ends in
// "copyright" matches them. Errors wrap [outcome.ErrUsage].
func ParseExclude(words []string) (Exclude, error) {
	var out []string
	for _, w := range words {
		switch w {
		case excludeDocs, excludeLocales, excludeMan:
		default:
			g := strings.TrimLeft(w, "/")
			if !strings.Contains(g, "/") || strings.ContainsFunc(g, func(r rune) bool { return unicode.IsSpace(r) || r < ' ' }) || len(g) > MaxPath {
				return Exclude{}, fmt.Errorf("exclude %q: neither docs, locales or man nor a glob over paths such as usr/share/icons/*%w", w, Usage{})
			}
			w = g
		}
		out = append(out, w)
	}
	slices.Sort(out)
	x := Exclude{words: slices.Compact(out)}
	for _, w := range x.words {
		if !strings.Contains(w, "/") {
			continue
		}
		g, err := parseGlob(w)
		if err != nil {
			return Exclude{}, fmt.Errorf("exclude %q: %w%w", w, err, Usage{})
		}
		x.globs = append(x.globs, g)
	}
	return x, nil
}

// Usage marks an error as one of usage without a word of its own.
type Usage struct{}

func (Usage) Error() string { return "" }
func (Usage) Unwrap() error { return outcome.ErrUsage }

// String is the canonical form: the words, sorted, with blanks between them.
func (x Exclude) String() string { return strings.Join(x.words, " ") }

// IsZero tells whether nothing is excluded.
func (x Exclude) IsZero() bool { return len(x.words) == 0 }

// match tells whether path is excluded.
func (x Exclude) match(path string) bool {
	for _, w := range x.words {
		switch w {
		case excludeDocs:
			if isDocs(path) && !isCopyright(path) {
				return true
			}
		case excludeLocales:
			if strings.HasPrefix(path, "usr/share/locale/") && path != "usr/share/locale/locale.alias" {
				return true
			}
		case excludeMan:
			if strings.HasPrefix(path, "usr/share/man/") {
				return true
			}
		}
	}
	for _, g := range x.globs {
		if g.match(path) && (!isCopyright(path) || strings.HasSuffix(g.text, "copyright")) {
			return true
		}
	}
	return false
}

// isDocs tells the paths of the set docs. What stands in usr/share/doc itself
// stays: many of its symlinks are a package's only way to its copyright file.
func isDocs(path string) bool {
	if rest, ok := strings.CutPrefix(path, "usr/share/doc/"); ok {
		return strings.Contains(rest, "/")
	}
	for _, p := range []string{"usr/share/doc-base/", "usr/share/info/", "usr/share/gtk-doc/", "usr/share/lintian/"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

func isCopyright(path string) bool {
	rest, ok := strings.CutPrefix(path, "usr/share/doc/")
	_, file, found := strings.Cut(rest, "/")
	return ok && found && file == "copyright"
}
