package deb

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pault.ag/go/debian/dependency"
)

// relationSeeds are values from the world and their borders.
var relationSeeds = []string{
	"",
	"libc6 (>= 2.36), libsystemd0",
	"debconf (>= 0.5) | debconf-2.0, default-mta | mail-transport-agent",
	"containerd.io(>= 1.6.4),\n docker-ce-cli\t(=5:20.10~3-0~debian-bookworm) ,iptables",
	"python3:any (>= 3.6~), gcc:amd64, perl:native",
	"foo (< 1.0), bar (> 2), baz (1.5)",
	"a [amd64 !i386], b [linux-any] | c [any-arm], d <!nocheck> <stage1 !cross>, e (>= 1) [!hurd-any] <!nodoc>",
	"g++, libstdc++-12-dev, x_y",
	"foo,",
	"foo (>= 1",
	"foo || bar",
	"foo (!= 1)",
}

func TestParseRelations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{" \n\t", ""},
		{"foo", "foo"},
		{" foo ", "foo"},
		{"Foo", "Foo"},
		{"foo, bar|baz", "foo; bar | baz"},
		{"foo(>= 1)", "foo (>= 1)"},
		{"foo (>=1)", "foo (>= 1)"},
		{"foo ( >= 1 )", "foo (>= 1)"},
		{"foo\n (\t>=\n1\v)\f,\r\n bar", "foo (>= 1); bar"},
		{"foo(<<1)|foo(<=1)|foo(=1)|foo(>=1)|foo(>>1)", "foo (<< 1) | foo (<= 1) | foo (= 1) | foo (>= 1) | foo (>> 1)"},
		{"foo (< 1), foo (> 1)", "foo (<= 1); foo (>= 1)"},
		{"foo (1.0)", "foo (= 1.0)"},
		{"foo:any(>= 1), gcc:amd64, p:native", "foo:any (>= 1); gcc:amd64; p:native"},
		{"foo (>= v1_2)", "foo (>= v1_2)"},
		{"g++, x_y, 0ad, a", "g++; x_y; 0ad; a"},
		{"foo,", "foo"},
		{"foo , ", "foo"},
		{"foo [amd64]", "foo"},
		{"foo[amd64]", "foo"},
		{"foo [ amd64 i386 ]", "foo"},
		{"foo [i386]", ""},
		{"foo [!i386], bar [!amd64]", "foo"},
		{"foo [amd64 !i386], bar [!i386 amd64], baz [!amd64 amd64]", "foo; bar"},
		{"foo [any], foo [linux-any], foo [any-amd64], foo [gnu-linux-any], foo [gnu-any-any]", "foo; foo; foo; foo; foo"},
		{"foo [hurd-any], foo [any-i386], foo [musl-linux-any], foo [any-x32]", ""},
		{"foo [i386] | bar, baz [i386] | qux [i386]", "bar"},
		{"foo <!nocheck>, bar <nocheck>, baz <!nocheck !nodoc>, qux <!nocheck stage1> <!cross>", "foo; baz; qux"},
		{"foo (>= 1) [linux-any] <!nocheck>", "foo (>= 1)"},
		{"foo [!i386] <pkg.foo.bar> <!pkg.foo.baz>|bar", "foo | bar"},
	} {
		groups, err := ParseRelations(c.in, "amd64")
		if got := join(groups); err != nil || got != c.want {
			t.Errorf("%q: %q, %v, want %q", c.in, got, err, c.want)
		}
	}
}

func TestParseRelationsRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, names string }{
		{",", `""`},
		{",foo", `""`},
		{"foo,,bar", `""`},
		{"foo,,", `""`},
		{"ok, foo|", `""`},
		{"foo||bar", `""`},
		{"ok, foo (>= 1, bar", `"foo (>= 1, bar"`},
		{"foo (>= 1", `"foo (>= 1"`},
		{"foo (>= )", `"foo (>= )"`},
		{"foo ()", `"foo ()"`},
		{"foo (>= 1 2)", `"foo (>= 1 2)"`},
		{"foo (>= 1(2))", `"foo (>= 1(2))"`},
		{"foo (>= 1.0-)", `"foo (>= 1.0-)"`},
		{"foo (>= a:1)", `"foo (>= a:1)"`},
		{"foo (<> 1)", "operator"},
		{"foo (>< 1)", "operator"},
		{"foo (!= 1)", "operator"},
		{"foo (== 1)", "operator"},
		{"foo (>>= 1)", "operator"},
		{"foo (>= 1) bar", `"foo (>= 1) bar"`},
		{"foo (>= 1)(<< 2)", `"foo (>= 1)(<< 2)"`},
		{"foo bar", `"foo bar"`},
		{"foo)", `"foo)"`},
		{"foo]", `"foo]"`},
		{"foo:", "colon"},
		{"foo:-a", "colon"},
		{"foo : any", `"foo : any"`},
		{"foo:a_b", `"foo:a_b"`},
		{"${shlibs:Depends}", "not allowed"},
		{"-foo", "not allowed"},
		{"fo\x00o", "not allowed"},
		{"föö", "not allowed"},
		{"foo [", "architecture list"},
		{"foo []", "architecture list"},
		{"foo [!]", "architecture list"},
		{"foo [amd64", "architecture list"},
		{"foo <", "profile list"},
		{"foo <>", "profile list"},
		{"foo <!nocheck", "profile list"},
		{"foo <a> [amd64]", `"foo <a> [amd64]"`},
		{"foo " + strings.Repeat("x", 1000), "..."},
	} {
		groups, err := ParseRelations(c.in, "amd64")
		if err == nil {
			t.Errorf("%q: taken as %q", c.in, join(groups))
		} else if !strings.Contains(err.Error(), c.names) || len(err.Error()) > 300 {
			t.Errorf("%q: error %q does not name %s, or is too long", c.in, err, c.names)
		}
	}
}

