package builddeps

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

const stanza = `Package: demo
Version: 1:2.0-3
Build-Depends: debhelper-compat (= 13), libfoo-dev (>= 1.2) [amd64 arm64 !hurd-any], kdep [kfreebsd-any],
 check (>= 0.10) <!nocheck>, cross-tool <cross>, python3:any, gcc:native <!stage1 !nodoc> <cross>,
 mail-server | exim4, libbar-dev (>= 1) | libbar-dev (<< 0.5) | libbaz-dev
Build-Depends-Arch: only-arch
Build-Depends-Indep: doxygen <!nodoc>
Build-Conflicts: autoconf2.13, badlib [i386]
Build-Conflicts-Indep: old-tex
Package-List:
 demo deb misc optional arch=any profile=!pkg.demo.lite
 demo-doc deb doc optional arch=all profile=!nodoc,!stage2
`

// text is what relations are, as one line of each kind.
func text(t *testing.T, n Needs, arch string) (depends, conflicts string) {
	t.Helper()
	r, err := n.Of(deb.Stanza(stanza), arch)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, alternatives := range r.Depends {
		var words []string
		for _, a := range alternatives {
			words = append(words, a.String())
		}
		all = append(all, strings.Join(words, " | "))
	}
	var against []string
	for _, c := range r.Conflicts {
		against = append(against, c.String())
	}
	return strings.Join(all, ", "), strings.Join(against, ", ")
}

