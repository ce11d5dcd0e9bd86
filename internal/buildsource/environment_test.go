package buildsource

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
)

var aa, bb = "sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("b", 64)

func TestPackagesDiffer(t *testing.T) {
	t.Parallel()
	old := "dash 0.5.12-2 amd64 " + aa + "\ngone 1 all " + aa + "\nlibc6 2.36-9 amd64 " + aa + "\nlibc6 2.36-9 i386 " + bb + "\nmade-all 1 amd64 " + aa + "\nrebuilt 1 all " + aa + "\n"
	now := "dash 0.5.12-2 amd64 " + aa + "\nlibc6 2.36-10 amd64 " + aa + "\nlibc6 2.36-9 i386 " + bb + "\nmade-all 2 all " + aa + "\nnew 1:2-3 all " + aa + "\nrebuilt 1 all " + bb + "\n"
	got, err := PackagesDiffer([]byte(old), []byte(now))
	want := []string{
		"-package gone 1 all",
		"package libc6 2.36-9 amd64 -> 2.36-10 amd64",
		"package made-all 1 amd64 -> 2 all",
		"+package new 1:2-3 all",
		"package rebuilt 1 all " + aa + " -> 1 all " + bb,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s\n%v", strings.Join(got, "\n"), err)
	}
	if got, err := PackagesDiffer([]byte(now), []byte(now)); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestParseEnvironmentFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "\n", "dash 1 amd64\n", "dash 1 amd64 " + aa + " more\n", "dash  1 amd64 " + aa + "\n", "da/sh 1 amd64 " + aa + "\n", "dash 1_2 amd64 " + aa + "\n",
		"dash 1 am/d64 " + aa + "\n", "dash 1 amd64 sha256:aa\n", "dash 1 amd64 " + aa[7:] + "\n", "dash 1 amd64 " + strings.ToUpper(aa) + "\n", "dash 1 amd64 \x1b[31m\n",
		"b 1 all " + aa + "\na 1 all " + aa + "\n", "a 1 all " + aa + "\na 1 all " + aa + "\n", "a 1 all " + aa + "\n\n",
	} {
		if p, err := ParseEnvironment([]byte(text)); !errors.Is(err, outcome.ErrIntegrity) || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

func FuzzPackagesDiffer(f *testing.F) {
	f.Add([]byte("dash 0.5.12-2 amd64 "+aa+"\n"), []byte("dash 0.5.12-3 amd64 "+bb+"\nlibc6 2.36-9 amd64 "+aa+"\n"))
	f.Fuzz(func(t *testing.T, old, now []byte) {
		a, err := ParseEnvironment(old)
		b, other := ParseEnvironment(now)
		got, both := PackagesDiffer(old, now)
		if (both == nil) != (err == nil && other == nil) {
			t.Fatalf("%v, %v, %v", err, other, both)
		}
		if both == nil && (len(got) == 0) != slices.Equal(a, b) {
			t.Errorf("%q and %q: %q", old, now, got)
		}
	})
}
