package sbom

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// The parts of SPDX 2.3 that are written (spdx.github.io/spdx-spec/v2.3, schemas/spdx-schema.json).
type (
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID         string         `json:"SPDXID"`
		Name       string         `json:"name"`
		Version    string         `json:"versionInfo,omitempty"`
		Location   string         `json:"downloadLocation"`
		Analyzed   bool           `json:"filesAnalyzed"`
		Concluded  string         `json:"licenseConcluded"`
		Declared   string         `json:"licenseDeclared"`
		Copyright  string         `json:"copyrightText"`
		Supplier   string         `json:"supplier,omitempty"`
		Homepage   string         `json:"homepage,omitempty"`
		Summary    string         `json:"summary,omitempty"`
		SourceInfo string         `json:"sourceInfo,omitempty"`
		Purpose    string         `json:"primaryPackagePurpose,omitempty"`
		File       string         `json:"packageFileName,omitempty"`
		Checksums  []spdxChecksum `json:"checksums,omitempty"`
		Refs       []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Name string `json:"name"`
		Text string `json:"extractedText"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const noAssertion = "NOASSERTION"

// SPDX writes a document as SPDX 2.3 in JSON. Equal documents give equal bytes.
func SPDX(to io.Writer, d *Document) error {
	name := cmp.Or(d.Name, d.kind())
	root := "SPDXRef-" + d.kind()
	w := newWriter(to)
	w.field("spdxVersion", "SPDX-2.3")
	w.field("dataLicense", "CC0-1.0")
	w.field("SPDXID", "SPDXRef-DOCUMENT")
	w.field("name", name)
	w.field("documentNamespace", "urn:mmoci:"+d.kind()+":"+d.Root.String())
	w.field("creationInfo", spdxCreation{d.Date.UTC().Format(time.RFC3339), []string{"Tool: mmoci"}})
	b := spdxBill{d: d, licences: map[string]string{}}
	w.list("packages", func(add func(any)) error {
		p := spdxPackage{
			ID: root, Name: name, Version: d.Version, Location: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "CONTAINER",
			Checksums: []spdxChecksum{{"SHA256", d.Root.Hex()}},
			Refs:      []spdxRef{{"PACKAGE-MANAGER", "purl", fmt.Sprintf("pkg:oci/%s@%s", escape(strings.ToLower(name)), escape(d.Root.String()))}},
		}
		if d.Mirror {
			p.Purpose = "ARCHIVE"
		}
		add(p)
		return b.packages(add)
	})
	if len(b.licences) > 0 {
		w.list("hasExtractedLicensingInfos", func(add func(any)) error {
			for _, id := range slices.Sorted(maps.Keys(b.licences)) {
				add(spdxLicence{id, b.licences[id], "The text stands in the copyright file of the package: " + b.licences[id]})
			}
			return nil
		})
	}
	w.list("relationships", func(add func(any)) error {
		add(spdxRelationship{"SPDXRef-DOCUMENT", "DESCRIBES", root})
		return b.relationships(root, add)
	})
	return w.end()
}

// spdxBill is what is remembered between the packages of a document and their relationships.
type spdxBill struct {
	d        *Document
	ids      []string          // of the packages, in their order; "": it had its turn
	licences map[string]string // that SPDX has no name for
}

func (b *spdxBill) packages(add func(any)) error {
	var known identity
	sources := map[string]bool{}
	for p, err := range b.d.Packages {
		if err != nil {
			return err
		}
		id, fresh := known.of(p.Deb, func(apart string) string {
			if p.Stanza == nil {
				return elementID("File", p.Path, apart)
			}
			return elementID("Package", p.field("Package"), p.field("Version"), p.field("Architecture"), apart)
		})
		if !fresh { // "all", in the images of two architectures or the indices of two suites
			b.ids = append(b.ids, "")
			continue
		}
		b.ids = append(b.ids, id)
		add(spdxPackage{
			ID: id, Name: p.name(), Version: p.field("Version"), Location: noAssertion, Concluded: noAssertion, Declared: b.declared(p), Copyright: noAssertion,
			Supplier: supplier(p), Homepage: homepage(p), Summary: firstLine(p.field("Description")), SourceInfo: sourceInfo(p), File: p.Path,
			Checksums: []spdxChecksum{{"SHA256", p.Deb.Hex()}},
			Refs:      []spdxRef{{"PACKAGE-MANAGER", "purl", p.purl()}},
		})
		if p.Stanza == nil {
			continue
		}
		source, version := p.source()
		if id := elementID("Source", source, version); !sources[id] {
			sources[id] = true
			add(spdxPackage{
				ID: id, Name: source, Version: version, Location: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "SOURCE",
				Refs: []spdxRef{{"PACKAGE-MANAGER", "purl", p.PURL(source, version, "source")}},
			})
		}
	}
	return nil
}

func (b *spdxBill) relationships(root string, add func(any)) error {
	var chosen []*Package
	i := -1
	for p, err := range b.d.Packages {
		if err != nil {
			return err
		}
		i++
		if !b.d.Mirror {
			chosen = append(chosen, p)
		}
		if b.ids[i] == "" {
			continue
		}
		add(spdxRelationship{root, "CONTAINS", b.ids[i]})
		if p.Stanza == nil {
			continue
		}
		source, version := p.source()
		add(spdxRelationship{b.ids[i], "GENERATED_FROM", elementID("Source", source, version)})
	}
	seen := map[spdxRelationship]bool{}
	for i, needs := range dependencies(chosen) {
		for _, j := range needs {
			if r := (spdxRelationship{b.ids[i], "DEPENDS_ON", b.ids[j]}); r.From != "" && r.To != "" && !seen[r] {
				seen[r] = true
				add(r)
			}
		}
	}
	return nil
}

func sourceInfo(p *Package) string {
	var parts []string
	if !p.Layer.IsZero() {
		parts = append(parts, "layer "+p.Layer.String())
	}
	if !p.Identity.IsZero() {
		parts = append(parts, "built of the source with identity "+p.Identity.String())
	}
	return strings.Join(parts, ", ")
}

// elementID is an identifier of SPDX: letters, digits, dots and hyphens; another character is written as its number between dots.
func elementID(kind string, parts ...string) string {
	var b strings.Builder
	b.WriteString("SPDXRef-" + kind)
	for _, part := range parts {
		if part == "" {
			continue
		}
		b.WriteByte('-')
		for _, c := range []byte(part) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, ".%d.", c)
			}
		}
	}
	return b.String()
}

// declared are the licences of a package as an expression of SPDX; those that SPDX has no name for get one of the document's own.
func (b *spdxBill) declared(p *Package) string {
	return cmp.Or(p.Licence.text(func(name string) string {
		if name == "" {
			return ""
		}
		return spdxName(name, b.licences)
	}), noAssertion)
}

// supplier is who maintains the package, as SPDX spells it.
func supplier(p *Package) string {
	m := strings.TrimSpace(p.field("Maintainer"))
	name, mail, ok := strings.Cut(strings.TrimSuffix(m, ">"), "<")
	switch {
	case m == "":
		return ""
	case !ok:
		return "Person: " + m
	}
	return fmt.Sprintf("Person: %s (%s)", strings.Trim(strings.TrimSpace(name), `"`), strings.TrimSpace(mail))
}

func homepage(p *Package) string {
	h := p.field("Homepage")
	if strings.HasPrefix(h, "http://") || strings.HasPrefix(h, "https://") {
		return h
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
