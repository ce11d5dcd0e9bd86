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

// recipes are how hosts of several kinds are told of this server, with its URL and key filled in: the name under /setup/.
var recipeNames = []string{"cloud-init.yaml", "autoinstall.yaml", "maas.sh", "Dockerfile", "mmdebstrap.sh", "ansible.yaml"}

// recipeData is what a recipe is made of.
type recipeData struct {
	Base, Setup string // URLs without final slash
	FirstSuite  string
	Preferences string // "" without a policy, or if it denies nothing
	Archives    []recipeArchive
}

type recipeArchive struct {
	Prefix, URL string // of its .sources text
	Sources     string
	Stanzas     []archive.Source
}

func newRecipes() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"quote": quoteYAML, "sh": quoteShell, "indent": indent, "join": strings.Join, "ident": identifier,
		"ordinal": func(i int) string {
			if i == 0 {
				return ""
			}
			return fmt.Sprint("-", i+1)
		},
	}).ParseFS(recipeFiles, "recipes/*")
}

// recipe answers with a recipe of what is at a place.
func (ex *exchange) recipe(at place, name string) {
	data := recipeData{Base: at.base, Setup: at.base + "/setup"}
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
		data.Archives = append(data.Archives, recipeArchive{
			Prefix: a.Prefix, URL: data.Setup + "/" + a.Prefix + ".sources", Sources: archive.Format(stanzas), Stanzas: stanzas,
		})
	}
	if ex.s.rules.now.Load() != nil && !ex.s.rules.logOnly {
		data.Preferences = ex.preferences(at)
	}
	var b bytes.Buffer
	if err := ex.s.pages.recipes.ExecuteTemplate(&b, path.Base(name), data); err != nil {
		ex.cause = err
		ex.fail(http.StatusInternalServerError, "the recipe cannot be made")
		return
	}
	ex.page(plainText, b.Bytes())
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

// identifier keeps what may stand in the name of a variable.
func identifier(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
}
