package resolve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The rank of a name is where apt reads it first: the package, then its
// relations in apt's order of fields; a qualified name is another name.
func TestMentioned(t *testing.T) {
	t.Parallel()
	u := newUniverse(t,
		index("a 1; Depends: late:any, one (>= 1) | two; pre-depends: zero; Description: never", "b 1; Suggests: s_t, four\n [x]; Breaks: three<y>"),
		index("late 1; Provides: five(= 1)", "never 1; Homepage: six", "one 1"))
	order := []string{"a", "zero", "one", "two", "b", "three", "s_t", "four", "late", "five", "never"}
	names := append([]string{"six"}, order...)
	got := map[string]uint64{}
	for _, name := range names {
		got[name] = u.firstMention(name)
	}
	for i := 1; i < len(order); i++ {
		if got[order[i-1]] >= got[order[i]] || got[order[i-1]] == 0 {
			t.Errorf("%s has rank %x, %s %x", order[i-1], got[order[i-1]], order[i], got[order[i]])
		}
	}
	if got["six"] != 0 {
		t.Errorf("six is mentioned: %x", got["six"])
	}
}

// However many names are asked about at once, the answer is the same.
func TestMentionedInAnyWay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	var lines []string
	for i := range 400 {
		var names [3]string
		for k := range names {
			names[k] = fmt.Sprintf("%c%0*d", 'a'+rng.IntN(3), 1+rng.IntN(12), rng.IntN(300))
		}
		lines = append(lines, fmt.Sprintf("p%d 1; Recommends: %s, %s:any; Provides: %s", i, names[0], names[1], names[2]))
	}
	u := newUniverse(t, index(lines[:150]...), index(lines[150:]...))
	all := u.allMentions()
	var names []string
	for name := range u.table.number {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if rank, want := u.firstMention(name), all[u.table.number[name]]; rank != want {
			t.Errorf("%s: %x, in the pass for all %x", name, rank, want)
		}
	}
	for range 2 * maxLookups {
		some := []string{names[rng.IntN(len(names))], "nowhere", names[rng.IntN(len(names))]}
		for name, rank := range u.mentioned(some) {
			want := uint64(0)
			if name != "nowhere" {
				want = all[u.table.number[name]]
			}
			if rank != want {
				t.Errorf("%s: %x, want %x", name, rank, want)
			}
		}
	}
	if u.mentions.all == nil {
		t.Error("no pass for all names after so many names")
	}
}
