package serve

import (
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// carried is what of a suite is here: apt must be told, for it fails a suite
// of which a listed file that it wants is absent.
type carried struct {
	components, architectures, languages, targets []string
	sources                                       bool // deb-src
}

// carriedOf reads it off the file names of a suite under dists/. base is
// PREFIX or upstream/PREFIX. The names are a registry's word and go into a
// file for apt: one that is not a word of a sources file is left out. A file that apt wants by default and that is not
// named here must not be wanted.
func carriedOf(t *snapshot.Table, base, suite string) carried {
	components, architectures, languages := set{}, set{}, set{}
	targets := set{"Packages": {}}
	dir := base + "/dists/" + suite + "/"
	var c carried
	for row := range t.Under(dir) {
		parts := strings.Split(row.Path[len(dir):], "/")
		name, _, _ := strings.Cut(parts[len(parts)-1], ".")
		// A component may have slashes ("updates/main").
		for i := 1; i < len(parts); i++ {
			switch arch, binary := strings.CutPrefix(parts[i], "binary-"); {
			case binary && name == "Packages" && i == len(parts)-2:
				components.add(strings.Join(parts[:i], "/"))
				if arch != "all" {
					architectures.add(arch)
				}
			case parts[i] == "source" && name == "Sources":
				components.add(strings.Join(parts[:i], "/"))
				c.sources = true
			case parts[i] == "i18n" && strings.HasPrefix(name, "Translation-"):
				languages.add(strings.TrimPrefix(name, "Translation-"))
				targets.add("Translations")
			}
		}
		if arch, ok := strings.CutPrefix(name, "Contents-"); ok && arch != "source" && !strings.HasPrefix(arch, "udeb") {
			targets.add("Contents-deb")
		}
	}
	if c.sources {
		targets.add("Sources")
	}
	c.components, c.architectures, c.languages, c.targets = components.sorted(), architectures.sorted(), languages.sorted(), targets.sorted()
	if len(c.languages) == 0 {
		c.languages = []string{"none"}
	}
	return c
}

// flatSources tells whether a flat suite, which is in dir, has an index of sources.
func flatSources(t *snapshot.Table, dir string) bool {
	for row := range t.Under(dir + "/Sources") {
		if name, _, _ := strings.Cut(row.Path[len(dir)+1:], "."); name == "Sources" {
			return true
		}
	}
	return false
}

// equal tells whether two suites can share a stanza.
func (c carried) equal(d carried) bool {
	return c.sources == d.sources && slices.Equal(c.components, d.components) && slices.Equal(c.architectures, d.architectures) &&
		slices.Equal(c.languages, d.languages) && slices.Equal(c.targets, d.targets)
}

// set holds words of a sources file.
type set map[string]struct{}

func (s set) add(v string) {
	if isWord(v) {
		s[v] = struct{}{}
	}
}

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// isWord tells a component, architecture or language by its letters.
func isWord(v string) bool {
	return v != "" && strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+._~/@") == ""
}
