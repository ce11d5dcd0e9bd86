package web

import (
	"bytes"
	"cmp"
	"html/template"
	"strconv"

	"example.org/mmoci/internal/chain"
)

// markup is a page, or a part of one, that is written without a template: a template takes twenty times as long for each text,
// which counts on the pages that are asked for most. What comes from outside goes through text and link.
type markup struct{ bytes.Buffer }

// tag is markup of this program. No text from outside is one: only constants become tags by themselves.
type tag string

// raw writes markup.
func (m *markup) raw(t tag) { m.WriteString(string(t)) }

// text writes words, with those letters escaped that [template.HTMLEscape] escapes.
func (m *markup) text(s string) {
	from := 0
	for i := range len(s) {
		if int(s[i]) < len(escapes) && escapes[s[i]] != "" {
			m.WriteString(s[from:i])
			m.raw(escapes[s[i]])
			from = i + 1
		}
	}
	m.WriteString(s[from:])
}

var escapes = [...]tag{0: "\uFFFD", '"': "&#34;", '\'': "&#39;", '&': "&amp;", '<': "&lt;", '>': "&gt;"}

// put writes words between markup.
func (m *markup) put(before tag, words string, after tag) {
	m.raw(before)
	m.text(words)
	m.raw(after)
}

// given writes words between markup, if there are any.
func (m *markup) given(before tag, words string, after tag) {
	if words != "" {
		m.put(before, words, after)
	}
}

// number writes a number.
func (m *markup) number(n int) { m.WriteString(strconv.Itoa(n)) }

// link writes words that lead to an address, which is one that link or packageLink made: relative; "": to none.
func (m *markup) link(href, s string) {
	if href == "" {
		m.text(s)
		return
	}
	m.put(`<a href="`, href, `">`)
	m.put("", s, `</a>`)
}

// head begins a page.
func (m *markup) head(title, query, root string) {
	m.put("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>", title, "</title>\n")
	m.put(`<link rel="stylesheet" href="`, root, "mmoci/page.css\">\n</head>\n<body>\n<header>\n")
	m.put(`<a href="`, root, "\">mmoci</a>\n")
	m.put(`<nav aria-label="Pages"><a href="`, root, `snapshot/">snapshots</a> · `)
	m.put(`<a href="`, root, `mmoci/changes">changes</a> · `)
	m.put(`<a href="`, root, "setup/\">setup</a></nav>\n")
	m.put(`<form action="`, root, "\" method=\"get\" role=\"search\">\n")
	m.put(`<input type="search" name="q" value="`, query, `" placeholder="package" aria-label="Search packages" maxlength="100">`)
	m.raw("\n<button type=\"submit\">Search</button>\n</form>\n</header>\n<main>\n")
}

// foot ends it.
func (m *markup) foot() {
	m.raw("</main>\n<footer>Hosts need not believe this server: apt verifies every signature itself. Every file is what its digest says, or is not sent.</footer>\n</body>\n</html>\n")
}

// packages is a table of packages.
func (m *markup) packages(list []found) {
	m.raw(`<div class="scroll" tabindex="0" role="region" aria-label="Packages"><table>
<thead><tr><th scope="col">Package</th><th scope="col">Version</th><th scope="col">Architecture</th><th scope="col">Source</th><th scope="col">Archive</th><th scope="col" class="number">Bytes</th></tr></thead>
<tbody>`)
	for _, f := range list {
		m.raw("\n<tr><td class=\"name\">")
		m.link(f.Href, f.Name)
		m.given(`<br><span class="soft">`, f.Short, `</span>`)
		m.given(`<br><span class="denied">`, f.Denied, `</span>`)
		m.put(`</td><td class="mono">`, f.Version, ``)
		m.put(`</td><td>`, f.Architecture, ``)
		m.put(`</td><td>`, f.Source, ``)
		m.put(`</td><td>`, f.Archive, `</td><td class="number">`)
		m.WriteString(strconv.FormatInt(f.Size, 10))
		m.raw(`</td></tr>`)
	}
	m.raw("\n</tbody></table></div>\n")
}

