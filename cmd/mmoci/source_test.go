package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/mmoci/internal/testarchive"
)

// dsc DIR VERSION [TEXT]: writes the source package hello, format 3.0 (quilt), whose program says TEXT.
func cmdDsc(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: dsc DIR VERSION [TEXT]")
	}
	text := "hello, world"
	if len(args) > 2 {
		text = args[2]
	}
	writeDsc(ts.Check, ts.MkAbs(args[0]), args[1], text)
}

// writeDsc writes the source package hello.
func writeDsc(check func(error), dir, version, text string) {
	check(os.MkdirAll(dir, 0o755))
	upstream, _, _ := strings.Cut(version, "-")
	orig := tarball(check, map[string]string{"hello-" + upstream + "/hello.c": "int main() {\n\tputs(\"" + text + "\");\n\treturn 0;\n}\n"})
	debian := tarball(check, map[string]string{
		"debian/changelog":     "hello (" + version + ") unstable; urgency=medium\n\n  * A change.\n\n -- A Developer <dev@example.org>  Mon, 26 Dec 2022 16:30:00 +0100\n",
		"debian/control":       "Source: hello\n",
		"debian/rules":         "#!/usr/bin/make -f\n",
		"debian/source/format": "3.0 (quilt)\n",
	})
	files := []struct {
		name string
		data []byte
	}{{"hello_" + upstream + ".orig.tar.gz", orig}, {"hello_" + version + ".debian.tar.gz", debian}}
	var b strings.Builder
	fmt.Fprintf(&b, `Format: 3.0 (quilt)
Source: hello
Binary: hello
Architecture: any
Version: %s
Maintainer: A Developer <dev@example.org>
Build-Depends: helper (>= 1), libgreet-dev <pkg.hello.greet>
Package-List:
 hello deb devel optional arch=any profile=!pkg.hello.nothing
`, version)
	b.WriteString("Checksums-Sha256:\n")
	for _, f := range files {
		fmt.Fprintf(&b, " %x %d %s\n", sha256.Sum256(f.data), len(f.data), f.name)
	}
	b.WriteString("Files:\n")
	for _, f := range files {
		fmt.Fprintf(&b, " %x %d %s\n", md5.Sum(f.data), len(f.data), f.name)
		check(os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644))
	}
	check(os.WriteFile(filepath.Join(dir, "hello_"+version+".dsc"), []byte(b.String()), 0o644))
}

func tarball(check func(error), files map[string]string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(1672000000, 0)}))
		_, err := w.Write([]byte(files[name]))
		check(err)
	}
	check(w.Close())
	check(z.Close())
	return b.Bytes()
}

// builderTB ends the program where a test would end.
type builderTB struct{ testing.TB }

