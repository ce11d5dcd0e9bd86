package resolve

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// Matches lists the candidates that a query selects (without closure), for
// search and tests: every version, ordered by name, version, architecture and
// index. archive "" means any.
func (u *Universe) Matches(q *Query, archive string) []*Package {
	var all []*Package
	for _, id := range u.selected(q.root, archive) {
		all = append(all, u.pkg(id))
	}
	slices.SortStableFunc(all, comparePackages)
	return all
}

// comparePackages orders by name, version, architecture and index.
func comparePackages(a, b *Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c // cmp.Or would compare the versions all the same, of each pair of a release
	}
	return cmp.Or(deb.Compare(a.Version, b.Version),
		cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Index, b.Index))
}

// Versions lists the versions there are of a name, newest first, with archive and suite, for messages.
func (u *Universe) Versions(name string) []*Package {
	var all []*Package
	for _, id := range u.table.named(name) {
		all = append(all, u.pkg(id))
	}
	slices.SortStableFunc(all, func(a, b *Package) int { return deb.Compare(b.Version, a.Version) })
	return all
}

// selected are the records that a query selects, in index order.
func (u *Universe) selected(n node, archive string) []int32 {
	ids, some := u.shortlist(n)
	if !some {
		ids = make([]int32, len(u.records))
		for i := range ids {
			ids[i] = int32(i)
		}
	}
	found := ids[:0:0]
	for _, id := range ids {
		if archive != "" && u.indices[u.records[id].index].Archive != archive {
			continue
		}
		r := u.row(id)
		if n.match(&r) {
			found = append(found, id)
		}
	}
	return found
}

// shortlist are records among which all matches of a node are, sorted, if the
// table of names can tell.
func (u *Universe) shortlist(n node) (ids []int32, some bool) {
	switch n := n.(type) {
	case exactNode:
		ids = slices.Clone(u.table.named(n.name))
	case dependencyNode:
		ids = slices.Concat(u.table.named(n.name), u.table.provided(n.name))
	case andNode:
		for _, m := range n {
			if ids, some := u.shortlist(m); some {
				return ids, true
			}
		}
		return nil, false
	case orNode:
		for _, m := range n {
			more, some := u.shortlist(m)
			if !some {
				return nil, false
			}
			ids = append(ids, more...)
		}
	default:
		return nil, false
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}
