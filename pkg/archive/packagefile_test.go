package archive

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/deb"
)

func TestValidPath(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"a", "a/b", "pool/main/g/g++/g++_4%3a12.2.0-3_amd64.deb", "...", "a/..b", ".a", "ä", "a b", strings.Repeat("a", MaxPath)} {
		if err := ValidPath(p); err != nil {
			t.Errorf("%.80q: %v", p, err)
		}
	}
	for _, p := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/..", "a/../b", "../a", "a\x00", "a\nb", "a\x7f", "a\u0085", "a\xff", strings.Repeat("a", MaxPath+1)} {
		if err := ValidPath(p); err == nil {
			t.Errorf("%.80q is valid", p)
		}
	}
}

// stanza is a good one, with the fields of edits changed; "-" takes one out.
func stanza(edits ...string) deb.Stanza {
	fields := []string{
		"Package", "docker-ce", "Version", "5:26.1.4-1~debian.12~bookworm", "Architecture", "amd64",
		"Filename", "pool/docker-ce.deb", "Size", "1234", "SHA256", hashA,
	}
	for i := 0; i < len(edits); i += 2 {
		at := -1
		for j := 0; j < len(fields); j += 2 {
			if strings.EqualFold(fields[j], edits[i]) {
				at = j
			}
		}
		switch {
		case edits[i+1] == "-":
			fields = slices.Delete(fields, at, at+2)
		case at < 0:
			fields = append(fields, edits[i], edits[i+1])
		default:
			fields[at], fields[at+1] = edits[i], edits[i+1]
		}
	}
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		b.WriteString(fields[i] + ": " + fields[i+1] + "\n")
	}
	return deb.Stanza(b.String())
}

func TestParsePackageFile(t *testing.T) {
	t.Parallel()
	good := PackageFile{
		Name: "docker-ce", Version: "5:26.1.4-1~debian.12~bookworm", Architecture: "amd64", Source: "docker-ce",
		Filename: "pool/docker-ce.deb", Size: 1234, SHA256: hashA,
	}
	with := func(edit func(*PackageFile)) PackageFile { f := good; edit(&f); return f }
	for _, tc := range []struct {
		edits []string
		want  PackageFile
	}{
		{nil, good},
		{[]string{"package", "docker-ce", "FILENAME", "pool/docker-ce.deb"}, good},
		{[]string{"Source", "docker (1.2)"}, with(func(f *PackageFile) { f.Source = "docker" })},
		{[]string{"Source", "docker"}, with(func(f *PackageFile) { f.Source = "docker" })},
		{[]string{"Filename", "./x.deb"}, with(func(f *PackageFile) { f.Filename = "x.deb" })},
		{[]string{"Filename", "pool//a/./x.deb"}, with(func(f *PackageFile) { f.Filename = "pool/a/x.deb" })},
		{[]string{"SHA256", strings.ToUpper(hashA)}, good},
		{[]string{"SHA512", hash512}, good},
		{[]string{"Version", "v1.2.3"}, with(func(f *PackageFile) { f.Version = "v1.2.3" })},
		{[]string{"Package", "Docker_X"}, with(func(f *PackageFile) { f.Name, f.Source = "Docker_X", "Docker_X" })},
	} {
		got, err := ParsePackageFile(stanza(tc.edits...))
		if err != nil || got != tc.want {
			t.Errorf("%q: %+v, %v", tc.edits, got, err)
		}
	}
}

