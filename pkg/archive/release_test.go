package archive

import (
	"errors"
	"example.org/mmoci/pkg/archive/pgp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	hashA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	hashB = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"
)

var hash512 = strings.Repeat("ab", 64)

func TestRelease(t *testing.T) {
	t.Parallel()
	text := `Origin: Debian
Label: Debian
Suite: oldstable
Version: 12.11
Codename: bookworm
Changelogs: https://metadata.example.org/changelogs/@CHANGEPATH@_changelog
date: Sat, 11 Jul 2026 09:13:40 UTC
VALID-UNTIL: Sat, 18 Jul 2026 09:13:40 +0000
Acquire-By-Hash: yes
NotAutomatic: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64  arm64
Components: main contrib
Description: Debian 12 oldstable
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 only/in/md5
SHA256:
 ` + hashA + ` 0 main/b
 ` + strings.ToUpper(hashB) + `       1 ./main/a
 ` + hashA + ` 0 main/b
SHA512:
 ` + hash512 + ` 1 main/a
`
	r, err := OpenRelease([]byte(text), nil, pgp.Trust{})
	wantErr(t, err, "")
	date := time.Date(2026, 7, 11, 9, 13, 40, 0, time.UTC)
	if r.Origin != "Debian" || r.Label != "Debian" || r.Suite != "oldstable" || r.Codename != "bookworm" || r.Version != "12.11" ||
		r.Description != "Debian 12 oldstable" || !r.Date.Equal(date) || !r.ValidUntil.Equal(date.AddDate(0, 0, 7)) ||
		!r.AcquireByHash || !r.NotAutomatic || r.ButAutomaticUpgrades || !r.NoSupportForAll ||
		!slices.Equal(r.Architectures, []string{"all", "amd64", "arm64"}) || !slices.Equal(r.Components, []string{"main", "contrib"}) {
		t.Errorf("%+v", r)
	}
	want := []ReleaseFile{{"main/a", 1, hashB, hash512}, {"main/b", 0, hashA, ""}}
	if !slices.Equal(r.Files, want) {
		t.Errorf("files %+v", r.Files)
	}
	if f, ok := r.File("main/a"); !ok || f != want[0] {
		t.Errorf("%+v", f)
	}
	if _, ok := r.File("only/in/md5"); ok {
		t.Error("a file listed by MD5 alone counts as listed")
	}
	if len(r.Fields) != 14 || r.Fields[6] != (Field{"date", "Sat, 11 Jul 2026 09:13:40 UTC"}) || !strings.HasPrefix(r.Field("changelogs"), "https://") {
		t.Errorf("fields %q", r.Fields)
	}
}

