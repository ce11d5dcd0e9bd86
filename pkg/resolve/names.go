package resolve

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// nameTable finds records by package name and by provided name.
type nameTable struct {
	number map[string]int32 // of each name; the keys are views of the indices
	real   buckets          // records that have the name: by architecture, then newest version first, then index order
	given  buckets          // records that provide it, in index order
}

// buckets are lists of records, one for each name, in one array.
type buckets struct {
	start []int32 // of each list in ids, and the end of the last
	ids   []int32
}

func (b *buckets) of(number int32) []int32 {
	return b.ids[b.start[number]:b.start[number+1]:b.start[number+1]]
}

// newBuckets sorts pairs of (name, record) into lists, keeping their order.
func newBuckets(names int, pairs []pair) buckets {
	b := buckets{start: make([]int32, names+1), ids: make([]int32, len(pairs))}
	for _, p := range pairs {
		b.start[p.name+1]++
	}
	for i := range names {
		b.start[i+1] += b.start[i]
	}
	fill := slices.Clone(b.start)
	for _, p := range pairs {
		b.ids[fill[p.name]] = p.id
		fill[p.name]++
	}
	return b
}

type pair struct{ name, id int32 }

func newNameTable(u *Universe) (nameTable, error) {
	t := nameTable{number: make(map[string]int32, len(u.records)+len(u.records)/2)}
	real := make([]pair, len(u.records))
	var given []pair
	for i := range u.records {
		real[i] = pair{t.intern(u.name(int32(i))), int32(i)}
	}
	for i := range u.records {
		for name := range providedNames(u.provides(int32(i))) {
			given = append(given, pair{t.intern(name), int32(i)})
		}
		if len(given) > MaxProvides {
			return t, fmt.Errorf("provided names, over the limit of %d", MaxProvides)
		}
	}
	t.real = newBuckets(len(t.number), real)
	t.given = newBuckets(len(t.number), given)
	for ids := range t.groups() {
		slices.SortFunc(ids, func(a, b int32) int {
			return cmp.Or(cmp.Compare(u.records[a].arch, u.records[b].arch),
				deb.Compare(u.version(b), u.version(a)), cmp.Compare(a, b))
		})
	}
	return t, nil
}

func (t *nameTable) intern(name string) int32 {
	n, ok := t.number[name]
	if !ok {
		n = int32(len(t.number))
		t.number[name] = n
	}
	return n
}

// groups yields the records of each name that has more than one.
func (t *nameTable) groups() iter.Seq[[]int32] {
	return func(yield func([]int32) bool) {
		for n := range len(t.real.start) - 1 {
			if ids := t.real.of(int32(n)); len(ids) > 1 && !yield(ids) {
				return
			}
		}
	}
}

// named are the records of a name, provided those that provide it.
func (t *nameTable) named(name string) []int32 {
	if n, ok := t.number[name]; ok {
		return t.real.of(n)
	}
	return nil
}

func (t *nameTable) provided(name string) []int32 {
	if n, ok := t.number[name]; ok {
		return t.given.of(n)
	}
	return nil
}

// providedNames yields the names in a Provides field. It reads less strictly
// than deb.ParseRelations, which has the last word on each package.
func providedNames(field string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for field != "" {
			var part string
			part, field, _ = strings.Cut(field, ",")
			part = strings.TrimLeft(part, " \t\r\n")
			if end := strings.IndexAny(part, " \t\r\n(:[|<"); end >= 0 {
				part = part[:end]
			}
			if part != "" && !yield(part) {
				return
			}
		}
	}
}
