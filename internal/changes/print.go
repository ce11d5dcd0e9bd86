package changes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/terminal"
)

// Group are the changes of one source package, or of one container image.
type Group struct {
	Source   string // "": an image
	Security bool
	CVEs     []string
	Changes  []Change
}

// Groups are changes by source: those with a security update first, then in order of source; files and images last.
func Groups(changes []Change) []Group {
	at := map[string]int{}
	var out []Group
	for _, c := range changes {
		source := cmp.Or(c.Source, c.Name)
		if c.Image || c.File {
			out = append(out, Group{Changes: []Change{c}})
			continue
		}
		i, ok := at[source]
		if !ok {
			i = len(out)
			at[source] = i
			out = append(out, Group{Source: source})
		}
		g := &out[i]
		g.Changes = append(g.Changes, c)
		g.Security = g.Security || c.Security
		g.CVEs = append(g.CVEs, c.CVEs...)
	}
	for i := range out {
		slices.SortFunc(out[i].CVEs, compareCVEs)
		out[i].CVEs = slices.Compact(out[i].CVEs)
	}
	rank := func(g Group) int {
		switch {
		case g.Source == "":
			return 2
		case g.Security:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b Group) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Source, b.Source)) })
	return out
}

// kinds are the kinds of changes of packages, in the order in which they are counted.
var kinds = []string{"upgraded", "added", "removed", "downgraded", "rebuilt", "moved"}

// maxCVEs is how many CVE numbers the totals name; more are counted there, and named with their source.
const maxCVEs = 8

// Totals is one line: how many packages of how many sources differ and how, how many are security updates, and the CVE
// numbers that their changelogs name.
func Totals(changes []Change) string {
	packages, security, images, files, sources := 0, 0, 0, 0, 0
	count := map[string]int{}
	var cves []string
	for _, g := range Groups(changes) {
		if g.Source == "" {
			if g.Changes[0].File {
				files++
			} else {
				images++
			}
			continue
		}
		sources++
		cves = append(cves, g.CVEs...)
		for _, c := range g.Changes {
			packages++
			count[c.Kind]++
			if c.Security {
				security++
			}
		}
	}
	if len(changes) == 0 {
		return "0 packages differ"
	}
	var parts []string
	if packages > 0 {
		verb := " differ"
		if packages == 1 {
			verb = " differs"
		}
		var hows []string
		for _, kind := range kinds {
			if count[kind] > 0 {
				hows = append(hows, fmt.Sprintf("%d %s", count[kind], kind))
			}
		}
		parts = append(parts, terminal.Count(packages, "package")+" of "+terminal.Count(sources, "source")+verb+": "+strings.Join(hows, ", "),
			fmt.Sprintf("%d from a security archive", security))
	}
	slices.SortFunc(cves, compareCVEs)
	if cves = slices.Compact(cves); len(cves) > 0 {
		named := strings.Join(cves, ", ")
		if len(cves) > maxCVEs {
			named = terminal.Count(len(cves), "CVE")
		}
		parts = append(parts, "their changelogs name "+named)
	}
	switch {
	case files == 1:
		parts = append(parts, "1 file differs")
	case files > 1:
		parts = append(parts, fmt.Sprintf("%d files differ", files))
	}
	switch {
	case images == 1:
		parts = append(parts, "1 image differs")
	case images > 1:
		parts = append(parts, fmt.Sprintf("%d images differ", images))
	}
	return strings.Join(parts, "; ")
}

// Text is the changes for people: the totals, then a line for each change as [Change.Line] makes it, those of one source together.
// What its changelogs say stands below them, indented. "" if nothing differs.
func Text(changes []Change) string {
	if len(changes) == 0 {
		return ""
	}
	return Totals(changes) + "\n" + Lines(changes)
}

// Lines is [Text] without the totals.
func Lines(changes []Change) string {
	var b strings.Builder
	for _, g := range Groups(changes) {
		for _, c := range g.Changes {
			b.WriteString(c.Line() + "\n")
		}
		if len(g.CVEs) > 0 {
			fmt.Fprintf(&b, "    %s: %s\n", g.Source, strings.Join(g.CVEs, ", "))
		}
		for _, c := range g.Changes {
			if c.Changelog != "" {
				b.WriteString(indented(c.Changelog, "    "))
			}
		}
	}
	return b.String()
}

