package resolve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// everyMemberIsClosed compares a whole archive's answer with that of looking
// closely at every clause of every member.
func everyMemberIsClosed(t *testing.T, u *Universe, req Request) {
	t.Helper()
	got, err := u.Resolve(req)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{u: u, req: &req, reasons: map[*Package]Reason{}, known: map[*Root]bool{}, noted: map[string]bool{}, missing: map[*Root][][]string{}}
	for _, arch := range req.Architectures {
		s := newSession(u, &req, []string{arch})
		for _, archive := range req.Whole {
			a.wholeClosely(s, archive)
		}
	}
	want, err := a.result()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Notes, want.Notes) {
		t.Fatalf("notes\n%s\nlooking closely\n%s", strings.Join(got.Notes, "\n"), strings.Join(want.Notes, "\n"))
	}
	if !slices.Equal(got.Packages, want.Packages) {
		t.Fatalf("packages %s, looking closely %s", list(packages(got)), list(packages(want)))
	}
}

// wholeClosely is whole without what spares it the work.
func (a *answer) wholeClosely(s *session, archive string) {
	m := &members{session: s, is: make([]membership, len(s.u.records)), drawn: map[*version]bool{}}
	var versions []*version
	for i := range s.u.records {
		id := int32(i)
		if s.archive(id) != archive {
			continue
		}
		if v := s.versionOf(id); v != nil {
			a.add(a.u.pkg(id), Reason{Whole: archive})
			m.is[id] = memberPlain
			if !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
	}
	for _, v := range versions {
		if err := s.relations(v).fault; err != nil {
			a.notes = append(a.notes, fmt.Sprintf("%s: %s cannot be read: %v", s.native, s.title(v), err))
		}
		for k := range s.relations(v).clauses {
			a.supply(m, v, k)
		}
	}
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
			line += pick("", "", "; Provides: v", "; Provides: w (= 2), v", "; Provides: v [arm64]", "; Provides: w | v")
			line += pick("", "", "; Multi-Arch: foreign", "; Multi-Arch: allowed", "; Multi-Arch: same")
			if rng.IntN(12) == 0 {
				line += pick("; Breaks: (", "; Breaks: c ((", "; Breaks: d,,e")
			}
			lines = append(lines, line)
		}
	}
	return Index{Archive: archive, Suite: suite, Component: "main", Path: suite, Data: stanzas(lines...), Pin: []int{0, 100, -1, 500}[rng.IntN(4)]}
}

// A whole archive is closed as if each clause of it had been looked at closely.
func TestWholeAgainstLookingClosely(t *testing.T) {
	t.Parallel()
	notes, drawn := 0, 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		u, err := NewUniverse([]Index{motley(rng, "own", "s"), motley(rng, "own", "t"), motley(rng, "other", "s"), motley(rng, "other", "t")})
		if err != nil {
			t.Fatal(err)
		}
		req := Request{Whole: [][]string{{"own"}, {"own", "other"}}[seed%2], Architectures: [][]string{{"amd64"}, {"amd64", "arm64"}}[seed/2%2], Recommends: seed%3 == 0}
		everyMemberIsClosed(t, u, req)
		res, err := u.Resolve(req)
		if err != nil {
			t.Fatal(err)
		}
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
	t.Logf("%d notes, %d packages drawn", notes, drawn)
}
