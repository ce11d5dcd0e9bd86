// Package sbom writes what an image consists of as a software bill of materials: SPDX 2.3 in JSON, and CycloneDX 1.6 in JSON. It follows from the
// packages' own control and copyright files; nothing is scanned.
package sbom

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Document is what a bill of materials tells.
type Document struct {
	Name     string    // of the image; "": it has none
	Version  string    // "": none is told
	Date     time.Time // of the snapshot
	Image    snapshot.Digest
	Packages []Package
}

// Package is a binary package of the image.
type Package struct {
	Stanza    deb.Stanza      // its control file
	Deb       snapshot.Digest // of the .deb
	Layer     snapshot.Digest // diffID of the layer that has it
	Copyright []byte          // its copyright file; nil: it has none
	Distro    string          // ID-VERSION_ID of os-release, such as debian-12; "": not known
}

func (p *Package) field(name string) string { return p.Stanza.Get(name) }

// vendor is the namespace of the package's URL: the distribution's name.
func (p *Package) vendor() string {
	name, _, _ := strings.Cut(p.Distro, "-")
	return cmp.Or(name, "debian")
}

// purl is the package URL (github.com/package-url/purl-spec, types/deb-definition): the colon of an epoch is escaped.
func (p *Package) purl() string {
	return p.purlOf(p.field("Package"), p.field("Version"), p.field("Architecture"))
}

func (p *Package) purlOf(name, version, arch string) string {
	s := fmt.Sprintf("pkg:deb/%s/%s@%s?arch=%s", p.vendor(), escape(name), escape(version), arch)
	if p.Distro != "" {
		s += "&distro=" + p.Distro
	}
	return s
}

// escape is percent-encoding as package URLs have it.
func escape(s string) string {
	return strings.NewReplacer("+", "%2B", ":", "%3A").Replace(url.PathEscape(s))
}

// source is the source package and its version.
func (p *Package) source() (name, version string) { return p.Stanza.Source() }

// licences are the short names of the licences that a machine-readable copyright file (Debian's copyright-format 1.0) declares,
// each once, in its order.
func (p *Package) licences() []string {
	if !strings.Contains(string(p.Copyright[:min(len(p.Copyright), 4096)]), "copyright-format/1.0") && !strings.Contains(string(p.Copyright[:min(len(p.Copyright), 4096)]), "dep5") {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(p.Copyright)) {
		key, rest, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(key, "License") {
			continue
		}
		for _, part := range strings.FieldsFunc(rest, func(r rune) bool { return r == ',' }) {
			for _, name := range splitWords(part) {
				if name != "" && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// splitWords cuts "GPL-2+ and BSD-3-clause or Artistic" at its words; an exception belongs to the name before it.
func splitWords(s string) []string {
	var out []string
	var name []string
	flush := func() {
		if len(name) > 0 {
			out = append(out, strings.Join(name, " "))
		}
		name = nil
	}
	for _, w := range strings.Fields(s) {
		if l := strings.ToLower(w); l == "and" || l == "or" || l == "and/or" {
			flush()
			continue
		}
		name = append(name, w)
	}
	flush()
	return out
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

// dependencies are, for each package by its place, the places of those that meet its Pre-Depends and Depends, sorted.
func (d *Document) dependencies() [][]int {
	by := map[string][]int{}
	for i, p := range d.Packages {
		by[p.field("Package")] = append(by[p.field("Package")], i)
		provides, _ := deb.ParseRelations(p.field("Provides"), p.field("Architecture"))
		for _, clause := range provides {
			for _, r := range clause {
				by[r.Name] = append(by[r.Name], i)
			}
		}
	}
	out := make([][]int, len(d.Packages))
	for i, p := range d.Packages {
		for _, field := range []string{"Pre-Depends", "Depends"} {
			clauses, _ := deb.ParseRelations(p.field(field), p.field("Architecture"))
			for _, clause := range clauses {
				for _, r := range clause {
					for _, j := range by[r.Name] {
						if j != i && sameMachine(&p, &d.Packages[j]) {
							out[i] = append(out[i], j)
						}
					}
				}
			}
		}
		slices.Sort(out[i])
		out[i] = slices.Compact(out[i])
	}
	return out
}

// sameMachine tells whether two packages can be in one root.
func sameMachine(a, b *Package) bool {
	x, y := a.field("Architecture"), b.field("Architecture")
	return x == "all" || y == "all" || x == y
}
