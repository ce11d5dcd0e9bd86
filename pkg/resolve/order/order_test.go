package order_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/candidate"
	"example.org/mmoci/pkg/resolve/order"
	"example.org/mmoci/pkg/resolve/query"
)

// packages are those of an index of short lines: "name version [arch]; Field: value; ...".
func packages(t *testing.T, lines ...string) []*candidate.Package {
	t.Helper()
	var b strings.Builder
	for i, line := range lines {
		head, fields, _ := strings.Cut(line, ";")
		words := append(strings.Fields(head), "amd64")
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\n", words[0], words[1], words[2])
		for f := range strings.SplitSeq(fields, ";") {
			if f = strings.TrimSpace(f); f != "" {
				b.WriteString(f + "\n")
			}
		}
		fmt.Fprintf(&b, "Filename: pool/%d.deb\nSize: 1\nSHA256: %064x\n\n", i, i)
	}
	u, err := resolve.NewUniverse([]resolve.Index{{Archive: "a", Suite: "s", Data: []byte(b.String())}})
	if err != nil || len(u.Skipped()) > 0 {
		t.Fatal(err, u.Skipped())
	}
	all, err := query.Parse("$Version")
	if err != nil {
		t.Fatal(err)
	}
	return u.Matches(all, "")
}

// list is the names of packages, with architectures other than amd64 and all.
func list(pkgs []*candidate.Package) string {
	var out []string
	for _, p := range pkgs {
		s := p.Name
		if p.Architecture != "amd64" && p.Architecture != "all" {
			s += ":" + p.Architecture
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// chain has n packages; each needs up to eight that come before it, the one before it among them.
func chain(n int) []string {
	rng := rand.New(rand.NewPCG(1, 1))
	lines := []string{"p0 1"}
	for i := 1; i < n; i++ {
		line := fmt.Sprintf("p%d 1; Depends: p%d (>= 1)", i, i-1)
		for range rng.IntN(8) {
			line += fmt.Sprintf(", p%d (>= 1)", rng.IntN(i))
		}
		lines = append(lines, line)
	}
	return lines
}

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
		pkgs := packages(t, tt.index...)
		for seed := range uint64(5) {
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(pkgs), func(i, j int) { pkgs[i], pkgs[j] = pkgs[j], pkgs[i] })
			var groups []string
			for _, g := range order.Groups(pkgs) {
				groups = append(groups, list(g))
			}
			if got := strings.Join(groups, " | "); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.about, got, tt.want)
				break
			}
		}
	}
	if got := order.Groups(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// A long chain is no deep recursion.
func TestOrderOfAll(t *testing.T) {
	t.Parallel()
	pkgs := packages(t, chain(20_000)...)
	done := map[string]bool{}
	count := 0
	for _, g := range order.Groups(pkgs) {
		for _, p := range g {
			done[p.Name] = true
			count++
		}
		for _, p := range g {
			for _, c := range candidate.Read(p).Clauses {
				if !done[c.Alternatives[0].Name] {
					t.Fatalf("%s comes before %s", p.Name, c.Alternatives[0].Name)
				}
			}
		}
	}
	if count != len(pkgs) {
		t.Errorf("%d of %d packages", count, len(pkgs))
	}
}
