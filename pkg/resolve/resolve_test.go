package resolve

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// closureTests are questions to small archives, by what they are about.
var closureTests = []struct {
	about string
	index []string
	ask   string // queries, joined by ";"
	want  string // names; or "!" and a part of the error
}{
	// Depends and Pre-Depends.
	{"chain", []string{"a 1; Depends: b", "b 1; Pre-Depends: c", "c 1", "d 1"}, "a", "a b c"},
	{"loop", []string{"a 1; Depends: b", "b 1; Depends: a"}, "a", "a b"},
	{"itself", []string{"a 1; Depends: a"}, "a", "a"},
	{"newest", []string{"a 1", "a 3", "a 2"}, "a", "a=3"},
	{"version asked for", []string{"a 1", "a 3", "a 2"}, "a (<= 2)", "a=2"},
	{"tilde", []string{"a 2~rc1", "a 1"}, "a (<< 2)", "a=2~rc1"},
	{"epoch", []string{"a 1:1", "a 9"}, "a", "a=1:1"},
	{"older dependency if the newest does not fit", []string{"a 1; Depends: b (<< 2)", "b 2", "b 1"}, "a", "a b"},
	{"Recommends are left", []string{"a 1; Recommends: b", "b 1"}, "a", "a"},
	{"Suggests are left", []string{"a 1; Suggests: b", "b 1"}, "a", "a"},

	// Alternatives.
	{"first alternative", []string{"a 1; Depends: b | c", "b 1", "c 1"}, "a", "a b"},
	{"second, if the first is not there", []string{"a 1; Depends: b | c", "c 1"}, "a", "a c"},
	{"second, if the first is too old", []string{"a 1; Depends: b (>= 2) | c", "b 1", "c 1"}, "a", "a c"},
	{"second, if the first needs what is not there", []string{"a 1; Depends: b | c", "b 1; Depends: x", "c 1"}, "a", "a c"},
	{"second, if deep below the first something lacks", []string{"a 1; Depends: b | c", "b 1; Depends: d", "d 1; Depends: e", "e 1; Depends: x", "c 1"}, "a", "a c"},
	{"the one chosen already", []string{"a 1; Depends: c, b | c", "b 1", "c 1"}, "a", "a c"},
	{"the one asked for as well", []string{"a 1; Depends: b | c", "b 1", "c 1"}, "a; c", "a c"},
	{"apt's order: the first, though the other is needed later", []string{"a 1; Depends: b | c, d", "b 1", "c 1", "d 1; Depends: c"}, "a", "a b c d"},
	{"going back: the first conflicts with what comes later", []string{"a 1; Depends: b | c, d", "b 1", "c 1", "d 1; Conflicts: b"}, "a", "a c d"},
	{"going back over a choice that has no part in it", []string{"a 1; Depends: b | c, e | f, d", "b 1", "c 1", "d 1; Breaks: b", "e 1", "f 1"}, "a", "a c d e"},
	{"going back: the later one conflicts", []string{"a 1; Depends: b | c, d", "b 1; Conflicts: d", "c 1", "d 1"}, "a", "a c d"},
	{"an older version, since the newest conflicts", []string{"a 1; Depends: b, c", "b 1", "c 2; Conflicts: b", "c 1"}, "a", "a b c"},

	// Provides.
	{"provider", []string{"a 1; Depends: v", "p 1; Provides: v"}, "a", "a p"},
	{"real before provided", []string{"a 1; Depends: v", "p 1; Provides: v", "v 1"}, "a", "a v"},
	{"unversioned Provides, versioned dependency", []string{"a 1; Depends: v (>= 1)", "p 1; Provides: v"}, "a", "!seen: no version (provided by p 1)"},
	{"versioned Provides", []string{"a 1; Depends: v (>= 2)", "p 1; Provides: v (= 2)"}, "a", "a p"},
	{"versioned Provides, too old", []string{"a 1; Depends: v (>= 2)", "p 9; Provides: v (= 1)"}, "a", "!a (archive a) needs v (>= 2); seen: 1 (provided by p 9)"},
	{"provider by priority", []string{"a 1; Depends: v", "p 1; Provides: v; Priority: optional", "q 1; Provides: v; Priority: required"}, "a", "a q"},
	{"provider that is essential", []string{"a 1; Depends: v", "p 1; Provides: v; Essential: yes; Priority: optional", "q 1; Provides: v; Priority: required"}, "a", "a p"},
	{"provider mentioned last", []string{"a 1; Depends: v", "p 1; Provides: v", "q 1; Provides: v"}, "a", "a q"},
	{"provider mentioned last, early", []string{"a 1; Depends: v; Suggests: q", "p 1; Provides: v", "q 1; Provides: v"}, "a", "a p"},
	{"old version provides", []string{"a 1; Depends: v", "p 2", "p 1; Provides: v"}, "a", "a p"},

	// Conflicts and Breaks.
	{"own Provides", []string{"a 1; Provides: v; Conflicts: v"}, "a", "a"},
	{"own name", []string{"a 1; Conflicts: a (<< 1)"}, "a", "a"},
	{"two that provide and conflict", []string{"a 1; Depends: p, q", "p 1; Provides: v; Conflicts: v", "q 1; Provides: v; Conflicts: v"}, "a", "!conflicts with"},
	{"versioned conflict, unversioned Provides", []string{"a 1; Depends: p; Conflicts: v (<< 9)", "p 1; Provides: v"}, "a", "a p"},
	{"versioned conflict, versioned Provides", []string{"a 1; Depends: p; Conflicts: v (<< 9)", "p 1; Provides: v (= 2)"}, "a", "!conflicts with"},
	{"versioned conflict that does not concern", []string{"a 1; Depends: b; Breaks: b (<< 1)", "b 1"}, "a", "a b"},
	{"conflict two steps away", []string{"a 1; Depends: b, c", "b 1; Depends: d", "c 1; Conflicts: d", "d 1"}, "a", "!c 1 conflicts with d 1"},

	// Multi-Arch.
	{":any", []string{"a 1; Depends: b:any", "b 1; Multi-Arch: allowed"}, "a", "a b"},
	{":any without allowed", []string{"a 1; Depends: b:any", "b 1"}, "a", "!needs b:any"},
	{":native", []string{"a 1; Depends: b:native", "b 1"}, "a", "a b"},
	{":arch", []string{"a 1; Depends: b:amd64", "b 1"}, "a", "a b"},
	{":other arch", []string{"a 1; Depends: b:i386", "b 1"}, "a", "!needs b:i386"},
	{"all needs amd64", []string{"a 1 all; Depends: b", "b 1"}, "a", "a b"},
	{"amd64 needs all", []string{"a 1; Depends: b", "b 1 all"}, "a", "a b"},

	// Roots.
	{"several", []string{"a 1", "b 1", "c 1"}, "a; c", "a c"},
	{"two that conflict: each by itself", []string{"a 1; Conflicts: b; Depends: c", "b 1; Depends: d", "c 1", "d 1"}, "a; b", "a b c d"},
	{"two versions of one", []string{"a 1; Depends: b", "a 2; Depends: c", "b 1", "c 1"}, "a (= 1); a (= 2)", "a a=2 b c"},
	{"virtual", []string{"p 1; Provides: v", "q 1; Provides: v; Priority: standard"}, "v", "p"},
	{"field: the newest of each that matches", []string{"a 1; Section: x", "a 2; Section: x", "a 3; Section: y", "b 1; Section: x"}, "Section (x)", "a=2 b"},
	{"exact", []string{"a 1", "a 2"}, "a_1_amd64", "a"},
	{"set", []string{"a 1; Essential: yes; Depends: b", "b 1", "c 1; Priority: required"}, "@essential", "a b"},
	{"Priority", []string{"a 1; Priority: required", "b 1; Priority: important", "c 1; Priority: optional"}, "@important", "a b"},
	{"and", []string{"a 1; Section: x", "b 1; Section: x"}, "Section (x), !Name (b)", "a"},
	{"or", []string{"a 1", "b 1", "c 1"}, "a | c", "a c"},
	{"a root is not made older", []string{"a 2; Depends: x", "a 1"}, "a", "!a (archive a) needs x; seen: none"},
}

