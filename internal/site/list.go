// Package site is what an operator does to the snapshots of a site beside pushing
// them: list, copy and promote, roll back, prune, and look for what is wrong.
package site

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Listed is a package of a snapshot, a plain file, or a container image; its JSON form is what ls --json prints.
// A file has its path as name, "file" as architecture, and neither version nor source.
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
	// Built is what the lock says of the build of a package of the site's own, "built of sha256:IDENTITY, signed by ..".
	Built string `json:"built,omitempty"`
	Image bool   `json:"image,omitempty"`
	// Ref is the snapshot, where several were looked into.
	Ref string `json:"ref,omitempty"`
}

// ListAll lists what a search takes of snapshots, in their order; ErrNotFound if something is asked for and none has it.
func ListAll(ctx context.Context, refs []artifact.Reference, q Search, o artifact.Options) ([]Listed, error) {
	out := []Listed{}
	for _, ref := range refs {
		s, err := place.OpenUnverified(ctx, ref, o)
		if err != nil {
			return nil, err
		}
		list, err := List(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		for _, l := range list {
			if !q.Takes(l) {
				continue
			}
			if len(refs) > 1 {
				l.Ref = ref.String()
			}
			out = append(out, l)
		}
	}
	if q.Any() && len(out) == 0 {
		return nil, fmt.Errorf("%w: no package is what is searched for in %s", outcome.ErrNotFound, namesOf(refs))
	}
	return out, nil
}

func namesOf(refs []artifact.Reference) string {
	if len(refs) > 1 {
		return fmt.Sprintf("%d snapshots", len(refs))
	}
	return refs[0].String()
}

// Tagged are the snapshots of a repository whose tag is a glob, each once, under the first of its tags by name. Checkpoints are
// no snapshots. ErrNotFound if there is none.
func Tagged(ctx context.Context, ref artifact.Reference, glob string, o artifact.Options) ([]artifact.Reference, error) {
	tags, err := artifact.Tags(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tags, func(a, b artifact.Tag) int { return cmp.Compare(a.Name, b.Name) })
	seen := map[snapshot.Digest]bool{}
	var out []artifact.Reference
	for _, t := range tags {
		if !matches(glob, t.Name) || isCheckpoint(t.Name) || seen[t.Digest] {
			continue
		}
		seen[t.Digest] = true
		one := ref
		one.Tag, one.Digest = t.Name, snapshot.Digest{}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s has no tag %s (%d tags are there)", outcome.ErrNotFound, ref, glob, len(tags))
	}
	return out, nil
}

// List lists the packages of a snapshot in order of prefix, name, version and
// architecture, then the images. It reads the table and the lock, which are hints: what it prints is not proved.
func List(ctx context.Context, s *snapshot.Snapshot) ([]Listed, error) {
	lock, err := s.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	component, built := map[string]string{}, map[string]string{}
	if l, err := config.ParseLock("lock", lock); err == nil {
		built = l.Built()
		for _, a := range l.Archives {
			for _, p := range a.Packages {
				component[a.Prefix+" "+p.Digest] = p.Component
			}
		}
	}
	var out []Listed
	for r := range s.Table.Rows() {
		if name, plain := s.Statement.Archive(r.Archive()).PlainFile(r); plain {
			out = append(out, Listed{Name: name, Architecture: "file", Prefix: r.Archive(), Digest: r.Digest.String(), Size: r.Size, Path: r.Path})
			continue
		}
		if r.Name == "" {
			continue
		}
		prefix, rest, _ := strings.Cut(r.Path, "/")
		l := Listed{Name: r.Name, Version: r.Version, Architecture: r.Architecture, Prefix: prefix, Source: r.Source, Digest: r.Digest.String(), Size: r.Size, Path: r.Path}
		l.Component, l.Built = component[prefix+" "+l.Digest], built[prefix+" "+l.Digest]
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
