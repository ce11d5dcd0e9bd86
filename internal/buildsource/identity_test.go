package buildsource

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// vector is the identity of artifacts/SPEC.md.
func vector() *Identity {
	digest := func(s string) snapshot.Digest { return snapshot.Sum([]byte(s)) }
	return &Identity{
		Source: "hello", Base: "2.10-3", Version: "2.10-3+p1",
		Files: []File{
			{Name: "hello_2.10-3.dsc", Blob: snapshot.Blob{Digest: digest("dsc"), Size: 3}},
			{Name: "hello_2.10-3.debian.tar.xz", Blob: snapshot.Blob{Digest: digest("debian"), Size: 6}},
			{Name: "hello_2.10.orig.tar.gz", Blob: snapshot.Blob{Digest: digest("orig"), Size: 4}},
		},
		Patches:   []snapshot.Blob{snapshot.BlobOf([]byte("second")), snapshot.BlobOf([]byte("first"))},
		BuildArch: "amd64", HostArch: "amd64", What: AnyAndAll,
		Profiles: []string{"nocheck", "pkg.hello.greet"}, Options: []string{"noopt", "nostrip"}, Env: []string{"DEB_CFLAGS_APPEND=-g3 -O0"},
		Date: time.Date(2022, 12, 26, 15, 30, 1, 0, time.UTC), Environment: digest("gcc-12 12.2.0-14 amd64 sha256:..\n"),
	}
}

