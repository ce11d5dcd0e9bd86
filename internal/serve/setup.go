package serve

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// setup answers /setup/..: what a host needs to use this server, made for the
// address that it was asked at.
func (ex *exchange) setup(at place, name string) {
	ex.w.Header().Set("Cache-Control", "no-cache")
	switch {
	case name == "":
		ex.setupList(at)
		return
	case name == "site.asc" && len(ex.s.siteKey.Load().armor) > 0:
		ex.text(http.StatusOK, plainText, ex.s.siteKey.Load().armor)
		return
	case name == "policy.pref":
		ex.page(plainText, []byte(ex.preferences(at)))
		return
	case slices.Contains(recipeNames, name):
		ex.recipe(at, name)
		return
	}
	prefix, ok := strings.CutSuffix(name, ".sources")
	if !ok {
		ex.fail(http.StatusNotFound, "nothing here; see /setup/")
		return
	}
	h := ex.heldFor(at, prefix)
	upstream := false
	if h == nil {
		prefix, upstream = strings.CutSuffix(prefix, "-upstream")
		h = ex.heldFor(at, prefix)
	}
	if h == nil || (upstream && h.archive(prefix).Class != snapshot.Upstream) {
		ex.noArchive(prefix)
		return
	}
	if at.fixed != nil {
		ex.learn(h)
	}
	ex.archive, ex.snapshot = prefix, h.name
	ex.text(http.StatusOK, plainText, []byte(ex.sourcesText(at, h, prefix, upstream)))
}

// heldFor is the snapshot that has an archive at a place.
func (ex *exchange) heldFor(at place, prefix string) *held {
	h := at.fixed
	if h == nil {
		return ex.s.view.Load().inForce(prefix)
	}
	if h.archive(prefix) == nil {
		return nil
	}
	return h
}

// setupList lists the texts, one URL a line.
func (ex *exchange) setupList(at place) {
	var b strings.Builder
	for _, a := range ex.archivesAt(at) {
		fmt.Fprintf(&b, "%s/setup/%s.sources\n", at.base, a.Prefix)
		if a.Class == snapshot.Upstream && a.Mode == snapshot.Curated {
			fmt.Fprintf(&b, "%s/setup/%s-upstream.sources\n", at.base, a.Prefix)
		}
	}
	if len(ex.s.siteKey.Load().armor) > 0 {
		fmt.Fprintf(&b, "%s/setup/site.asc\n", at.base)
	}
	if ex.s.rules.now.Load() != nil {
		fmt.Fprintf(&b, "%s/setup/policy.pref\n", at.base)
	}
	for _, name := range recipeNames {
		fmt.Fprintf(&b, "%s/setup/%s\n", at.base, name)
	}
	ex.text(http.StatusOK, plainText, []byte(b.String()))
}

// preferences are the denials among the packages at a place, for apt; "" also if the client went away.
func (ex *exchange) preferences(at place) string {
	if !ex.turn() { // it reads whole tables
		return ""
	}
	defer ex.leave()
	helds := ex.s.view.Load().current
	if at.fixed != nil {
		helds = []*held{at.fixed}
	}
	return ex.s.rules.now.Load().Preferences(func(yield func(string, snapshot.Package) bool) {
		for _, h := range helds {
			if h == nil {
				continue
			}
			for row := range h.Table.Rows() {
				if row.IsPackage() && !yield(row.Archive(), row.Package) {
					return
				}
			}
		}
	})
}

// archivesAt are the archives at a place, by prefix.
func (ex *exchange) archivesAt(at place) []*snapshot.Archive {
	var as []*snapshot.Archive
	collect := func(h *held) {
		if h == nil {
			return
		}
		for i := range h.Statement.Archives {
			as = append(as, &h.Statement.Archives[i])
		}
	}
	if at.fixed != nil {
		collect(at.fixed)
	} else {
		for _, h := range ex.s.view.Load().current {
			collect(h)
		}
	}
	slices.SortFunc(as, func(a, b *snapshot.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	return as
}

// sourcesText is the .sources file of an archive.
func (ex *exchange) sourcesText(at place, h *held, prefix string, upstream bool) string {
	return archive.Format(ex.sources(at, h, prefix, upstream))
}

// sources are the stanzas of an archive: only what is carried is named, suites
// that carry the same share a stanza.
// Of a snapshot that stays, its validities must have been learnt.
func (ex *exchange) sources(at place, h *held, prefix string, upstream bool) []archive.Source {
	a := h.archive(prefix)
	base, view := prefix, at.base+"/"+prefix
	if upstream {
		view = at.base + "/upstream/" + prefix
		if a.Mode == snapshot.Curated {
			base = "upstream/" + prefix
		}
	}
	var sources []archive.Source
	var kinds []carried
	for _, suite := range a.Suites {
		var c carried
		if snapshot.IsFlat(suite.Name) {
			c.sources = flatSources(h.Table, snapshot.SuiteDir(base, suite.Name))
		} else {
			// A suite from which nothing was drawn has no index in the upstream
			// view, and apt refuses a whole file for one stanza without Components.
			if c = carriedOf(h.Table, base, suite.Name); len(c.components) == 0 {
				continue
			}
		}
		// Upstream's validity cannot be renewed for a snapshot that stays.
		valid := at.fixed == nil || (a.Mode == snapshot.Curated && !upstream) || !h.expires(suiteID{prefix, suite.Name})
		i := slices.IndexFunc(kinds, c.equal)
		if i >= 0 && !snapshot.IsFlat(suite.Name) && sources[i].CheckValidUntil == valid {
			sources[i].Suites = append(sources[i].Suites, suite.Name)
			continue
		}
		src := archive.Source{
			URI: view, Suites: []string{suite.Name}, Components: c.components, Architectures: c.architectures,
			Languages: c.languages, Targets: c.targets, CheckValidUntil: valid,
			Comment: fmt.Sprintf("%s of snapshot %s", prefix, h.name),
		}
		if c.sources {
			src.Types = []string{"deb", "deb-src"}
		}
		ex.signedBy(&src, a, upstream)
		sources, kinds = append(sources, src), append(kinds, c)
	}
	return sources
}

// signedBy names the key that signs what the stanza is about.
func (ex *exchange) signedBy(src *archive.Source, a *snapshot.Archive, upstream bool) {
	if a.Mode == snapshot.Curated && !upstream {
		key := ex.s.siteKey.Load()
		src.SignedByKey = key.armor
		if len(src.SignedByKey) == 0 {
			src.SignedBy = "/etc/apt/keyrings/site.asc"
			src.Comment += "\nPut the site's public key there:"
		} else {
			src.Comment += "\nThe site's key; compare its fingerprint with what mmoci key show says at the site:\n" + strings.Join(key.fingerprints, "\n")
		}
		return
	}
	src.SignedBy = "/etc/apt/keyrings/" + a.Prefix + ".asc"
	src.Comment += "\nPut upstream's public key there, or name the keyring that the host has:"
	if len(a.UpstreamKeys) > 0 {
		src.Comment += "\nfingerprint " + strings.Join(a.UpstreamKeys, ", ")
	}
}
