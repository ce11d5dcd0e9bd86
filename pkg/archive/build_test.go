package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"github.com/klauspost/compress/gzip"
)

// curated is a small suite of class upstream.
func curated(t testing.TB) Curated {
	t.Helper()
	up, err := OpenRelease([]byte(`Origin: Docker
Label: Docker CE
Suite: bookworm
Codename: bookworm
Version: 12
Changelogs: https://changelogs.example.org/@CHANGEPATH@
Date: Fri, 10 Jul 2026 00:00:00 UTC
Valid-Until: Fri, 17 Jul 2026 00:00:00 UTC
Signed-By: 0000000000000000000000000000000000000000
Snapshots: https://snapshot.example.org/@SNAPSHOTID@/
NotAutomatic: yes
ButAutomaticUpgrades: yes
Architectures: amd64 arm64 s390x
Components: stable edge test
Description: Docker
 packages
SHA256:
 `+hashA+` 0 stable/binary-amd64/Packages
 `+hashA+` 0 stable/binary-amd64/Packages.diff/Index
`), nil, pgp.Trust{})
	if err != nil {
		t.Fatal(err)
	}
	var many []deb.Stanza // enough text for the encoder to have choices
	for i := range 2000 {
		many = append(many, stanza("Package", fmt.Sprintf("package-%04d", i), "SHA256", fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))))
	}
	return Curated{
		Upstream: up, Prefix: "docker", Suite: "bookworm", Date: day("2026-07-11"),
		Components: []string{"stable", "edge"}, Architectures: []string{"source", "arm64", "amd64", "all"},
		Stanzas: map[ComponentArch][]deb.Stanza{
			{"stable", "amd64"}:  many,
			{"stable", "source"}: {deb.Stanza("Package: docker\nVersion: 1")},
		},
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	c := curated(t)
	files, text, err := Build(c)
	wantErr(t, err, "")
	head, _, _ := strings.Cut(string(text), "SHA256:\n")
	const want = `Origin: Docker
Label: Docker CE
Suite: bookworm
Version: 12
Codename: bookworm
Changelogs: https://changelogs.example.org/@CHANGEPATH@
Date: Sat, 11 Jul 2026 00:00:00 UTC
NotAutomatic: yes
ButAutomaticUpgrades: yes
Acquire-By-Hash: yes
Architectures: amd64 arm64
Components: edge stable
Description: Docker packages
`
	if head != want {
		t.Errorf("Release:\n%s", head)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	if !slices.Equal(paths, []string{
		"edge/binary-amd64/Packages.gz", "edge/binary-arm64/Packages.gz", "edge/source/Sources.gz",
		"stable/binary-amd64/Packages.gz", "stable/binary-arm64/Packages.gz", "stable/source/Sources.gz",
	}) {
		t.Errorf("files %q", paths)
	}
	r, err := OpenRelease(text, nil, pgp.Trust{})
	wantErr(t, err, "")
	if len(r.Files) != 2*len(files) || !r.AcquireByHash || !r.NoSupportForAll || !r.ValidUntil.IsZero() {
		t.Errorf("%+v", r)
	}
	for _, f := range files {
		checkIndex(t, r, f, c)
	}
}

// checkIndex compares a built file with what the Release lists and with the stanzas.
func checkIndex(t *testing.T, r *Release, f BuiltFile, c Curated) {
	t.Helper()
	packed, ok := r.File(f.Path)
	if !ok || packed != Describe(f.Path, f.Data) {
		t.Errorf("%s: listed as %+v", f.Path, packed)
	}
	name := strings.TrimSuffix(f.Path, ".gz")
	plain, ok := r.File(name)
	if !ok {
		t.Errorf("%s is not listed", name)
	}
	data, err := Decompress(f.Path, f.Data, plain.Size)
	wantErr(t, err, "")
	if plain != Describe(name, data) {
		t.Errorf("%s: listed as %+v", name, plain)
	}
	var want []deb.Stanza
	for ca, s := range c.Stanzas {
		if ca.Path() == name {
			want = s
		}
	}
	n := 0
	for s, err := range deb.Stanzas(data) {
		if err != nil || n >= len(want) || !bytes.Equal(bytes.TrimRight(s, "\n"), bytes.TrimRight(want[n], "\n")) {
			t.Fatalf("%s: stanza %d: %q, %v", name, n, s, err)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%s: %d stanzas, want %d", name, n, len(want))
	}
}

// TestBuildDeterministic: order of maps and slices, zone of the dates.
func TestBuildDeterministic(t *testing.T) {
	t.Parallel()
	files, text, err := Build(curated(t))
	wantErr(t, err, "")
	for range 4 {
		c := curated(t)
		slices.Reverse(c.Components)
		slices.Reverse(c.Architectures)
		c.Architectures = append(c.Architectures, "amd64")
		c.Date = c.Date.In(time.FixedZone("", 7200))
		again, textAgain, err := Build(c)
		wantErr(t, err, "")
		if !bytes.Equal(text, textAgain) || !slices.EqualFunc(files, again, func(a, b BuiltFile) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }) {
			t.Fatal("another result")
		}
	}
}

// TestGolden fixes the bytes that a curated suite consists of. If it fails
// after a dependency was raised, root digests of unchanged inputs change:
// raise EncoderGeneration, name the encoder in its comment, and add a line.
func TestGolden(t *testing.T) {
	t.Parallel()
	golden := map[int]string{
		1: "27331a974cd4440c20efa0176aed1de72f9307e5d0c6aee218dea5a94d3027e4",
	}
	files, text, err := Build(curated(t))
	wantErr(t, err, "")
	h := sha256.New()
	h.Write(text)
	for _, f := range files {
		h.Write(f.Data)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != golden[EncoderGeneration] {
		t.Errorf("generation %d gives %s, want %s", EncoderGeneration, got, golden[EncoderGeneration])
	}
	seen := map[string]bool{}
	for n := 1; n <= EncoderGeneration; n++ {
		if golden[n] == "" || seen[golden[n]] {
			t.Errorf("generation %d: missing, or the same as one before", n)
		}
		seen[golden[n]] = true
	}
}

// debootstrap reads the Release out of InRelease, where it has no final newline, and misses its last line.
func TestReleaseEndsAfterTheList(t *testing.T) {
	t.Parallel()
	_, text, err := Build(curated(t))
	wantErr(t, err, "")
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if last := lines[len(lines)-1]; strings.HasPrefix(last, " ") || !strings.HasPrefix(lines[len(lines)-2], " ") {
		t.Errorf("ends with %q", last)
	}
}

func TestBuildSite(t *testing.T) {
	t.Parallel()
	c := Curated{
		Prefix: "own", Suite: "own", Date: day("2026-07-11"), ValidUntil: day("2026-08-11"),
		Components: []string{"main"}, Architectures: []string{"amd64"},
	}
	_, text, err := Build(c)
	wantErr(t, err, "")
	want := fmt.Sprintf(`Origin: mmoci
Label: own
Suite: own
Codename: own
Date: Sat, 11 Jul 2026 00:00:00 UTC
Valid-Until: Tue, 11 Aug 2026 00:00:00 UTC
Acquire-By-Hash: yes
Architectures: amd64
Components: main
SHA256:
 %s 0 main/binary-amd64/Packages
 `, hashA)
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("Release:\n%s", text)
	}
	c.Origin, c.Label = "Site", "Site\nTrusted: yes"
	_, text, err = Build(c)
	wantErr(t, err, "")
	if !strings.HasPrefix(string(text), "Origin: Site\nLabel: Site Trusted: yes\nSuite") {
		t.Errorf("Release:\n%s", text)
	}
}

// TestBuildRoundTrip: what Build makes can be clear-signed, verified and read.
func TestBuildRoundTrip(t *testing.T) {
	t.Parallel()
	_, text, err := Build(curated(t))
	wantErr(t, err, "")
	s := newSigner(t)
	data, err := s.Clearsign(text, day("2026-07-11"))
	wantErr(t, err, "")
	r, err := OpenInRelease(data, pgp.Trust{Keyring: s.Public()})
	if err != nil || r.CheckSuite("bookworm") != nil || r.CheckDate(day("2027-01-01"), true) != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		edit func(*Curated)
		want string
	}{
		{"no date", func(c *Curated) { c.Date = time.Time{} }, "no date"},
		{"valid until before", func(c *Curated) { c.ValidUntil = c.Date }, "valid until"},
		{"no component", func(c *Curated) { c.Components = nil }, "no component"},
		{"no architecture", func(c *Curated) { c.Architectures = []string{"all"} }, "no architecture"},
		{"climbing component", func(c *Curated) { c.Components = []string{"../x"} }, "no path"},
		{"component with blank", func(c *Curated) { c.Components = []string{"a b"} }, "no path"},
		{"odd architecture", func(c *Curated) { c.Architectures = []string{"a/../../b"} }, "no path"},
		{"stanzas for an architecture that is not built", func(c *Curated) {
			c.Stanzas[ComponentArch{"stable", "all"}] = []deb.Stanza{stanza()}
		}, "not among"},
		{"empty stanza", func(c *Curated) { c.Stanzas[ComponentArch{"stable", "amd64"}] = []deb.Stanza{{}} }, "empty, or more"},
		{"two in one", func(c *Curated) {
			c.Stanzas[ComponentArch{"stable", "amd64"}] = []deb.Stanza{slices.Concat(stanza(), []byte("\n"), stanza())}
		}, "empty, or more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := curated(t)
			tc.edit(&c)
			files, text, err := Build(c)
			wantErr(t, err, tc.want)
			if files != nil || text != nil {
				t.Error("files in spite of the error")
			}
		})
	}
}

