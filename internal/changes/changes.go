// Package changes tells what differs between two snapshots, for people and
// programs: packages joined by name and architecture over all archives, grouped by their source, with
// the entries of changelogs between two versions and the CVE numbers in them.
package changes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Change is what happened to one package, plain file or container image between two snapshots. Its JSON form is what diff --json prints.
type Change struct {
	// Archive is the prefix of the new version, or of the old one of what is removed; "" for an image.
	Archive string `json:"archive"`
	// OldArchive is the prefix of the old version where that is another one: a security update usually comes from
	// another archive than what it replaces.
	OldArchive   string `json:"oldArchive,omitempty"`
	Image        bool   `json:"image,omitempty"`
	File         bool   `json:"file,omitempty"` // Name is its path in the archive
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Source       string `json:"source,omitempty"`
	Old          string `json:"old,omitempty"` // version, of a file or an image digest; "": added
	New          string `json:"new,omitempty"` // the same; "": removed
	// Kind is added, removed, upgraded, downgraded, rebuilt (one version, other bytes), or moved (the same file, in another
	// archive); of a file or an image added, removed or changed.
	Kind string `json:"kind"`
	// Others says that the new snapshot still has other versions of a package of which one is removed.
	Others bool `json:"others,omitempty"`
	// Security says that the new version comes from a security archive.
	Security bool  `json:"security,omitempty"`
	Bytes    int64 `json:"bytes"` // of the new file
	// Changelog are the entries of the new version down to the old one, once for all packages of a source, and CVEs the
	// numbers in them, on each of these packages; see [Changelogs].
	Changelog string   `json:"changelog,omitempty"`
	CVEs      []string `json:"cves,omitempty"`

	blob snapshot.Blob // of the new file
}

// Between lists what differs between two snapshots, in order of archive, name and architecture; files, then images last. An old
// one that is nil has nothing. It reads tables and Releases, which are hints: what it tells is not proved.
//
// Versions of a package are paired over all archives: the highest new one with the highest one that hosts had, if
// that went away or belongs to the same release (bookworm, bookworm-updates and bookworm-security are one).
//
// An archive is one of security updates if a Release of it says so, in Label, Suite or Codename, as Debian's and Ubuntu's do.
func Between(ctx context.Context, old, now *snapshot.Snapshot) ([]Change, error) {
	security := map[string]bool{}
	for _, a := range now.Statement.Archives {
		is, err := isSecurity(ctx, now, a)
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
		}
		security[a.Prefix] = is
	}
	return between(old, now, security), nil
}

// OfTables is [Between] without reading anything but the snapshots' tables and statements: an archive is one of
// security updates by the names of its suites alone.
func OfTables(old, now *snapshot.Snapshot) []Change {
	security := map[string]bool{}
	for _, a := range now.Statement.Archives {
		security[a.Prefix] = slices.ContainsFunc(a.Suites, namedSecurity)
	}
	return between(old, now, security)
}

func between(old, now *snapshot.Snapshot, security map[string]bool) []Change {
	out := []Change{}
	for _, p := range packagesOf(old, now) {
		for _, pair := range p.pairs() {
			out = append(out, pair.change(p, security))
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	var images []snapshot.Image
	if old != nil {
		images = old.Statement.Images
	}
	return append(append(out, fileChanges(old, now)...), imageChanges(images, now.Statement.Images)...)
}

// imageChanges lists the images that differ, in order of name. One whose referrers alone differ has not changed.
func imageChanges(old, now []snapshot.Image) []Change {
	changes := map[string]*Change{}
	at := func(name string) *Change {
		if changes[name] == nil {
			changes[name] = &Change{Image: true, Name: name, Kind: "changed"}
		}
		return changes[name]
	}
	for _, m := range old {
		at(m.Name).Old = m.Digest.String()
	}
	for _, m := range now {
		at(m.Name).New, at(m.Name).Bytes = m.Digest.String(), m.Size
	}
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c := changes[name]
		switch {
		case c.Old == c.New:
			continue
		case c.Old == "":
			c.Kind = "added"
		case c.New == "":
			c.Kind = "removed"
		}
		out = append(out, *c)
	}
	return out
}

// namedSecurity tells suites of security updates by the names that Debian's and Ubuntu's have.
func namedSecurity(suite snapshot.Suite) bool {
	return strings.HasSuffix(suite.Name, "-security") || strings.HasSuffix(suite.Name, "/updates")
}

// isSecurity reads the Releases of an archive without verifying them.
func isSecurity(ctx context.Context, s *snapshot.Snapshot, a snapshot.Archive) (bool, error) {
	for _, suite := range a.Suites {
		if namedSecurity(suite) {
			return true, nil
		}
		for _, f := range suite.Files {
			if f.Role != snapshot.Release && f.Role != snapshot.InRelease {
				continue
			}
			data, err := s.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
			if err != nil {
				return false, err
			}
			label, err := labelOf(data, f.Role)
			if err != nil {
				return false, fmt.Errorf("%s: %w", f.Path, err)
			}
			if strings.HasSuffix(label, "-Security") {
				return true, nil
			}
		}
	}
	return false, nil
}

func labelOf(data []byte, role snapshot.Role) (string, error) {
	open := func() (*archive.Release, error) { return archive.OpenInRelease(data, pgp.Trust{}) }
	if role == snapshot.Release {
		open = func() (*archive.Release, error) { return archive.OpenRelease(data, nil, pgp.Trust{}) }
	}
	rel, err := open()
	if err != nil {
		return "", err
	}
	return rel.Label, nil
}

// kindOf is the kind of a change of one package, of which old or now may be missing.
func kindOf(old, now snapshot.Row) string {
	switch {
	case old.Path == "":
		return "added"
	case now.Path == "":
		return "removed"
	case same(old, now):
		return "moved"
	}
	switch n := deb.Compare(old.Version, now.Version); {
	case n < 0:
		return "upgraded"
	case n > 0:
		return "downgraded"
	}
	return "rebuilt"
}
