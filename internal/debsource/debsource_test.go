package debsource

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
)

const changelog = `demo (1.0-1) unstable; urgency=medium

  * First.

 -- A Person <a@example.org>  Mon, 26 Dec 2022 16:30:00 +0100
`

var date = time.Date(2022, 12, 26, 15, 30, 0, 0, time.UTC)

// entries are a tarball's: names that end in a slash are directories.
type entries []struct{ name, data string }

func tarball(e entries) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, x := range e {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: x.name, Mode: 0o644, Size: int64(len(x.data))}
		if strings.HasSuffix(x.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		_ = t.WriteHeader(h)
		_, _ = io.WriteString(t, x.data)
	}
	t.Close()
	z.Close()
	return b.Bytes()
}

func gzipped(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	z.Close()
	return b.Bytes()
}

// sourceOf makes a source package of files; the .dsc is added.
func sourceOf(format, version string, files map[string][]byte) []File {
	dsc := fmt.Sprintf("Format: %s\nSource: demo\nBinary: demo\nArchitecture: any\nVersion: %s\nMaintainer: A <a@example.org>\nPackage-List:\n demo deb misc optional arch=any\nChecksums-Sha256:\n", format, version)
	for name, data := range files {
		dsc += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(data), len(data), name)
	}
	out := []File{fileOf("demo_"+withoutEpoch(version)+".dsc", []byte(dsc))}
	for name, data := range files {
		out = append(out, fileOf(name, data))
	}
	return out
}

func fileOf(name string, data []byte) File {
	return File{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

const hello = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"

// own is a patch of the source's own: it makes eight EIGHT.
const own = "--- a/src/hello\n+++ b/src/hello\n@@ -7,3 +7,3 @@\n seven\n-eight\n+EIGHT\n nine\n"

func quilt(series string) []File {
	return sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{
		"demo_1.0.orig.tar.gz": tarball(entries{{"demo-1.0/", ""}, {"demo-1.0/src/", ""}, {"demo-1.0/src/hello", hello}, {"demo-1.0/debian/", ""}, {"demo-1.0/debian/old", "x\n"}}),
		"demo_1.0-1.debian.tar.gz": tarball(entries{{"debian/", ""}, {"debian/changelog", changelog}, {"debian/rules", "#!/usr/bin/make -f\n"},
			{"debian/patches/", ""}, {"debian/patches/own.patch", own}, {"debian/patches/series", series}}),
	})
}

func native() []File {
	return sourceOf("3.0 (native)", "1.0", map[string][]byte{
		"demo_1.0.tar.gz": tarball(entries{{"demo/", ""}, {"demo/debian/", ""}, {"demo/debian/changelog", strings.Replace(changelog, "1.0-1", "1.0", 1)}, {"demo/src/hello", hello}}),
	})
}

func old() []File {
	diff := "--- demo-1.0.orig/debian/changelog\n+++ demo-1.0/debian/changelog\n@@ -0,0 +1,5 @@\n"
	for line := range strings.Lines(changelog) {
		diff += "+" + line
	}
	diff += "--- demo-1.0.orig/debian/rules\n+++ demo-1.0/debian/rules\n@@ -0,0 +1 @@\n+#!/usr/bin/make -f\n"
	diff += strings.ReplaceAll(own, "a/src", "demo-1.0.orig/src")
	return sourceOf("1.0", "1.0-1", map[string][]byte{
		"demo_1.0.orig.tar.gz": tarball(entries{{"demo-1.0/", ""}, {"demo-1.0/src/hello", hello}}),
		"demo_1.0-1.diff.gz":   gzipped(diff),
	})
}

// contents are the files of the tarballs in a directory, by base name of the tarball and path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	for _, name := range found {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(r)
			out[filepath.Base(name)+" "+h.Name] = string(text)
		}
	}
	return out
}

const change = "Some text.\n--- a/src/hello\n+++ b/src/hello\n@@ -7,4 +7,5 @@ x\n seven\n EIGHT\n+and more\n nine\n ten\n--- /dev/null\n+++ b/new file\n@@ -0,0 +1 @@\n+new\n\\ No newline at end of file\n"

