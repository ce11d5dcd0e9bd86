package sbom

import (
	"encoding/json"
	"fmt"

	"example.org/mmoci/pkg/snapshot"
)

// Source is a source package.
type Source struct{ Name, Version string }

// SourcesOf reads of which sources the packages of a bill are, by the digests of their .debs, out of what [CycloneDX] wrote.
func SourcesOf(cyclonedx []byte) (map[snapshot.Digest]Source, error) {
	var d struct {
		Components []struct {
			Name       string        `json:"name"`
			Hashes     []cdxHash     `json:"hashes"`
			Properties []cdxProperty `json:"properties"`
		} `json:"components"`
	}
	if err := json.Unmarshal(cyclonedx, &d); err != nil {
		return nil, err
	}
	out := map[snapshot.Digest]Source{}
	for _, c := range d.Components {
		var s Source
		for _, p := range c.Properties {
			switch p.Name {
			case propertySource:
				s.Name = p.Value
			case propertyVersion:
				s.Version = p.Value
			}
		}
		for _, h := range c.Hashes {
			deb, err := snapshot.ParseDigest("sha256:" + h.Content)
			if h.Algorithm != "SHA-256" || err != nil || s.Name == "" {
				return nil, fmt.Errorf("package %.80q has no digest or no source", c.Name)
			}
			out[deb] = s
		}
	}
	return out, nil
}
