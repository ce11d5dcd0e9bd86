// Package sources says what apt must be told of an archive of a snapshot: the
// stanzas of its .sources file, which name only what the snapshot has.
package sources

import (
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Options of [Of].
type Options struct {
	Base     string // URL that the archives are served below, without final slash
	Upstream bool   // upstream's view of the archive
	// SignedBy and SignedByKey name the key, as in [archive.Source].
	SignedBy    string
	SignedByKey []byte
	Comment     string // of each stanza
	// CheckValidUntil tells whether apt is to mind a suite's Valid-Until; nil: always.
	CheckValidUntil func(suite string) bool
}

// File is the file of a host that has the sources of an archive. No
// distribution has one of that name.
func File(prefix string) string { return "etc/apt/sources.list.d/mmoci-" + prefix + ".sources" }

// KeyFile is the file of a host that has the key of an archive, where its
// sources cannot have it inline.
func KeyFile(prefix string) string { return "etc/apt/keyrings/mmoci-" + prefix + ".asc" }

// InlineKeys is the first version of apt that takes a key inline in a .sources
// file (apt's changelog). To an older one the first line of the key is a word
// too many, and every one of its commands fails.
const InlineKeys = "2.3.10"

// oldReleases are the releases of Debian, Devuan and Ubuntu whose apt is older
// than [InlineKeys].
var oldReleases = map[string]bool{
	"wheezy": true, "jessie": true, "stretch": true, "buster": true, "bullseye": true, "oldoldstable": true,
	"ascii": true, "beowulf": true, "chimaera": true,
	"trusty": true, "xenial": true, "bionic": true, "disco": true, "eoan": true, "focal": true, "groovy": true, "hirsute": true, "impish": true,
}

// NeedsKeyFiles tells whether a snapshot is for hosts whose apt is older than
// [InlineKeys], as far as the names of its suites say so: "bullseye",
// "bullseye-security", "focal/updates". One suite is enough, since the hosts
// that use it read the sources of the other archives, too.
func NeedsKeyFiles(st *snapshot.Statement) bool {
	for _, a := range st.Archives {
		for _, suite := range a.Suites {
			for _, word := range strings.FieldsFunc(suite.Name, func(r rune) bool { return r == '-' || r == '/' || r == '.' || r == '_' }) {
				if oldReleases[word] {
					return true
				}
			}
		}
	}
	return false
}

// Of returns the stanzas of an archive; none if the snapshot has no such
// archive. Suites that have the same components, architectures and languages
// share a stanza. A suite without an index, as upstream's view of one that
// nothing was drawn from, is left out: apt refuses a whole file for one stanza
// without Components.
func Of(st *snapshot.Statement, t *snapshot.Table, prefix string, o Options) []archive.Source {
	a := st.Archive(prefix)
	if a == nil || a.Format != snapshot.FormatDeb {
		return nil
	}
	dir, view := prefix, o.Base+"/"+prefix
	if o.Upstream {
		view = o.Base + "/upstream/" + prefix
		if a.Mode == snapshot.Curated {
			dir = "upstream/" + prefix
		}
	}
	var sources []archive.Source
	var known []contents
	for _, suite := range a.Suites {
		flat := snapshot.IsFlat(suite.Name)
		var c contents
		if flat {
			c.sources = flatSources(t, snapshot.SuiteDir(dir, suite.Name))
		} else if c = contentsOf(t, dir, suite.Name); len(c.components) == 0 {
			continue
		}
		valid := o.CheckValidUntil == nil || o.CheckValidUntil(suite.Name)
		if i := slices.IndexFunc(known, c.equal); i >= 0 && !flat && sources[i].CheckValidUntil == valid {
			sources[i].Suites = append(sources[i].Suites, suite.Name)
			continue
		}
		src := archive.Source{
			URI: view, Suites: []string{suite.Name}, Components: c.components, Architectures: c.architectures,
			Languages: c.languages, Targets: c.targets, CheckValidUntil: valid,
			SignedBy: o.SignedBy, SignedByKey: o.SignedByKey, Comment: o.Comment,
		}
		if c.sources {
			src.Types = []string{"deb", "deb-src"}
		}
		sources, known = append(sources, src), append(known, c)
	}
	return sources
}

// contents is what a snapshot has of a suite. apt must be told, for it fails a
// suite of which a listed file that it wants is absent.
type contents struct {
	components, architectures, languages, targets []string
	sources                                       bool // deb-src
}

// contentsOf reads it off the file names of a suite under dists/. dir is
// PREFIX or upstream/PREFIX. The names come from a registry and go into a file
// for apt: one that is not a word of a .sources file is left out.
func contentsOf(t *snapshot.Table, dir, suite string) contents {
	components, architectures, languages := set{}, set{}, set{}
	targets := set{"Packages": {}}
	dir += "/dists/" + suite + "/"
	var c contents
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
		c.languages = []string{"none"} // else apt wants those of the host
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
func (c contents) equal(d contents) bool {
	return c.sources == d.sources && slices.Equal(c.components, d.components) && slices.Equal(c.architectures, d.architectures) &&
		slices.Equal(c.languages, d.languages) && slices.Equal(c.targets, d.targets)
}

// set is a set of words of a .sources file.
type set map[string]struct{}

func (s set) add(v string) {
	if isWord(v) {
		s[v] = struct{}{}
	}
}

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// isWord tells whether v may be a component, architecture or language.
func isWord(v string) bool {
	return v != "" && strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+._~/@") == ""
}