func TestSiteStanza(t *testing.T) {
	t.Parallel()
	control := "Package: own\nFilename: elsewhere\nVersion: 1\nsize: 7\nMD5sum:\n x\n y\nArchitecture: all\r\nConffiles:\n /etc/own 0\nDescription: x\n .\n  y"
	s, err := SiteStanza(deb.Stanza(control), "pool/main/own/own_1_all.deb", 12, strings.ToUpper(hashA))
	wantErr(t, err, "")
	want := "Package: own\nVersion: 1\nArchitecture: all\nConffiles:\n /etc/own 0\nDescription: x\n .\n  y\n" +
		"Filename: pool/main/own/own_1_all.deb\nSize: 12\nSHA256: " + hashA + "\n"
	if string(s) != want {
		t.Errorf("%s", s)
	}
	for _, tc := range []struct {
		control, filename string
		size              int64
		digest, want      string
	}{
		{control, "../x.deb", 1, hashA, `".."`},
		{control, "./x.deb", 1, hashA, "not clean"},
		{control, "x.deb\nTrusted: yes", 1, hashA, "not clean"},
		{control, "x.deb", 0, hashA, "size"},
		{control, "x.deb", -1, hashA, "size"},
		{control, "x.deb", 1, "", "no SHA256"},
		{"", "x.deb", 1, hashA, "package name"},
		{"Package: a\n\nPackage: b\n", "x.deb", 1, hashA, "second stanza"},
		{"Package: a\npackage: b\n", "x.deb", 1, hashA, "twice"},
		{"Package: a\nVersion: 1\n", "x.deb", 1, hashA, "architecture"},
		{" x\nPackage: a\n", "x.deb", 1, hashA, "continuation"},
	} {
		s, err := SiteStanza(deb.Stanza(tc.control), tc.filename, tc.size, tc.digest)
		if err == nil || !strings.Contains(err.Error(), tc.want) || s != nil {
			t.Errorf("%+v: %q, %v", tc, s, err)
		}
	}
}

