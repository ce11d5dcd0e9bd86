package sbom

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// The parts of CycloneDX 1.6 that are written (cyclonedx.org/docs/1.6/json).
type (
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
		License    *cdxLicenceName `json:"license,omitempty"`
		Expression string          `json:"expression,omitempty"`
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

// The properties that tell of which source a package is.
const (
	propertySource  = "mmoci:source"
	propertyVersion = "mmoci:source-version"
)

// CycloneDX writes a document as CycloneDX 1.6 in JSON. Equal documents give equal bytes.
func CycloneDX(to io.Writer, d *Document) error {
	h := d.Root.Hex()
	root := cdxComponent{Type: "container", Ref: d.kind(), Name: cmp.Or(d.Name, d.kind()), Version: d.Version, Hashes: []cdxHash{{"SHA-256", h}}}
	if d.Mirror {
		root.Type = "data"
	}
	w := newWriter(to)
	w.field("bomFormat", "CycloneDX")
	w.field("specVersion", "1.6")
	// A UUID of the digest, marked as one of version 8 (RFC 9562, section 5.8).
	w.field("serialNumber", fmt.Sprintf("urn:uuid:%s-%s-8%s-8%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:32]))
	w.field("version", 1)
	w.field("metadata", cdxMetadata{d.Date.UTC().Format(time.RFC3339), root})
	var refs []string // in the order of the packages; "": it had its turn
	var chosen []*Package
	w.list("components", func(add func(any)) error {
		var known identity
		for p, err := range d.Packages {
			if err != nil {
				return err
			}
			if !d.Mirror {
				chosen = append(chosen, p)
			}
			ref, fresh := known.of(p.Deb, func(apart string) string {
				if apart != "" {
					apart = "#" + apart
				}
				return p.purl() + apart
			})
			if !fresh {
				refs = append(refs, "")
				continue
			}
			refs = append(refs, ref)
			add(cdxOf(p, ref))
		}
		return nil
	})
	w.list("dependencies", func(add func(any)) error {
		all := cdxDependency{Ref: root.Ref}
		for _, ref := range refs {
			if ref != "" {
				all.Need = append(all.Need, ref)
			}
		}
		add(all)
		for i, needs := range dependencies(chosen) {
			if refs[i] == "" {
				continue
			}
			dep := cdxDependency{Ref: refs[i]}
			for _, j := range needs {
				if refs[j] != "" && !slices.Contains(dep.Need, refs[j]) {
					dep.Need = append(dep.Need, refs[j])
				}
			}
			add(dep)
		}
		return nil
	})
	return w.end()
}

func cdxOf(p *Package, ref string) cdxComponent {
	c := cdxComponent{
		Type: "library", Ref: ref, Name: p.name(), Version: p.field("Version"), Publisher: p.field("Maintainer"),
		Hashes: []cdxHash{{"SHA-256", p.Deb.Hex()}}, PURL: p.purl(),
	}
	if p.Stanza == nil {
		c.Type = "file"
	} else {
		source, version := p.source()
		c.Properties = []cdxProperty{{propertySource, source}, {propertyVersion, version}}
	}
	if !p.Layer.IsZero() {
		c.Properties = append(c.Properties, cdxProperty{"mmoci:layer", p.Layer.String()})
	}
	if !p.Identity.IsZero() {
		c.Properties = append(c.Properties, cdxProperty{"mmoci:identity", p.Identity.String()})
	}
	if p.Path != "" {
		c.Properties = append(c.Properties, cdxProperty{"mmoci:path", p.Path})
	}
	own := map[string]string{}
	switch l := p.Licence; {
	case l.join != "":
		c.Licences = []cdxLicence{{Expression: l.text(func(name string) string { return spdxName(name, own) })}}
	case l.name != "":
		id := spdxName(l.name, own)
		if own[id] == "" {
			c.Licences = []cdxLicence{{License: &cdxLicenceName{ID: id}}}
		} else {
			c.Licences = []cdxLicence{{License: &cdxLicenceName{Name: l.name}}}
		}
	}
	return c
}