// pager leads to the other pages of a list, if there are any.
func (m *markup) pager(p pager) {
	if p.Before == "" && p.After == "" {
		return
	}
	m.raw(`<nav class="here" aria-label="Pages"><span>`)
	m.number(p.From)
	m.raw(` to `)
	m.number(p.To)
	m.raw(` of `)
	m.number(p.Total)
	m.raw(`</span>`)
	m.given(`<a href="`, p.Before, `" rel="prev">page before</a>`)
	m.given(`<a href="`, p.After, `" rel="next">next page</a>`)
	m.raw(`</nav>`)
}

// relations are the items of a list of relations: alternatives, and who provides those that are no package.
func (m *markup) relations(groups [][]alternative) {
	for _, group := range groups {
		m.raw(`<li>`)
		for i, a := range group {
			if i > 0 {
				m.raw(` | `)
			}
			if a.Href != "" {
				m.link(a.Href, a.Text)
				continue
			}
			m.put(`<span class="soft">`, a.Text, `</span>`)
			for j, by := range a.By {
				m.raw([]tag{` (by `, `, `}[min(j, 1)])
				m.link(by.Href, by.Name)
			}
			if len(a.By) > 0 {
				m.raw(`)`)
			}
		}
		m.raw(`</li>`)
	}
}

// steps are the steps of a proof.
func (m *markup) steps(steps []chain.Step) {
	classes := map[chain.State]tag{chain.Verified: "good", chain.Wrong: "bad"}
	m.raw(`<ol class="chain">`)
	for _, s := range steps {
		m.raw("\n<li class=\"" + cmp.Or(classes[s.State], "open") + "\">")
		m.put(`<h3>`, s.Title, "</h3>\n")
		m.put(`<p><strong class="state">`, string(s.State), `</strong>: `)
		m.put("", s.Reason, "</p>\n<ul>")
		for _, fact := range s.Facts {
			m.put(`<li class="mono">`, fact, `</li>`)
		}
		m.raw(`</ul>`)
		m.given("\n<pre>", s.Command, `</pre>`)
		m.raw(`</li>`)
	}
	m.raw("\n</ol>\n")
}

// fields are the rows of a stanza.
func (m *markup) fields(fields []pair) {
	for _, f := range fields {
		m.put("\n<tr><th scope=\"row\">", f.Name, `</th>`)
		m.put(`<td class="wrap mono">`, f.Value, `</td></tr>`)
	}
}

// links are the items of a list of names.
func (m *markup) links(list []linked) {
	for _, l := range list {
		m.raw(`<li>`)
		m.link(l.Href, l.Name)
		m.raw(`</li>`)
	}
}

// row are names side by side.
func (m *markup) row(list []linked, between tag) {
	for i, l := range list {
		if i > 0 {
			m.raw(between)
		}
		m.link(l.Href, l.Name)
	}
}

// words are texts side by side, each between markup.
func (m *markup) words(list []string, before, after tag) {
	for i, s := range list {
		if i > 0 {
			m.raw(`, `)
		}
		m.put(before, s, after)
	}
}

// written is what a function writes, for a template.
func written(write func(m *markup)) template.HTML {
	var m markup
	write(&m)
	return template.HTML(m.String())
}

// writers are what templates write by markup.
var writers = template.FuncMap{
	"head": func(title, query, root string) template.HTML {
		return written(func(m *markup) { m.head(title, query, root) })
	},
	"foot":     func() template.HTML { return written((*markup).foot) },
	"packages": func(list []found) template.HTML { return written(func(m *markup) { m.packages(list) }) },
	"pager":    func(p pager) template.HTML { return written(func(m *markup) { m.pager(p) }) },
}