func TestRelations(t *testing.T) {
	const always = "debhelper-compat (= 13), libfoo-dev (>= 1.2), check (>= 0.10), python3:any, gcc:native, mail-server, libbar-dev (>= 1) | libbar-dev (<< 0.5)"
	for _, c := range []struct {
		what      string
		needs     Needs
		arch      string
		depends   string
		conflicts string
	}{
		{"all", Needs{}, "amd64", always + ", only-arch, doxygen", "autoconf2.13, old-tex"},
		{"any", Needs{What: Any}, "amd64", always + ", only-arch", "autoconf2.13"},
		{"indep", Needs{What: All}, "amd64", always + ", doxygen", "autoconf2.13, old-tex"},
		{"nodoc: a list of two terms, or another", Needs{Profiles: []string{"nodoc"}}, "amd64", strings.Replace(always, ", gcc:native", "", 1) + ", only-arch", "autoconf2.13, old-tex"},
		{"nocheck", Needs{What: Any, Profiles: []string{"nocheck"}}, "amd64", strings.Replace(always, ", check (>= 0.10)", "", 1) + ", only-arch", "autoconf2.13"},
		{"cross", Needs{What: Any, Profiles: []string{"cross"}}, "amd64", strings.Replace(always, ", python3:any", ", cross-tool, python3:any", 1) + ", only-arch", "autoconf2.13"},
		{"wildcards", Needs{What: Any}, "kfreebsd-amd64", strings.Replace(always, "libfoo-dev (>= 1.2)", "libfoo-dev (>= 1.2), kdep", 1) + ", only-arch", "autoconf2.13"},
		{"a negated wildcard", Needs{What: Any}, "hurd-i386", strings.Replace(always, "libfoo-dev (>= 1.2), ", "", 1) + ", only-arch", "autoconf2.13"},
		{"i386", Needs{What: Any}, "i386", always + ", only-arch", "autoconf2.13, badlib"},
		{"alternatives", Needs{What: Any, Alternatives: true}, "amd64", strings.NewReplacer("mail-server,", "mail-server | exim4,", "(<< 0.5)", "(<< 0.5) | libbaz-dev").Replace(always) + ", only-arch", "autoconf2.13"},
	} {
		depends, conflicts := text(t, c.needs, c.arch)
		if depends != c.depends {
			t.Errorf("%s: depends on\n %s, should be\n %s", c.what, depends, c.depends)
		}
		if conflicts != c.conflicts {
			t.Errorf("%s: conflicts with %s, should be %s", c.what, conflicts, c.conflicts)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, value := range []string{"a (>= )", "a [", "a <", "a <>", "a <!>", "a b", "a (>= 1", "a | | b", "a [amd64", "a:<x>"} {
		_, err := Needs{}.Of(deb.Stanza("Package: x\nVersion: 1\nBuild-Depends-Indep: "+value+"\n"), "amd64")
		if err == nil || !strings.Contains(err.Error(), "Build-Depends-Indep") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestDeclared(t *testing.T) {
	if got, want := strings.Join(Declared(deb.Stanza(stanza)), " "), "cross nocheck nodoc pkg.demo.lite stage1 stage2"; got != want {
		t.Errorf("declares %s, should be %s", got, want)
	}
	if err := CheckProfiles(deb.Stanza(stanza), []string{"nodoc", "pkg.demo.lite"}); err != nil {
		t.Error(err)
	}
	err := CheckProfiles(deb.Stanza(stanza), []string{"nodoc", "pkg.demo.nossl"})
	if !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), `"pkg.demo.nossl"; it declares cross, nocheck`) {
		t.Errorf("an unknown profile: %v", err)
	}
	err = CheckProfiles(deb.Stanza("Package: x\nVersion: 1\n"), []string{"nodoc"})
	if !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "it declares none") {
		t.Errorf("a source without profiles: %v", err)
	}
}

// archive is a Packages index of packages NAME VERSION and further fields.
func archive(packages ...string) resolve.Index {
	var b strings.Builder
	for _, p := range packages {
		head, rest, _ := strings.Cut(p, "\n")
		name, version, _ := strings.Cut(head, " ")
		b.WriteString("Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\nFilename: pool/" + name + "_" + version + ".deb\nSize: 1\nSHA256: " + strings.Repeat("a", 64) + "\n" + rest)
		if rest != "" {
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return resolve.Index{Archive: "debian", Suite: "stable", Architecture: "amd64", Path: "Packages", Data: []byte(b.String())}
}

func resolved(t *testing.T, source string, n Needs, packages ...string) ([]string, error) {
	t.Helper()
	wish, root, err := n.Wish(deb.Stanza(source), "amd64", "here")
	if err != nil {
		t.Fatal(err)
	}
	u, err := resolve.NewUniverse([]resolve.Index{archive(packages...), wish})
	if err != nil {
		t.Fatal(err)
	}
	res, err := u.Resolve(resolve.Request{Roots: []resolve.Root{root}, Architectures: []string{"amd64"}, Host: &resolve.Host{}})
	if err != nil {
		return nil, err
	}
	var out []string
	wishes := 0
	for _, c := range res.Packages {
		if IsWish(c.Package) {
			wishes++
			continue
		}
		out = append(out, c.Name)
	}
	if wishes != 1 {
		t.Errorf("%d packages stand for the build", wishes)
	}
	return out, nil
}

func TestWish(t *testing.T) {
	const source = "Package: demo\nVersion: 1\nBuild-Depends: a, b | c, n:native\nBuild-Conflicts: d (<< 2)\n"
	packages := []string{"a 1\nDepends: x", "x 1", "c 1", "n 1", "builddeps-demo 9"}
	if _, err := resolved(t, source, Needs{}, packages...); !errors.Is(err, resolve.ErrUnsatisfied) || !strings.Contains(err.Error(), "b") {
		t.Errorf("only the first alternative counts, and it is not there: %v", err)
	}
	got, err := resolved(t, source, Needs{Alternatives: true}, packages...)
	if want := []string{"a", "c", "n", "x"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("with alternatives: %v, %v", got, err)
	}
	packages = append(packages, "b 1\nDepends: d")
	if got, err = resolved(t, source, Needs{}, append(packages, "d 2")...); err != nil || !slices.Contains(got, "d") {
		t.Errorf("a newer d: %v, %v", got, err)
	}
	if got, err = resolved(t, source, Needs{}, append(packages, "d 1")...); err == nil {
		t.Errorf("Build-Conflicts is not obeyed: %v", got)
	}
}

// A source cannot write fields of its own into the package that stands for its build.
func TestHostileSource(t *testing.T) {
	for _, s := range []string{"Package: x y\nVersion: 1\n", "Package: demo\nVersion: 1\n Depends: a\n", "Package: demo\n", "Version: 1\n", "Package: demo\nVersion: 1 2\n"} {
		if ix, _, err := (Needs{}).Wish(deb.Stanza(s), "amd64", ""); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%q: %v, %s", s, err, ix.Data)
		}
	}
}

// FuzzRelations: what is read of a source can be written as a package's relations and read again, and
// each restriction's profile is a declared one.
func FuzzRelations(f *testing.F) {
	f.Add("a, b (>= 1) [amd64 !i386] <!nocheck> <cross !x>", "nocheck")
	f.Add("a | a (<< 2) | b, c:native, d:any [linux-any]", "")
	f.Add("debhelper (>> 9), <x>", "x")
	f.Fuzz(func(t *testing.T, value, profile string) {
		st := deb.Stanza("Package: demo\nVersion: 1\nBuild-Depends: " + value + "\n")
		for _, n := range []Needs{{}, {Profiles: []string{profile}, Alternatives: true}} {
			r, err := n.Of(st, "amd64")
			if err != nil {
				continue
			}
			for _, alternatives := range r.Depends {
				if len(alternatives) == 0 {
					t.Fatal("a relation without an alternative")
				}
			}
			text := deb.Stanza(r.stanza("demo", "1", "amd64"))
			again, err := deb.ParseRelations(text.Get("Depends"), "amd64")
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if len(again) != len(r.Depends) {
				t.Fatalf("%d relations became %d", len(r.Depends), len(again))
			}
			for i := range again {
				if !slices.Equal(again[i], r.Depends[i]) {
					t.Fatalf("%v became %v", r.Depends[i], again[i])
				}
			}
		}
		if err := CheckProfiles(st, Declared(st)); err != nil {
			t.Fatal(err)
		}
	})
}
