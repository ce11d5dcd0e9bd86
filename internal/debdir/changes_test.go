package debdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

const goodChanges = `Format: 1.8
Date: Sat, 28 Feb 2026 10:00:00 +0000
Source: hello
Binary: hello
Architecture: source amd64
Version: 2.10-3
Distribution: unstable
Changes:
 hello (2.10-3) unstable; urgency=medium
 .
   * A change.
Checksums-Sha1:
 f7bebf6f9c62a2295e889f66e05ce9bfaed9ace3 3 hello_2.10-3_amd64.deb
Checksums-Sha256:
 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 hello_2.10-3_amd64.buildinfo
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 hello_2.10-3_amd64.deb
Files:
 900150983cd24fb0d6963f7d28e17f72 3 devel optional hello_2.10-3_amd64.buildinfo
`

func TestParseListing(t *testing.T) {
	signed := testarchive.SiteKey().Clearsign(t, []byte(goodChanges), testarchive.DefaultDate())
	for name, data := range map[string][]byte{"plain": []byte(goodChanges), "signed": signed} {
		l, err := parseListing(data)
		if err != nil || len(l.names) != 2 || l.blobs["hello_2.10-3_amd64.buildinfo"] != snapshot.BlobOf([]byte("abc")) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	for _, c := range []struct{ old, new, want string }{
		{goodChanges, "", "no Checksums-Sha256"},
		{"Checksums-Sha256:", "X-Sha256:", "no Checksums-Sha256"},
		{"ba7816bf", "ba7816b", "digest"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " three hello_2.10-3_amd64.buildinfo\n e3", "no size"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " -3 hello_2.10-3_amd64.buildinfo\n e3", "no size"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " 3 devel hello_2.10-3_amd64.buildinfo\n e3", "should be a digest, a size and a name"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " 3 ../hello.buildinfo\n e3", "no name of a file beside it"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " 3 ..\n e3", "no name of a file beside it"},
		{" 3 hello_2.10-3_amd64.buildinfo\n e3", " 3 hello_2.10-3_amd64.deb\n e3", "stands twice"},
		{"Files:\n", "\nFiles:\n", "more than one stanza"},
		{"Format: 1.8", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nFormat: 1.8", "integrity"},
	} {
		text := strings.Replace(goodChanges, c.old, c.new, 1)
		if text == goodChanges {
			t.Fatalf("%q is not there", c.old)
		}
		if l, err := parseListing([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: got %v, %v, want %q", c.new, c.old, l, err, c.want)
		}
	}
}

// What a .changes names must be there; of what a .buildinfo names, only what is there must be right.
func TestHold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("own.deb", testarchive.Package{Name: "own", Version: "1", Architecture: "amd64"}.Deb(t))
	line := "Checksums-Sha256:\n " + strings.Repeat("0", 63) + "1 5 other.deb\n"
	write("own.buildinfo", []byte(line))
	if _, err := ReadDir(t.Context(), dir); err != nil {
		t.Errorf("a .buildinfo of what is not there: %v", err)
	}
	write("own.changes", []byte(line))
	if _, err := ReadDir(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "own.changes") {
		t.Errorf("a .changes of what is not there: %v", err)
	}
	write("own.changes", []byte(strings.Replace(line, "other.deb", "own.deb", 1)))
	if _, err := ReadDir(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "own.deb is not the file that it names: it is sha256:") {
		t.Errorf("a .changes of other bytes: %v", err)
	}
}

// FuzzParseListing holds that names stay in the directory, each once.
func FuzzParseListing(f *testing.F) {
	f.Add([]byte(goodChanges))
	f.Add(testarchive.SiteKey().Clearsign(f, []byte(goodChanges), testarchive.DefaultDate()))
	f.Add([]byte("Checksums-Sha256:\n x 1 y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseListing(data)
		if err != nil {
			return
		}
		if len(l.names) != len(l.blobs) {
			t.Errorf("%d names, %d files", len(l.names), len(l.blobs))
		}
		for _, name := range l.names {
			if filepath.Base(name) != name || name == "." || name == ".." {
				t.Errorf("name %q", name)
			}
		}
	})
}
