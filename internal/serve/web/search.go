package web

import (
	"bytes"
	"cmp"
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

// pages is the pager of a list, whose other pages are at the same URL with another page.
func pagesOf(page, shown, total int, at string, q url.Values) pager {
	p := pager{From: min(page*maxFound+1, total), To: page*maxFound + shown, Total: total}
	href := func(n int) string {
		q.Set("page", strconv.Itoa(n+1))
		return at + "?" + q.Encode()
	}
	if page > 0 {
		p.Before = href(page - 1)
	}
	if p.To < total && shown > 0 {
		p.After = href(page + 1)
	}
	return p
}

// Search finds packages by the words of a query: in names, sources and descriptions, the names first. Where the
// indices of a snapshot are not at hand, or do not name all of its packages, names alone are searched.
func (p *Pages) Search(v View, asked Asked) (body []byte, contentType string, err error) {
	data := struct {
		shell
		Rows  []found
		Pager pager
		Near  []linked
		JSON  string
	}{shell: v.shell("search")}
	data.Query = asked.Query
	hits := v.find(p, asked.Query)
	total, from := len(hits), min(asked.Page*maxFound, len(hits))
	for _, h := range hits[from:min(total, from+maxFound)] {
		row, err := v.foundAt(h)
		if err != nil {
			return nil, "", err
		}
		data.Rows = append(data.Rows, row)
	}
	if asked.JSON {
		body, err := searchJSON(asked.Query, total, data.Rows)
		return body, "application/json", err
	}
	data.Pager = pagesOf(asked.Page, len(data.Rows), total, data.Root, url.Values{"q": {asked.Query}})
	data.JSON = data.Root + "?" + url.Values{"q": {asked.Query}, "format": {"json"}}.Encode()
	if total == 0 {
		data.Near = v.near(asked.Query)
	}
	body, err = p.html("search", data)
	return body, "text/html; charset=utf-8", err
}

// fit says how well a name in lower case fits a query; less is better.
func fit(name, query string) uint8 {
	q := strings.ToLower(strings.TrimSpace(query))
	switch {
	case name == q:
		return 0
	case strings.HasPrefix(name, q):
		return 1
	case strings.Contains(name, q):
		return 2
	}
	return 3
}

// hit is where a package that a query finds is. It is small, because a query may find all; only those of a page are read.
type hit struct {
	snapshot, at int32 // of View.Snapshots; in its Book, else in its table
	fit          uint8
	book         bool
}

// find finds the packages of all snapshots, those that fit best first.
func (v View) find(p *Pages, query string) (hits []hit) {
	for i, s := range v.Snapshots {
		if s.Book == nil || s.Book.Len() < p.Totals(s).Packages {
			hits = append(hits, byName(int32(i), s.Table, query)...)
			continue
		}
		for _, at := range s.Book.Search(query) {
			hits = append(hits, hit{int32(i), int32(at), fit(s.Book.Name(at), query), true})
		}
	}
	if len(v.Snapshots) > 1 {
		slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(a.fit, b.fit) })
	}
	return hits
}

// byName finds packages by their names alone, in order of fit and name, equal names in order of path.
func byName(of int32, t *snapshot.Table, query string) []hit {
	type named struct {
		hit
		name string
	}
	var all []named
	words, at := strings.Fields(strings.ToLower(query)), int32(-1)
	for row := range t.Rows() {
		at++
		name := strings.ToLower(row.Name)
		if !row.IsPackage() || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(name, w) }) {
			continue
		}
		all = append(all, named{hit{of, at, fit(name, query), false}, name})
	}
	slices.SortStableFunc(all, func(a, b named) int { return cmp.Or(cmp.Compare(a.fit, b.fit), strings.Compare(a.name, b.name)) })
	hits := make([]hit, len(all))
	for i, n := range all {
		hits[i] = n.hit
	}
	return hits
}

// foundAt reads the package of a hit.
func (v View) foundAt(h hit) (found, error) {
	s := v.Snapshots[h.snapshot]
	if !h.book {
		return v.foundOf(s, s.Table.Row(int(h.at)), ""), nil
	}
	pkg, err := s.Book.Get(int(h.at))
	if err != nil {
		return found{}, err
	}
	return v.foundOf(s, pkg.Row, pkg.Stanza.Get("Description")), nil
}

func (v View) foundOf(s Snapshot, row snapshot.Row, description string) found {
	short, _, _ := strings.Cut(description, "\n")
	f := found{Package: row.Package, Archive: row.Archive(), Size: row.Size, Digest: row.Digest.String(), Short: short, Href: link(v.within(s), row.Path)}
	if s.Book != nil && s.Book.Has(row.Name) {
		f.Href = packageLink(v.within(s), f.Archive, row.Name, row.Version, row.Architecture)
	}
	if d := v.Policy.Decide(row.Package, f.Archive); !d.Allow {
		f.Denied = "denied by rule " + d.Rule + ": " + d.Reason
		if v.LogOnly {
			f.Denied = "not " + f.Denied + " (recorded only)"
		}
	}
	return f
}

// near are packages whose names are near a word, in all snapshots of the view.
func (v View) near(word string) (out []linked) {
	for _, s := range v.Snapshots {
		if s.Book == nil {
			continue
		}
		for _, name := range s.Book.Near(word, maxNear) {
			if all, err := s.Book.Named(name); err == nil && len(all) > 0 {
				out = append(out, linked{name, packageLink(v.within(s), all[0].Archive(), name, "", "")})
			}
		}
	}
	return out[:min(len(out), maxNear)]
}

func searchJSON(query string, total int, rows []found) ([]byte, error) {
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
	out := struct {
		Query    string `json:"query"`
		Total    int    `json:"total"`
		Packages []one  `json:"packages"`
	}{query, total, []one{}}
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
	if err != nil {
		return nil, err
	}
	for _, pkg := range list {
		data.Rows = append(data.Rows, v.foundOf(s, pkg.Row, pkg.Stanza.Get("Description")))
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
