package site

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Listed is a package of a snapshot; its JSON form is what ls --json prints.
type Listed struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Prefix       string `json:"prefix"`
	Component    string `json:"component,omitempty"`
	Source       string `json:"source"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	Path         string `json:"path"`
}

// List lists the packages of a snapshot in order of prefix, name, version and
// architecture. It reads the table and the lock, which are hints: what it prints is not proved.
func List(ctx context.Context, s *snapshot.Snapshot) ([]Listed, error) {
	lock, err := s.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	component := map[string]string{}
	if l, err := config.ParseLock("lock", lock); err == nil {
		for _, a := range l.Archives {
			for _, p := range a.Packages {
				component[a.Prefix+" "+p.Digest] = p.Component
			}
		}
	}
	var out []Listed
	for r := range s.Table.Rows() {
		if r.Name == "" {
			continue
		}
		prefix, rest, _ := strings.Cut(r.Path, "/")
		l := Listed{r.Name, r.Version, r.Architecture, prefix, component[prefix+" "+r.Digest.String()], r.Source, r.Digest.String(), r.Size, r.Path}
		if parts := strings.Split(rest, "/"); l.Component == "" && len(parts) > 2 && parts[0] == "pool" {
			l.Component = parts[1] // Debian's layout: pool/COMPONENT/...
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Name, b.Name), deb.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	return out, nil
}
