package push

import (
	"fmt"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// rebuilt refuses own packages and sources that have other bytes than in the snapshot that is replaced, under the same
// version: hosts that have the version would never get the new ones.
func rebuilt(old, now *snapshot.Snapshot) error {
	if old == nil {
		return nil
	}
	var lines []string
	for _, a := range now.Statement.Archives {
		was := old.Statement.Archive(a.Prefix)
		if a.Class != snapshot.Site || was == nil || was.Class != snapshot.Site || was.Format != a.Format {
			continue
		}
		dir := a.Prefix + "/"
		switch {
		case a.Format == snapshot.FormatDeb:
			dir += "pool/"
		case a.Format != snapshot.FormatRPM || a.Mode != snapshot.Curated: // not built here
			continue
		}
		before := map[snapshot.Package]snapshot.Row{}
		for r := range old.Table.Under(dir) {
			if r.IsPackage() {
				p := r.Package
				p.Source = ""
				before[p] = r
			}
		}
		for r := range now.Table.Under(dir) {
			p := r.Package
			p.Source = ""
			o, ok := before[p]
			if what := fmt.Sprintf("%s %s %s", r.Name, r.Version, r.Architecture); r.IsPackage() && ok && o.Digest != r.Digest {
				lines = append(lines, fmt.Sprintf("archive %s: %s is %s, before it was %s", a.Prefix, what, r.Digest, o.Digest))
			}
			if o, ok := old.Table.Find(r.Path); ok && !r.IsPackage() && strings.HasSuffix(r.Path, ".dsc") && o.Digest != r.Digest {
				lines = append(lines, fmt.Sprintf("%s is %s, before it was %s", r.Path, r.Digest, o.Digest))
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the same version with other bytes than in the snapshot to be replaced; give it another version:\n%s", outcome.ErrIntegrity, strings.Join(lines, "\n"))
}

// mountFrom is the repository of a snapshot that archives are taken out of, where it lies at the registry that is
// pushed to: it has most blobs. "": there is none, or it is the same repository.
func (o Options) mountFrom() string {
	for _, other := range o.Plan.Others {
		ref, err := artifact.ParseReference(other.From)
		if other.From == "" || err != nil || ref.Kind != artifact.Registry || o.Ref.Kind != artifact.Registry {
			continue
		}
		if ref.Host() == o.Ref.Host() && ref.Repository() != o.Ref.Repository() {
			return ref.Repository()
		}
	}
	return ""
}