func (builderTB) Helper() {}
func (builderTB) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}
func (builderTB) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// testBuilder is "mkdebs [SALT] IN OUT", a builder without a compiler: the .deb holds what it was built of. It fails with the word fail,
// hangs with hang, and leaves a .deb of another source with other.
func testBuilder() {
	t := builderTB{}
	word, in, out := "", os.Args[len(os.Args)-2], os.Args[len(os.Args)-1]
	if len(os.Args) > 3 {
		word = os.Args[1]
	}
	version, source := "", ""
	identity, err := os.ReadFile(filepath.Join(in, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(identity)) {
		if f := strings.Fields(line); f[0] == "source" {
			source, version = f[1], f[3]
		}
	}
	switch word {
	case "fail":
		t.Fatal("cc1: error: no such thing")
	case "hang":
		time.Sleep(time.Hour)
	case "other":
		source = "other"
	}
	content := "salt " + word + "\n"
	entries, err := os.ReadDir(filepath.Join(in, "source"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(in, "source", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content += fmt.Sprintf("%s %x\n", e.Name(), sha256.Sum256(data))
	}
	deb := testarchive.Package{Name: source, Version: version, Architecture: "amd64", Content: map[string]string{"usr/share/doc/hello/built": content}, Compression: "gz"}.Deb(t)
	name := source + "_" + version + "_amd64"
	info := fmt.Appendf(nil, "Format: 1.0\nSource: %s\nVersion: %s\nBuild-Date: %s\nChecksums-Sha256:\n %x %d %s.deb\n", source, version, time.Now(), sha256.Sum256(deb), len(deb), name)
	changes := fmt.Appendf(nil, "Format: 1.8\nSource: hello\nVersion: %s\nChecksums-Sha256:\n %x %d %s.deb\n %x %d %s.buildinfo\n", version, sha256.Sum256(deb), len(deb), name, sha256.Sum256(info), len(info), name)
	for ending, data := range map[string][]byte{".deb": deb, ".buildinfo": info, ".changes": changes} {
		if err := os.WriteFile(filepath.Join(out, name+ending), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sourceSite is a directory with a snapshot of the source hello and what building it needs, and its pkg.yaml.
type sourceSite struct {
	t   *testing.T
	dir string
}

func newSourceSite(t *testing.T) *sourceSite {
	s := &sourceSite{t, t.TempDir()}
	s.write("keys/site.asc", string(testarchive.SiteKey().Private()))
	s.write("keys/site.pub.asc", string(testarchive.SiteKey().Public()))
	s.write("mmoci.yaml", "ref: oci:mirror:site\nsign: {key: keys/site.asc}\ntrust: keys/site.pub.asc\narchives:\n- {prefix: site, mode: curated, debs: debs, packages: all, with-sources: yes}\n")
	s.deb("base-files", "1", [2]string{"Essential", "yes"})
	for _, name := range []string{"build-essential", "fakeroot", "helper", "libgreet-dev"} {
		s.deb(name, "1")
	}
	writeDsc(s.check, filepath.Join(s.dir, "debs"), "2.10-3", "hello, world")
	s.write("pkg/pkg.yaml", "base: hello (= 2.10-3)\nauthor: A <a@example.org>\nsuffix: +p1\npatches:\n  a.patch: One\n  b.patch: Two\noptions: [nostrip, noopt]\nenv: {A: '1', B: '2'}\n")
	s.write("pkg/a.patch", "--- a/hello.c\n+++ b/hello.c\n@@ -1 +1 @@\n-int main() {\n+int main(void) {\n")
	s.write("pkg/b.patch", "--- a/hello.c\n+++ b/hello.c\n@@ -4 +4 @@\n-}\n+} // end\n")
	s.push("2026-11-21T00:00:00Z")
	return s
}

func (s *sourceSite) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sourceSite) write(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	s.check(os.MkdirAll(filepath.Dir(name), 0o755))
	s.check(os.WriteFile(name, []byte(text), 0o600))
}

func (s *sourceSite) deb(name, version string, fields ...[2]string) {
	s.debFor("amd64", name, version, fields...)
}

func (s *sourceSite) debFor(arch, name, version string, fields ...[2]string) {
	p := testarchive.Package{Name: name, Version: version, Architecture: arch, Fields: fields, Compression: "gz"}
	s.write("debs/"+name+"_"+arch+".deb", string(p.Deb(s.t)))
}

// change replaces a text in a file.
func (s *sourceSite) change(name, old, now string) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	s.check(err)
	if !strings.Contains(string(data), old) {
		s.t.Fatalf("%s has no %q", name, old)
	}
	s.write(name, strings.Replace(string(data), old, now, 1))
}

func (s *sourceSite) run(args ...string) (string, error) {
	var out, said bytes.Buffer
	if code := run(s.t.Context(), append(args, "-q"), nil, &out, &said); code != 0 {
		return "", fmt.Errorf("exit code %d: %s", code, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func (s *sourceSite) push(date string) {
	s.t.Helper()
	s.check(os.RemoveAll(filepath.Join(s.dir, "mirror")))
	_, err := s.run("push", "-f", filepath.Join(s.dir, "mmoci.yaml"), "--date", date)
	s.check(err)
}

func (s *sourceSite) hash(args ...string) string {
	s.t.Helper()
	id, err := s.run(append([]string{"source", "hash", filepath.Join(s.dir, "pkg"), "--config", filepath.Join(s.dir, "mmoci.yaml"), "--arch", "amd64"}, args...)...)
	s.check(err)
	return id
}

// TestIdentity: each change of what is built changes the identity, in one line or few, and nothing else does.
func TestIdentity(t *testing.T) {
	const date = "2026-11-21T00:00:00Z"
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	base := newSourceSite(t)
	was, text := base.hash(), base.hash("--text")
	for _, tt := range []struct {
		name   string
		change func(s *sourceSite)
		lines  string // keys of the lines that differ; "": none
		args   []string
	}{
		{"the architecture", func(s *sourceSite) {
			s.debFor("arm64", "base-files", "1", [2]string{"Essential", "yes"})
			for _, name := range []string{"build-essential", "fakeroot", "helper", "libgreet-dev"} {
				s.debFor("arm64", name, "1")
			}
			s.push(date)
		}, "architecture environment", []string{"--arch", "arm64"}},
		{"a byte of a patch", func(s *sourceSite) { s.change("pkg/b.patch", "end", "END") }, "patch", nil},
		{"order of the patches", func(s *sourceSite) {
			s.change("pkg/pkg.yaml", "  a.patch: One\n  b.patch: Two", "  b.patch: Two\n  a.patch: One")
		}, "patch", nil},
		{"a patch less", func(s *sourceSite) { s.change("pkg/pkg.yaml", "  b.patch: Two\n", "") }, "patch", nil},
		{"suffix", func(s *sourceSite) { s.change("pkg/pkg.yaml", "+p1", "+p2") }, "source", nil},
		{"a profile", func(s *sourceSite) { s.change("pkg/pkg.yaml", "options:", "profiles: [pkg.hello.nothing]\noptions:") }, "profile", nil},
		{"a flag, and what it needs", func(s *sourceSite) { s.change("pkg/pkg.yaml", "options:", "use: {with: [greet]}\noptions:") }, "environment profile", nil},
		{"an option", func(s *sourceSite) { s.change("pkg/pkg.yaml", "noopt", "nocheck") }, "option", nil},
		{"a variable", func(s *sourceSite) { s.change("pkg/pkg.yaml", "A: '1'", "A: '3'") }, "env", nil},
		{"what is built", func(s *sourceSite) { s.change("pkg/pkg.yaml", "options:", "build: any\noptions:") }, "architecture", nil},
		{"a build dependency's bytes", func(s *sourceSite) { s.deb("helper", "1", [2]string{"Description", "other"}); s.push(date) }, "environment", nil},
		{"a build dependency's version", func(s *sourceSite) { s.deb("helper", "2"); s.push(date) }, "environment", nil},
		{"an essential package", func(s *sourceSite) { s.deb("base-files", "2", [2]string{"Essential", "yes"}); s.push(date) }, "environment", nil},
		{"upstream's tarball", func(s *sourceSite) { writeDsc(s.check, filepath.Join(s.dir, "debs"), "2.10-3", "HELLO"); s.push(date) }, "file", nil},
		{"the version of the source", func(s *sourceSite) {
			writeDsc(s.check, filepath.Join(s.dir, "debs"), "2.10-4", "hello, world")
			s.change("pkg/pkg.yaml", "2.10-3", "2.10-4")
			s.push(date)
		}, "file source", nil},

		{"nothing", func(*sourceSite) {}, "", nil},
		{"the author", func(s *sourceSite) { s.change("pkg/pkg.yaml", "A <a@", "B <b@") }, "", nil},
		{"a reason", func(s *sourceSite) { s.change("pkg/pkg.yaml", "One", "Another") }, "", nil},
		{"a patch's name", func(s *sourceSite) {
			s.check(os.Rename(filepath.Join(s.dir, "pkg/a.patch"), filepath.Join(s.dir, "pkg/z.diff")))
			s.change("pkg/pkg.yaml", "a.patch", "z.diff")
		}, "", nil},
		{"a digest beside a patch", func(s *sourceSite) {
			data, err := os.ReadFile(filepath.Join(s.dir, "pkg/a.patch"))
			s.check(err)
			s.change("pkg/pkg.yaml", "a.patch: One", fmt.Sprintf("a.patch: {why: One, sha256: %x}", sha256.Sum256(data)))
		}, "", nil},
		{"a comment", func(s *sourceSite) { s.change("pkg/pkg.yaml", "author:", "# of the author\nauthor:") }, "", nil},
		{"order of the keys and options", func(s *sourceSite) {
			s.change("pkg/pkg.yaml", "suffix: +p1\n", "")
			s.change("pkg/pkg.yaml", "[nostrip, noopt]", "[noopt, nostrip, noopt]\nsuffix: +p1")
		}, "", nil},
		{"order of the variables", func(s *sourceSite) { s.change("pkg/pkg.yaml", "{A: '1', B: '2'}", "{B: '2', A: '1'}") }, "", nil},
		{"carriage returns", func(s *sourceSite) {
			data, err := os.ReadFile(filepath.Join(s.dir, "pkg/pkg.yaml"))
			s.check(err)
			s.write("pkg/pkg.yaml", strings.ReplaceAll(string(data), "\n", "\r\n"))
		}, "", nil},
		{"the times of all files", func(s *sourceSite) {
			s.check(filepath.WalkDir(s.dir, func(p string, _ os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Chtimes(p, time.Unix(1, 0), time.Unix(1, 0))
			}))
		}, "", nil},
		{"the directory", func(s *sourceSite) {
			s.check(os.Rename(filepath.Join(s.dir, "pkg"), filepath.Join(s.dir, "moved")))
			s.check(os.Symlink("moved", filepath.Join(s.dir, "pkg")))
		}, "", nil},
		{"the snapshot's date", func(s *sourceSite) { s.push("2026-11-22T00:00:00Z") }, "", nil},
		{"another package in the snapshot", func(s *sourceSite) { s.deb("unrelated", "1"); s.push(date) }, "", nil},
		{"the dsc's signature", func(s *sourceSite) {
			name := filepath.Join(s.dir, "debs/hello_2.10-3.dsc")
			data, err := os.ReadFile(name)
			s.check(err)
			s.check(os.WriteFile(name, testarchive.DebianKey().Clearsign(s.t, data, time.Unix(1700000000, 0)), 0o600))
			s.push(date)
		}, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSourceSite(t)
			tt.change(s)
			if is := s.hash(tt.args...); (is == was) != (tt.lines == "") {
				t.Errorf("%s, was %s", is, was)
			}
			old := filepath.Join(t.TempDir(), "old.txt")
			s.check(os.WriteFile(old, []byte(text+"\n"), 0o600))
			keys := map[string]bool{}
			for line := range strings.Lines(s.hash(append(tt.args, "--explain", old)...)) {
				key, _, _ := strings.Cut(strings.TrimLeft(line, "+-"), " ")
				keys[key] = true
			}
			if got := strings.Join(slices.Sorted(maps.Keys(keys)), " "); got != tt.lines {
				t.Errorf("lines that differ: %q, want %q", got, tt.lines)
			}
		})
	}
}
