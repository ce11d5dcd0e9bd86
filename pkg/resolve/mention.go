package resolve

import (
	"iter"
	"runtime"
	"strings"
	"sync"
)

// mentions tells where in the indices each name is mentioned for the first
// time, by a package or in a relation. apt numbers names in that order and,
// where nothing else decides between two providers, takes the later one: it
// means nothing, but closures that differ from apt's mean questions.
//
// Finding out takes a pass over all stanzas; it is done when the first tie is
// met, which most closures never do.
type mentions struct {
	once  sync.Once
	first []uint64 // by number of the name; 0: nowhere
}

// mentionFields are the fields in which apt reads names, in its order.
var mentionFields = [...]string{fieldPreDepends, fieldDepends, fieldConflicts, fieldBreaks, fieldRecommends, "Suggests", "Replaces", "Enhances", "Provides"}

// mentioned is the rank of a name.
func (u *universe) mentioned(name string) uint64 {
	u.mentions.once.Do(u.findMentions)
	n, ok := u.table.number[name]
	if !ok {
		return 0
	}
	return u.mentions.first[n]
}

// findMentions divides the records among goroutines and joins their findings.
func (u *universe) findMentions() {
	parts := min(runtime.GOMAXPROCS(0), maxMentionParts)
	found := make([][]uint64, parts)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			found[i] = u.mentionsIn(len(u.records)*i/parts, len(u.records)*(i+1)/parts)
		})
	}
	wg.Wait()
	for _, later := range found[1:] {
		for n, rank := range later {
			if found[0][n] == 0 {
				found[0][n] = rank
			}
		}
	}
	u.mentions.first = found[0]
}

// maxMentionParts bounds the memory of findMentions: a number per name and part.
const maxMentionParts = 4

// mentionsIn finds the first mentions in the records from..to.
func (u *universe) mentionsIn(from, to int) []uint64 {
	first := make([]uint64, len(u.table.number))
	var values [len(mentionFields)]string
	for id := from; id < to; id++ {
		rank := uint64(id)<<24 + 1 // no stanza has 1<<24 relations
		note := func(name string) {
			rank++
			if n, ok := u.table.number[name]; ok && first[n] == 0 {
				first[n] = rank
			}
		}
		note(u.name(int32(id)))
		u.stanza(int32(id)).Values(values[:], mentionFields[:]...)
		for _, value := range values {
			for name := range relationNames(value) {
				note(name)
			}
		}
	}
	return first
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
