package resolve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/resolve/candidate"
)

// closed wants every dependency of what was taken to be met by something else
// that was taken, or to be in the notes.
// Where several suites have a version, the first one's dependencies count.
func closed(t *testing.T, u *Universe, req Request, res *Result) {
	t.Helper()
	for _, arch := range req.Architectures {
		s := newSession(u, &req, []string{arch})
		var all []*candidate.Control
		for _, c := range res.Packages {
			if v := versionOf(s, c.Package); v != nil {
				all = append(all, s.control(v))
			}
		}
		for _, c := range res.Packages {
			if v := versionOf(s, c.Package); v == nil || s.pkg(v) != c.Package || c.Reason.AllOf == "" && len(req.Architectures) > 1 {
				continue // drawn for another machine, perhaps
			}
			for _, clause := range candidate.Read(c.Package).Clauses {
				if clause.Optional() || met(s, all, &clause) {
					continue
				}
				lacks := fmt.Sprintf("%s: %s (archive %s) needs %s", arch, c.Name, c.Archive, &clause)
				if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.HasPrefix(n, lacks) }) {
					t.Fatalf("%s: neither met nor among the notes:\n%s", lacks, strings.Join(res.Notes, "\n"))
				}
			}
		}
	}
}

// versionOf is the version that stands for a package, nil if it has no place.
func versionOf(s *session, p *Package) *version {
	for i := range s.u.packages {
		if s.u.look(id(i)) == p {
			return s.versionOf(id(i))
		}
	}
	return nil
}

// met tells whether one of some packages meets a clause.
func met(s *session, by []*candidate.Control, c *candidate.Clause) bool {
	for i := range c.Alternatives {
		for _, o := range by {
			if o.Fault == nil && s.Satisfies(o, &c.Alternatives[i], s.Native) {
				return true
			}
		}
	}
	return false
}

// motley is an index of packages that need, provide and exclude each other in
// every way there is, some in ways that cannot be read.
func motley(rng *rand.Rand, archive, suite string) Index {
	names := strings.Split("a b c d e f g h v w", " ")
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	relation := func() string {
		return pick(names...) + pick("", "", "", ":any", ":amd64", ":native") + pick("", "", " (= 1)", " (>= 2)", " (<< 2)", " (>= 1)", " [amd64]", " [arm64]")
	}
	field := func(name string, most int, separator string) string {
		var parts []string
		for range rng.IntN(most + 1) {
			parts = append(parts, relation())
		}
		if len(parts) == 0 {
			return ""
		}
		return "; " + name + ": " + strings.Join(parts, separator)
	}
	var lines []string
	for _, n := range names[:8] {
		for v := range rng.IntN(3) {
			line := fmt.Sprintf("%s %d %s", n, v+1, pick("amd64", "amd64", "amd64", "all", "arm64"))
			line += field("Depends", 3, ", ") + field("Pre-Depends", 2, " | ") + field("Recommends", 1, ", ") + field("Conflicts", 1, ", ")
			line += pick("", "", "; Provides: v", "; Provides: w (= 2), v", "; Provides: v [arm64]", "; Provides: w")
			line += pick("", "", "; Multi-Arch: foreign", "; Multi-Arch: allowed", "; Multi-Arch: same")
			if rng.IntN(12) == 0 {
				line += pick("; Breaks: (", "; Breaks: c ((", "; Breaks: d,,e")
			}
			lines = append(lines, line)
		}
	}
	return Index{Archive: archive, Suite: suite, Component: "main", Path: suite, Data: stanzas(lines...), Pin: []int{0, 100, -1, 500}[rng.IntN(4)]}
}

// Archives that are taken as a whole, however odd, are closed or the notes tell
// what is missing.
func TestAllOf(t *testing.T) {
	t.Parallel()
	notes, drawn := 0, 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		u, err := NewUniverse([]Index{motley(rng, "own", "s"), motley(rng, "own", "t"), motley(rng, "other", "s"), motley(rng, "other", "t")})
		if err != nil {
			t.Fatal(err)
		}
		req := Request{AllOf: [][]string{{"own"}, {"own", "other"}}[seed%2], Architectures: [][]string{{"amd64"}, {"amd64", "arm64"}}[seed/2%2], Recommends: seed%3 == 0}
		res, err := u.Resolve(req)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, u, req, res)
		notes += len(res.Notes)
		for _, p := range res.Packages {
			if p.Reason.Parent != nil {
				drawn++
			}
		}
	}
	if notes < 3000 || drawn < 1000 {
		t.Errorf("%d notes, %d packages drawn: too few to show anything", notes, drawn)
	}
}
