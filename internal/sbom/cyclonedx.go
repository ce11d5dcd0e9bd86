package sbom

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The parts of CycloneDX 1.6 that are written (cyclonedx.org/docs/1.6/json).
type (
	cdxDocument struct {
		Format       string          `json:"bomFormat"`
		Spec         string          `json:"specVersion"`
		Serial       string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp"`
		Component cdxComponent `json:"component"`
	}
	cdxComponent struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref"`
		Name       string        `json:"name"`
		Version    string        `json:"version,omitempty"`
		Publisher  string        `json:"publisher,omitempty"`
		Hashes     []cdxHash     `json:"hashes,omitempty"`
		Licences   []cdxLicence  `json:"licenses,omitempty"`
		PURL       string        `json:"purl,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxLicence struct {
		License cdxLicenceName `json:"license"`
	}
	cdxLicenceName struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxDependency struct {
		Ref  string   `json:"ref"`
		Need []string `json:"dependsOn,omitempty"`
	}
)

// CycloneDX writes a document as CycloneDX 1.6 in JSON. Equal documents give equal bytes.
func CycloneDX(d *Document) ([]byte, error) {
	name := d.Name
	if name == "" {
		name = "image"
	}
	h := d.Image.Hex()
	// A UUID of the image's digest, marked as one of version 8 (RFC 9562, section 5.8).
	serial := fmt.Sprintf("urn:uuid:%s-%s-8%s-8%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:32])
	out := cdxDocument{Format: "CycloneDX", Spec: "1.6", Serial: serial, Version: 1, Metadata: cdxMetadata{
		Timestamp: d.Date.UTC().Format(time.RFC3339),
		Component: cdxComponent{Type: "container", Ref: "image", Name: name, Version: d.Version, Hashes: []cdxHash{{"SHA-256", h}}},
	}}
	refs := make([]string, len(d.Packages))
	all := cdxDependency{Ref: "image"}
	for i := range d.Packages {
		p := &d.Packages[i]
		if refs[i] = p.purl(); slices.Contains(refs[:i], refs[i]) {
			continue
		}
		all.Need = append(all.Need, refs[i])
		source, version := p.source()
		c := cdxComponent{
			Type: "library", Ref: refs[i], Name: p.field("Package"), Version: p.field("Version"), Publisher: p.field("Maintainer"),
			Hashes: []cdxHash{{"SHA-256", p.Deb.Hex()}}, PURL: refs[i],
			Properties: []cdxProperty{{"mmoci:source", source}, {"mmoci:source-version", version}, {"mmoci:layer", p.Layer.String()}},
		}
		for _, l := range p.licences() {
			n := cdxLicenceName{ID: spdxNames[strings.ToLower(l)]}
			if n.ID == "" {
				n.Name = l
			}
			if !slices.Contains(c.Licences, cdxLicence{n}) {
				c.Licences = append(c.Licences, cdxLicence{n})
			}
		}
		out.Components = append(out.Components, c)
	}
	out.Dependencies = append(out.Dependencies, all)
	done := map[string]bool{}
	for i, needs := range d.dependencies() {
		if done[refs[i]] {
			continue
		}
		done[refs[i]] = true
		dep := cdxDependency{Ref: refs[i]}
		for _, j := range needs {
			if !slices.Contains(dep.Need, refs[j]) {
				dep.Need = append(dep.Need, refs[j])
			}
		}
		out.Dependencies = append(out.Dependencies, dep)
	}
	return encode(out)
}