func TestClosure(t *testing.T) {
	t.Parallel()
	for _, tt := range closureTests {
		t.Run(tt.about, func(t *testing.T) {
			u := newUniverse(t, index(tt.index...))
			req := Request{Roots: asked(t, tt.ask), Architectures: []string{"amd64"}}
			res, err := u.Resolve(req)
			if !answers(t, res, err, tt.want) {
				return
			}
			reasonsHold(t, req, res)
			slices.Reverse(req.Roots)
			again, err := newUniverse(t, index(tt.index...)).Resolve(req)
			if err != nil || list(packages(again)) != list(packages(res)) {
				t.Errorf("asked the other way round: %s, %v", list(packages(again)), err)
			}
		})
	}
}

// reasonsHold follows each reason to a root.
func reasonsHold(t *testing.T, req Request, res *Result) {
	t.Helper()
	reasons := map[*Package]Reason{}
	for _, c := range res.Packages {
		reasons[c.Package] = c.Reason
	}
	for _, c := range res.Packages {
		r := c.Reason
		for steps := 0; r.Root == nil; steps++ {
			next, known := reasons[r.Parent]
			if !known || steps > len(reasons) || r.Field == "" || r.Clause == "" {
				t.Fatalf("%s: reason %q leads nowhere", c.Name, c.Reason)
			}
			r = next
		}
	}
}