func patched(t *testing.T, files []File, version string, patches ...string) (map[string]string, string, error) {
	t.Helper()
	p, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Date().Equal(date) {
		t.Errorf("date %s", p.Date())
	}
	c := Change{Version: version, Date: date.Add(time.Second)}
	for i, s := range patches {
		c.Patches = append(c.Patches, Patch{Name: fmt.Sprintf("mmoci-%02d.patch", i+1), Title: fmt.Sprintf("p%d", i+1), Data: []byte(s)})
	}
	x, err := p.Patch(c)
	if err != nil {
		return nil, "", err
	}
	dir := t.TempDir()
	name, err := x.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	dsc, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return contents(t, dir), string(dsc), nil
}

func TestQuilt(t *testing.T) {
	got, dsc, err := patched(t, quilt("own.patch"), "1.0-1+p1", change)
	if err != nil {
		t.Fatal(err)
	}
	const d = "demo_1.0-1+p1.debian.tar.gz debian/"
	if s := got[d+"patches/series"]; s != "own.patch\nmmoci-01.patch\n" {
		t.Errorf("series %q", s)
	}
	if got[d+"patches/mmoci-01.patch"] != change || got[d+"rules"] == "" || got["demo_1.0.orig.tar.gz demo-1.0/src/hello"] != hello {
		t.Errorf("has %v", got)
	}
	entry := fmt.Sprintf("demo (1.0-1+p1) unstable; urgency=medium\n\n  * Patched:\n    sha256:%x\n\n -- mmoci <mmoci@localhost>  Mon, 26 Dec 2022 15:30:01 +0000\n\n", sha256.Sum256([]byte(change)))
	if got[d+"changelog"] != entry+changelog {
		t.Errorf("changelog %s", got[d+"changelog"])
	}
	if !strings.Contains(dsc, "Version: 1.0-1+p1\n") || !strings.Contains(dsc, " demo_1.0-1+p1.debian.tar.gz\n") || strings.Contains(dsc, "1.0-1.debian") || !strings.Contains(dsc, "Package-List:\n demo deb") {
		t.Errorf("dsc %s", dsc)
	}
	if got, _, err = patched(t, quilt("own.patch"), "1.0-1+p1"); err != nil || !strings.Contains(got[d+"changelog"], "without a change") || got[d+"patches/series"] != "own.patch" {
		t.Errorf("no patch: %v, %v", got, err)
	}
}

func TestApplied(t *testing.T) {
	want := strings.Replace(strings.Replace(hello, "eight", "EIGHT", 1), "nine", "and more\nnine", 1)
	got, _, err := patched(t, old(), "1.0-1+p1", change)
	const o = "demo_1.0-1+p1.tar.gz demo-1.0/"
	if err != nil || got[o+"src/hello"] != want || got[o+"new file"] != "new" || got[o+"debian/rules"] == "" || !strings.HasPrefix(got[o+"debian/changelog"], "demo (1.0-1+p1)") || len(got) != 5 {
		t.Errorf("format 1.0: %v, %v", got, err)
	}
	got, _, err = patched(t, native(), "1.0+p1", own, change)
	const n = "demo_1.0+p1.tar.gz demo-1.0+p1/"
	if err != nil || got[n+"src/hello"] != want || got[n+"new file"] != "new" || !strings.HasPrefix(got[n+"debian/changelog"], "demo (1.0+p1)") {
		t.Errorf("native: %v, %v", got, err)
	}
	remove := "--- a/src/hello\n+++ /dev/null\n@@ -1,10 +0,0 @@\n-" + strings.ReplaceAll(strings.TrimSuffix(hello, "\n"), "\n", "\n-") + "\n"
	if got, _, err = patched(t, native(), "1.0+p1", remove); err != nil || got[n+"debian/changelog"] == "" {
		t.Errorf("removed: %v, %v", got, err)
	} else if _, there := got[n+"src/hello"]; there {
		t.Error("a removed file is there")
	}
}

