package web

import (
	"net/url"
	"strings"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/changes"
)

// write writes the page.
func (d *packagePage) write(m *markup) {
	m.head(d.Title, d.Query, d.Root)
	m.put(`<h1>`, d.Package.Name, ` <span class="mono soft">`)
	m.put("", d.Package.Version, "</span></h1>\n")
	m.given(`<p class="lead">`, d.Short, "</p>\n")
	m.given(`<p class="denied" role="note">`, d.Denied, "</p>\n")
	m.raw(`<nav class="here" aria-label="On this page"><a href="#install">install</a> <a href="#why">why it is here</a> <a href="#needs">needs</a> <a href="#history">history</a> <a href="#proof">proof</a></nav>` + "\n")
	d.writeFacts(m)
	d.writeInstall(m)
	d.writeNeeds(m)
	d.writeHistory(m)
	d.writeChangelog(m)
	d.writeImages(m)
	d.writeProof(m)
	m.foot()
}

// listOf is the list of the packages of the archive of which a field has a value.
func (d *packagePage) listOf(field, value string) string {
	return d.List + "?" + field + "=" + url.QueryEscape(value)
}

// file is how the file of the package ends.
func (d *packagePage) file() tag {
	if d.RPM {
		return ".rpm"
	}
	return ".deb"
}

func (d *packagePage) writeFacts(m *markup) {
	open := tag("<div>")
	if d.Long != "" {
		open = `<div class="two">`
	}
	m.raw(open + "\n<section>\n<dl>\n<dt>Archive</dt><dd>")
	m.link(d.List, d.Prefix)
	of := tag(`, suite `)
	if strings.Contains(d.Suites, ", ") {
		of = `, suites `
	}
	m.given(of, d.Suites, ``)
	m.put(` (`, d.Kind, ")</dd>\n")
	m.put(`<dt>Architecture</dt><dd>`, d.Package.Architecture, "</dd>\n")
	m.put(`<dt>Size</dt><dd>`, d.Size, ` `)
	m.put(`<a href="`, d.Href, `">download the `+d.file()+"</a></dd>\n")
	m.raw(`<dt>Source</dt><dd>`)
	m.link(d.listOf("source", d.Package.Source), d.Source)
	m.raw("</dd>\n")
	m.given(`<dt>Build</dt><dd>`, d.Proof.Built, "</dd>\n")
	if d.Section != "" {
		m.raw(`<dt>Section</dt><dd>`)
		m.link(d.listOf("section", d.Section), d.Section)
		m.raw("</dd>\n")
	}
	m.given(`<dt>Maintainer</dt><dd>`, d.Maintainer, "</dd>\n")
	if d.Homepage != "" {
		m.put(`<dt>Homepage</dt><dd><a href="`, d.Homepage, `" rel="noreferrer nofollow">`)
		m.put("", d.HomepageText, "</a></dd>\n")
	} else {
		m.given(`<dt>Homepage</dt><dd>`, d.HomepageText, "</dd>\n")
	}
	m.put(`<dt>Snapshot</dt><dd><a class="mono" href="`, d.SnapshotHref, `">`)
	m.put("", d.Snapshot, "</a></dd>\n")
	if len(d.Others) > 0 {
		m.raw(`<dt>Others</dt><dd>`)
		m.row(d.Others, ` · `)
		m.raw("</dd>\n")
	}
	m.raw(`<dt>Policy</dt><dd>`)
	if m.given(`<span class="denied">`, d.Denied, `</span>`); d.Denied == "" {
		m.raw(`allowed`)
	}
	m.raw("</dd>\n</dl>\n</section>\n")
	m.given(`<section class="long">`, d.Long, "</section>\n")
	m.raw("</div>\n")
}

func (d *packagePage) writeInstall(m *markup) {
	m.put("<h2 id=\"install\">Install it</h2>\n<p>On a host that has this server as <a href=\"", d.Root, "setup/\">its source</a>, as root:</p>\n")
	m.put(`<pre class="command">`, d.Install, "</pre>\n")
	m.given(`<p>Without apt, straight from the registry, verified:</p><pre class="command">`, d.Mmoci, "</pre>\n")
	m.put("<p>Keep a host at this day, whatever is pushed later:</p>\n<pre class=\"command\">", d.Pin, "</pre>\n")
}

func (d *packagePage) writeNeeds(m *markup) {
	m.raw("<h2 id=\"why\">Why it is here</h2>\n")
	m.given(`<p>`, d.WhyNot, `</p>`)
	if len(d.Why) > 0 {
		m.raw(`<ol>`)
		m.links(d.Why)
		m.raw(`</ol>`)
	}
	m.raw("\n<h2 id=\"needs\">Needs</h2>\n")
	for _, r := range d.Needs {
		m.put(`<h3>`, r.Field, "</h3>\n<ul class=\"flow\">")
		m.relations(r.Groups)
		if m.raw("</ul>\n"); r.More {
			m.raw("<p>There are more.</p>\n")
		}
	}
	if len(d.Needs) == 0 {
		m.raw("<p>Nothing.</p>\n")
	}
	m.raw("<h2 id=\"needed\">Needed by</h2>\n")
	if len(d.NeededBy) > 0 {
		m.raw(`<ul class="flow">`)
		m.links(d.NeededBy)
		m.raw("</ul>\n")
	} else {
		m.raw("<p>No package of this snapshot.</p>\n")
	}
	if d.NeededByMore {
		m.raw("<p>There are more; the list ends here.</p>\n")
	}
}

