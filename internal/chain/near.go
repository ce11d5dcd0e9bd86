package chain

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// Home is the name of a package, and an archive that has it.
type Home struct{ Name, Archive string }

// Near are names that are nearly a name, the nearest first, then in order of name; of names that differ only in the case of
// letters one. One that is the same comes first. What a table says of a snapshot, [NearIn] finds there.
func (b *Book) Near(name string, most int) []Home {
	return near(name, most, func(want sketch, limit int, yield func(i int, s sketch)) {
		for i, s := range b.sketches {
			if !isFar(s, want, 0, limit) {
				yield(i, s)
			}
		}
	}, b.name, func(i int) Home { return Home{b.spelled(i), b.home(i)} })
}

// NearIn are names in a table, as [Book.Near] finds them.
func NearIn(t *snapshot.Table, name string, most int) []Home {
	lower := func(name string) []byte { return []byte(strings.ToLower(clean(name))) }
	return near(name, most, func(want sketch, limit int, yield func(i int, s sketch)) {
		i := -1
		for row := range t.Rows() {
			if i++; !row.IsPackage() {
				continue
			}
			if s := sketchOf(lower(row.Name)); !isFar(s, want, 0, limit) {
				yield(i, s)
			}
		}
	}, func(i int) []byte { return lower(t.Row(i).Name) }, func(i int) Home { row := t.Row(i); return Home{row.Name, row.Archive()} })
}

// sketch is which letters, digits and marks a name has, a bit each, and of letters whether it has them twice.
type sketch uint64

func sketchOf(lower []byte) (s sketch) {
	for i := range len(lower) {
		switch c := lower[i]; {
		case c >= 'a' && c <= 'z':
			bit := sketch(1) << (2 * (c - 'a'))
			s |= s&bit<<1 | bit
		case c >= '0' && c <= '9':
			s |= 1 << (52 + c - '0')
		case c == '-':
			s |= 1 << 62
		case c == '+':
			s |= 1 << 63
		}
	}
	return s
}

// isFar tells of two names, of which the second has longer letters more than the first, that they are farther from each other
// than limit: each change of a letter adds a bit at most, and takes one away at most; one that makes a name longer takes none.
func isFar(a, b sketch, longer, limit int) bool {
	return bits.OnesCount64(uint64(a&^b)) > limit-max(0, longer) || bits.OnesCount64(uint64(b&^a)) > limit-max(0, -longer)
}

// near finds names. may yields those whose letters do not rule out that they are near; lower is the i-th in lower case, and home tells
// more of it.
func near(name string, most int, may func(want sketch, limit int, yield func(i int, s sketch)), lower func(i int) []byte, home func(i int) Home) (out []Home) {
	type candidate struct {
		Home
		distance int
	}
	found := map[string]candidate{}
	want, last := []byte(strings.ToLower(clean(name))), []byte(nil)
	wanted, limit := sketchOf(want), min(2, len(want)/3+1)
	may(wanted, limit, func(i int, s sketch) {
		one := lower(i)
		if longer := len(want) - len(one); longer > limit || longer < -limit || isFar(s, wanted, longer, limit) {
			return
		}
		c, again := found[string(one)]
		if !again {
			if bytes.Equal(one, last) {
				return
			}
			if last, c.distance = one, distance(want, one, limit); c.distance > limit {
				return
			}
		}
		// Of several archives and spellings always the same, in whatever order they come.
		if h := home(i); !again || cmp.Or(strings.Compare(h.Archive, c.Archive), strings.Compare(h.Name, c.Name)) < 0 {
			c.Home = h
			found[string(one)] = c
		}
	})
	var list []candidate
	for _, c := range found {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.Name, b.Name))
	})
	for _, c := range list[:min(len(list), most)] {
		out = append(out, c.Home)
	}
	return out
}

// maxNear bounds the names that are near another one, in letters.
const maxNear = 120

// distance counts the letters to insert, drop, change or exchange with their neighbour; beyond limit it is any number over it.
func distance(a, b []byte, limit int) int {
	if d := len(a) - len(b); d > limit || d < -limit || len(b) > maxNear {
		return limit + 1
	}
	var rows [3][maxNear + 1]int
	before, last, row := rows[0][:len(b)+1], rows[1][:len(b)+1], rows[2][:len(b)+1]
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		// What is farther from the diagonal than limit is over it.
		from, to := max(0, i-limit), min(len(b), i+limit+1)
		row[from] = limit + 1
		if from == 0 {
			row[0] = i + 1
		}
		least := row[from]
		for j := from; j < to; j++ {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, row[j]+1)
			if j-i < limit {
				row[j+1] = min(row[j+1], last[j+1]+1)
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
			least = min(least, row[j+1])
		}
		if least > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
