package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// PrunedVersion is a version of a package, a source, or a plain file, that a snapshot has which goes.
type PrunedVersion struct {
	Archive      string `json:"archive"`
	Name         string `json:"name"` // of a source that of its .dsc, of a plain file its own path below the archive
	Version      string `json:"version,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Digest       string `json:"digest,omitempty"` // of a source and a plain file, which have no version here
	Tag          string `json:"tag"`              // the newest that goes with it
	HeldBy       string `json:"heldBy,omitempty"` // the newest tag that stays and has the same file; "": none, the version is gone
}

// versions tells of each file of a package, each source and each plain file in a snapshot that goes, and that the newest one which stays has not, whether
// any that stays has it, under whatever tag of the place. It goes by tables, which nobody has verified; what cannot
// be read of a snapshot that stays holds nothing.
func (p PruneOptions) versions(ctx context.Context, tags []artifact.Tag, out *PruneResult) ([]PrunedVersion, error) {
	goes := map[string]bool{}
	for _, t := range out.Remove {
		goes[t.Name] = true
	}
	var kept []artifact.Tag
	for _, t := range tags {
		if !goes[t.Name] && !t.Digest.IsZero() && !isCheckpoint(t.Name) {
			kept = append(kept, t)
		}
	}
	kept = byName(kept)
	var going []artifact.Tag
	for _, t := range out.Remove {
		if !isCheckpoint(t.Name) {
			going = append(going, t.Tag)
		}
	}
	snapshots, err := p.snapshots(ctx, append(slices.Clone(kept), going...))
	if err != nil {
		return nil, err
	}
	current := map[string]bool{} // what the newest that stays has
	if len(out.Keep) > 0 {
		for _, r := range contentOf(snapshots[out.Keep[0].Digest]) {
			current[versionKey(r)] = true
		}
	}
	seen := map[string]*PrunedVersion{}
	var order []string
	for _, t := range going {
		for _, r := range contentOf(snapshots[t.Digest]) {
			key := versionKey(r)
			if current[key] || seen[key] != nil {
				continue
			}
			order = append(order, key)
			seen[key] = prunedVersion(r, t.Name)
		}
	}
	for _, t := range kept {
		for _, r := range contentOf(snapshots[t.Digest]) {
			if v := seen[versionKey(r)]; v != nil && v.HeldBy == "" {
				v.HeldBy = t.Name
			}
		}
	}
	var list []PrunedVersion
	for _, key := range order {
		list = append(list, *seen[key])
	}
	slices.SortStableFunc(list, func(a, b PrunedVersion) int {
		return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	return list, nil
}

// byName is one tag for each root, newest first: of several names the shortest, which somebody gave, under the date
// that the immutable one has.
func byName(tags []artifact.Tag) []artifact.Tag {
	best := map[snapshot.Digest]artifact.Tag{}
	for _, t := range tags {
		was, ok := best[t.Digest]
		date := t.Date
		if was.Date.After(date) {
			date = was.Date
		}
		if ok && cmp.Or(cmp.Compare(len(was.Name), len(t.Name)), cmp.Compare(was.Name, t.Name)) <= 0 {
			t = was
		}
		t.Date = date
		best[t.Digest] = t
	}
	return slices.SortedFunc(maps.Values(best), func(a, b artifact.Tag) int {
		return cmp.Or(b.Date.Compare(a.Date), cmp.Compare(a.Name, b.Name))
	})
}

func versionKey(r snapshot.Row) string {
	return r.Archive() + " " + cmp.Or(r.Name, r.Path) + " " + r.Version + " " + r.Architecture + " " + r.Digest.String()
}

// prunedVersion is what a row of contentOf is called.
func prunedVersion(r snapshot.Row, tag string) *PrunedVersion {
	v := &PrunedVersion{Archive: r.Archive(), Name: r.Name, Version: r.Version, Architecture: r.Architecture, Tag: tag}
	if !r.IsPackage() {
		v.Name, v.Digest = strings.TrimPrefix(r.Path, v.Archive+"/"), r.Digest.String()
	}
	return v
}

// contentOf are the packages, sources (each by its .dsc) and plain files of a snapshot; none of nil.
func contentOf(s *snapshot.Snapshot) (out []snapshot.Row) {
	if s == nil {
		return nil
	}
	for r := range s.Table.Rows() {
		if _, plain := s.Statement.Archive(r.Archive()).PlainFile(r); plain || r.IsPackage() || strings.HasSuffix(r.Path, ".dsc") {
			out = append(out, r)
		}
	}
	return out
}

// snapshots opens each distinct snapshot; what is none, or is damaged, is nil.
func (p PruneOptions) snapshots(ctx context.Context, tags []artifact.Tag) (map[snapshot.Digest]*snapshot.Snapshot, error) {
	out := map[snapshot.Digest]*snapshot.Snapshot{}
	var mu sync.Mutex
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(statements)
	asked := map[snapshot.Digest]bool{}
	for _, t := range tags {
		if asked[t.Digest] {
			continue
		}
		asked[t.Digest] = true
		g.Go(func() error {
			sealed, err := artifact.Open(each, artifact.Reference{Kind: p.Ref.Kind, Name: p.Ref.Name, Digest: t.Digest}, p.Options)
			var s *snapshot.Snapshot
			if err == nil {
				s, err = sealed.Unseal(nil)
			}
			switch {
			case each.Err() != nil:
				return context.Cause(each)
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				out[t.Digest] = s
				return nil
			case errors.Is(err, artifact.ErrNotFound), errors.Is(err, snapshot.ErrNotExist), errors.Is(err, artifact.ErrNotOurs), errors.Is(err, snapshot.ErrIntegrity):
				return nil
			}
			return fmt.Errorf("tag %s: %w", t.Name, err)
		})
	}
	return out, g.Wait()
}
