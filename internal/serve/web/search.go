package web

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/pkg/snapshot"
)

// found is a package of a list.
type found struct {
	snapshot.Package
	Archive, Href, Denied, Short string
	Size                         int64
	Digest                       string
}

// pager says which part of a list is shown.
type pager struct {
	From, To, Total int
	Before, After   string // URLs of the pages beside this one; "": there is none
	at              string // URL of the list
}

// Asked is what a list was asked for, by its URL.
type Asked struct {
	Query string
	Page  int // from 0
	JSON  bool
}

// ParseAsked reads ?q=, ?page= and ?format=json; page counts from 1 there.
func ParseAsked(q url.Values) Asked {
	a := Asked{Query: q.Get("q"), JSON: q.Get("format") == "json"}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 && n < 1e6 {
		a.Page = n - 1
	}
	return a
}

// lastPage is the last page of a list, from 0: what is asked for beyond it is answered with that.
func lastPage(total int) int { return max(0, total-1) / maxFound }

// pagesOf is the pager of a list, whose other pages are at the same URL with another page.
func pagesOf(page, shown, total int, at string, q url.Values) pager {
	p := pager{From: page*maxFound + 1, To: page*maxFound + shown, Total: total, at: at}
	href := func(n int) string {
		q.Set("page", strconv.Itoa(n+1))
		return at + "?" + q.Encode()
	}
	if page > 0 {
		p.Before = href(page - 1)
	}
	if p.To < total {
		p.After = href(page + 1)
	}
	return p
}

// Search finds packages by the words of a query: in names, sources and descriptions, the names first. Where the
// indices of a snapshot are not at hand, or do not name all of its packages, names alone are searched.
func (p *Pages) Search(v View, asked Asked) (body []byte, contentType string, err error) {
	total, at, hits := v.find(p, asked.Query, asked.Page)
	var rows []found
	for _, h := range hits {
		row, err := v.foundAt(h)
		if err != nil {
			return nil, "", err
		}
		rows = append(rows, row)
	}
	var near []linked
	if total == 0 {
		near = v.near(asked.Query)
	}
	query := url.Values{"q": {asked.Query}}
	if asked.JSON {
		query.Set("format", "json")
		body, err := searchJSON(asked.Query, total, rows, pagesOf(at, len(rows), total, v.Root, query).After, near)
		return body, "application/json", err
	}
	body = p.page(func(m *markup) {
		m.head(v.shell("search").Title, asked.Query, v.Root)
		m.searched(asked.Query, rows, near, pagesOf(at, len(rows), total, v.Root, query))
		m.foot()
	})
	return body, "text/html; charset=utf-8", nil
}

// searched is what a search found, or what is like it.
func (m *markup) searched(query string, rows []found, near []linked, p pager) {
	m.raw(`<h1>`)
	m.number(p.Total)
	if m.raw(` package`); p.Total != 1 {
		m.raw(`s`)
	}
	m.given(` for “`, query, `”`)
	m.raw("</h1>\n")
	switch {
	case len(rows) > 0:
		m.packages(rows)
		m.pager(p)
		m.put("\n<p><a href=\"", p.at+"?"+url.Values{"q": {query}, "format": {"json"}}.Encode(), "\">The same as JSON</a></p>\n")
	case len(near) > 0:
		m.raw(`<p>Did you mean `)
		m.row(near, `, `)
		m.raw("?</p>\n")
	default:
		m.raw("<p>Nothing here is called so, comes from such a source or is described so. What is not in a snapshot, this server does not have.</p>\n")
	}
}

// hit is where a package that a query finds is.
type hit struct {
	snapshot, at int // of View.Snapshots; in its Book, else in its table
	book         bool
}

// results are the packages of one snapshot that a query finds, by rank: [chain.Hits], or what is known by names alone.
type results interface {
	Count(rank int) int
	At(rank, from, most int) []int
}

// find finds the packages of all snapshots, those that fit best first: how many there are, and those on a page, or else on the last one.
func (v View) find(p *Pages, query string, asked int) (total, at int, page []hit) {
	var all []results
	var books []bool
	for _, s := range v.Snapshots {
		book := s.Book != nil && s.Book.Len() >= p.Totals(s).Packages
		if books = append(books, book); book {
			all = append(all, s.Book.Search(query))
		} else {
			all = append(all, byName(s.Table, query))
		}
	}
	for rank := range chain.Ranks {
		for _, r := range all {
			total += r.Count(rank)
		}
	}
	at = min(asked, lastPage(total))
	from := at * maxFound
	for rank := range chain.Ranks {
		for i, r := range all {
			n := r.Count(rank)
			if from < n && len(page) < maxFound {
				for _, at := range r.At(rank, from, maxFound-len(page)) {
					page = append(page, hit{i, at, books[i]})
				}
			}
			from = max(0, from-n)
		}
	}
	return total, at, page
}

// names are rows of a table by rank.
type names [chain.Ranks][]int

func (n *names) Count(rank int) int { return len(n[rank]) }

func (n *names) At(rank, from, most int) []int {
	return n[rank][from:min(len(n[rank]), from+most)]
}

// byName finds packages by their names alone, in order of rank and name, equal names in order of path.
func byName(t *snapshot.Table, query string) results {
	type named struct {
		at   int
		name string
	}
	var ranks [chain.Ranks][]named
	words, at := strings.Fields(strings.ToLower(query)), -1
	whole := strings.Join(words, " ")
	for row := range t.Rows() {
		at++
		name := strings.ToLower(row.Name)
		if !row.IsPackage() || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(name, w) }) {
			continue
		}
		rank := chain.Named
		switch {
		case name == whole:
			rank = chain.Exact
		case strings.HasPrefix(name, whole):
			rank = chain.Beginning
		}
		ranks[rank] = append(ranks[rank], named{at, name})
	}
	out := &names{}
	for rank, list := range ranks {
		slices.SortStableFunc(list, func(a, b named) int { return strings.Compare(a.name, b.name) })
		for _, n := range list {
			out[rank] = append(out[rank], n.at)
		}
	}
	return out
}

