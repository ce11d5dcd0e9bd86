package config

import (
	"encoding/json"
	"example.org/mmoci/internal/config/document"
	"fmt"
)

// aptlyConf is what of an aptly.conf changes which packages are chosen. The
// rest says how aptly works (where, how fast, signed or not) and has no meaning here.
type aptlyConf struct {
	Architectures          []string `json:"architectures"`
	DownloadSourcePackages bool     `json:"downloadSourcePackages"`
	Suggests               bool     `json:"dependencyFollowSuggests"`
	Recommends             bool     `json:"dependencyFollowRecommends"`
	AllVariants            bool     `json:"dependencyFollowAllVariants"`
	Source                 bool     `json:"dependencyFollowSource"`
}

// aptly takes an aptly.conf (nil: none) into the source. What cannot be
// honoured is refused, for it would be dropped silently.
func (s *source) aptly(at document.Position, data []byte) error {
	c := aptlyConf{}
	if data != nil {
		if err := json.Unmarshal(data, &c); err != nil {
			return document.Errorf(at, "aptly configuration: not JSON of the expected form")
		}
	}
	for _, x := range []struct {
		key string
		set bool
		do  string
	}{
		{"dependencyFollowSuggests", c.Suggests, "name the packages in the list"},
		{"dependencyFollowRecommends", c.Recommends, "it holds for a whole snapshot here: remove it and ask for Recommends when you push"},
		{"dependencyFollowAllVariants", c.AllVariants, "name the packages in the list"},
		{"dependencyFollowSource", c.Source, "remove it and set downloadSourcePackages"},
	} {
		if x.set {
			return document.Errorf(at, "aptly configuration: %s is not supported; %s", x.key, x.do)
		}
	}
	s.withSources = c.DownloadSourcePackages
	s.architectures = []string{"amd64"}
	if len(c.Architectures) > 0 {
		s.architectures = nil
		for _, a := range c.Architectures {
			if a == "source" {
				s.withSources = true
			} else if err := validArchitecture(a); err != nil {
				return document.Errorf(at, "aptly configuration: architectures: %q %w", fmt.Sprintf("%.40s", a), err)
			} else {
				s.architectures = append(s.architectures, a)
			}
		}
	}
	return nil
}