// Line is "+ name arch version (archive)", "- ..", or "~ name arch old -> new (archive)", where the archives of the versions
// differ "(old archive -> archive)"; with "security" at the end.
func (c Change) Line() string {
	notes := []string{c.archives()}
	if c.Image {
		notes[0] = "image"
	}
	if c.File {
		notes[0] = "file of " + c.Archive
	}
	if c.Security {
		notes = append(notes, "security")
	}
	if c.Others {
		notes = append(notes, "other versions stay")
	}
	if c.Kind == "moved" || c.Kind == "rebuilt" || c.Kind == "downgraded" {
		notes = append(notes, c.Kind)
	}
	end := " (" + strings.Join(notes, ", ") + ")"
	name := strings.TrimSuffix(c.Name+" "+c.Architecture, " ") // an image has no architecture
	switch c.Kind {
	case "added":
		return fmt.Sprintf("+ %s %s%s", name, c.New, end)
	case "removed":
		return fmt.Sprintf("- %s %s%s", name, c.Old, end)
	case "moved":
		return fmt.Sprintf("~ %s %s%s", name, c.New, end)
	}
	return fmt.Sprintf("~ %s %s -> %s%s", name, c.Old, c.New, end)
}

func (c Change) archives() string {
	if c.OldArchive != "" {
		return c.OldArchive + " -> " + c.Archive
	}
	return c.Archive
}

// row is a line of the table of [Markdown]: packages of one source to which the same happened.
type row struct {
	source, old, now, archive, what string
	packages                        []string // NAME (ARCHITECTURE, ..)
}

// add names a package.
func (r *row) add(c Change) {
	name := cell(c.Name) + " ("
	if i := len(r.packages) - 1; i >= 0 && strings.HasPrefix(r.packages[i], name) {
		r.packages[i] = strings.TrimSuffix(r.packages[i], ")") + ", " + c.Architecture + ")"
		return
	}
	r.packages = append(r.packages, name+c.Architecture+")")
}

// rows are the lines for a group.
func (g Group) rows() []row {
	var out []row
	for _, c := range g.Changes {
		r := row{source: cmp.Or(g.Source, c.Name), old: c.Old, now: c.New, archive: c.archives(), what: c.Kind}
		switch {
		case c.Image:
			r.what = "image, " + c.Kind
		case c.File:
			r.what = "file, " + c.Kind
		case c.Security:
			r.what = "**security**, " + c.Kind
		case c.Others:
			r.what = c.Kind + ", other versions stay"
		}
		i := slices.IndexFunc(out, func(o row) bool {
			return o.old == r.old && o.now == r.now && o.archive == r.archive && o.what == r.what
		})
		if i < 0 {
			i = len(out)
			out = append(out, r)
		}
		if !c.Image && !c.File {
			out[i].add(c)
		}
	}
	return out
}

// Markdown is the changes for a merge request: the totals, a table with a row for each step of a source, security updates
// first in bold type, and the changelogs.
func Markdown(changes []Change) string {
	var b strings.Builder
	b.WriteString(Totals(changes) + ".\n")
	if len(changes) == 0 {
		return b.String()
	}
	b.WriteString("\n| source | packages | old | new | archive | | CVEs |\n|---|---|---|---|---|---|---|\n")
	groups := Groups(changes)
	for _, g := range groups {
		for _, r := range g.rows() {
			var cves []string
			if strings.Contains(r.what, "upgraded") {
				cves = g.CVEs
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
				cell(r.source), strings.Join(r.packages, ", "), cell(r.old), cell(r.now), r.archive, r.what, strings.Join(cves, ", "))
		}
	}
	for _, g := range groups {
		for _, c := range g.Changes {
			if c.Changelog != "" { // indented code, in which nothing is markup
				fmt.Fprintf(&b, "\n### %s %s -> %s\n\n%s", cell(g.Source), cell(c.Old), cell(c.New), indented(c.Changelog, "    "))
			}
		}
	}
	return b.String()
}

// cell keeps a name or version from ending a table cell or starting markup.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "*", "\\*", "_", "\\_", "<", "&lt;", "`", "\\`").Replace(s)
}

// indented puts by before each line that is not empty.
func indented(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		if line != "\n" {
			b.WriteString(by)
		}
		b.WriteString(line)
	}
	return b.String()
}