// A patch that does not apply is named, with the file and the hunk of it, in each format.
func TestDoesNotApply(t *testing.T) {
	twice := "--- a/src/hello\n+++ b/src/hello\n@@ -1,2 +1,2 @@\n-one\n+ONE\n two\n@@ -4,3 +4,3 @@\n four\n-five!\n+FIVE\n six\n"
	for _, c := range []struct {
		files         []File
		version, what string
		patches       []string
		want          PatchError
	}{
		{quilt("own.patch"), "1.0-1+p1", "quilt", []string{change, twice}, PatchError{Patch: "p2", File: "src/hello", Hunk: 2, Line: 7}},
		{quilt(""), "1.0-1+p1", "without the source's own patch", []string{change}, PatchError{Patch: "p1", File: "src/hello", Hunk: 1, Line: 4}},
		{native(), "1.0+p1", "native", []string{twice}, PatchError{Patch: "p1", File: "src/hello", Hunk: 2, Line: 7}},
		{old(), "1.0-1+p1", "1.0", []string{twice}, PatchError{Patch: "p1", File: "src/hello", Hunk: 2, Line: 7}},
		{native(), "1.0+p1", "no such file", []string{strings.ReplaceAll(own, "src/hello", "src/x")}, PatchError{Patch: "p1", File: "src/x"}},
		{quilt("own.patch"), "1.0-1+p1", "upstream's debian/ does not count", []string{strings.ReplaceAll("--- a/F\n+++ b/F\n@@ -1 +1 @@\n-x\n+y\n", "F", "debian/old")}, PatchError{Patch: "p1", File: "debian/old"}},
		{native(), "1.0+p1", "there already", []string{"--- /dev/null\n+++ b/src/hello\n@@ -0,0 +1 @@\n+x\n"}, PatchError{Patch: "p1", File: "src/hello"}},
		{native(), "1.0+p1", "out of the tree", []string{"--- a/../../etc/x\n+++ b/../../etc/x\n@@ -0,0 +1 @@\n+x\n"}, PatchError{Patch: "p1"}},
		{native(), "1.0+p1", "binary", []string{"diff --git a/x b/x\nGIT binary patch\nliteral 3\n"}, PatchError{Patch: "p1"}},
		{native(), "1.0+p1", "rename", []string{"diff --git a/x b/y\nrename from x\nrename to y\n"}, PatchError{Patch: "p1"}},
		{native(), "1.0+p1", "no diff", []string{"hello\n"}, PatchError{Patch: "p1"}},
		{native(), "1.0+p1", "cut", []string{own[:60]}, PatchError{Patch: "p1"}},
	} {
		_, _, err := patched(t, c.files, c.version, c.patches...)
		e, ok := errors.AsType[*PatchError](err)
		if !ok || !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		e.Why = ""
		if *e != c.want {
			t.Errorf("%s: %+v, should be %+v", c.what, *e, c.want)
		}
	}
}

func TestMalformedSources(t *testing.T) {
	swap := func(files []File, ending string, data []byte) []File {
		for i := range files {
			if strings.HasSuffix(files[i].Name, ending) {
				files[i] = fileOf(files[i].Name, data)
			}
		}
		return files
	}
	other := tarball(entries{{"debian/changelog", "x"}})
	for what, files := range map[string][]File{
		"no .dsc":           quilt("")[1:],
		"empty .dsc":        swap(quilt(""), ".dsc", nil),
		"another size":      swap(quilt(""), ".debian.tar.gz", other),
		"format 4.0":        sourceOf("4.0", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": other}),
		"no changelog":      sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": tarball(entries{{"debian/rules", "x"}})}),
		"no entry":          sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": other}),
		"no tar":            sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": []byte("x")}),
		"a path out of it":  sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": tarball(entries{{"../debian/changelog", changelog}})}),
		"a date of its own": sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{"demo_1.0-1.debian.tar.gz": tarball(entries{{"debian/changelog", strings.Replace(changelog, "Dec", "Foo", 1)}})}),
	} {
		if _, err := Open(files); !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p, err := Open(quilt(""))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range p.files {
		if strings.HasSuffix(f.Name, ".orig.tar.gz") {
			data, _ := readAll(f, 1<<20)
			data[len(data)/2] ^= 1
			p.files[i] = fileOf(f.Name, data)
		}
	}
	if _, err := p.Write(t.TempDir()); !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("other bytes are written: %v", err)
	}
	for _, v := range []string{"1.0-1", "0.9-1", "1.1-1", "1.0-1 x", "1.0"} {
		if _, err := p.Patch(Change{Version: v}); !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("version %s: %v", v, err)
		}
	}
}

