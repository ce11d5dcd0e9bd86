package push

import (
	"fmt"
	"strings"

	"example.org/mmoci/internal/outcome"
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
		if a.Class != snapshot.Site || a.Format != snapshot.FormatDeb || was == nil || was.Class != snapshot.Site {
			continue
		}
		before := map[snapshot.Package]snapshot.Row{}
		for r := range old.Table.Under(a.Prefix + "/pool/") {
			if r.IsPackage() {
				p := r.Package
				p.Source = ""
				before[p] = r
			}
		}
		for r := range now.Table.Under(a.Prefix + "/pool/") {
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
