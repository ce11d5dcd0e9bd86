package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The parts of SPDX 2.3 that are written (spdx.github.io/spdx-spec/v2.3, schemas/spdx-schema.json).
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		License       string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Licences      []spdxLicence      `json:"hasExtractedLicensingInfos,omitempty"`
		Relationships []spdxRelationship `json:"relationships"`
	}
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
func SPDX(d *Document) ([]byte, error) {
	name := d.Name
	if name == "" {
		name = "image"
	}
	out := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "urn:mmoci:image:" + d.Image.String(),
		Creation:  spdxCreation{d.Date.UTC().Format(time.RFC3339), []string{"Tool: mmoci"}},
	}
	const root = "SPDXRef-image"
	out.Packages = append(out.Packages, spdxPackage{
		ID: root, Name: name, Version: d.Version, Location: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "CONTAINER",
		Checksums: []spdxChecksum{{"SHA256", d.Image.Hex()}},
		Refs:      []spdxRef{{"PACKAGE-MANAGER", "purl", fmt.Sprintf("pkg:oci/%s@%s", escape(strings.ToLower(name)), escape(d.Image.String()))}},
	})
	relate := func(from, how, to string) {
		out.Relationships = append(out.Relationships, spdxRelationship{from, how, to})
	}
	relate("SPDXRef-DOCUMENT", "DESCRIBES", root)
	ids := make([]string, len(d.Packages))
	sources, licences := map[string]bool{}, map[string]string{}
	for i := range d.Packages {
		p := &d.Packages[i]
		ids[i] = elementID("Package", p.field("Package"), p.field("Version"), p.field("Architecture"))
		if slices.Contains(ids[:i], ids[i]) { // "all", in the images of two architectures
			continue
		}
		out.Packages = append(out.Packages, spdxPackage{
			ID: ids[i], Name: p.field("Package"), Version: p.field("Version"), Location: noAssertion, Concluded: noAssertion, Declared: declared(p, licences), Copyright: noAssertion,
			Supplier: supplier(p), Homepage: homepage(p), Summary: firstLine(p.field("Description")), SourceInfo: "layer " + p.Layer.String(),
			Checksums: []spdxChecksum{{"SHA256", p.Deb.Hex()}},
			Refs:      []spdxRef{{"PACKAGE-MANAGER", "purl", p.purl()}},
		})
		relate(root, "CONTAINS", ids[i])
		source, version := p.source()
		id := elementID("Source", source, version, "")
		relate(ids[i], "GENERATED_FROM", id)
		if !sources[id] {
			sources[id] = true
			out.Packages = append(out.Packages, spdxPackage{
				ID: id, Name: source, Version: version, Location: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "SOURCE",
				Refs: []spdxRef{{"PACKAGE-MANAGER", "purl", p.purlOf(source, version, "source")}},
			})
		}
	}
	seen := map[spdxRelationship]bool{}
	for i, needs := range d.dependencies() {
		for _, j := range needs {
			if r := (spdxRelationship{ids[i], "DEPENDS_ON", ids[j]}); !seen[r] {
				seen[r] = true
				out.Relationships = append(out.Relationships, r)
			}
		}
	}
	for _, id := range sortedKeys(licences) {
		out.Licences = append(out.Licences, spdxLicence{id, licences[id], "The text stands in the copyright file of the package: " + licences[id]})
	}
	return encode(out)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// elementID is an identifier of SPDX: letters, digits, dots and hyphens; another character is written as its number between dots.
func elementID(kind, name, version, arch string) string {
	var b strings.Builder
	b.WriteString("SPDXRef-" + kind)
	for _, part := range []string{name, version, arch} {
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
func declared(p *Package, own map[string]string) string {
	var names []string
	for _, l := range p.licences() {
		name, ok := spdxNames[strings.ToLower(l)]
		if !ok {
			name = "LicenseRef-" + strings.TrimPrefix(elementID("x", l, "", ""), "SPDXRef-x-")
			own[name] = l
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return noAssertion
	}
	return strings.Join(names, " AND ")
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