// A sparse file that says it is as large as can be said is not read, whatever was read before.
func TestSparse(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h *tar.Header, data string) {
		h.Typeflag, h.Mode, h.Size = tar.TypeReg, 0o644, int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, data)
	}
	put(&tar.Header{Name: "debian/changelog"}, changelog)
	put(&tar.Header{Name: "debian/patches/own.patch"}, own)
	sparse := map[string]string{"ANU.sparse.major": "1", "ANU.sparse.minor": "0", "ANU.sparse.realsize": "9223372036854775807", "ANU.sparse.name": "debian/patches/bomb"}
	put(&tar.Header{Name: "x", Format: tar.FormatPAX, PAXRecords: sparse}, "0\n"+strings.Repeat("\x00", 510)) // no data: one hole
	put(&tar.Header{Name: "debian/patches/series"}, "own.patch\n")
	w.Close()
	files := sourceOf("3.0 (quilt)", "1.0-1", map[string][]byte{
		"demo_1.0.orig.tar.gz":     tarball(entries{{"demo-1.0/", ""}, {"demo-1.0/src/hello", hello}}),
		"demo_1.0-1.debian.tar.gz": gzipped(strings.ReplaceAll(b.String(), "ANU.sparse", "GNU.sparse")),
	})
	_, _, err := patched(t, files, "1.0-1+p1", "--- a/src/hello\n+++ b/src/hello\n@@ -1 +1 @@\n-one\n+ONE\n")
	if err == nil || !strings.Contains(err.Error(), "patches of over") {
		t.Errorf("got %v", err)
	}
}

// Where hunks are found: as GNU patch has them without fuzz.
func TestLocate(t *testing.T) {
	for _, c := range []struct{ what, old, hunk, want string }{
		{"as said", "a\nb\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", "a\nB\nc\n"},
		{"further down", "x\nx\na\nb\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", "x\nx\na\nB\nc\n"},
		{"the nearest", "a\nb\nc\n-\na\nb\nc\n-\n-\na\nb\nc\n", "@@ -6,3 +6,3 @@\n a\n-b\n+B\n c\n", "a\nb\nc\n-\na\nB\nc\n-\n-\na\nb\nc\n"},
		{"at the begin", "b\nc\n", "@@ -1,2 +1,2 @@\n-b\n+B\n c\n", "B\nc\n"},
		{"not at the begin", "a\nb\nc\n", "@@ -1,2 +1,2 @@\n-b\n+B\n c\n", ""},
		{"at the end", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+B\n", "a\nB\n"},
		{"not at the end", "a\nb\nc\n", "@@ -1,2 +1,2 @@\n a\n-b\n+B\n", ""},
		{"far behind the end", "a\nb\nc\nx\na\nb\nc\n", "@@ -16777216,3 +1,3 @@\n a\n-b\n+B\n c\n", "a\nb\nc\nx\na\nB\nc\n"},
		{"no newline", "a\nb", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n", "a\nb\n"},
		{"an empty line without its blank", "a\n\nb\n", "@@ -1,3 +1,3 @@\n a\n\n-b\n+B\n", "a\n\nB\n"},
		{"lines added alone", "a\nb\n", "@@ -1,0 +2 @@\n+x\n", "a\nx\nb\n"},
	} {
		sections, err := parsePatch([]byte("--- a/f\n+++ b/f\n" + c.hunk))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got, bad := sections[0].apply([]byte(c.old))
		if (bad != nil) != (c.want == "") || string(got) != c.want {
			t.Errorf("%s: %q, %v", c.what, got, bad)
		}
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(change), []byte(hello))
	f.Add([]byte(own), []byte(hello))
	f.Add([]byte("--- a/f\n+++ b/f\n@@ -1,0 +2 @@\n+x\n"), []byte("a\nb"))
	f.Fuzz(func(t *testing.T, patch, file []byte) {
		sections, err := parsePatch(patch)
		if err != nil {
			return
		}
		for i := range sections {
			s := &sections[i]
			for _, n := range []string{s.old, s.new} {
				if n != "" && !cleanName(n) {
					t.Fatalf("name %q", n)
				}
			}
			s.apply(file)
		}
	})
}
