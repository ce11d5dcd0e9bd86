package chain

import (
	"bytes"
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// The ranks of [Hits], the best first.
const (
	Exact     = iota // the name is the query
	Beginning        // the name begins with it
	Named            // the name has every word
	Sourced          // the source has every word
	Described        // name, source and description together have
	Ranks
)

// Hits are the packages that a query finds, by how well they fit. Immutable.
type Hits struct{ ranks [Ranks]set }

// Count is how many packages have a rank.
func (h Hits) Count(rank int) int { return h.ranks[rank].count() }

// Len is how many there are.
func (h Hits) Len() (sum int) {
	for rank := range Ranks {
		sum += h.Count(rank)
	}
	return sum
}

// At are the packages of a rank in order of name, from one on, most of them at most. [Book.Get] reads each.
func (h Hits) At(rank, from, most int) []int { return h.ranks[rank].take(from, most) }

// set is a set of entries.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s set) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s set) take(from, most int) (out []int) {
	for i, word := range s {
		if n := bits.OnesCount64(word); from >= n {
			from -= n
			continue
		}
		for ; word != 0 && len(out) < most; word &= word - 1 {
			if from > 0 {
				from--
				continue
			}
			out = append(out, 64*i+bits.TrailingZeros64(word))
		}
		if len(out) == most {
			break
		}
	}
	return out
}

// and keeps what is in other, too.
func (s set) and(other set) {
	for i := range s {
		s[i] &= other[i]
	}
}

// or adds what is in other.
func (s set) or(other set) {
	for i := range s {
		s[i] |= other[i]
	}
}

// without takes out what is in other.
func (s set) without(other set) {
	for i := range s {
		s[i] &^= other[i]
	}
}

// Search finds the packages that have every word of a query in their name, source or description, in any order.
// No package is read.
func (b *Book) Search(query string) (h Hits) {
	for rank := range h.ranks {
		h.ranks[rank] = newSet(len(b.entries))
	}
	parts := strings.Fields(strings.ToLower(query))
	if len(parts) == 0 {
		for i := range b.entries {
			h.ranks[Beginning].add(i)
		}
		return h
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for i, part := range slices.Compact(parts) {
		var found [3]set // as name, as source, anywhere
		for j := range found {
			found[j] = newSet(len(b.entries))
		}
		for id := range b.words.holding(part) {
			word := b.words.word(id)
			for _, u := range b.words.texts.of(id) {
				found[u.as()].add(u.entry())
				if u.as() != asName || len(parts) > 1 {
					continue
				}
				switch {
				case len(word) == len(part):
					h.ranks[Exact].add(u.entry())
				case bytes.HasPrefix(word, []byte(part)):
					h.ranks[Beginning].add(u.entry())
				}
			}
		}
		found[inDescription].or(found[asName])
		found[inDescription].or(found[asSource])
		for j, rank := range []int{Named, Sourced, Described} {
			if i == 0 {
				h.ranks[rank] = found[j]
			} else {
				h.ranks[rank].and(found[j])
			}
		}
	}
	for rank := 1; rank < Ranks; rank++ {
		for better := range rank {
			h.ranks[rank].without(h.ranks[better])
		}
	}
	return h
}

// Home is the name of a package, and an archive that has it.
type Home struct{ Name, Archive string }

// Near are names that are nearly a name, the nearest first, then in order of name; of names that differ only in the case of
// letters one. One that is the same comes first. What a table says of a snapshot, [NearIn] finds there.
func (b *Book) Near(name string, most int) []Home {
	return near(name, most, func(yield func(int, []byte) bool) {
		for i, e := range b.entries {
			if !yield(i, b.words.word(e.name)) {
				return
			}
		}
	}, func(i int) Home { return Home{b.spelled(i), b.home(i)} })
}

// NearIn are names in a table, as [Book.Near] finds them.
func NearIn(t *snapshot.Table, name string, most int) []Home {
	return near(name, most, func(yield func(int, []byte) bool) {
		i := -1
		for row := range t.Rows() {
			if i++; row.IsPackage() && !yield(i, []byte(strings.ToLower(clean(row.Name)))) {
				return
			}
		}
	}, func(i int) Home { row := t.Row(i); return Home{row.Name, row.Archive()} })
}

// near finds names among all, which are in lower case; home tells more of the i-th.
func near(name string, most int, all iter.Seq2[int, []byte], home func(i int) Home) (out []Home) {
	type candidate struct {
		Home
		distance int
	}
	found := map[string]candidate{}
	want, last := strings.ToLower(clean(name)), ""
	limit := min(2, len(want)/3+1)
	for i, one := range all {
		if d := len(one) - len(want); d > limit || d < -limit {
			continue
		}
		c, again := found[string(one)]
		if !again {
			if string(one) == last {
				continue
			}
			if last, c.distance = string(one), distance(want, string(one), limit); c.distance > limit {
				continue
			}
		}
		// Of several archives and spellings always the same, in whatever order they come.
		if h := home(i); !again || cmp.Or(strings.Compare(h.Archive, c.Archive), strings.Compare(h.Name, c.Name)) < 0 {
			c.Home = h
			found[string(one)] = c
		}
	}
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
func distance(a, b string, limit int) int {
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

// Filter says which packages List lists; the zero value: all.
type Filter struct{ Prefix, Section, Source, Letter string }

// List are the packages of a filter in order of name: how many there are, and of these those from the first on, most of them at most.
func (b *Book) List(f Filter, first, most int) (total int, out []Package, err error) {
	section, letter := -1, strings.ToLower(f.Letter)
	if f.Section != "" {
		if section = slices.Index(b.sections, f.Section); section < 0 {
			return 0, nil, nil
		}
	}
	source, known := b.words.find(strings.ToLower(f.Source))
	if f.Source != "" && !known {
		return 0, nil, nil
	}
	for i, e := range b.entries {
		if f.Prefix != "" && b.prefix(e) != f.Prefix || section >= 0 && int(e.section) != section || f.Source != "" && e.source != source {
			continue
		}
		if letter != "" && !bytes.HasPrefix(b.words.word(e.name), []byte(letter)) {
			continue
		}
		if total++; total > first && len(out) < most {
			p, err := b.Get(i)
			if err != nil {
				return 0, nil, err
			}
			out = append(out, p)
		}
	}
	return total, out, nil
}

// Letters are the first letters of the names in an archive, in order.
func (b *Book) Letters(prefix string) (out []string) {
	var has [256]bool
	for _, e := range b.entries {
		if name := b.words.word(e.name); b.prefix(e) == prefix && len(name) > 0 {
			has[name[0]] = true
		}
	}
	for c, ok := range has {
		if ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			out = append(out, string(rune(c)))
		}
	}
	return out
}