func TestMatchArchitecture(t *testing.T) {
	t.Parallel()
	archs := []string{"amd64", "i386", "armhf", "armel", "arm64", "x32", "mips64el", "mipsn32", "powerpcspe",
		"kfreebsd-amd64", "hurd-i386", "musl-linux-armhf", "musl-linux-mips64", "darwin-arm64", "uclinux-armel"}
	// As dpkg-architecture -aX -iY answers.
	for pattern, want := range map[string]string{
		"any":                strings.Join(archs, " "),
		"amd64":              "amd64",
		"linux-any":          "amd64 i386 armhf armel arm64 x32 mips64el mipsn32 powerpcspe musl-linux-armhf musl-linux-mips64",
		"any-amd64":          "amd64 x32 kfreebsd-amd64",
		"any-arm":            "armhf armel musl-linux-armhf uclinux-armel",
		"any-arm64":          "arm64 darwin-arm64",
		"any-armhf":          "",
		"any-mips64":         "mipsn32 musl-linux-mips64",
		"any-powerpc":        "powerpcspe",
		"hurd-any":           "hurd-i386",
		"gnu-linux-any":      "amd64 i386 armhf armel arm64 x32 mips64el mipsn32 powerpcspe",
		"musl-linux-any":     "musl-linux-armhf musl-linux-mips64",
		"musl-any-any":       "musl-linux-armhf musl-linux-mips64",
		"eabihf-any-any-any": "armhf musl-linux-armhf",
		"any-any":            strings.Join(archs, " "),
		"x-any-any-any-any":  "",
		"many":               "",
	} {
		var got []string
		for _, a := range archs {
			if MatchArchitecture(pattern, a) {
				got = append(got, a)
			}
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: %q, want %q", pattern, g, want)
		}
	}
}

func TestSatisfied(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op   Op
		want string // below, equal, above
	}{{Any, "yyy"}, {LT, "ynn"}, {LE, "yyn"}, {EQ, "nyn"}, {GE, "nyy"}, {GT, "nny"}, {Op(99), "nnn"}} {
		r := Relation{Name: "x", Op: c.op, Version: "1.10"}
		got := ""
		for _, v := range []string{"1.9", "0:1.10-0", "1.11"} {
			got += map[bool]string{true: "y", false: "n"}[r.Satisfied(v)]
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.op, got, c.want)
		}
	}
}

func TestParseRelationsAllocatesTwice(t *testing.T) {
	const depends = "adduser, containerd (>= 1.4~), iptables | nftables, libc6 (>= 2.34), libsystemd0:any (>= 230), tini"
	n := testing.AllocsPerRun(100, func() {
		if _, err := ParseRelations(depends, "amd64"); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// join writes groups with "; " between them.
func join(groups [][]Relation) string {
	var out []string
	for _, g := range groups {
		var alts []string
		for _, r := range g {
			alts = append(alts, r.String())
		}
		out = append(out, strings.Join(alts, " | "))
	}
	return strings.Join(out, "; ")
}

func FuzzRelations(f *testing.F) {
	for _, s := range relationSeeds {
		f.Add(s, "amd64")
	}
	f.Add("a [any-i386]", "hurd-i386")
	f.Fuzz(func(t *testing.T, value, arch string) {
		groups, err := ParseRelations(value, arch)
		if err != nil {
			if len(err.Error()) > 4*maxExcerpt+200 {
				t.Fatalf("error of %d bytes", len(err.Error()))
			}
			return
		}
		for _, g := range groups {
			if len(g) == 0 {
				t.Fatal("empty group")
			}
			for _, r := range g {
				if (r.Op == Any) != (r.Version == "") || r.Name == "" {
					t.Fatalf("%q: %+v", value, r)
				}
			}
		}
		again, err := ParseRelations(strings.ReplaceAll(join(groups), "; ", ", "), arch)
		if err != nil || !reflect.DeepEqual(groups, again) && len(groups)+len(again) > 0 {
			t.Fatalf("%q: %v, written and read again: %v, %v", value, groups, again, err)
		}
		compareWithGoDebian(t, value, groups)
	})
}

// compareWithGoDebian checks values that are free of what go-debian is known
// to read otherwise: lists, qualifiers, obsolete operators, white space that is
// no single blank before a parenthesis, odd versions, empty alternatives.
func compareWithGoDebian(t *testing.T, value string, groups [][]Relation) {
	if strings.ContainsAny(value, "[]<>:$\t\n\v\f\r_~") || strings.Contains(value, "  ") || strings.HasSuffix(strings.TrimSpace(value), ",") {
		return
	}
	if strings.ContainsFunc(value, unicode.IsControl) || strings.ContainsFunc(value, unicode.IsUpper) {
		return
	}
	dep, err := dependency.Parse(value)
	if err != nil {
		return
	}
	var got [][]string
	for _, g := range groups {
		var names []string
		for _, r := range g {
			names = append(names, r.Name)
		}
		got = append(got, names)
	}
	var want [][]string
	for _, rel := range dep.Relations {
		var names []string
		for _, p := range rel.Possibilities {
			names = append(names, p.Name)
		}
		want = append(want, names)
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%q: names %q, go-debian has %q", value, got, want)
	}
}

func BenchmarkRelations(b *testing.B) {
	const depends = "adduser, containerd (>= 1.4~), iptables | nftables, libc6 (>= 2.34), libsystemd0:any (>= 230), tini"
	b.SetBytes(int64(len(depends)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRelations(depends, "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
