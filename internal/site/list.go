// Package site is what an operator does to the snapshots of a site beside pushing
// them: list, copy and promote, roll back, prune, and look for what is wrong.
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

// Listed is a package of a snapshot, or a container image; its JSON form is what ls --json prints.
// An image has its tag as version and no architecture, prefix or source; Size is that of its manifest.
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
	Image        bool   `json:"image,omitempty"`
}

// List lists the packages of a snapshot in order of prefix, name, version and
// architecture, then the images. It reads the table and the lock, which are hints: what it prints is not proved.
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
		l := Listed{r.Name, r.Version, r.Architecture, prefix, component[prefix+" "+r.Digest.String()], r.Source, r.Digest.String(), r.Size, r.Path, false}
		if parts := strings.Split(rest, "/"); l.Component == "" && len(parts) > 2 && parts[0] == "pool" {
			l.Component = parts[1] // Debian's layout: pool/COMPONENT/...
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Name, b.Name), deb.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	for _, m := range s.Statement.Images {
		i := strings.LastIndexByte(m.Name, ':')
		out = append(out, Listed{Name: m.Name[:i], Version: m.Name[i+1:], Digest: m.Digest.String(), Size: m.Size, Path: snapshot.ImageBlobPath(m.Digest), Image: true})
	}
	return out, nil
}