// TestHostileRelease: each is refused as ErrIntegrity.
func TestHostileRelease(t *testing.T) {
	t.Parallel()
	list := func(lines ...string) string { return "Suite: s\nSHA256:\n " + strings.Join(lines, "\n ") + "\n" }
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "no stanza"},
		{"only blank lines", "\n\n", "no stanza"},
		{"two stanzas", list(hashA+" 0 a") + "\nSuite: evil\n", "second stanza"},
		{"duplicate field", "Suite: a\nsuite: b\n" + list(hashA+" 0 a"), "twice"},
		{"duplicate list", "SHA256:\n " + hashA + " 0 a\n" + list(hashA+" 0 b"), "twice"},
		{"no colon", "Suite\n", "colon"},
		{"text of another format", "<html>\n", "colon"},
		{"MD5 only", "Suite: s\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 a\n", "too weak"},
		{"SHA1 only", "Suite: s\nSHA1:\n da39a3ee5e6b4b0d3255bfef95601890afd80709 0 a\n", "too weak"},
		{"no list", "Suite: s\n", "lists no file"},
		{"climbing", list(hashA + " 0 ../../etc/passwd"), `".."`},
		{"climbing inside", list(hashA + " 0 main/../../x"), `".."`},
		{"absolute", list(hashA + " 0 /etc/passwd"), "absolute"},
		{"dot", list(hashA + " 0 main/./x"), `"."`},
		{"empty part", list(hashA + " 0 main//x"), "empty part"},
		{"directory", list(hashA + " 0 main/"), "empty part"},
		{"not UTF-8", list(hashA + " 0 main/\xff"), "UTF-8"},
		{"overlong", list(hashA + " 0 " + strings.Repeat("a/", 600) + "a"), "over the limit"},
		{"NUL", list(hashA + " 0 a\x00b"), "control character"},
		{"escape sequence", "Origin: \x1b[2J\n" + list(hashA+" 0 a"), "control character"},
		{"C1 in a path", list(hashA + " 0 a\u009bb"), "control character"},
		{"two fields", list(hashA + " 0"), "not digest, size, path"},
		{"path with blank", list(hashA + " 0 a b"), "not digest, size, path"},
		{"short digest", list(hashA[1:] + " 0 a"), "digest"},
		{"digest with 0x", list("0x" + hashA[2:] + " 0 a"), "digest"},
		{"negative size", list(hashA + " -1 a"), "size"},
		{"signed size", list(hashA + " +1 a"), "size"},
		{"huge size", list(hashA + " 9223372036854775808 a"), "size"},
		{"hexadecimal size", list(hashA + " 0x10 a"), "size"},
		{"conflicting digests", list(hashA+" 0 a", hashB+" 0 a"), "listed twice"},
		{"conflicting sizes", list(hashA+" 0 a", hashA+" 1 a"), "listed twice"},
		{"conflict after cleaning", list(hashA+" 0 a", hashB+" 0 ./a"), "listed twice"},
		{"lists disagree about a size", list(hashA+" 0 a") + "SHA512:\n " + hash512 + " 1 a\n", "listed twice"},
		{"SHA512 alone", "SHA512:\n " + hash512 + " 1 a\n", "a has no SHA256: SHA512 alone is listed"},
		{"SHA512 alone of one file", list(hashA+" 0 a") + "SHA512:\n " + hash512 + " 0 a\n " + hash512 + " 1 b\n", "b has no SHA256: SHA512 alone is listed"},
		{"bad date", "Date: soon\n" + list(hashA+" 0 a"), "unknown form"},
		{"bad Valid-Until", "Valid-Until: Sat, 42 Jul 2026 09:13:40 UTC\n" + list(hashA+" 0 a"), "unknown form"},
		{"line of 2 MB", "Origin: " + strings.Repeat("x", 2<<20) + "\n" + list(hashA+" 0 a"), "line over"},
		{"over 10 MB", list(hashA+" 0 a") + strings.Repeat("X: y\n", 2_000_001), "over the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := OpenRelease([]byte(tc.text), nil, pgp.Trust{})
			wantErr(t, err, tc.want)
			if !errors.Is(err, ErrIntegrity) || r != nil {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestOpenInRelease(t *testing.T) {
	t.Parallel()
	r, err := OpenInRelease(fixture(t, "three.asc"), pgp.Trust{Keyring: ring(t, "ed25519")})
	wantErr(t, err, "")
	if r.How.Kind != pgp.Signed || r.Suite != "stable" || len(r.Files) != 1 {
		t.Errorf("%+v", r)
	}
	r, err = OpenInRelease(fixture(t, "three.asc"), pgp.Trust{Keyring: ring(t, "expiring")})
	if r != nil || !errors.Is(err, ErrIntegrity) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = OpenRelease(fixture(t, "Release"), fixture(t, "rsa2048.sig"), pgp.Trust{Keyring: ring(t, "rsa2048")})
	if err != nil || r.How.Kind != pgp.Signed {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReleaseOwnsItsText: the caller may use its buffer again.
func TestReleaseOwnsItsText(t *testing.T) {
	t.Parallel()
	text := fixture(t, "Release")
	r, err := OpenRelease(text, nil, pgp.Trust{})
	wantErr(t, err, "")
	clear(text)
	if r.Origin != "Test" || r.Files[0].Path != "main/binary-amd64/Packages" {
		t.Errorf("%+v", r)
	}
}

func TestCheckSuite(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		suite, codename, dir string
		ok                   bool
	}{
		{"oldstable", "bookworm", "bookworm", true},
		{"oldstable", "bookworm", "oldstable", true},
		{"oldstable", "bookworm", "trixie", false},
		{"oldstable", "buster", "buster/updates", true},
		{"oldstable", "buster", "bullseye/updates", false},
		{"oldstable", "buster", "x/buster", false},
		{"", "", "bookworm", false},
		{"", "", "/updates", false},
		{"stable", "", "", true},
		{"stable", "", "./", true},
		{"stable", "", "pool/", true},
	} {
		r := &Release{Suite: tc.suite, Codename: tc.codename}
		err := r.CheckSuite(tc.dir)
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrIntegrity) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestCheckDate(t *testing.T) {
	t.Parallel()
	date := day("2026-07-11")
	r := &Release{Date: date, ValidUntil: date.AddDate(0, 0, 7)}
	signed := &Release{Date: date, How: pgp.How{Kind: pgp.Signed, Expires: date.AddDate(0, 0, 7)}}
	for _, tc := range []struct {
		r     *Release
		now   time.Time
		check bool
		want  string
	}{
		{r, date, true, ""},
		{r, date.Add(-10 * time.Second), true, ""},
		{r, date.Add(-11 * time.Second), true, "in the future"},
		{r, date.Add(-11 * time.Second), false, "in the future"},
		{r, date.AddDate(0, 0, 7), true, ""},
		{r, date.AddDate(0, 0, 7).Add(time.Second), true, "valid until"},
		{r, date.AddDate(0, 0, 8), false, ""},
		{signed, date.AddDate(0, 0, 8), true, "expired"},
		{signed, date.AddDate(0, 0, 8), false, ""},
		{&Release{}, date, true, ""},
	} {
		err := tc.r.CheckDate(tc.now, tc.check)
		wantErr(t, err, tc.want)
		kind := ErrExpired // genuine, and too old
		if tc.want == "in the future" {
			kind = ErrIntegrity
		}
		if err != nil && (!errors.Is(err, kind) || errors.Is(err, ErrExpired) && errors.Is(err, ErrIntegrity)) {
			t.Errorf("%v is no %v", err, kind)
		}
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 7, 1, 9, 3, 40, 0, time.UTC)
	for _, s := range []string{
		"Wed, 01 Jul 2026 09:03:40 UTC", "Wed, 01 Jul 2026 09:03:40 GMT", "Wed, 01 Jul 2026 09:03:40 Z",
		"Wed, 01 Jul 2026 09:03:40 +0000", "Wed,  1 Jul 2026  9:03:40 UTC", "wed, 1 jul 2026 09:03:40 utc",
		"Wed, 01 Jul 2026 11:03:40 +0200", "1 Jul 2026 09:03:40 UTC",
		"Wednesday, 01-Jul-26 09:03:40 GMT", "Wed Jul  1 09:03:40 2026",
	} {
		if got, err := parseDate(s); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "UTC", "2026-07-01", "2026-07-01T09:03:40Z", "Wed, 01 Jul 2026 09:03:40", "Wed, 01 Jul 2026 09:03:40 CEST",
		"Wed, 31 Jun 2026 09:03:40 UTC", "Wed, 01 Jul 2026 25:03:40 UTC", "Wed, 01 Jul 2026 09:03:40 UTC UTC", "1751360620",
	} {
		if got, err := parseDate(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add(fixture(f, "Release"))
	f.Add([]byte("Suite: s\nDate: Wed, 01 Jul 2026 09:03:40 UTC\nSHA256:\n " + hashA + " 0 ./a\n " + hashB + " 1 b\nSHA512:\n " + hash512 + " 0 a\n"))
	f.Add([]byte("a:b\n c\n\n\nd:e\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := OpenRelease(text, nil, pgp.Trust{})
		if err != nil {
			if !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v is no ErrIntegrity", err)
			}
			return
		}
		last := ""
		for _, file := range r.Files {
			if err := ValidPath(file.Path); err != nil || file.Path <= last || file.Size < 0 || file.SHA256 == "" {
				t.Fatalf("%+v after %q: %v", file, last, err)
			}
			last = file.Path
		}
		// What was read, written down again and read, is the same.
		again, err := OpenRelease([]byte(rewrite(r)), nil, pgp.Trust{})
		if err != nil || !slices.Equal(again.Files, r.Files) || !again.Date.Equal(r.Date) || again.Suite != r.Suite {
			t.Fatalf("%+v\n%+v\n%v", r, again, err)
		}
	})
}

// rewrite writes the fields that FuzzRelease compares.
func rewrite(r *Release) string {
	var b strings.Builder
	if !r.Date.IsZero() {
		fmt.Fprintf(&b, "Date: %s\n", r.Date.Format(dateLayout))
	}
	fmt.Fprintf(&b, "Suite: %s\nSHA256:\n", r.Suite)
	for _, f := range r.Files {
		fmt.Fprintf(&b, " %s %d %s\n", f.SHA256, f.Size, f.Path)
	}
	b.WriteString("SHA512:\n")
	for _, f := range r.Files {
		if f.SHA512 != "" {
			fmt.Fprintf(&b, " %s %d %s\n", f.SHA512, f.Size, f.Path)
		}
	}
	return b.String()
}