func TestArchives(t *testing.T) {
	t.Parallel()
	docker := Index{Archive: "docker", Suite: "bookworm", Path: "docker", Data: stanzas("docker-ce 5; Depends: libseccomp2 (>= 2.3)", "common 1")}
	debian := Index{Archive: "debian", Suite: "bookworm", Path: "debian", Data: stanzas("libseccomp2 2.5", "docker-ce 6", "common 1")}
	old := Index{Archive: "debian", Suite: "buster", Path: "old", Data: stanzas("libseccomp2 2.1-1")}
	tests := []struct {
		about   string
		indices []Index
		ask     string
		want    string
	}{
		{"dependency from another archive", []Index{docker, debian}, "docker/docker-ce", "docker-ce=5 libseccomp2=2.5"},
		{"the archive is dropped", []Index{docker}, "docker-ce", "!docker-ce (archive docker) needs libseccomp2 (>= 2.3); seen: none"},
		{"of no archive", []Index{{Path: "built", Data: stanzas("docker-ce 5; Depends: libseccomp2 (>= 2.3)")}}, "docker-ce", "!docker-ce 5 needs libseccomp2 (>= 2.3); seen: none"},
		{"too old", []Index{docker, old}, "docker-ce", "!docker-ce (archive docker) needs libseccomp2 (>= 2.3); seen: 2.1-1 in debian/buster"},
		{"any archive", []Index{docker, debian}, "docker-ce", "docker-ce=6"},
		{"not in this archive", []Index{docker, debian}, "docker/libseccomp2", "!libseccomp2: not in archive docker; seen: 2.5 (amd64) in debian/bookworm"},
		{"version that is not there", []Index{docker, debian}, "docker-ce (>= 7)", "!docker-ce (>= 7): not in the archives; seen: 6 (amd64) in debian/bookworm, 5 (amd64) in docker/bookworm"},
		{"misspelled", []Index{docker, debian}, "dokcer-ce", "!dokcer-ce: not in the archives; seen: none; near: docker-ce"},
		{"nothing selected", []Index{docker, debian}, "Section (x)", "!Section (= x): selects nothing in the archives"},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			res, err := newUniverse(t, tt.indices...).Resolve(Request{Roots: roots(t, tt.ask), Architectures: []string{"amd64"}})
			if want, ok := strings.CutPrefix(tt.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("error %v, want one with %q", err, want)
				}
				return
			}
			if err != nil || list(packages(res)) != tt.want {
				t.Errorf("got %v, %v, want %s", res, err, tt.want)
			}
		})
	}
}