// aside leads to this page with something beside it.
func (d *packagePage) aside(m *markup, what, words tag) {
	sign := tag(`?`)
	if d.Package.Architecture != "" {
		sign = `&amp;`
	}
	m.put(`<a href="`, d.Self, sign+`show=`+what+`#`+what+`">`+words+`</a>`)
}

func (d *packagePage) writeHistory(m *markup) {
	m.raw("<h2 id=\"history\">History</h2>\n")
	if !d.HistoryAsked {
		m.raw(`<p>`)
		d.aside(m, "history", "Over the newest 30 snapshots")
		if !d.RPM {
			m.raw(` · `)
			d.aside(m, "changelog", "what changed since the version before")
		}
		m.raw("</p>\n")
		return
	}
	m.raw(`<div class="scroll" tabindex="0" role="region" aria-labelledby="history"><table>
<thead><tr><th scope="col">Snapshot</th><th scope="col">Date</th><th scope="col">What</th><th scope="col">Version</th></tr></thead>
<tbody>`)
	for _, s := range d.History {
		m.raw("\n<tr><td class=\"mono\">")
		m.link(s.Href, s.Snapshot)
		m.put(`</td><td>`, s.Date, `</td>`)
		m.put(`<td>`, s.What, `</td><td class="mono">`)
		m.words(s.Versions, "", "")
		m.raw(`</td></tr>`)
	}
	m.raw("\n</tbody></table></div>\n")
}

func (d *packagePage) writeChangelog(m *markup) {
	c := d.Changelog
	if c == nil {
		return
	}
	m.raw(`<h2 id="changelog">Changelog`)
	m.given(` since `, c.Since, ``)
	m.raw("</h2>\n")
	switch {
	case c.Denied:
		m.raw(`<p class="denied">It lies in the .deb, which the policy denies.</p>`)
	case c.Err != nil && d.RPM:
		m.raw(`<p class="bad">Changelogs of RPMs are not read here.</p>`)
	case c.Err != nil:
		m.raw(`<p class="bad">The .deb cannot be read now.</p>`)
	case c.Text == "":
		m.raw(`<p>The .deb has no changelog`)
		m.given(` newer than `, c.Since, ``)
		m.raw(`.</p>`)
	}
	if len(c.CVEs) > 0 {
		m.raw("\n<p>Names ")
		m.words(c.CVEs, `<strong>`, `</strong>`)
		m.raw(`</p>`)
	}
	if c.Text != "" {
		m.raw("\n<pre class=\"wrap\">")
		m.mentions(c.Text)
		m.raw(`</pre>`)
	}
	m.raw("\n")
}

// mentions is a text with the CVE numbers in it marked.
func (m *markup) mentions(text string) {
	for line := range strings.Lines(text) {
		for {
			from, to := changes.FindCVE(line)
			if from < 0 {
				break
			}
			m.text(line[:from])
			m.put(`<strong>`, line[from:to], `</strong>`)
			line = line[to:]
		}
		m.text(line)
	}
}

func (d *packagePage) writeImages(m *markup) {
	if !d.HasImages {
		return
	}
	m.raw("<h2 id=\"images\">Images</h2>\n")
	switch i := d.Images; {
	case i == nil:
		m.raw(`<p>`)
		d.aside(m, "images", "Which images of this snapshot have it")
		m.raw("</p>\n")
	case i.Err != nil:
		m.raw("<p class=\"bad\">What the images are made of cannot be read now.</p>\n")
	default:
		d.writeHolders(m, i)
	}
}

// writeHolders writes which images have the package.
func (d *packagePage) writeHolders(m *markup, i *Images) {
	if len(i.Holders) == 0 {
		m.raw("<p>No image of this snapshot is known to have it.</p>\n")
	} else {
		m.raw(`<div class="scroll" tabindex="0" role="region" aria-labelledby="images"><table>
<thead><tr><th scope="col">Image</th><th scope="col">Architecture</th><th scope="col">Version in it</th></tr></thead>
<tbody>`)
		for _, h := range i.Holders {
			m.put("\n<tr><td class=\"mono\">", h.Image, `</td>`)
			m.put(`<td>`, h.Architecture, `</td>`)
			if m.put(`<td class="mono">`, h.Version, ``); h.Deb == d.Package.Digest {
				m.raw(` (this .deb)`)
			}
			m.raw(`</td></tr>`)
		}
		m.raw("\n</tbody></table></div>\n")
	}
	if len(i.Unknown) > 0 {
		m.raw(`<p>Of others the site has not signed what they are made of: `)
		m.words(i.Unknown, `<span class="mono">`, `</span>`)
		m.raw("</p>\n")
	}
}

func (d *packagePage) writeProof(m *markup) {
	m.raw("<h2 id=\"proof\">Proof</h2>\n<p>From the key to the bytes, each step with the command that checks it; paste them one after the other into an empty directory. ")
	if d.Proof.Believed() == chain.Verified {
		m.raw(`This server verified all of it.`)
	} else {
		m.raw(`Green is what this server verified itself; of the rest it says why it did not.`)
	}
	m.put(` <code>mmoci prove `, d.Package.Name, "</code> prints the same on a host.</p>\n")
	m.steps(d.Proof.Steps)
	if len(d.Fields) > 0 {
		m.raw(`<details><summary>The stanza, as the index has it</summary><div class="scroll" tabindex="0"><table><tbody>`)
		m.fields(d.Fields)
		m.raw("\n</tbody></table></div></details>\n")
	}
}