// An index of several pieces has the bytes of one that is compressed at once.
func TestPackIndexInPieces(t *testing.T) {
	var stanzas []deb.Stanza
	var plain []byte
	for i := 0; len(plain) < 5*pieceSize/2; i++ {
		s := deb.Stanza(fmt.Sprintf("Package: p%d\nVersion: %x", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)})))
		if i == 100 {
			s = append(s, "\nDescription: "...)
			s = append(s, bytes.Repeat([]byte("x"), 3*pieceSize/2)...)
		}
		stanzas = append(stanzas, s)
		plain = append(append(plain, s...), "\n\n"...)
	}
	var want bytes.Buffer
	z, err := gzip.NewWriterLevel(&want, encoderLevel)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{len(stanzas), 100, 1, 0} {
		got, err := packIndex(stanzas[:n])
		if err != nil {
			t.Fatal(err)
		}
		text, err := Decompress("x.gz", got.packed, int64(len(plain)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(plain, text) || int64(len(text)) != got.size || got.sha256 != fmt.Sprintf("%x", sha256.Sum256(text)) {
			t.Errorf("%d stanzas: %d bytes of %d, %s", n, len(text), got.size, got.sha256)
		}
		if n == len(stanzas) && !bytes.Equal(got.packed, want.Bytes()) {
			t.Errorf("%d bytes in pieces, %d at once, or others", len(got.packed), want.Len())
		}
	}
	if _, err := packIndex(append(stanzas, deb.Stanza("Package: a\n\nPackage: b"))); err == nil {
		t.Error("two stanzas pass as one")
	}
}

// TestPlainIndex: the text made again is the one that Build packs, whatever the order its stanzas come in.
func TestPlainIndex(t *testing.T) {
	t.Parallel()
	c := curated(t)
	files, _, err := Build(c)
	wantErr(t, err, "")
	for _, f := range files {
		plain, err := GunzipMember(f.Data, 1<<20)
		wantErr(t, err, "")
		var stanzas []deb.Stanza
		for s, err := range deb.Stanzas(plain) {
			wantErr(t, err, "")
			stanzas = append(stanzas, s)
		}
		for range 2 {
			if again := PlainIndex(stanzas, strings.Contains(f.Path, "Sources")); !bytes.Equal(again, plain) {
				t.Errorf("%s: made again\n%s\nis\n%s", f.Path, again, plain)
			}
			slices.Reverse(stanzas)
		}
	}
	in := "Package: b\nVersion: 10\nArchitecture: all\n\nPackage: a\nVersion: 2\nArchitecture: i386\n\nPackage: b\nVersion: 9\nArchitecture: amd64\n\nPackage: a\nVersion: 2\nArchitecture: amd64"
	var stanzas []deb.Stanza
	for s := range deb.Stanzas([]byte(in)) {
		stanzas = append(stanzas, s)
	}
	want := "Package: a\nVersion: 2\nArchitecture: amd64\n\nPackage: a\nVersion: 2\nArchitecture: i386\n\nPackage: b\nVersion: 9\nArchitecture: amd64\n\nPackage: b\nVersion: 10\nArchitecture: all\n\n"
	if got := PlainIndex(stanzas, false); string(got) != want {
		t.Errorf("%s", got)
	}
}

func TestGunzipMember(t *testing.T) {
	t.Parallel()
	pack := func(s string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(s))
		wantErr(t, errors.Join(err, z.Close()), "")
		return b.Bytes()
	}
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name  string
		data  []byte
		limit int64
		want  string
	}{
		{"one", pack("x"), 10, ""},
		{"empty", pack(""), 0, ""},
		{"as long as the limit", pack(long), 100_000, ""},
		{"longer", pack(long), 99_999, "longer than expected"},
		{"two members", slices.Concat(pack("x"), pack("y")), 10, "bytes behind it"},
		{"an empty one behind", slices.Concat(pack("x"), pack("")), 10, "bytes behind it"},
		{"a byte behind", append(pack("x"), 0), 10, "1 bytes behind it"},
		{"nothing", nil, 10, "not exactly one gzip member"},
		{"cut short", pack(long)[:50], 1 << 20, "unexpected EOF"},
		{"no gzip", []byte("Package: x\n\nPackage: y\n"), 100, "header"},
	} {
		got, err := GunzipMember(c.data, c.limit)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err != nil && got != nil {
			t.Errorf("%s: %.20q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
