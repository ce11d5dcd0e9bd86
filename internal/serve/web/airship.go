package web

import (
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// recipe is what the templates of recipes are made of.
type recipe struct {
	Base       string
	Trust      string // comment lines: whose signature hosts will believe, and what to compare
	FirstSuite string
	Files      []recipeFile
	Archives   []recipeArchive
	KeyFiles   bool // keys are among Files
	view       View
}

// A pinned is a package with the version that hosts are to have.
type pinned struct{ Name, Version string }

func (p pinned) String() string { return p.Name + "=" + p.Version }

// Keys are the distinct armoured keys of the sources.
func (r *recipe) Keys() (keys []string) {
	for _, a := range r.Archives {
		for _, s := range a.Stanzas {
			if key := string(s.SignedByKey); key != "" && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// SiteKey is the site's key, armoured; "" if the server does not know it.
func (r *recipe) SiteKey() string { return string(r.view.Key.Armor) }

// Packages are the packages of the snapshots by name, each in its highest version
// that the policy allows; none if they are more than a text should list.
// Divingbell and Promenade paste names and versions into a shell script as
// they are, so what dpkg would not take for one is left out.
func (r *recipe) Packages() []pinned {
	highest := r.highest(func(string) bool { return true })
	if len(highest) > maxListed {
		return nil
	}
	return highest
}

// Runtime is the container runtime that Promenade is to install, under its
// name for it, and what else it requires; "" where the snapshots lack it.
func (r *recipe) Runtime() map[string]string {
	required := []struct{ as, name string }{ // of one key the first that is there
		{"docker", "docker-ce"}, {"docker", "docker.io"}, {"runtime", "containerd.io"}, {"runtime", "containerd"}, {"socat", "socat"},
	}
	there := map[string]pinned{}
	for _, p := range r.highest(func(name string) bool {
		return slices.ContainsFunc(required, func(q struct{ as, name string }) bool { return q.name == name })
	}) {
		there[p.Name] = p
	}
	out := map[string]string{}
	for _, q := range required {
		p, ok := there[q.name]
		if _, has := out[q.as]; !ok || has || q.as == "runtime" && out["docker"] != "" { // its schema takes one of the two
			continue
		}
		out[q.as] = p.String()
	}
	return out
}

// highest are the highest versions of the packages that are wanted, by name.
func (r *recipe) highest(want func(name string) bool) []pinned {
	highest := map[string]string{}
	for _, s := range r.view.Snapshots {
		for row := range s.Table.Rows() {
			switch {
			case !row.IsPackage() || strings.HasSuffix(row.Path, ".udeb") || !want(row.Name):
			case !deb.ValidName(row.Name) || deb.ValidVersion(row.Version) != nil:
			case !r.view.LogOnly && !r.view.Policy.Decide(row.Package, row.Archive()).Allow:
			case highest[row.Name] == "" || deb.Compare(row.Version, highest[row.Name]) > 0:
				highest[row.Name] = row.Version
			}
		}
	}
	var out []pinned
	for _, name := range slices.Sorted(maps.Keys(highest)) {
		out = append(out, pinned{name, highest[name]})
	}
	return out
}

// References are those that the server was told, as far as they are at a
// registry: by digest, where the text is of one snapshot.
func (r *recipe) References() (refs []string) {
	for _, s := range r.view.Snapshots {
		if s.Registry == "" {
			continue
		}
		ref := s.Registry
		if name, _, pinned := strings.Cut(ref, "@"); r.view.Fixed && !pinned {
			ref = name + "@" + s.Root.String()
		}
		refs = append(refs, ref)
	}
	return refs
}

// oneLine is a source in the one-line form of sources.list(5), a line for each suite.
func oneLine(s archive.Source) (lines []string) {
	var options []string
	option := func(name string, values ...string) {
		if len(values) > 0 {
			options = append(options, name+"="+strings.Join(values, ","))
		}
	}
	option("arch", s.Architectures...)
	option("lang", s.Languages...)
	if len(s.SignedByKey) == 0 && s.SignedBy != "" {
		option("signed-by", s.SignedBy)
	}
	if !s.CheckValidUntil {
		option("check-valid-until", "no")
	}
	start := "deb "
	if len(options) > 0 {
		start += "[" + strings.Join(options, " ") + "] "
	}
	for _, suite := range s.Suites {
		lines = append(lines, strings.Join(append([]string{start + s.URI, suite}, s.Components...), " "))
	}
	return lines
}
