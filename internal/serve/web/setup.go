package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	text "text/template"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Setup lists the texts below /setup/ for hosts, one URL a line.
func (v View) Setup() string {
	var b strings.Builder
	add := func(name string) { fmt.Fprintf(&b, "%s/setup/%s\n", v.Base, name) }
	for _, a := range v.archives() {
		if a.Format == snapshot.FormatRPM {
			add(a.Prefix + ".repo")
			continue
		}
		add(a.Prefix + ".sources")
		if a.Class == snapshot.Upstream && a.Mode == snapshot.Curated {
			add(a.Prefix + "-upstream.sources")
		}
	}
	for _, a := range v.archives() {
		if len(v.UpstreamKeys[a.Prefix].Armor) == 0 {
			continue
		}
		if a.Mode == snapshot.Curated {
			add("keys/" + a.Prefix + "-upstream.asc")
		} else {
			add("keys/" + a.Prefix + ".asc")
		}
	}
	if len(v.Key.Armor) > 0 {
		add("site.asc")
	}
	if v.Policy != nil {
		add("policy.pref")
	}
	for _, name := range slices.Concat(Recipes(), v.Mirrors) {
		add(name)
	}
	return b.String()
}

// Texts below /setup/ that tell clients of mirrors, where there are some.
const (
	MirrorList     = ".mirrors"        // after a prefix: for apt
	HostsToml      = "hosts.toml"      // for containerd
	RegistriesConf = "registries.conf" // for podman and CRI-O
)

// KeyFiles is the directory below /setup/ of the same texts for hosts whose apt
// cannot read a key inline ([View.KeyFiles]).
const KeyFiles = "key-files/"

// Text is the text NAME.sources or keys/NAME.asc below /setup/, where NAME is a
// prefix, or one and "-upstream" for upstream's view of that archive. prefix and
// of, the snapshot's name, are for logs; a prefix without text names an archive that is not there,
// or a key that the server does not know. No prefix: there is no text of such a name.
func (v View) Text(name string) (text []byte, prefix, of string) {
	if text, prefix, of, ok := v.rpmText(name); ok {
		return text, prefix, of
	}
	prefix, ok := strings.CutSuffix(name, ".sources")
	key, isKey := strings.CutPrefix(name, "keys/")
	if isKey {
		prefix, ok = strings.CutSuffix(key, ".asc")
	}
	if !ok {
		return nil, "", ""
	}
	s, a := v.Find(prefix)
	upstream := false
	if a == nil {
		prefix, upstream = strings.CutSuffix(prefix, "-upstream")
		s, a = v.Find(prefix)
	}
	switch {
	case a == nil || upstream && a.Class != snapshot.Upstream || !isKey && a.Format != snapshot.FormatDeb:
		return nil, prefix, ""
	case isKey:
		return v.key(a, upstream).Armor, prefix, s.Name
	}
	return []byte(archive.Format(v.sources(prefix, upstream, false).stanzas)), prefix, s.Name
}

// maxInline bounds a key that stands inline in each stanza, in bytes; a keyring of a distribution is more.
const maxInline = 8 << 10

// key is the key that verifies an archive as it is served; without Armor if the server does not know it.
func (v View) key(a *snapshot.Archive, upstream bool) Key {
	if a.Mode == snapshot.Curated && !upstream {
		return v.Key
	}
	return v.UpstreamKeys[a.Prefix]
}

// archiveSources is what apt is told of an archive.
type archiveSources struct {
	stanzas []archive.Source
	key     Key
	keyFile string // where the stanzas have the key, without the first slash; "": inline, or the server does not know it
}

// sources makes the stanzas of an archive. Embedded ones stand in a recipe, which writes the key file itself.
func (v View) sources(prefix string, upstream, embedded bool) (out archiveSources) {
	s, a := v.Find(prefix)
	if a == nil {
		return out
	}
	name := prefix
	if upstream {
		name += "-upstream"
	}
	o := sources.Options{Base: v.Base, Upstream: upstream, Comment: fmt.Sprintf("%s of snapshot %s", prefix, s.Name)}
	sites := a.Mode == snapshot.Curated && !upstream // signed by the site's key
	whose := "Upstream's key"
	if sites {
		whose = "The site's key"
	}
	out.key = v.key(a, upstream)
	compare := "; compare its fingerprint with what mmoci key show says at the site:\n" + strings.Join(out.key.Fingerprints, "\n")
	if !sites {
		compare = "; compare its fingerprints with what upstream publishes:\n" + strings.Join(out.key.Fingerprints, "\n")
	}
	old := v.KeyFiles || slices.ContainsFunc(v.Snapshots, func(s Snapshot) bool { return sources.NeedsKeyFiles(s.Statement) })
	switch {
	case len(out.key.Armor) > 0 && !old && len(out.key.Armor) <= maxInline:
		o.SignedByKey = out.key.Armor
		o.Comment += "\n" + whose + compare
	case len(out.key.Armor) > 0:
		out.keyFile = sources.KeyFile(name)
		o.SignedBy = "/" + out.keyFile
		if !embedded {
			o.Comment += fmt.Sprintf("\nPut %s/setup/keys/%s.asc there before apt reads this.", v.Base, name)
		}
		o.Comment += "\n" + whose + compare
	case sites:
		o.SignedBy = "/etc/apt/keyrings/site.asc"
		o.Comment += "\nPut the site's public key there:"
	default:
		o.SignedBy = "/etc/apt/keyrings/" + prefix + ".asc"
		o.Comment += "\nThis server was not told upstream's key (signed-by: in its mmoci.yaml). Put it there, or name the keyring that the host has:\n" +
			"Debian's is /usr/share/keyrings/debian-archive-keyring.gpg, Ubuntu's /usr/share/keyrings/ubuntu-archive-keyring.gpg."
		if len(a.UpstreamKeys) > 0 {
			o.Comment += "\nfingerprint " + strings.Join(a.UpstreamKeys, ", ")
		}
	}
	if v.Fixed && !sites { // upstream's validity cannot be renewed for a snapshot that stays
		o.CheckValidUntil = func(suite string) bool { return !s.Expires(prefix, suite) }
	}
	out.stanzas = sources.Of(s.Statement, s.Table, prefix, o)
	return out
}

