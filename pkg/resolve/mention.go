package resolve

import (
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/pkg/deb"
)

// mentions tells where in the indices each name is mentioned for the first
// time, by a package or in a relation. apt numbers names in that order and,
// where nothing else decides between two providers, takes the later one: it
// means nothing, but closures that differ from apt's mean questions.
//
// Most closures never need to know. So the names of each tie are looked for
// when it is met, in the relations alone; whoever asks often gets a pass that
// finds all names.
type mentions struct {
	mu     sync.Mutex
	rank   map[string]uint64 // of the names looked for; 0: nowhere
	passes int
	all    []uint64 // by number of the name, once it is known; 0: nowhere
}

// maxPasses is how many ties are looked into one by one. A pass for one takes
// about a quarter of the time of that for all.
const maxPasses = 8

// maxMentionParts bounds the goroutines of a pass, and with that the memory of
// that for all names: a number per name and part.
const maxMentionParts = 4

// mentionFields are the fields in which apt reads names, in its order.
var mentionFields = [...]string{fieldPreDepends, fieldDepends, fieldConflicts, fieldBreaks, fieldRecommends, "Suggests", "Replaces", "Enhances", "Provides"}

// isMentionField knows them in any case.
func isMentionField(name string) bool {
	if len(name) < len(fieldBreaks) || len(name) > len(fieldPreDepends) {
		return false
	}
	switch name[0] | 0x20 {
	case 'p', 'd', 'c', 'b', 'r', 's', 'e':
	default:
		return false
	}
	for _, f := range mentionFields {
		if len(f) == len(name) && (f == name || strings.EqualFold(f, name)) {
			return true
		}
	}
	return false
}

// mentioned are the ranks of names; of one that no package has or provides, 0.
func (u *universe) mentioned(names []string) map[string]uint64 {
	m := &u.mentions
	m.mu.Lock()
	defer m.mu.Unlock()
	ranks, unknown := make(map[string]uint64, len(names)), []string(nil)
	for _, name := range names {
		rank, known := m.rank[name]
		n, there := u.table.number[name]
		switch {
		case !there: // installed, not on offer
			rank, known = 0, true
		case m.all != nil:
			rank, known = m.all[n], true
		}
		if ranks[name] = rank; !known {
			unknown = append(unknown, name)
		}
	}
	switch {
	case len(unknown) == 0:
	case m.passes == maxPasses && m.all == nil:
		m.all = u.allMentions()
		for _, name := range unknown {
			ranks[name] = m.all[u.table.number[name]]
		}
	case m.all == nil:
		m.passes++
		if m.rank == nil {
			m.rank = map[string]uint64{}
		}
		for i, rank := range u.mentionsOf(unknown) {
			ranks[unknown[i]], m.rank[unknown[i]] = rank, rank
		}
	}
	return ranks
}

// inParts divides the first n records among goroutines that look at from..to.
func (u *universe) inParts(n int, look func(from, to int) []uint64) []uint64 {
	parts := min(runtime.GOMAXPROCS(0), maxMentionParts)
	found := make([][]uint64, parts)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { found[i] = look(n*i/parts, n*(i+1)/parts) })
	}
	wg.Wait()
	for _, later := range found[1:] {
		for i, rank := range later {
			if found[0][i] == 0 {
				found[0][i] = rank
			}
		}
	}
	return found[0]
}

// allMentions are the ranks of all names.
func (u *universe) allMentions() []uint64 {
	return u.inParts(len(u.records), func(from, to int) []uint64 {
		first := make([]uint64, len(u.table.number))
		for id := from; id < to; id++ {
			for name, rank := range u.mentionsBy(int32(id)) {
				if n, ok := u.table.number[name]; ok && first[n] == 0 {
					first[n] = rank
				}
			}
		}
		return first
	})
}

// mentionsBy yields the names that a record mentions, its own first, with the
// rank that being mentioned here gives.
func (u *universe) mentionsBy(id int32) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		rank := uint64(id)<<24 + 1 // no stanza has 1<<24 relations
		if !yield(u.name(id), rank) {
			return
		}
		var values [len(mentionFields)]string
		u.relationLines(id).Values(values[:], mentionFields[:]...)
		for _, value := range values {
			for name := range relationNames(value) {
				if rank++; !yield(name, rank) {
					return
				}
			}
		}
	}
}

// relations are the lines of a record in which the relations stand.
func (u *universe) relations(id int32) string {
	r := &u.records[id]
	return u.view(r, r.relations, r.relationsLength)
}

// relationLines are the same as a stanza.
func (u *universe) relationLines(id int32) deb.Stanza {
	r := &u.records[id]
	start := r.offset + r.relations
	return deb.Stanza(u.indices[r.index].Data[start : start+r.relationsLength : start+r.relationsLength])
}

// mentionsOf are the ranks of some names.
func (u *universe) mentionsOf(names []string) []uint64 {
	wanted := make(map[string]int, len(names))
	var hint hints
	end := 0 // all of them are mentioned before that, by themselves at the latest
	for i, name := range names {
		wanted[name] = i
		hint.add(name)
		own := u.table.named(name)
		if len(own) == 0 {
			end = len(u.records)
			continue
		}
		end = max(end, int(slices.Min(own))+1)
	}
	return u.inParts(end, func(from, to int) []uint64 {
		first, missing := make([]uint64, len(names)), len(names)
		for id := from; id < to && missing > 0; id++ {
			if name := u.name(int32(id)); !hint.has(name) && !hint.in(u.relations(int32(id))) {
				continue
			}
			for name, rank := range u.mentionsBy(int32(id)) {
				if i, ok := wanted[name]; ok && first[i] == 0 {
					first[i], missing = rank, missing-1
				}
			}
		}
		return first
	})
}

// hints tell of most words that they are none of a few names, by their length
// and three of their bytes.
type hints [1 << 13]bool

func hintOf(word string) uint {
	n := len(word)
	return (uint(n)*257 ^ uint(word[0])*7 ^ uint(word[n-1])<<5 ^ uint(word[n/2])*89) % uint(len(hints{}))
}

func (h *hints) add(name string) { h[hintOf(name)] = true }

func (h *hints) has(name string) bool { return h[hintOf(name)] }

// in tells whether one of the words in a text may be one of the names.
func (h *hints) in(text string) bool {
	for i := 0; i < len(text); i++ {
		if classes[text[i]]&betweenBytes != 0 {
			continue
		}
		start := i
		for i++; i < len(text) && classes[text[i]]&betweenBytes == 0; i++ {
		}
		if h.has(text[start:i]) {
			return true
		}
	}
	return false
}

// relationNames yields the names in a relation field, qualified ones left out:
// apt counts "perl:any" as another name.
func relationNames(field string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for field != "" {
			part := field
			end := strings.IndexAny(field, ",|")
			if end >= 0 {
				part, field = field[:end], field[end+1:]
			} else {
				field = ""
			}
			part = strings.TrimLeft(part, " \t\r\n")
			if end := strings.IndexAny(part, " \t\r\n(:[<"); end >= 0 {
				if part[end] == ':' {
					continue
				}
				part = part[:end]
			}
			if part != "" && !yield(part) {
				return
			}
		}
	}
}