// Equal packages of two archives are taken from the first, unless asked for from the other.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	first := Index{Archive: "first", Suite: "s", Path: "1", Data: stanzas("a 1", "b 1; Depends: a")}
	second := Index{Archive: "second", Suite: "s", Path: "2", Data: stanzas("a 1")}
	u := newUniverse(t, first, second)
	for ask, want := range map[string]string{"a": "first", "second/a": "second", "first/a": "first"} {
		res, err := u.Resolve(Request{Roots: roots(t, ask), Architectures: []string{"amd64"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Packages[0].Archive; len(res.Packages) != 1 || got != want {
			t.Errorf("%s: from %s, want %s", ask, got, want)
		}
	}
	res, err := u.Resolve(Request{Roots: roots(t, "b", "first/a", "second/a"), Architectures: []string{"amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := list(packages(res)); got != "a a b" {
		t.Errorf("asked for from both: %s", got)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	stable := Index{Archive: "a", Suite: "stable", Path: "stable", Data: stanzas("a 1", "r 1; Depends: a", "n 1; Depends: a (>= 2)")}
	backports := Index{Archive: "a", Suite: "backports", Path: "backports", Pin: 100, Data: stanzas("a 2")}
	never := Index{Archive: "a", Suite: "never", Path: "never", Pin: -1, Data: stanzas("a 3")}
	u := newUniverse(t, stable, backports, never)
	tests := []struct {
		ask  string
		lock map[string]string
		want string
	}{
		{"a", nil, "a"},
		{"r", nil, "a r"},
		{"n", nil, "a=2 n"},
		{"a (>= 2)", nil, "a=2"},
		{"r", map[string]string{"a:amd64": "2"}, "a=2 r"},
		{"a", map[string]string{"a:amd64": "2"}, "a=2"},
		{"a", map[string]string{"a:amd64": "1 2"}, "a"},
		{"a (>= 3)", nil, ""},
		{"n", map[string]string{"a:amd64": "1"}, ""},
		{"a", map[string]string{"a:all": "7"}, ""},
	}
	for _, tt := range tests {
		res, err := u.Resolve(Request{Roots: roots(t, tt.ask), Architectures: []string{"amd64"}, Pins: tt.lock})
		switch {
		case tt.want == "" && !errors.Is(err, ErrUnsatisfied):
			t.Errorf("%s %v: %v", tt.ask, tt.lock, err)
		case tt.want != "" && (err != nil || list(packages(res)) != tt.want):
			t.Errorf("%s %v: %v, want %s", tt.ask, tt.lock, err, tt.want)
		}
	}
}

func TestArchitectures(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, index("a 1; Depends: b, c", "b 1; Multi-Arch: foreign", "c 1 all", "only 1", "half 1 all; Depends: only"),
		index("a 1 arm64; Depends: b, c", "b 1 arm64; Multi-Arch: foreign", "c 1 all", "odd 1 arm64; Depends: only"))
	tests := []struct{ ask, want string }{
		{"a", "a a:arm64 b b:arm64 c"},
		{"a {arm64}", "a:arm64 b:arm64 c"},
		{"only", "only"},
		{"half", "half only"},
		{"odd", ""},
	}
	for _, tt := range tests {
		res, err := u.Resolve(Request{Roots: roots(t, tt.ask), Architectures: []string{"amd64", "arm64"}})
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), "odd (archive a) needs only; seen: 1 in a/s") {
				t.Errorf("%s: %v", tt.ask, err)
			}
			continue
		}
		if err != nil || list(packages(res)) != tt.want {
			t.Errorf("%s: %v, want %s", tt.ask, err, tt.want)
		}
	}
}

func TestRecommends(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, index("a 1; Recommends: b, x, c | d; Depends: e", "b 1; Recommends: f", "c 1; Conflicts: e", "d 1", "e 1", "f 1; Depends: y"))
	res, err := u.Resolve(Request{Roots: roots(t, "a"), Architectures: []string{"amd64"}, Recommends: true})
	if err != nil || list(packages(res)) != "a b d e" {
		t.Fatalf("%v, %v", res, err)
	}
	for _, c := range res.Packages {
		if c.Name == "d" && c.Reason.String() != "a Recommends: c | d" {
			t.Errorf("reason of d: %s", c.Reason)
		}
	}
}

