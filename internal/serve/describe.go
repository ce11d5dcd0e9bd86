package serve

import (
	"fmt"
	"slices"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Sources are the stanzas for an archive of a snapshot that is served below
// the URL base (without final slash): only what is carried is named, suites
// that carry the same share a stanza. upstream is for upstream's view. They
// name no key. The same as /setup/PREFIX.sources, for who does not want to
// believe the server.
func Sources(st *snapshot.Statement, table *snapshot.Table, prefix, base string, upstream bool) []archive.Source {
	a := st.Archive(prefix)
	if a == nil {
		return nil
	}
	dir, view := prefix, base+"/"+prefix
	if upstream {
		view = base + "/upstream/" + prefix
		if a.Mode == snapshot.Curated {
			dir = "upstream/" + prefix
		}
	}
	var sources []archive.Source
	var kinds []carried
	for _, suite := range a.Suites {
		var c carried
		if !snapshot.IsFlat(suite.Name) {
			c = carriedOf(table, dir, suite.Name)
			if len(c.components) == 0 {
				continue // upstream's view of a suite from which nothing was drawn has no index; apt minds a source without a component
			}
		}
		if i := slices.IndexFunc(kinds, c.equal); i >= 0 && !snapshot.IsFlat(suite.Name) {
			sources[i].Suites = append(sources[i].Suites, suite.Name)
			continue
		}
		src := archive.Source{
			URI: view, Suites: []string{suite.Name}, Components: c.components, Architectures: c.architectures,
			Languages: c.languages, Targets: c.targets, CheckValidUntil: true,
			Comment: fmt.Sprintf("%s, by mmoci host sources; mmoci host undo removes it", prefix),
		}
		if c.sources {
			src.Types = []string{"deb", "deb-src"}
		}
		sources, kinds = append(sources, src), append(kinds, c)
	}
	return sources
}
