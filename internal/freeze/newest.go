package freeze

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/suites"
)

// Candidate is a version of a package that an upstream has.
type Candidate struct {
	Archive, Suite, Name, Version, Architecture string
	Source                                      string // its name
	SHA256                                      string // hex
	Size                                        int64
	Pin                                         int  // apt's priority of its suite
	Security                                    bool // of an archive of security updates
	// Open reads its .deb. The bytes are not verified: their digest is SHA256 or they are wrong.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Candidates are all versions that the upstreams of today have of some packages; dated archives and own packages are not
// asked. Nothing is chosen, and no package is downloaded.
func Candidates(ctx context.Context, f Options, names []string) ([]Candidate, error) {
	plan := *f.Plan
	plan.Archives = slices.DeleteFunc(slices.Clone(plan.Archives), func(a config.Archive) bool {
		return a.Dated != "" || a.Own()
	})
	f.Plan, f.Lock = &plan, nil
	archives, err := suites.Read(ctx, f.reading(), f.Plan.Archives)
	if err != nil {
		return nil, err
	}
	indices, _ := resolveIndices(archives)
	var suites []*suites.Suite // of the indices
	for _, a := range archives {
		for _, s := range a.ReadSuites {
			for _, ix := range s.Indices {
				if ix.Arch != "source" && ix.Text != nil {
					suites = append(suites, s)
				}
			}
		}
	}
	u, err := universe(f, indices)
	if err != nil {
		return nil, err
	}
	var out []Candidate
	for _, name := range names {
		for _, p := range u.Versions(name) {
			suite := suites[p.Index]
			source, _ := p.Stanza.Source()
			file, size := strings.Clone(p.Filename), p.Size
			out = append(out, Candidate{
				Archive: p.Archive, Suite: p.Suite, Name: strings.Clone(p.Name), Version: strings.Clone(p.Version), Architecture: strings.Clone(p.Architecture),
				Source: strings.Clone(cmp.Or(source, p.Name)), SHA256: strings.Clone(p.SHA256), Size: size, Pin: indices[p.Index].Pin, Security: suite.IsSecurity(),
				Open: func(ctx context.Context) (io.ReadCloser, error) { return suite.Source.Up.Open(ctx, file, size) },
			})
		}
	}
	return out, u.Err()
}
