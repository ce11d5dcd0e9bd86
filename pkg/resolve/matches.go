package resolve

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/query"
)

// Matches lists the candidates that a query selects (without closure), for
// search and tests: every version, ordered by name, version, architecture and
// index. archive "" means any.
func (u *Universe) Matches(q *query.Query, archive string) []*Package {
	var all []*Package
	for _, id := range u.selected(q, archive) {
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
func (u *Universe) selected(q *query.Query, archive string) []int32 {
	ids, some := u.shortlist(q)
	if !some {
		ids = make([]int32, len(u.records))
		for i := range ids {
			ids[i] = int32(i)
		}
	}
	found := ids[:0:0]
	for _, id := range ids {
		if (archive == "" || u.indices[u.records[id].index].Archive == archive) && u.matches(q, id) {
			found = append(found, id)
		}
	}
	return found
}

// matches tells whether a query selects a record.
func (u *universe) matches(q *query.Query, id int32) bool {
	return q.Match(&query.Package{Name: u.name(id), Version: u.version(id), Architecture: u.archOf(id), Stanza: u.stanza(id)})
}

// shortlist are records among which all matches of a query are, sorted, if it
// tells the names.
func (u *Universe) shortlist(q *query.Query) (ids []int32, some bool) {
	names, some := q.Names()
	for _, name := range names {
		ids = slices.Concat(ids, u.table.named(name), u.table.provided(name))
	}
	slices.Sort(ids)
	return slices.Compact(ids), some
}
