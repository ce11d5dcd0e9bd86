package chain

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strings"
)

// Search finds the packages that have every word of a query in their name, source or description, in any order:
// the exact name first, then names that begin with it, then names, sources, descriptions. Get reads the i-th of what it returns;
// nothing is read here.
func (b *Book) Search(query string) []int {
	words := strings.Fields(strings.ToLower(query))
	if len(words) == 0 {
		words = []string{""}
	}
	slices.SortFunc(words, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	whole := strings.Join(strings.Fields(strings.ToLower(query)), " ")
	var ranked [ranks][]int
	for i := range b.holding(words[0]) {
		if rank, ok := rankOf(b.line(i), words, whole); ok {
			ranked[rank] = append(ranked[rank], i)
		}
	}
	return slices.Concat(ranked[:]...)
}

// Name is the name of the i-th package, in lower case.
func (b *Book) Name(i int) string {
	name, _, _ := bytes.Cut(b.line(i), []byte{0})
	return string(name)
}

// holding yields the entries whose line has a word.
func (b *Book) holding(word string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if word == "" {
			for i := range b.entries {
				if !yield(i) {
					return
				}
			}
			return
		}
		pattern, i := []byte(word), 0
		for at := 0; at < len(b.words); {
			n := bytes.Index(b.words[at:], pattern)
			if n < 0 {
				return
			}
			at += n
			i = b.entryAt(at, i)
			if !yield(i) || i+1 == len(b.entries) {
				return
			}
			at = int(b.entries[i+1].words)
		}
	}
}

// entryAt is the entry whose line has the byte at a place; from is one at or before it, mostly a near one.
func (b *Book) entryAt(at, from int) int {
	step := 1
	for from+step < len(b.entries) && int(b.entries[from+step].words) <= at {
		from += step
		step *= 2
	}
	return from + sort.Search(min(step, len(b.entries)-from), func(i int) bool { return int(b.entries[from+i].words) > at }) - 1
}

// ranks is how many there are of rankOf.
const ranks = 5

// rankOf says how well a line fits; less is better.
func rankOf(line []byte, words []string, whole string) (uint8, bool) {
	name, rest, _ := bytes.Cut(line, []byte{0})
	source, _, _ := bytes.Cut(rest, []byte{0})
	inName, inSource := true, true
	for _, w := range words {
		if !bytes.Contains(line, []byte(w)) {
			return 0, false
		}
		inName = inName && bytes.Contains(name, []byte(w))
		inSource = inSource && bytes.Contains(source, []byte(w))
	}
	switch {
	case string(name) == whole:
		return 0, true
	case bytes.HasPrefix(name, []byte(whole)):
		return 1, true
	case inName:
		return 2, true
	case inSource:
		return 3, true
	}
	return 4, true
}

// Near are names that are nearly a name, the nearest first.
func (b *Book) Near(name string, most int) []string {
	type near struct {
		distance int
		name     string
	}
	want, last := strings.ToLower(name), ""
	limit := min(2, len(want)/3+1)
	var all []near
	for i := range b.entries {
		n, _, _ := bytes.Cut(b.line(i), []byte{0})
		if d := len(n) - len(want); d > limit || d < -limit || string(n) == last {
			continue
		}
		last = string(n)
		if d := distance(want, last, limit); d <= limit {
			all = append(all, near{d, last})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, n := range all[:min(len(all), most)] {
		out = append(out, n.name)
	}
	return out
}

// distance counts the letters to insert, drop, change or exchange with their neighbour; beyond limit it is any number over it.
func distance(a, b string, limit int) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
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
	section, letter, source := -1, strings.ToLower(f.Letter), strings.ToLower(f.Source)
	if f.Section != "" {
		if section = slices.Index(b.sections, f.Section); section < 0 {
			return 0, nil, nil
		}
	}
	for i, e := range b.entries {
		if f.Prefix != "" && b.prefix(e) != f.Prefix || section >= 0 && int(e.section) != section {
			continue
		}
		if letter != "" || source != "" {
			name, rest, _ := bytes.Cut(b.line(i), []byte{0})
			of, _, _ := bytes.Cut(rest, []byte{0})
			if !bytes.HasPrefix(name, []byte(letter)) || source != "" && string(of) != source {
				continue
			}
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
	for i, e := range b.entries {
		if line := b.line(i); b.prefix(e) == prefix && len(line) > 0 {
			has[line[0]] = true
		}
	}
	for c, ok := range has {
		if ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			out = append(out, string(rune(c)))
		}
	}
	return out
}
