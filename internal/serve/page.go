package serve

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	text "text/template"
	"time"
	"unicode"

	"example.org/mmoci/pkg/snapshot"
)

//go:embed page/page.html page/page.css
var pageFiles embed.FS

const (
	// securityPolicy lets a page load its one style sheet, and nothing else.
	securityPolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

	maxListed = 2000 // rows of a directory or of changes
	maxFound  = 200  // of a search
	maxQuery  = 100  // bytes
)

// pages makes the pages for people. Without a script, and with links that hold
// wherever a proxy puts the server.
type pages struct {
	templates *template.Template
	recipes   *text.Template
	css       []byte
	turn      chan struct{}
}

func newPages() (*pages, error) {
	t, err := template.ParseFS(pageFiles, "page/page.html")
	if err != nil {
		return nil, err
	}
	css, err := pageFiles.ReadFile("page/page.css")
	if err != nil {
		return nil, err
	}
	recipes, err := newRecipes()
	return &pages{t, recipes, css, make(chan struct{}, maxPages)}, err
}

// shell is what every page has.
type shell struct {
	Title, Query string
	Root         string // relative URL of the front page, with final slash
}

func (ex *exchange) shell(title string) shell {
	root := "./"
	if depth := strings.Count(ex.s.relative(ex.r.URL.Path), "/"); depth > 0 {
		root = strings.Repeat("../", depth)
	}
	return shell{Title: title + " · mmoci", Root: root}
}

// html answers with a page.
func (ex *exchange) html(name string, data any) {
	var b bytes.Buffer
	if err := ex.s.pages.templates.ExecuteTemplate(&b, name, data); err != nil {
		ex.cause = err
		ex.fail(http.StatusInternalServerError, "the page cannot be made")
		return
	}
	h := ex.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", securityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	ex.page("text/html; charset=utf-8", bytes.Map(shown, b.Bytes()))
}

// shown replaces what is there and not to be seen: control characters, and the
// format characters of which some turn the direction of writing, so that a name reads as another.
func shown(r rune) rune {
	if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf) {
		return unicode.ReplacementChar
	}
	return r
}

// reference is a followed reference, or a snapshot, on a page.
type reference struct {
	Name, Snapshot, Date, Age, ValidUntil, Root, Health string
	Files                                               int
	Signed, Good                                        bool
	Archives                                            []archiveView
}

type archiveView struct {
	Prefix, Kind, Href, Sources, UpstreamSources string
	File                                         string // where a host has it
	EndMark                                      string
	Suites                                       []suiteView
}

type suiteView struct{ Name, Date string }

// frontPage tells what is served, and answers a search.
func (ex *exchange) frontPage() {
	if base := ex.s.basePath; base != "" && ex.r.URL.Path == base {
		ex.toDirectory(base)
		return
	}
	if !ex.turn() {
		return
	}
	defer ex.leave()
	if asked := ex.r.URL.Query(); asked.Has("q") && len(asked.Get("q")) <= maxQuery {
		ex.search(asked.Get("q"))
		return
	}
	data := struct {
		shell
		References []reference
		Policy     string
		Troubles   []string
		Recipes    []string
		SiteKeys   []string
	}{shell: ex.shell("archives"), Troubles: ex.s.troubles(), Recipes: recipeNames, SiteKeys: ex.s.siteKey.Load().fingerprints}
	v := ex.s.view.Load()
	for i, l := range ex.s.lanes {
		failing, refusal := l.state()
		r := reference{Name: l.source.Name(), Health: "no snapshot yet"}
		if h := v.current[i]; h != nil {
			r = ex.describe(h, place{base: ex.base()}, data.Root)
			r.Name, r.Good, r.Health = l.source.Name(), !failing && refusal == nil, "the tag is followed"
		}
		switch {
		case refusal != nil:
			r.Health = fmt.Sprintf("what the tag names now is not followed: %v", refusal)
		case failing && r.Snapshot != "":
			r.Health = "the tag cannot be followed now; what is held is served"
		}
		data.References = append(data.References, r)
	}
	if p := ex.s.rules.now.Load(); p != nil {
		data.Policy = fmt.Sprintf("Rules in force: %d.", p.Rules())
		if ex.s.rules.logOnly {
			data.Policy = fmt.Sprintf("Rules recorded and not enforced: %d.", p.Rules())
		}
	}
	ex.html("front", data)
}

// describe is what a page says of a snapshot. root is the relative URL of the place.
func (ex *exchange) describe(h *held, at place, root string) reference {
	st := h.Statement
	r := reference{
		Snapshot: h.name, Date: stamp(st.Date), Age: age(ex.s.now().Sub(st.Date)), Root: h.Root.String(), Files: h.Table.Len(), Signed: h.Signed,
	}
	if !st.ValidUntil.IsZero() {
		r.ValidUntil = stamp(st.ValidUntil)
	}
	for i := range st.Archives {
		a := &st.Archives[i]
		v := archiveView{
			Prefix: a.Prefix, Href: root + a.Prefix + "/", Sources: ex.sourcesText(at, h, a.Prefix, false),
			File: sourcesFile(a.Prefix), EndMark: endMark,
		}
		switch {
		case a.Mode == snapshot.Verbatim:
			v.Kind = "verbatim, under upstream's signature"
		case a.Class == snapshot.Site:
			v.Kind = "the site's own packages"
		default:
			v.Kind = "curated from upstream, with proof"
			v.UpstreamSources = ex.sourcesText(at, h, a.Prefix, true)
		}
		for _, s := range a.Suites {
			if len(s.Files) > 0 {
				v.Suites = append(v.Suites, suiteView{s.Name, stamp(s.Files[0].Date)})
			}
		}
		r.Archives = append(r.Archives, v)
	}
	return r
}

// age is a length of time in the two largest units.
func age(d time.Duration) string {
	d = max(0, d)
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	return fmt.Sprintf("%d min", minutes)
}

// link is the relative URL of a path, escaped.
func link(root, p string) string { return root + (&url.URL{Path: "/" + p}).EscapedPath()[1:] }

// found is a package on a page.
type found struct {
	snapshot.Package
	Archive, Href, Denied string
	Size                  int64
}

// search lists the packages in force whose name contains q: all if that is "".
func (ex *exchange) search(q string) {
	data := struct {
		shell
		Rows []found
		More bool
	}{shell: ex.shell("search")}
	data.Query = q
	q = strings.ToLower(q) // as names of packages are
	for _, h := range ex.s.view.Load().current {
		if h == nil {
			continue
		}
		for row := range h.Table.Rows() {
			if !row.IsPackage() || !strings.Contains(strings.ToLower(row.Name), q) {
				continue
			}
			if len(data.Rows) == maxFound {
				data.More = true
				break
			}
			f := found{Package: row.Package, Archive: row.Archive(), Href: link(data.Root, row.Path), Size: row.Size}
			if d := ex.s.rules.now.Load().Decide(row.Package, f.Archive); !d.Allow {
				f.Denied = "denied by rule " + d.Rule + ": " + d.Reason
				if ex.s.rules.logOnly {
					f.Denied = "not " + f.Denied + " (recorded only)"
				}
			}
			data.Rows = append(data.Rows, f)
		}
	}
	slices.SortFunc(data.Rows, func(a, b found) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Archive, b.Archive), strings.Compare(a.Version, b.Version))
	})
	ex.html("search", data)
}
