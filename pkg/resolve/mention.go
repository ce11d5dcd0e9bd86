package resolve

import (
	"iter"
	"runtime"
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
// when it is met, in the records whose block may mention them; whoever asks
// for very many gets a pass that finds all names.
type mentions struct {
	blocks []mentionBlock // in order

	mu   sync.Mutex
	rank map[string]uint64 // of the names looked for; 0: nowhere
	all  []uint64          // by number of the name, once it is known; 0: nowhere
}

// maxLookups is how many names are looked for one by one. That takes a few
// tenths of a millisecond in a release, and the pass for all about 80.
const maxLookups = 512

// maxParts bounds the goroutines of a pass, and with that the memory of
// the one for all names: a number per name and part.
const maxParts = 4

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
	ranks := make(map[string]uint64, len(names))
	for _, name := range names {
		n, there := u.table.number[name]
		if !there { // installed, not on offer
			ranks[name] = 0
			continue
		}
		rank, known := m.rank[name]
		switch {
		case m.all != nil:
			rank = m.all[n]
		case known:
		case len(m.rank) == maxLookups:
			m.all = u.allMentions()
			rank = m.all[n]
		default:
			if m.rank == nil {
				m.rank = map[string]uint64{}
			}
			rank = u.firstMention(name)
			m.rank[name] = rank
		}
		ranks[name] = rank
	}
	return ranks
}

// inParts divides the first n records among goroutines that look at from..to.
func (u *universe) inParts(n int, look func(from, to int) []uint64) []uint64 {
	parts := min(runtime.GOMAXPROCS(0), maxParts)
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

// firstMention is the rank of one name.
func (u *universe) firstMention(name string) uint64 {
	blocks := u.mentions.blocks
	hash := hashWord(name)
	for i := range blocks {
		if !blocks[i].may(hash) {
			continue
		}
		end := int32(len(u.records))
		if i+1 < len(blocks) {
			end = blocks[i+1].first
		}
		for id := blocks[i].first; id < end; id++ {
			if u.name(id) != name && !strings.Contains(u.relations(id), name) {
				continue
			}
			for mentioned, rank := range u.mentionsBy(id) {
				if mentioned == name {
					return rank
				}
			}
		}
	}
	return 0
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
