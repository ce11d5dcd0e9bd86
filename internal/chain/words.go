package chain

import (
	"bytes"
	"hash/maphash"
	"iter"
	"sort"
)

// The ways in which a package uses a word.
const (
	asName = iota
	asSource
	inDescription
	asNeed     // the name of a package that it depends on or recommends
	asProvided // a name that it provides
	fieldBits  = 3
)

// use is a package that uses a word, and how: the index of its entry, and the way in the low bits.
type use uint32

func (u use) entry() int { return int(u >> fieldBits) }
func (u use) as() int    { return int(u & (1<<fieldBits - 1)) }

// words are the distinct words of a book, in lower case, and which packages use them. A word has no space in it, so
// what has a part of a text has it in one word.
type words struct {
	dictionary
	blocks    []block
	texts     uses // names, sources and descriptions, which are searched
	relations uses // names in relations
}

// uses are who uses each word, in order of entry.
type uses struct {
	first []uint32 // of each word, where its uses begin; one more than there are words
	all   []use
}

// of are the uses of a word.
func (u *uses) of(id uint32) []use { return u.all[u.first[id]:u.first[id+1]] }

// related yields the entries that use a word in one way in a relation, in order.
func (w *words) related(word string, as int) iter.Seq[int] {
	return func(yield func(int) bool) {
		id, ok := w.find(word)
		if !ok {
			return
		}
		for _, u := range w.relations.of(id) {
			if u.as() == as && !yield(u.entry()) {
				return
			}
		}
	}
}

func (w *words) size() int64 {
	n := cap(w.at) + cap(w.slots) + len(block{})*2*cap(w.blocks)
	for _, u := range []*uses{&w.texts, &w.relations} {
		n += cap(u.first) + cap(u.all)
	}
	return int64(cap(w.text)) + 4*int64(n)
}

// usesBy gathers uses: those of made in its order, which is that of the entries to be, as far as want takes them. In used there is the word
// in place of the entry.
func usesBy(words int, order []uint32, made []made, used []use, want func(as int) bool) uses {
	n := 0
	out := uses{first: make([]uint32, words+1)}
	for _, u := range used {
		if want(u.as()) {
			out.first[u.entry()+1]++
			n++
		}
	}
	for id := range words {
		out.first[id+1] += out.first[id]
	}
	out.all = make([]use, n)
	for i, j := range order {
		for _, u := range used[made[j].from:made[j].to] {
			if want(u.as()) {
				id := u.entry()
				out.all[out.first[id]] = use(i)<<fieldBits | use(u.as())
				out.first[id]++
			}
		}
	}
	copy(out.first[1:], out.first[:words]) // each was moved to the begin of the next
	out.first[0] = 0
	return out
}

// dictionary gives words numbers. It takes little more memory than their letters.
type dictionary struct {
	seed  maphash.Seed
	text  []byte   // the words, a line each
	at    []uint32 // where each begins
	slots []uint32 // number of a word and 1, by its hash; 0: none
}

func newDictionary() dictionary {
	return dictionary{seed: maphash.MakeSeed(), slots: make([]uint32, 1<<10)}
}

// word is a word by its number.
func (d *dictionary) word(id uint32) []byte {
	end := len(d.text)
	if int(id)+1 < len(d.at) {
		end = int(d.at[id+1])
	}
	return d.text[d.at[id] : end-1]
}

// slot is where a word is, or would be.
func (d *dictionary) slot(word string) *uint32 {
	mask := uint64(len(d.slots) - 1)
	for i := maphash.String(d.seed, word) & mask; ; i = (i + 1) & mask {
		if s := &d.slots[i]; *s == 0 || string(d.word(*s-1)) == word {
			return s
		}
	}
}

// find is the number of a word, if there is such a one.
func (d *dictionary) find(word string) (uint32, bool) {
	s := *d.slot(word)
	return s - 1, s != 0
}

// number is the number of a word, which is added where it is new. It must have no line end.
func (d *dictionary) number(word string) uint32 {
	s := d.slot(word)
	if *s != 0 {
		return *s - 1
	}
	d.at = append(d.at, uint32(len(d.text)))
	d.text = append(append(d.text, word...), '\n')
	*s = uint32(len(d.at))
	if 4*len(d.at) > 3*len(d.slots) {
		d.slots = make([]uint32, 2*len(d.slots))
		for id := range d.at {
			*d.slot(string(d.word(uint32(id)))) = uint32(id + 1)
		}
	}
	return uint32(len(d.at) - 1)
}

// holding yields the words that have a part, in order of number.
func (w *words) holding(part string) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		pattern, wanted := []byte(part), blockOf([]byte(part))
		for i := 0; i < len(w.blocks); i++ {
			if !w.blocks[i].mayHave(wanted) {
				continue
			}
			from := i
			for i+1 < len(w.blocks) && w.blocks[i+1].mayHave(wanted) {
				i++
			}
			if !w.in(from*blockWords, min((i+1)*blockWords, len(w.at)), pattern, yield) {
				return
			}
		}
	}
}

// in yields those words from one on, before another, that have a part; false: it was told to stop.
func (d *dictionary) in(id, end int, part []byte, yield func(uint32) bool) bool {
	text := d.text
	if end < len(d.at) {
		text = text[:d.at[end]]
	}
	for at := int(d.at[id]); ; at = int(d.at[id]) {
		n := bytes.Index(text[at:], part)
		if n < 0 {
			return true
		}
		id = d.wordAt(at+n, id)
		// Words beside one that has it mostly have it, too: names of one beginning are together.
		for ok := true; ok; ok = bytes.Contains(d.word(uint32(id)), part) {
			if !yield(uint32(id)) {
				return false
			}
			if id++; id == end {
				return true
			}
		}
	}
}

// blockWords is how many words a block is of.
const blockWords = 64

// block is which runs of three bytes are in some words, a bit each; some share one.
type block [32]uint64

// blockOf are the runs in words, a line each.
func blockOf(text []byte) (b block) {
	run, n := uint32(0), 0
	for _, c := range text {
		if c == '\n' {
			n = 0
			continue
		}
		run = run<<8 | uint32(c)
		if n++; n >= 3 {
			bit := run << 8 * 2654435769 >> 21 // multiplicative hashing (Knuth, TAOCP 6.4)
			b[bit/64] |= 1 << (bit % 64)
		}
	}
	return b
}

// mayHave tells whether all runs of a part are in a block's words.
func (b *block) mayHave(part block) bool {
	for i, bits := range part {
		if bits&^b[i] != 0 {
			return false
		}
	}
	return true
}

// blocksOf are the blocks of a dictionary in order.
func blocksOf(d *dictionary) []block {
	out := make([]block, (len(d.at)+blockWords-1)/blockWords)
	for i := range out {
		end := len(d.text)
		if next := (i + 1) * blockWords; next < len(d.at) {
			end = int(d.at[next])
		}
		out[i] = blockOf(d.text[d.at[i*blockWords]:end])
	}
	return out
}

// wordAt is the word that has the letter at a place; from is one at or before it, mostly a near one.
func (d *dictionary) wordAt(at, from int) int {
	step := 1
	for from+step < len(d.at) && int(d.at[from+step]) <= at {
		from += step
		step *= 2
	}
	return from + sort.Search(min(step, len(d.at)-from), func(i int) bool { return int(d.at[from+i]) > at }) - 1
}
