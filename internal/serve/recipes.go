package serve

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"text/template"

	"example.org/mmoci/pkg/archive"
)

//go:embed recipes
var recipeFiles embed.FS

// recipes are how hosts of several kinds are told of this server: the name under
// /setup/. Sources and key are in them, so that who has read one, and compared the
// fingerprint in it, makes hosts that believe nothing else that this server says.
var recipeNames = []string{"cloud-init.yaml", "autoinstall.yaml", "maas.sh", "Dockerfile", "mmdebstrap.sh", "ansible.yaml"}

// maxEmbedded bounds the preferences that a recipe takes in, in bytes.
const maxEmbedded = 256 << 10

// endMark ends a text in a shell script. No line of a .sources text can be it.
const endMark = "END-OF-SOURCES"

// recipeData is what a recipe is made of.
type recipeData struct {
	Base       string // URL without final slash
	Trust      string // comment lines: whose signature hosts will believe, and what to compare
	FirstSuite string
	Files      []recipeFile
	Archives   []recipeArchive
}

// recipeFile is a file that a host gets.
type recipeFile struct{ What, Path, Text string }

type recipeArchive struct {
	Prefix, Sources string
	Stanzas         []archive.Source
}

func newRecipes() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"quote": quoteYAML, "sh": quoteShell, "indent": indent, "join": strings.Join, "lines": quotedLines,
		"end_mark": func() string { return endMark },
		"ordinal": func(i int) string {
			if i == 0 {
				return ""
			}
			return fmt.Sprint("-", i+1)
		},
	}).ParseFS(recipeFiles, "recipes/*")
}

// sourcesFile is where a host has the sources of an archive, not under a name
// that its distribution uses; mmoci host sources takes the same.
func sourcesFile(prefix string) string {
	return "/etc/apt/sources.list.d/mmoci-" + prefix + ".sources"
}

// recipe answers with a recipe of what is at a place.
func (ex *exchange) recipe(at place, name string) {
	data := recipeData{Base: at.base, Trust: ex.trustComment()}
	for _, a := range ex.archivesAt(at) {
		h := ex.heldFor(at, a.Prefix)
		if h == nil {
			continue
		}
		if at.fixed != nil {
			ex.learn(h)
		}
		stanzas := ex.sources(at, h, a.Prefix, false)
		if len(stanzas) == 0 {
			continue
		}
		if suite := stanzas[0].Suites[0]; data.FirstSuite == "" && shellWord(suite) {
			data.FirstSuite = suite
		}
		text := archive.Format(stanzas)
		data.Archives = append(data.Archives, recipeArchive{a.Prefix, text, stanzas})
		data.Files = append(data.Files, recipeFile{"Source of " + a.Prefix, sourcesFile(a.Prefix), text})
	}
	if ex.s.rules.now.Load() != nil && !ex.s.rules.logOnly {
		text := ex.preferences(at)
		if len(text) > maxEmbedded {
			text = "# What this server denies is too much to stand here; mmoci host sources --policy takes it.\n"
		}
		if text != "" {
			data.Files = append(data.Files, recipeFile{"What the site's rules deny", "/etc/apt/preferences.d/mmoci.pref", text})
		}
	}
	var b bytes.Buffer
	if err := ex.s.pages.recipes.ExecuteTemplate(&b, path.Base(name), data); err != nil {
		ex.cause = err
		ex.fail(http.StatusInternalServerError, "the recipe cannot be made")
		return
	}
	ex.page(plainText, b.Bytes())
}

// toldKey is the site's public key as hosts are told of it; zero: it is not known.
type toldKey struct {
	armor        []byte
	fingerprints []string
}

// trustComment says whose signature the hosts will believe: the reader of a
// recipe, who has it from whoever answered, must hold the fingerprint against another source.
func (ex *exchange) trustComment() string {
	fingerprints := ex.s.siteKey.Load().fingerprints
	if len(fingerprints) == 0 {
		return "# The server was not told the site's key (trust: in its mmoci.yaml): put it on the hosts where the sources name it.\n"
	}
	return "# The site's key is in here. Before hosts believe it, compare its fingerprint with what mmoci key show says at the site:\n# " +
		strings.Join(fingerprints, "\n# ") + "\n"
}

// quoteYAML writes a string as JSON does, which YAML reads alike.
func quoteYAML(s string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// quoteShell quotes a word for a POSIX shell, if it needs that.
func quoteShell(s string) string {
	if shellWord(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellWord tells words that mean themselves.
func shellWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-") == ""
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