func TestHostilePackageFile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ field, value, want string }{
		{"Package", "-", "package name"},
		{"Package", "../x", "package name"},
		{"Package", "a/b", "package name"},
		{"Package", "a b", "package name"},
		{"Package", "--force", "package name"},
		{"Package", "a\x1b[2J", "package name"},
		{"Package", strings.Repeat("a", 256), "package name"},
		{"Source", "../../x (1)", "source name"},
		{"Source", "a/b", "source name"},
		{"Architecture", "-", "architecture"},
		{"Architecture", "../x", "architecture"},
		{"Architecture", "amd64 arm64", "architecture"},
		{"Version", "-", "version"},
		{"Version", "1/2", "version"},
		{"Version", "1 2", "version"},
		{"Version", "1_2", "version"},
		{"Version", "1%2", "version"},
		{"Version", "1\x1b[2m", "version"},
		{"Version", "1é", "version"},
		{"Version", "1.0-", "version"},
		{"Version", strings.Repeat("1", 256), "version"},
		{"Filename", "-", "no Filename"},
		{"Filename", "../x.deb", `".."`},
		{"Filename", "pool/../../x.deb", `".."`},
		{"Filename", "pool/../x.deb", `".."`},
		{"Filename", "/etc/passwd", "absolute"},
		{"Filename", ".", `"."`},
		{"Filename", "pool/", "directory"},
		{"Filename", "x\x00.deb", "control"},
		{"Filename", strings.Repeat("a/", 512) + "b", "over the limit"},
		{"Size", "-", "size"},
		{"Size", "-1", "size"},
		{"Size", "0", "size"},
		{"Size", "1e9", "size"},
		{"Size", "0x10", "size"},
		{"Size", "18446744073709551616", "size"},
		{"Size", "9223372036854775807", "size"},
		{"SHA256", "zz", "SHA256"},
		{"SHA256", hashA + "00", "SHA256"},
		{"SHA256", "-", "no SHA256"},
	} {
		f, err := ParsePackageFile(stanza(tc.field, tc.value))
		if err == nil || !strings.Contains(err.Error(), tc.want) || f != (PackageFile{}) {
			t.Errorf("%s %.80q: %+v, %v, want %q", tc.field, tc.value, f, err, tc.want)
		}
	}
	if _, err := ParsePackageFile(stanza("SHA256", "-", "MD5sum", "d41d8cd98f00b204e9800998ecf8427e")); !errors.Is(err, ErrIntegrity) {
		t.Errorf("weak digests: %v", err)
	}
	if _, err := ParsePackageFile(stanza("SHA256", "-", "SHA512", hash512)); !errors.Is(err, ErrIntegrity) || !errors.Is(err, ErrSHA512Alone) {
		t.Errorf("SHA512 alone: %v", err)
	}
}

// TestHostileIndex: what a whole Packages may try, as a reader of it meets it.
func TestHostileIndex(t *testing.T) {
	t.Parallel()
	good := string(stanza())
	for _, tc := range []struct{ name, text string }{
		{"duplicate field", strings.Replace(good, "Size: 1234\n", "Size: 1234\nsize: 1\n", 1)},
		{"NUL", strings.Replace(good, "amd64", "amd\x0064", 1)},
		{"line of 100 MB", good + "Description: " + strings.Repeat("x", 100<<20) + "\n"},
		{"climbing", strings.Replace(good, "pool/", "../", 1)},
		{"huge size", strings.Replace(good, "1234", "99999999999999999999", 1)},
	} {
		bad, taken := 0, 0
		for s, err := range deb.Stanzas([]byte(tc.text + "\n" + good)) {
			if err == nil {
				_, err = ParsePackageFile(s)
			}
			if err != nil {
				bad++
			} else {
				taken++
			}
		}
		if bad != 1 || taken != 1 { // the good one behind it is still read
			t.Errorf("%s: %d bad, %d taken", tc.name, bad, taken)
		}
	}
}

func TestLess(t *testing.T) {
	t.Parallel()
	order := []PackageFile{
		{Name: "a", Version: "1.0~rc1", Architecture: "amd64"},
		{Name: "a", Version: "0:1.0", Architecture: "all"}, // equal to 1.0 as a version
		{Name: "a", Version: "1.0", Architecture: "all"},
		{Name: "a", Version: "1.0", Architecture: "amd64", Filename: "a"},
		{Name: "a", Version: "1.0", Architecture: "amd64", Filename: "b"},
		{Name: "a", Version: "1.9", Architecture: "amd64"},
		{Name: "a", Version: "1.10", Architecture: "amd64"},
		{Name: "b", Version: "1.0", Architecture: "amd64"},
	}
	mixed := slices.Clone(order)
	slices.Reverse(mixed)
	slices.SortFunc(mixed, Less)
	if !slices.Equal(mixed, order) {
		t.Errorf("%+v", mixed)
	}
}

func FuzzPackageFile(f *testing.F) {
	f.Add([]byte(stanza()))
	f.Add([]byte(stanza("Source", "x (1)", "Filename", "./a//b.deb", "SHA512", hash512)))
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nFilename: ../x\nSize: -1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePackageFile(deb.Stanza(data))
		if err != nil {
			return
		}
		if ValidPath(p.Filename) != nil || p.Size <= 0 || len(p.SHA256) != 64 ||
			ValidPath(p.Name) != nil || ValidPath(p.Source) != nil || ValidPath(p.Architecture) != nil || ValidPath(p.Version) != nil {
			t.Fatalf("%+v", p)
		}
	})
}
