package chain

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"sync"
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

// maxAnswered is how many queries a book keeps the hits of: those that were asked last, of which people see other pages.
const maxAnswered = 8

// answered are the last queries and what they found, the last one first.
type answered struct {
	mu      sync.Mutex
	queries []string
	hits    []Hits
}

// of is what a query finds; found tells that, where it is not kept.
func (a *answered) of(query string, found func() Hits) Hits {
	a.mu.Lock()
	i := slices.Index(a.queries, query)
	if i >= 0 {
		h := a.hits[i]
		a.mu.Unlock()
		return h
	}
	a.mu.Unlock()
	h := found()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.queries, query) {
		most := maxAnswered - 1
		a.queries = append([]string{query}, a.queries[:min(len(a.queries), most)]...)
		a.hits = append([]Hits{h}, a.hits[:min(len(a.hits), most)]...)
	}
	return h
}

// Search finds the packages that have every word of a query in their name, source or description, in any order.
// No package is read.
func (b *Book) Search(query string) Hits {
	parts := strings.Fields(strings.ToLower(query))
	return b.answered.of(strings.Join(parts, " "), func() Hits { return b.search(parts) })
}

func (b *Book) search(parts []string) (h Hits) {
	for rank := range h.ranks {
		h.ranks[rank] = newSet(len(b.entries))
	}
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
			for _, u := range b.words.texts.of(id) {
				found[u.as()].add(u.entry())
				if u.as() != asName || len(parts) > 1 {
					continue
				}
				switch word := b.words.word(id); {
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
