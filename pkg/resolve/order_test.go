package resolve

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		about string
		index []string
		want  string // groups
	}{
		{"by name if free", []string{"b 1", "a 1", "c 1"}, "a | b | c"},
		{"dependencies first", []string{"a 1; Depends: b", "b 1; Pre-Depends: c", "c 1"}, "c | b | a"},
		{"loop", []string{"a 1; Depends: b", "b 1; Depends: c", "c 1; Depends: a", "d 1; Depends: a"}, "a b c | d"},
		{"libc6 and libgcc-s1", []string{"a 1; Depends: libc6", "libc6 1; Depends: libgcc-s1, libcrypt1", "libgcc-s1 1; Depends: libc6", "libcrypt1 1; Depends: libc6"}, "libc6 libcrypt1 libgcc-s1 | a"},
		{"pre-dependency inside a loop", []string{"a 1; Pre-Depends: c", "b 1; Depends: a", "c 1; Depends: b"}, "c a b"},
		{"pre-dependencies in a row inside a loop", []string{"a 1; Pre-Depends: b", "b 1; Pre-Depends: c", "c 1; Depends: a"}, "c b a"},
		{"provided", []string{"a 1; Depends: v (>= 1)", "p 1; Provides: v (= 1)"}, "p | a"},
		{"alternative that is there", []string{"a 1; Depends: x | b", "b 1"}, "b | a"},
		{"version that does not fit is no dependency", []string{"a 1; Depends: b (>= 2) | c", "b 1; Depends: a", "c 1"}, "c | a | b"},
		{"Recommends do not count", []string{"a 1; Recommends: b", "b 1"}, "a | b"},
		{"breaks an older one", []string{"a 1; Breaks: b (<< 1)", "b 1"}, "b | a"},
		{"breaks an older one that needs it", []string{"a 1; Breaks: b (<< 1)", "b 1; Depends: a"}, "a | b"},
		{"breaks an older one, in a loop", []string{"a 1; Breaks: b (<< 1); Depends: c", "b 1; Depends: a", "c 1; Depends: b"}, "b a c"},
		{"breaks newer ones", []string{"a 1; Breaks: b (>> 1)", "b 1"}, "a | b"},
		{"itself", []string{"a 1; Depends: a"}, "a"},
		{"two architectures", []string{"a 1; Depends: l", "a 1 i386; Depends: l", "l 1; Multi-Arch: same", "l 1 i386; Multi-Arch: same"}, "l | a | l:i386 | a:i386"},
		{"all", []string{"a 1 all; Depends: b", "b 1; Depends: c", "c 1 all"}, "c | b | a"},
	}
	for _, tt := range tests {
		pkgs := newUniverse(t, index(tt.index...)).Matches(parse(t, "$Version"), "")
		for seed := range uint64(5) {
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(pkgs), func(i, j int) { pkgs[i], pkgs[j] = pkgs[j], pkgs[i] })
			var groups []string
			for _, g := range Order(pkgs) {
				groups = append(groups, list(g))
			}
			if got := strings.Join(groups, " | "); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.about, got, tt.want)
				break
			}
		}
	}
	if got := Order(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// A long chain is no deep recursion.
func TestOrderOfAll(t *testing.T) {
	t.Parallel()
	pkgs := newUniverse(t, syntheticIndex(20_000)).Matches(parse(t, "$Version"), "")
	done := map[string]bool{}
	count := 0
	for _, g := range Order(pkgs) {
		for _, p := range g {
			done[p.Name] = true
			count++
		}
		for _, p := range g {
			for _, c := range newControl(p).clauses {
				if !done[c.alternatives[0].Name] {
					t.Fatalf("%s comes before %s", p.Name, c.alternatives[0].Name)
				}
			}
		}
	}
	if count != len(pkgs) {
		t.Errorf("%d of %d packages", count, len(pkgs))
	}
}