func TestAllOfAndNoClosure(t *testing.T) {
	t.Parallel()
	own := Index{Archive: "own", Suite: "own", Path: "own", Data: stanzas("a 1; Depends: b", "a 2; Depends: c", "z 1; Conflicts: a; Depends: missing")}
	debian := Index{Archive: "debian", Suite: "s", Path: "debian", Data: stanzas("b 1; Depends: d", "c 1", "d 1", "e 1")}
	u := newUniverse(t, own, debian)
	res, err := u.Resolve(Request{AllOf: []string{"own"}, Architectures: []string{"amd64"}})
	if err != nil || list(packages(res)) != "a a=2 b c d z" {
		t.Fatalf("%v, %v", res, err)
	}
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "z (archive own) needs missing") {
		t.Errorf("notes %q", res.Notes)
	}
	if got := res.Packages[0].Reason.String(); got != "asked for: all of own" {
		t.Errorf("reason %q", got)
	}
	res, err = u.Resolve(Request{AllOf: []string{"own"}, Architectures: []string{"amd64"}, NoClosure: true})
	if err != nil || list(packages(res)) != "a a=2 z" {
		t.Fatalf("%v, %v", res, err)
	}
	res, err = u.Resolve(Request{Roots: roots(t, "a", "b"), Architectures: []string{"amd64"}, NoClosure: true})
	if err != nil || list(packages(res)) != "a=2 b" {
		t.Fatalf("%v, %v", res, err)
	}
}

// A knot that cannot be untied ends, and soon.
func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	// Pigeons: n+1 packages want one of n holes each, and no two in one hole.
	const n = 9
	var lines []string
	all := make([]string, 0, n+1)
	for i := range n + 1 {
		p := "p" + string(rune('a'+i))
		all = append(all, p)
		var holes []string
		for h := range n {
			hole := p + string(rune('a'+h))
			holes = append(holes, hole)
			v := "h" + string(rune('a'+h))
			lines = append(lines, hole+" 1; Provides: "+v+"; Conflicts: "+v)
		}
		lines = append(lines, p+" 1; Depends: "+strings.Join(holes, " | "))
	}
	lines = append(lines, "all-of-them 1; Depends: "+strings.Join(all, ", "))
	_, err := newUniverse(t, index(lines...)).Resolve(Request{Roots: roots(t, "all-of-them"), Architectures: []string{"amd64"}})
	if !errors.Is(err, ErrUnsatisfied) {
		t.Fatal(err)
	}
	if !strings.Contains(err.Error(), "given up after too many") {
		t.Errorf("the search ended by itself, so this test shows nothing: %v", err)
	}
}

func TestUnsatisfiedNamesEveryRoot(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, index("good 1", "bad 1; Depends: middle", "middle 1; Depends: gone (>= 2) | other", "worse 1; Depends: gone", "gone 1; Depends: nowhere"))
	_, err := u.Resolve(Request{Architectures: []string{"amd64"}, Roots: []Root{
		{Query: parse(t, "good"), Origin: "f:1"}, {Query: parse(t, "bad"), Origin: "f:2"},
		{Query: parse(t, "worse"), Origin: "f:3"}, {Query: parse(t, "absent"), Origin: "f:4"}}})
	e, ok := errors.AsType[*Unsatisfied](err)
	if !ok {
		t.Fatal(err)
	}
	want := `unsatisfied: 3 of what was asked for: absent; bad; worse
  absent (f:4)
    absent: not in the archives; seen: none
  bad (f:2)
    bad (archive a) needs middle
    middle (archive a) needs gone (>= 2) | other; seen: 1 in a/s
  worse (f:3)
    worse (archive a) needs gone
    gone (archive a) needs nowhere; seen: none`
	if e.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", e, want)
	}
}

// A root that selects several packages names each that cannot be had.
func TestUnsatisfiedNamesEveryPackageOfARoot(t *testing.T) {
	t.Parallel()
	u := newUniverse(t, index("a 1; Section: x; Depends: p", "b 1; Section: x", "c 1; Section: x; Depends: q"))
	_, err := u.Resolve(Request{Roots: roots(t, "Section (x)"), Architectures: []string{"amd64"}})
	want := `unsatisfied: 2 of what was asked for: Section (= x)
  Section (= x)
    a (archive a) needs p; seen: none
  Section (= x)
    c (archive a) needs q; seen: none`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := u.Resolve(Request{Roots: []Root{{}}, Architectures: []string{"amd64"}}); err == nil {
		t.Error("root without a query")
	}
	if _, err := u.Resolve(Request{Roots: roots(t, "b")}); err == nil {
		t.Error("no architecture")
	}
}
