package sbom

import (
	"slices"
	"strings"
)

// Licence is an expression over short names of licences: a name, or several expressions joined by and or or. The zero value: nothing is known.
type Licence struct {
	name string // of a licence, as the copyright file spells it
	join string // "AND" or "OR"; "": it is a name
	of   []Licence
}

// text writes the expression with each name as spell has it; AND binds stronger than OR (SPDX 2.3, annex D).
func (l Licence) text(spell func(string) string) string {
	if l.join == "" {
		return spell(l.name)
	}
	var parts []string
	for _, o := range l.of {
		s := o.text(spell)
		if o.join == "OR" && l.join == "AND" {
			s = "(" + s + ")"
		}
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " "+l.join+" ")
}

// joined is what several expressions are together: those that are joined so themselves are parts of it.
func joined(join string, of []Licence) Licence {
	var all []Licence
	for _, l := range of {
		if l.join == join {
			all = append(all, l.of...)
		} else if l.join != "" || l.name != "" {
			all = append(all, l)
		}
	}
	switch len(all) {
	case 0:
		return Licence{}
	case 1:
		return all[0]
	}
	return Licence{join: join, of: all}
}

// LicenceOf is what a machine-readable copyright file (Debian's copyright-format 1.0) declares: what each of its paragraphs about
// files and about the whole says, all of them together. The zero value: it declares nothing.
func LicenceOf(copyright []byte) Licence {
	head := strings.ToLower(string(copyright[:min(len(copyright), 4096)]))
	if !strings.Contains(head, "copyright-format/1.0") && !strings.Contains(head, "dep5") {
		return Licence{}
	}
	var all, texts []Licence
	for i, paragraph := range paragraphs(string(copyright)) {
		short, files := "", i == 0
		for line := range strings.Lines(paragraph) {
			key, rest, _ := strings.Cut(line, ":")
			switch {
			case strings.EqualFold(key, "License") && short == "":
				short = rest
			case strings.EqualFold(key, "Files"):
				files = true
			}
		}
		if l := parseLicence(short); files {
			all = append(all, l)
		} else {
			texts = append(texts, l)
		}
	}
	if l := joined("AND", all); l.join != "" || l.name != "" {
		return l
	}
	return joined("AND", texts)
}

// paragraphs are separated by lines that are empty.
func paragraphs(s string) []string {
	var out []string
	begin, at := 0, 0
	for line := range strings.Lines(s) {
		if strings.TrimSpace(line) == "" {
			if begin < at {
				out = append(out, s[begin:at])
			}
			begin = at + len(line)
		}
		at += len(line)
	}
	if begin < at {
		out = append(out, s[begin:at])
	}
	return out
}

var licenceMarks = strings.NewReplacer(",", " , ", "(", " ", ")", " ")

// parseLicence reads short names with and, or and commas: and binds stronger than or, unless a comma stands before it
// (copyright-format 1.0, "License specification"). "and/or" leaves the choice.
func parseLicence(s string) Licence {
	words := strings.Fields(licenceMarks.Replace(s))
	// Pieces between commas, each with the word that joins it to those before.
	total, how := Licence{}, "AND"
	for len(words) > 0 {
		end := slices.Index(words, ",")
		piece := words
		if end >= 0 {
			piece, words = words[:end], words[end+1:]
		} else {
			words = nil
		}
		if l := parsePiece(piece); l.join != "" || l.name != "" {
			total = joined(how, []Licence{total, l})
		}
		how = "AND"
		if len(words) > 0 {
			if join := joins(words[0]); join != "" {
				how, words = join, words[1:]
			}
		}
	}
	return total
}

func joins(word string) string {
	switch strings.ToLower(word) {
	case "and":
		return "AND"
	case "or", "and/or":
		return "OR"
	}
	return ""
}

// parsePiece reads names with and and or. Several words without one of them are a name, such as GPL-2+ with OpenSSL exception.
func parsePiece(words []string) Licence {
	var either, all []Licence
	var name []string
	flush := func() {
		if len(name) > 0 {
			all = append(all, Licence{name: strings.Join(name, " ")})
		}
		name = nil
	}
	for _, w := range words {
		join := joins(w)
		if join == "" {
			name = append(name, w)
			continue
		}
		flush()
		if join == "OR" {
			either = append(either, joined("AND", all))
			all = nil
		}
	}
	flush()
	return joined("OR", append(either, joined("AND", all)))
}

// spdxNames are Debian's short names of licences that SPDX calls otherwise (copyright-format 1.0, "License specification").
var spdxNames = map[string]string{
	"gpl-1": "GPL-1.0-only", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later",
	"gpl-2.0": "GPL-2.0-only", "gpl-2.0+": "GPL-2.0-or-later", "gpl-3.0": "GPL-3.0-only", "gpl-3.0+": "GPL-3.0-or-later",
	"lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later",
	"agpl-3": "AGPL-3.0-only", "agpl-3+": "AGPL-3.0-or-later", "gfdl-1.2+": "GFDL-1.2-or-later", "gfdl-1.3+": "GFDL-1.3-or-later", "gfdl-1.3": "GFDL-1.3-only",
	"apache-2.0": "Apache-2.0", "expat": "MIT", "mit": "MIT", "isc": "ISC", "zlib": "Zlib", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause",
	"artistic": "Artistic-1.0-Perl", "artistic-2.0": "Artistic-2.0", "mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0", "cc0-1.0": "CC0-1.0", "openssl": "OpenSSL", "psf-2": "PSF-2.0", "0bsd": "0BSD", "unlicense": "Unlicense", "bsl-1.0": "BSL-1.0", "postgresql": "PostgreSQL",
}

// spdxName is what SPDX calls a licence; own is filled with those that it has no name for.
func spdxName(name string, own map[string]string) string {
	if id := spdxNames[strings.ToLower(name)]; id != "" {
		return id
	}
	id := "LicenseRef-" + strings.TrimPrefix(elementID("x", name), "SPDXRef-x-")
	own[id] = name
	return id
}
