package chain

import (
	"hash/maphash"
	"iter"
	"slices"
	"sort"

	"example.org/mmoci/pkg/snapshot"
)

// Names finds the packages of a table by name. It takes four bytes a package. Immutable; safe for concurrent use.
type Names struct {
	table *snapshot.Table
	seed  maphash.Seed
	rows  []uint32 // in order of the hash of the name, then of path
}

// IndexNames reads a whole table, once.
func IndexNames(t *snapshot.Table) *Names {
	n := &Names{table: t, seed: maphash.MakeSeed()}
	var all []uint64 // hash and row
	i := -1
	for row := range t.Rows() {
		if i++; row.IsPackage() {
			all = append(all, n.hash(row.Name)<<32|uint64(i))
		}
	}
	slices.Sort(all)
	n.rows = make([]uint32, len(all))
	for i, one := range all {
		n.rows[i] = uint32(one)
	}
	return n
}

func (n *Names) hash(name string) uint64 { return maphash.String(n.seed, name) >> 32 }

// Named yields the packages of a name, in order of path.
func (n *Names) Named(name string) iter.Seq[snapshot.Row] {
	return func(yield func(snapshot.Row) bool) {
		want := n.hash(name)
		i := sort.Search(len(n.rows), func(i int) bool { return n.hash(n.table.Row(int(n.rows[i])).Name) >= want })
		for ; i < len(n.rows); i++ {
			row := n.table.Row(int(n.rows[i]))
			if n.hash(row.Name) != want || row.Name == name && !yield(row) {
				return
			}
		}
	}
}

// Size is the memory that it takes, in bytes.
func (n *Names) Size() int { return 4 * len(n.rows) }