// Preferences are what the policy denies of the packages, as apt preferences.
func (v View) Preferences() string {
	return v.Policy.Preferences(func(yield func(string, snapshot.Package) bool) {
		for _, s := range v.Snapshots {
			for row := range s.Table.Rows() {
				if row.IsPackage() && !yield(row.Archive(), row.Package) {
					return
				}
			}
		}
	})
}

// Recipes are the names of the recipes, below /setup/. Each tells hosts of one
// kind of the server. Sources and key are in it, so that hosts that are made by
// a recipe that somebody read, and whose fingerprint was compared, believe nothing else that the server says.
func Recipes() []string {
	return []string{"cloud-init.yaml", "autoinstall.yaml", "maas.sh", "Dockerfile", "mmdebstrap.sh", "ansible.yaml", "promenade.yaml", "divingbell.yaml", "armada.yaml"}
}

// maxEmbedded bounds the preferences that a recipe takes in, in bytes.
const maxEmbedded = 256 << 10

// endMark ends a text in a shell script. No line of a .sources text can be it.
const endMark = "END-OF-SOURCES"

// recipeFile is a file that a host gets.
type recipeFile struct{ What, Path, Text string }

// retriesFile is for hosts that are sent to mirrors: one of these that dies costs their apt a try, and not all of its time.
var retriesFile = recipeFile{"How apt asks again", "/etc/apt/apt.conf.d/90mmoci-retries",
	"// This server sends to mirrors. Where one dies apt from 2.4 to 3.0.2 may wait for ever before it asks again; so it asks again at once.\nAcquire::Retries::Delay \"false\";\n"}

type recipeArchive struct {
	Prefix, Sources string
	Key, KeyFile    string // the key and its path; "": inline, or the server does not know it
	Stanzas         []archive.Source
}

// Recipe makes a recipe.
func (p *Pages) Recipe(v View, name string) ([]byte, error) {
	data := &recipe{Base: v.Base, Trust: v.trustComment(), view: v}
	for _, a := range v.archives() {
		of := v.sources(a.Prefix, false, true)
		stanzas := of.stanzas
		if len(stanzas) == 0 {
			continue
		}
		if suite := stanzas[0].Suites[0]; data.FirstSuite == "" && chain.Quote(suite) == suite {
			data.FirstSuite = suite
		}
		list := archive.Format(stanzas)
		ra := recipeArchive{Prefix: a.Prefix, Sources: list, Stanzas: stanzas}
		if of.keyFile != "" {
			data.KeyFiles = true
			ra.Key, ra.KeyFile = string(of.key.Armor), "/"+of.keyFile
			data.Files = append(data.Files, recipeFile{"Key of " + a.Prefix, ra.KeyFile, ra.Key})
			for i := range stanzas { // for the programs that put keys where they want
				stanzas[i].SignedBy, stanzas[i].SignedByKey = "", of.key.Armor
			}
		}
		data.Archives = append(data.Archives, ra)
		data.Files = append(data.Files, recipeFile{"Source of " + a.Prefix, "/" + sources.File(a.Prefix), list})
	}
	if len(v.Mirrors) > 0 {
		data.Files = append(data.Files, retriesFile)
	}
	if v.Policy != nil && !v.LogOnly {
		denied := v.Preferences()
		if len(denied) > maxEmbedded {
			denied = "# What this server denies is too much to stand here; mmoci host sources --policy takes it.\n"
		}
		if denied != "" {
			data.Files = append(data.Files, recipeFile{"What the site's rules deny", "/etc/apt/preferences.d/mmoci.pref", denied})
		}
	}
	var b bytes.Buffer
	err := p.recipes.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

// trustComment tells the reader of a recipe, who has it from whoever answered,
// which fingerprint to compare with another source.
func (v View) trustComment() string {
	if len(v.Key.Fingerprints) == 0 {
		return "# The server was not told the site's key (trust: in its mmoci.yaml): put it on the hosts where the sources name it.\n"
	}
	return "# The site's key is in here. Before hosts believe it, compare its fingerprint with what mmoci key show says at the site:\n# " +
		strings.Join(v.Key.Fingerprints, "\n# ") + "\n"
}

func newRecipes() (*text.Template, error) {
	return text.New("").Funcs(text.FuncMap{
		"quote": quoteYAML, "sh": chain.Quote, "indent": indent, "join": strings.Join, "lines": quotedLines, "one_line": oneLine,
		"end_mark": func() string { return endMark },
		"ordinal": func(i int) string {
			if i == 0 {
				return ""
			}
			return fmt.Sprint("-", i+1)
		},
	}).ParseFS(files, "recipes/*")
}

// quoteYAML writes a string as JSON does, which YAML reads alike.
func quoteYAML(s string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// indent puts n spaces before each line that has something, without a final line end.
func indent(n int, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString(strings.Repeat(" ", n))
		}
		b.WriteString(line)
	}
	return strings.TrimRight(b.String(), "\n")
}

// quotedLines are the lines of a text as words of a shell, all of them in quotes:
// a line that begins with # would be a comment to a Dockerfile.
func quotedLines(text string) []string {
	var words []string
	for line := range strings.Lines(text) {
		words = append(words, "'"+strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "'", `'\''`)+"'")
	}
	return words
}
