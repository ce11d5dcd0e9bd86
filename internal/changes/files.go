package changes

import (
	"cmp"
	"slices"

	"example.org/mmoci/pkg/snapshot"
)

// fileChanges lists the plain files that differ, in order of archive and path. old may be nil.
func fileChanges(old, now *snapshot.Snapshot) []Change {
	was, is := plainFiles(old), plainFiles(now)
	var out []Change
	for path, row := range is {
		before, there := was[path]
		c := Change{File: true, Archive: row.Archive(), Name: path[len(row.Archive())+1:], New: row.Digest.String(), Kind: "added", Bytes: row.Size, blob: row.Blob()}
		if there {
			c.Old, c.Kind = before.Digest.String(), "changed"
		}
		if before.Digest != row.Digest {
			out = append(out, c)
		}
	}
	for path, row := range was {
		if _, there := is[path]; !there {
			out = append(out, Change{File: true, Archive: row.Archive(), Name: path[len(row.Archive())+1:], Old: row.Digest.String(), Kind: "removed"})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Name, b.Name)) })
	return out
}

// plainFiles are those of a snapshot, by path.
func plainFiles(s *snapshot.Snapshot) map[string]snapshot.Row {
	out := map[string]snapshot.Row{}
	if s == nil {
		return out
	}
	for i := range s.Statement.Archives {
		a := &s.Statement.Archives[i]
		if a.Format != snapshot.FormatFiles {
			continue
		}
		for row := range s.Table.Under(a.Prefix + "/") {
			if _, is := a.PlainFile(row); is {
				out[row.Path] = row
			}
		}
	}
	return out
}