// foundAt reads the package of a hit.
func (v View) foundAt(h hit) (found, error) {
	s := v.Snapshots[h.snapshot]
	if !h.book {
		row := s.Table.Row(h.at)
		return v.foundOf(s, row, "", s.Book != nil && s.Book.Home(row.Name, row.Archive()) == row.Archive()), nil
	}
	pkg, err := s.Book.Get(h.at)
	if err != nil {
		return found{}, err
	}
	return v.foundOf(s, pkg.Row, pkg.Stanza.Get("Description"), true), nil
}

// foundOf is a row of a list; hasPage tells whether the package has a page.
func (v View) foundOf(s Snapshot, row snapshot.Row, description string, hasPage bool) found {
	short, _, _ := strings.Cut(description, "\n")
	f := found{Package: row.Package, Archive: row.Archive(), Size: row.Size, Digest: row.Digest.String(), Short: short}
	if hasPage {
		f.Href = packageLink(v.within(s), f.Archive, row.Name, row.Version, row.Architecture)
	} else {
		f.Href = link(v.within(s), row.Path)
	}
	if d := v.Policy.Decide(row.Package, f.Archive); !d.Allow {
		f.Denied = "denied by rule " + d.Rule + ": " + d.Reason
		if v.LogOnly {
			f.Denied = "not " + f.Denied + " (recorded only)"
		}
	}
	return f
}

// near are packages whose names are near a word, in all snapshots of the view: the same, whether the indices were read or not.
func (v View) near(word string) (out []linked) {
	for _, s := range v.Snapshots {
		var homes []chain.Home
		if s.Book != nil {
			homes = s.Book.Near(word, maxNear)
		} else {
			homes = chain.NearIn(s.Table, word, maxNear)
		}
		for _, h := range homes {
			out = append(out, linked{h.Name, packageLink(v.within(s), h.Archive, h.Name, "", "")})
		}
	}
	return out[:min(len(out), maxNear)]
}

// searchJSON is the page for programs; next is the URL of the one after it, near are names that are like the query if nothing was found.
func searchJSON(query string, total int, rows []found, next string, near []linked) ([]byte, error) {
	type one struct {
		Name         string `json:"name"`
		Version      string `json:"version"`
		Architecture string `json:"architecture"`
		Source       string `json:"source"`
		Archive      string `json:"archive"`
		Size         int64  `json:"size"`
		Digest       string `json:"digest"`
		Description  string `json:"description,omitempty"`
		Href         string `json:"href"`
		Denied       string `json:"denied,omitempty"`
	}
	type like struct {
		Name string `json:"name"`
		Href string `json:"href"`
	}
	out := struct {
		Query    string `json:"query"`
		Total    int    `json:"total"`
		Packages []one  `json:"packages"`
		Next     string `json:"next,omitempty"`
		Near     []like `json:"near,omitempty"`
	}{Query: query, Total: total, Packages: []one{}, Next: next}
	for _, n := range near {
		out.Near = append(out.Near, like(n))
	}
	for _, r := range rows {
		out.Packages = append(out.Packages, one{r.Name, r.Version, r.Architecture, r.Source, r.Archive, r.Size, r.Digest, r.Short, r.Href, r.Denied})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	err := e.Encode(out)
	return b.Bytes(), err
}

// Archive lists the packages of an archive, by letter, section or source.
func (p *Pages) Archive(v View, s Snapshot, prefix string, q url.Values) ([]byte, error) {
	data := struct {
		shell
		Prefix, Kind, Snapshot    string
		Section, Source, Letter   string
		Sections, Letters         []linked
		Rows                      []found
		Pager                     pager
		Tree, SnapshotHref, First string
	}{shell: v.shell(prefix), Prefix: prefix, Kind: kindOf(s.Statement.Archive(prefix)), Snapshot: s.Name, Section: q.Get("section"), Source: q.Get("source"), Letter: q.Get("letter")}
	data.Tree, data.SnapshotHref, data.First = "../", v.Root+"snapshot/"+s.Name+"/", "./"
	page := ParseAsked(q).Page
	f := chain.Filter{Prefix: prefix, Section: data.Section, Source: data.Source, Letter: data.Letter}
	total, list, err := s.Book.List(f, page*maxFound, maxFound)
	if last := lastPage(total); err == nil && page > last {
		page = last
		_, list, err = s.Book.List(f, page*maxFound, maxFound)
	}
	if err != nil {
		return nil, err
	}
	for _, pkg := range list {
		data.Rows = append(data.Rows, v.foundOf(s, pkg.Row, pkg.Stanza.Get("Description"), true))
	}
	keep := url.Values{}
	for name, value := range map[string]string{"section": data.Section, "source": data.Source, "letter": data.Letter} {
		if value != "" {
			keep.Set(name, value)
		}
	}
	data.Pager = pagesOf(page, len(list), total, "./", keep)
	for _, l := range s.Book.Letters(prefix) {
		data.Letters = append(data.Letters, linked{l, "./?letter=" + url.QueryEscape(l)})
	}
	for _, name := range s.Book.Sections() {
		if name != "" {
			data.Sections = append(data.Sections, linked{name, "./?section=" + url.QueryEscape(name)})
		}
	}
	return p.html("archivelist", data)
}
