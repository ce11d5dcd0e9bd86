package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// noteFor is a note as Arrange sees it.
func noteFor(name, fields string, size int64) *rootfs.Note {
	return &rootfs.Note{Stanza: deb.Stanza("Package: " + name + "\nVersion: 1\nArchitecture: amd64\n" + fields), Layer: snapshot.Blob{Size: size}}
}

func spell(groups []Group) string {
	var out []string
	for _, g := range groups {
		var names []string
		for _, n := range g.Notes {
			names = append(names, n.Name())
		}
		out = append(out, g.Name+"("+strings.Join(names, " ")+")")
	}
	return strings.Join(out, " ")
}

// arrangeVector are the packages of SPEC.md's vector.
func arrangeVector() []*rootfs.Note {
	return []*rootfs.Note{
		noteFor("app", "Depends: libx1, libc6\nSource: app\n", 10),
		noteFor("app-data", "Source: app (2)\n", 900),
		noteFor("base-files", "Essential: yes\n", 5),
		noteFor("libx1", "Depends: libc6 (>= 2)\nSource: x\n", 40),
		noteFor("x-utils", "Depends: virtual\nSource: x\n", 30),
		noteFor("libc6", "Depends: libgcc-s1\nSource: glibc\nProvides: virtual\n", 500),
		noteFor("libgcc-s1", "Depends: libc6\nSource: gcc-12\n", 100),
		noteFor("tzdata", "Priority: required\n", 70),
	}
}

// The vectors of SPEC.md.
func TestArrangeVector(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		most int
		want string
	}{
		{8, "base-files(base-files) tzdata(tzdata) app-data(app-data) libc6(libc6) libgcc-s1(libgcc-s1) libx1(libx1) x-utils(x-utils) app(app)"},
		{7, "source base-files(base-files) source tzdata(tzdata) source app(app-data app) source glibc(libc6) source gcc-12(libgcc-s1) source x(libx1 x-utils)"},
		{6, "source base-files(base-files) source tzdata(tzdata) source app(app-data app) source glibc(libc6) source gcc-12(libgcc-s1) source x(libx1 x-utils)"},
		{5, "bin 0(libgcc-s1) bin 1(libx1 x-utils) bin 2(tzdata app-data app) bin 3(base-files libc6)"},
		{1, "bin 0(base-files tzdata app-data app libc6 libgcc-s1 libx1 x-utils)"},
	} {
		groups, err := Arrange(arrangeVector(), tt.most)
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) > tt.most {
			t.Errorf("%d layers, at most %d", len(groups), tt.most)
		}
		if got := spell(groups); got != tt.want {
			t.Errorf("%d: %s", tt.most, got)
		}
	}
	for source, want := range map[string]int{"glibc": 0, "openssl": 6, "x": 4} {
		if got := bin(source, bins); got != want {
			t.Errorf("source %s goes to bin %d, not %d", source, got, want)
		}
	}
}

// many are packages of as many sources, drawn by lot.
func many(rnd *rand.Rand, n int) []*rootfs.Note {
	var notes []*rootfs.Note
	for i := range n {
		fields := fmt.Sprintf("Source: s%d\n", i)
		if i > 0 {
			fields += fmt.Sprintf("Depends: p%d\n", rnd.IntN(i))
		}
		notes = append(notes, noteFor(fmt.Sprintf("p%d", i), fields, 1000+rnd.Int64N(1_000_000)))
	}
	return notes
}

// The order of the arguments does not count, no package is lost, and one small package more changes one bin.
func TestArrangeIsStable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		most := 9 + rnd.IntN(30)
		notes := many(rnd, most+1+rnd.IntN(100))
		before, err := Arrange(notes, most)
		if err != nil {
			t.Fatal(err)
		}
		mixed := slices.Clone(notes)
		rnd.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		again, err := Arrange(mixed, most)
		if err != nil || spell(again) != spell(before) {
			t.Fatalf("seed %d: another order of arguments, another arrangement (%v)", seed, err)
		}
		count := 0
		for _, g := range before {
			count += len(g.Notes)
		}
		if count != len(notes) || len(before) > most {
			t.Fatalf("seed %d: %d of %d packages in %d layers", seed, count, len(notes), len(before))
		}
		after, err := Arrange(append(notes, noteFor("small", "Source: small\nDepends: p3\n", 512)), most)
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, g := range before {
			known[spell([]Group{g})] = true
		}
		changed := 0
		for _, g := range after {
			if !known[spell([]Group{g})] {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("seed %d: one package more changes %d layers", seed, changed)
		}
	}
}

// What no image can have is refused.
func TestArrangeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		notes []*rootfs.Note
		most  int
		is    error
	}{
		{nil, 0, outcome.ErrUsage},
		{[]*rootfs.Note{noteFor("a", "", 1), noteFor("a", "", 1)}, 5, outcome.ErrNotFound},
		{[]*rootfs.Note{noteFor("a", "", 1), {Stanza: deb.Stanza("Package: b\nVersion: 1\nArchitecture: arm64\n")}}, 5, outcome.ErrNotFound},
	} {
		if _, err := Arrange(tt.notes, tt.most); !errors.Is(err, tt.is) {
			t.Errorf("%v", err)
		}
	}
}

// A suite is taken for merged by its packages.
func TestMergedUsr(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		packages string
		want     bool
	}{
		{"base-files 12.4+deb12u11", true}, {"base-files 11.1+deb11u11", false}, {"base-files 12ubuntu4.7", true}, {"base-files 11ubuntu5.8", false},
		{"libc6 2.36-9+deb12u10", true}, {"libc6 2.31-13+deb11u11", false}, {"libc6 2.31-13 usrmerge 25", true}, {"hello 2.10-3", true}, {"", true},
	} {
		var stanzas []deb.Stanza
		words := strings.Fields(tt.packages)
		for i := 0; i < len(words); i += 2 {
			stanzas = append(stanzas, deb.Stanza("Package: "+words[i]+"\nVersion: "+words[i+1]+"\n"))
		}
		if got, reason := MergedUsr(stanzas); got != tt.want || reason == "" {
			t.Errorf("%s: %v, %s", tt.packages, got, reason)
		}
	}
}