// TestVector: the text of an identity, and its digest, are those of artifacts/SPEC.md.
func TestVector(t *testing.T) {
	want, err := os.ReadFile("testdata/identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := vector()
	if got := d.Text(); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	spec, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	indented := "    " + strings.TrimSuffix(strings.ReplaceAll(string(want), "\n", "\n    "), "    ")
	for _, text := range []string{indented, "Identity " + d.Digest().String(), "recipe " + d.Recipe().String()} {
		if !strings.Contains(string(spec), text) {
			t.Errorf("artifacts/SPEC.md lacks\n%s", text)
		}
	}
	back, err := ParseIdentity(want)
	if err != nil || back.Digest() != d.Digest() {
		t.Errorf("%v, %v", back, err)
	}
}

func TestParseIdentity(t *testing.T) {
	good := string(vector().Text())
	for name, text := range map[string]string{
		"empty":               "",
		"another head":        strings.Replace(good, "-v1\n", "-v2\n", 1),
		"no end":              strings.TrimSuffix(good, "\n"),
		"a blank line":        good + "\n",
		"an unknown line":     good + "note x\n",
		"profiles unsorted":   strings.Replace(good, "profile nocheck\nprofile pkg.hello.greet\n", "profile pkg.hello.greet\nprofile nocheck\n", 1),
		"a profile twice":     strings.Replace(good, "profile nocheck\n", "profile nocheck\nprofile nocheck\n", 1),
		"date with a zone":    strings.Replace(good, "15:30:01Z", "15:30:01+00:00", 1),
		"date in another":     strings.Replace(good, "15:30:01Z", "16:30:01+01:00", 1),
		"no environment":      good[:strings.Index(good, "environment")],
		"files unsorted":      swap(good, 4, 5),
		"no dsc":              strings.Replace(good, "hello_2.10-3.dsc", "hello_2.10-3.tar.xz", 1),
		"a file elsewhere":    strings.Replace(good, "hello_2.10-3.dsc", "../2.10-3.dsc", 1),
		"size with a zero":    strings.Replace(good, " 3 hello", " 03 hello", 1),
		"a size below zero":   strings.Replace(good, " 3 hello", " -3 hello", 1),
		"upper-case digest":   strings.Replace(good, "sha256:", "SHA256:", 1),
		"another base":        strings.Replace(good, "source hello 2.10-3 ", "source hello 2.11-3 ", 1),
		"no version":          strings.Replace(good, "source hello 2.10-3 2.10-3+p1", "source hello 2.10-3 ", 1),
		"other architectures": strings.Replace(good, "architecture amd64 amd64", "architecture amd64 am_d64", 1),
		"built otherwise":     strings.Replace(good, " any+all", " some", 1),
		"a newer recipe":      strings.Replace(good, "recipe-version 1", "recipe-version 2", 1),
		"CRLF":                strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if d, err := ParseIdentity([]byte(text)); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// swap exchanges two lines.
func swap(text string, i, j int) string {
	lines := strings.SplitAfter(text, "\n")
	lines[i], lines[j] = lines[j], lines[i]
	return strings.Join(lines, "")
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(vector().Text())
	f.Add([]byte("mmoci-source-identity-v1\nrecipe-version 1\nsource a 1 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseIdentity(text)
		if err == nil && (!bytes.Equal(d.Text(), text) || d.Digest() != snapshot.Sum(text)) {
			t.Errorf("%q is read as %q", text, d.Text())
		}
		if err != nil && !errors.Is(err, outcome.ErrIntegrity) {
			t.Error(err)
		}
	})
}

func TestDifference(t *testing.T) {
	old, now := vector(), vector()
	now.Patches = []snapshot.Blob{old.Patches[1], old.Patches[0]}
	if got := Difference(old.Text(), now.Text()); len(got) != 4 || !strings.HasPrefix(got[0], "-patch ") {
		t.Errorf("patches in another order: %q", got)
	}
	now = vector()
	now.Options = []string{"nostrip"}
	if got := Difference(old.Text(), now.Text()); len(got) != 1 || got[0] != "-option noopt" {
		t.Errorf("an option less: %q", got)
	}
	if got := Difference(old.Text(), old.Text()); len(got) != 0 {
		t.Errorf("the same: %q", got)
	}
}

const goodPlan = `base: hello (= 2.10-3)
author: Sysadmin42 <sys@example.org>
suffix: +p1
patches:
  patches/b.patch: "Second reason"
  ./patches/a.patch: {why: First, sha256: ` + "a9993e364706816aba3e25717850c26c9cd0d89d0000000000000000000000ab" + `}
  https://example.org/x.patch: {why: From far, sha256: "sha256:b9993e364706816aba3e25717850c26c9cd0d89d0000000000000000000000ab"}
use: {with: [greet], without: [nls]}
profiles: [nocheck]
options: [nostrip, noopt, nostrip]
env: {DEB_CFLAGS_APPEND: -g3 -O0, B: "1"}
build: any
`

func TestParse(t *testing.T) {
	p, err := Parse("pkg.yaml", ".", []byte(goodPlan))
	if err != nil {
		t.Fatal(err)
	}
	if p.Source != "hello" || p.Version != "2.10-3" || p.Suffix != "+p1" || p.Build != Any || !p.Changed() || len(p.Patches) != 3 {
		t.Errorf("%+v", p)
	}
	if p.Patches[0].Path != "patches/b.patch" || p.Patches[1].Path != "patches/a.patch" || p.Patches[2].URL != "https://example.org/x.patch" || p.Patches[2].Why != "From far" {
		t.Errorf("%+v", p.Patches)
	}
	if got := strings.Join(p.Options, " ") + " " + strings.Join(p.Env, " "); got != "noopt nostrip B=1 DEB_CFLAGS_APPEND=-g3 -O0" {
		t.Error(got)
	}
	got, err := p.BuildProfiles([]string{"nocheck", "pkg.hello.greet", "pkg.hello.nonls"})
	if err != nil || strings.Join(got, " ") != "nocheck pkg.hello.greet pkg.hello.nonls" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := p.BuildProfiles([]string{"pkg.hello.greet"}); err == nil || !strings.Contains(err.Error(), "pkg.yaml:8: nls: hello has no build profile pkg.hello.nonls; the source has pkg.hello.greet") {
		t.Error(err)
	}
}

func TestParseFaults(t *testing.T) {
	for text, want := range map[string]string{
		"author: x\n":                                                                      "no base:",
		"base: www-servers/nginx-1.7.6\n":                                                  "pkg.yaml:1: base: \"www-servers/nginx-1.7.6\" is a Gentoo atom; write nginx (= 1.7.6-..)",
		"base: nginx (>= 1)\n":                                                             "is no source package",
		"base: nginx (= a b)\n":                                                            "is no source package",
		"base: nginx\nsufix: +p1\n":                                                        "suffix",
		"base: nginx\nsuffix: p1\n":                                                        "cannot end a version",
		"base: nginx\nsuffix: ~p1\n":                                                       "higher than the archive's",
		"base: nginx\nsuffix: -1\n":                                                        "cannot end a version",
		"base: nginx\nbuild: some\n":                                                       "any, all or any+all",
		"base: nginx\noptions: [nostrip]\n":                                                "no suffix:",
		"base: nginx\nsuffix: +a\noptions: [parallel=4]\n":                                 "builder's choice",
		"base: nginx\nsuffix: +a\noptions: [no opt]\n":                                     "not a word of DEB_BUILD_OPTIONS",
		"base: nginx\nsuffix: +a\nenv: {PATH: /x}\n":                                       "remove it",
		"base: nginx\nsuffix: +a\nenv: {a-b: x}\n":                                         "no name of a variable",
		"base: nginx\nsuffix: +a\nenv: {SOURCE_DATE_EPOCH: '1'}\n":                         "the date is that of the changelog",
		"base: nginx\nsuffix: +a\npatches: {../x.patch: why}\n":                            "lies outside",
		"base: nginx\nsuffix: +a\npatches: {/x.patch: why}\n":                              "lies outside",
		"base: nginx\nsuffix: +a\npatches:\n  https://example.org/a.patch: why\n":          "pkg.yaml:4: patch https://example.org/a.patch comes from the network without a digest",
		"base: nginx\nsuffix: +a\npatches:\n  ftp://example.org/a.patch: why\n":            "no URL of http or https",
		"base: nginx\nsuffix: +a\npatches:\n  https://u:secret@example.org/a.patch: why\n": "has a password",
		"base: nginx\nsuffix: +a\npatches:\n  a.patch: {why: x, sha256: abc}\n":            "is no digest",
		"base: nginx\nsuffix: +a\npatches:\n  a.patch: {why: x, sh256: abc}\n":             "sha256",
		"base: nginx\nsuffix: +a\nuse: {with: [IPv6]}\n":                                   "not a flag",
		"base: nginx\nsuffix: +a\nuse: {wth: [ipv6]}\n":                                    "with",
		"base: nginx\n---\nbase: nginx\n":                                                  "2 documents",
		"base: nginx\nsuffix: +a\nprofiles: [pkg..a, '!x']\n":                              "not a build profile",
	} {
		_, err := Parse("pkg.yaml", ".", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	both := "base: www-servers/nginx-1.7.6\npatches:\n  https://example.org/a.patch: why\n  ../b.patch: why\n"
	_, err := Parse("pkg.yaml", ".", []byte(both))
	for _, want := range []string{"Gentoo", "without a digest", "outside"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodPlan))
	f.Add([]byte("base: nginx\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("pkg.yaml", ".", data)
		if err == nil && (p.Source == "" || p.Changed() && p.Suffix == "") {
			t.Errorf("%q is taken as %+v", data, p)
		}
	})
}

func TestReadPatch(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.patch", "abc")
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "out.patch")); err != nil {
		t.Fatal(err)
	}
	p := &Plan{Dir: dir}
	if data, err := p.ReadPatch(&Patch{Path: "a.patch"}); err != nil || string(data) != "abc" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := p.ReadPatch(&Patch{Path: "a.patch", Digest: snapshot.Sum([]byte("abd"))}); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("another digest: %v", err)
	}
	for _, name := range []string{"out.patch", ".", "none.patch"} {
		if _, err := p.ReadPatch(&Patch{Path: name}); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}
