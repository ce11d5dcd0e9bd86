package changes

import (
	"cmp"
	"iter"
	"slices"

	"example.org/mmoci/pkg/snapshot"
)

// TableChange is what happened to a package of an archive between two snapshots.
type TableChange struct {
	Archive      string // prefix
	Name         string
	Architecture string
	Old, New     snapshot.Row // the zero Row in Old: added; in New: removed
}

// Tables yields the packages that were added, removed or changed, in order of
// archive, name and architecture. Changed is another version, or another file of the same
// version. Of several versions of one package, those in both tables are left out and the rest is paired in order of path.
func Tables(old, new *snapshot.Table) iter.Seq[TableChange] {
	return func(yield func(TableChange) bool) {
		a, b := packages(old), packages(new)
		for len(a)+len(b) > 0 {
			n, m := sameKey(a, b), sameKey(b, a)
			if !diffPackage(a[:n], b[:m], yield) {
				return
			}
			a, b = a[n:], b[m:]
		}
	}
}

// diffPackage yields the changes of one package; false stops.
func diffPackage(olds, news []snapshot.Row, yield func(TableChange) bool) bool {
	olds, news = without(olds, news), without(news, olds)
	for i := range max(len(olds), len(news)) {
		var c TableChange
		if i < len(olds) {
			c.Old = olds[i]
		}
		if i < len(news) {
			c.New = news[i]
		}
		r := c.New
		if r.Path == "" {
			r = c.Old
		}
		c.Archive, c.Name, c.Architecture = r.Archive(), r.Name, r.Architecture
		if !yield(c) {
			return false
		}
	}
	return true
}

// packages are the rows of packages, ordered by archive, name, architecture, path.
func packages(t *snapshot.Table) []snapshot.Row {
	var rows []snapshot.Row
	for r := range t.Rows() {
		if r.IsPackage() {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, compareKey)
	return rows
}

func compareKey(a, b snapshot.Row) int {
	return cmp.Or(cmp.Compare(a.Archive(), b.Archive()), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
}

// sameKey counts the first rows of a that have the least key of a and b.
func sameKey(a, b []snapshot.Row) int {
	if len(a) == 0 || len(b) > 0 && compareKey(b[0], a[0]) < 0 {
		return 0
	}
	n := 1
	for n < len(a) && compareKey(a[n], a[0]) == 0 {
		n++
	}
	return n
}

// without are the rows of a whose version and content is not in b.
func without(a, b []snapshot.Row) []snapshot.Row {
	return slices.DeleteFunc(slices.Clone(a), func(r snapshot.Row) bool {
		return slices.ContainsFunc(b, func(o snapshot.Row) bool { return o.Version == r.Version && o.Digest == r.Digest })
	})
}
