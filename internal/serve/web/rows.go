package web

import (
	"cmp"
	"html/template"
	"strconv"
	"strings"

	"example.org/mmoci/internal/chain"
)

// rows are the lists that are long on every page of their kind: a template takes twenty times as long for each text. Every
// text goes through text; an address is one that link or packageLink made, which is relative.
type rows struct{ strings.Builder }

// raw writes markup.
func (r *rows) raw(markup string) { r.WriteString(markup) }

// text writes words.
func (r *rows) text(s string) { template.HTMLEscape(&r.Builder, []byte(s)) }

// link writes words that lead to an address; "": to none.
func (r *rows) link(href, s string) {
	if href == "" {
		r.text(s)
		return
	}
	r.raw(`<a href="`)
	r.text(href)
	r.raw(`">`)
	r.text(s)
	r.raw(`</a>`)
}

func (r *rows) html() template.HTML { return template.HTML(r.String()) }

// packageRows are the rows of a table of packages.
func packageRows(list []found) template.HTML {
	var r rows
	for _, f := range list {
		r.raw("\n<tr><td class=\"name\">")
		r.link(f.Href, f.Name)
		if f.Short != "" {
			r.raw(`<br><span class="soft">`)
			r.text(f.Short)
			r.raw(`</span>`)
		}
		if f.Denied != "" {
			r.raw(`<br><span class="denied">`)
			r.text(f.Denied)
			r.raw(`</span>`)
		}
		r.raw(`</td><td class="mono">`)
		r.text(f.Version)
		for _, cell := range []string{f.Architecture, f.Source, f.Archive} {
			r.raw(`</td><td>`)
			r.text(cell)
		}
		r.raw(`</td><td class="number">` + strconv.FormatInt(f.Size, 10) + `</td></tr>`)
	}
	return r.html()
}

// groupItems are the items of a list of relations: alternatives, and who provides those that are no package.
func groupItems(groups [][]alternative) template.HTML {
	var r rows
	for _, group := range groups {
		r.raw(`<li>`)
		for i, a := range group {
			if i > 0 {
				r.raw(` | `)
			}
			if a.Href != "" {
				r.link(a.Href, a.Text)
				continue
			}
			r.raw(`<span class="soft">`)
			r.text(a.Text)
			r.raw(`</span>`)
			for j, by := range a.By {
				r.raw([]string{` (by `, `, `}[min(j, 1)])
				r.link(by.Href, by.Name)
			}
			if len(a.By) > 0 {
				r.raw(`)`)
			}
		}
		r.raw(`</li>`)
	}
	return r.html()
}

// stepItems are the steps of a proof.
func stepItems(steps []chain.Step) template.HTML {
	classes := map[chain.State]string{chain.Verified: "good", chain.Wrong: "bad"}
	var r rows
	for _, s := range steps {
		r.raw("\n<li class=\"" + cmp.Or(classes[s.State], "open") + "\"><h3>")
		r.text(s.Title)
		r.raw("</h3>\n<p><strong class=\"state\">")
		r.text(string(s.State))
		r.raw(`</strong>: `)
		r.text(s.Reason)
		r.raw("</p>\n<ul>")
		for _, fact := range s.Facts {
			r.raw(`<li class="mono">`)
			r.text(fact)
			r.raw(`</li>`)
		}
		r.raw(`</ul>`)
		if s.Command != "" {
			r.raw("\n<pre>")
			r.text(s.Command)
			r.raw(`</pre>`)
		}
		r.raw(`</li>`)
	}
	return r.html()
}

// fieldRows are the rows of a stanza.
func fieldRows(fields []pair) template.HTML {
	var r rows
	for _, f := range fields {
		r.raw("\n<tr><th scope=\"row\">")
		r.text(f.Name)
		r.raw(`</th><td class="wrap mono">`)
		r.text(f.Value)
		r.raw(`</td></tr>`)
	}
	return r.html()
}

// linkItems are the items of a list of names.
func linkItems(list []linked) template.HTML {
	var r rows
	for _, l := range list {
		r.raw(`<li>`)
		r.link(l.Href, l.Name)
		r.raw(`</li>`)
	}
	return r.html()
}

// writers are the functions that templates write lists by.
var writers = template.FuncMap{"packages": packageRows, "relations": groupItems, "steps": stepItems, "fields": fieldRows, "links": linkItems}
