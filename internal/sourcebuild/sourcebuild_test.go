package sourcebuild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/builder"
	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/debsource"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func TestMain(m *testing.M) {
	builder.Main()
	if len(os.Args) == 6 && os.Args[1] == "builder" {
		fakeBuilder(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// endTB ends the program where a test would end.
type endTB struct{ testing.TB }

func (endTB) Helper() {}
func (endTB) Fatal(args ...any) {
	fmt.Println(args...)
	os.Exit(7)
}

func (endTB) Fatalf(format string, args ...any) { endTB{}.Fatal(fmt.Sprintf(format, args...)) }

// fakeBuilder copies what it got into a directory, and makes one .deb of it; what it does besides is its first argument.
func fakeBuilder(what, seen, in, out string) {
	t := endTB{}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen != "-" {
		must(os.CopyFS(seen, os.DirFS(in)))
		must(os.WriteFile(filepath.Join(seen, "variables"), []byte(strings.Join(os.Environ(), "\n")), 0o644))
	}
	text, err := os.ReadFile(filepath.Join(in, "identity"))
	must(err)
	id, err := buildsource.ParseIdentity(text)
	must(err)
	switch what {
	case "fail":
		t.Fatal("cc1: error")
	case "empty":
		return
	}
	debs := testarchive.Package{Name: id.Source, Version: id.Version, Architecture: "amd64", Content: map[string]string{"usr/bin/x": what}}
	if what == "stranger" {
		debs.Name = "other"
	}
	files := map[string][]byte{"_amd64.deb": debs.Deb(t), "_amd64.buildinfo": []byte(time.Now().String())}
	list := ""
	for ending, data := range files {
		name := id.Source + "_" + id.Version + ending
		must(os.WriteFile(filepath.Join(out, name), data, 0o644))
		list += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(data), len(data), name)
	}
	must(os.WriteFile(filepath.Join(out, id.Source+"_"+id.Version+"_amd64.changes"), []byte("Source: "+id.Source+"\nVersion: "+id.Version+"\nChecksums-Sha256:\n"+list), 0o644))
}

// command calls this test as a builder.
func command(what, seen string) []string { return []string{os.Args[0], "builder", what, seen} }

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A date of a changelog, in a zone.
const changed = "Mon, 26 Dec 2022 16:30:00 +0100"

func changelog(name, version string) string {
	return name + " (" + version + ") unstable; urgency=medium\n\n  * A change.\n\n -- A Developer <dev@example.org>  " + changed + "\n"
}

// writeSource writes a source package of these files.
func writeSource(t *testing.T, dir, format, name, version, fields string, files map[string][]byte) {
	t.Helper()
	dsc := fmt.Sprintf("Format: %s\nSource: %s\nBinary: %s\nArchitecture: any\nVersion: %s\nMaintainer: A <a@example.org>\n%s", format, name, name, version, fields)
	var sha, md string
	for n, data := range files {
		sha += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(data), len(data), n)
		md += fmt.Sprintf(" %x %d %s\n", md5.Sum(data), len(data), n)
		write(t, filepath.Join(dir, n), data)
	}
	write(t, filepath.Join(dir, name+"_"+version+".dsc"), []byte(dsc+"Checksums-Sha256:\n"+sha+"Files:\n"+md))
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

const lines = "one\ntwo\nthree\n"

// site is a snapshot of hello (quilt) and tool (native), with what building them needs.
func site(t *testing.T, without ...string) (*snapshot.Snapshot, prove.Trust) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []testarchive.Package{
		{Name: "base-files", Fields: [][2]string{{"Essential", "yes"}}}, {Name: "build-essential"}, {Name: "fakeroot"}, {Name: "helper"}, {Name: "libgreet-dev"},
	} {
		if p.Version, p.Architecture = "1", "amd64"; !slices.Contains(without, p.Name) {
			write(t, filepath.Join(dir, p.Name+".deb"), p.Deb(t))
		}
	}
	writeSource(t, dir, "3.0 (quilt)", "hello", "2.10-3", "Build-Depends: helper (>= 1), libgreet-dev <pkg.hello.greet>\nPackage-List:\n hello deb devel optional arch=any profile=!pkg.hello.nonls\n", map[string][]byte{
		"hello_2.10.orig.tar.gz":     tarball(t, map[string]string{"hello-2.10/hello.c": lines}),
		"hello_2.10-3.debian.tar.gz": tarball(t, map[string]string{"debian/changelog": changelog("hello", "2.10-3"), "debian/control": "Source: hello\n", "debian/rules": "#!/usr/bin/make -f\n"}),
	})
	writeSource(t, dir, "3.0 (native)", "tool", "1.0", "Build-Depends: helper\n", map[string][]byte{
		"tool_1.0.tar.gz": tarball(t, map[string]string{"tool/debian/changelog": changelog("tool", "1.0"), "tool/hello.c": lines}),
	})
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "site", Suites: []string{"site"}, Components: []string{"main"}, Architectures: []string{"amd64"}, Debs: dir, All: true, WithSources: true}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference("oci:" + filepath.Join(t.TempDir(), "layout") + ":site")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Push(t.Context(), ref, frozen.Snapshot, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	trust := prove.Trust{Site: world.Ring(t, testarchive.SiteKey()), Now: world.Now}
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, trust
}

// resolved is a pkg.yaml, beside a.patch and b.patch, resolved in a site.
func resolved(t *testing.T, text string, without ...string) (*Source, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.patch"), []byte("--- a/hello.c\n+++ b/hello.c\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"))
	write(t, filepath.Join(dir, "b.patch"), []byte("--- a/hello.c\n+++ b/hello.c\n@@ -2,2 +2,2 @@\n TWO\n-three\n+THREE\n"))
	write(t, filepath.Join(dir, "pkg.yaml"), []byte(text))
	plan, err := buildsource.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, trust := site(t, without...)
	return Resolve(t.Context(), Options{Plan: plan, Snapshot: s, Trust: trust, Architecture: "amd64", Kept: filepath.Join(dir, "kept")})
}

func good(t *testing.T, text string) *Source {
	t.Helper()
	s, err := resolved(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const patchedHello = "base: hello (= 2.10-3)\nauthor: A <a@example.org>\nsuffix: +p1\npatches: {a.patch: Louder, b.patch: b.patch}\n"

func TestResolve(t *testing.T) {
	t.Parallel()
	plain := good(t, "base: hello\n").Identity
	if !plain.Date.Equal(time.Date(2022, 12, 26, 15, 30, 0, 0, time.UTC)) || plain.Version != "2.10-3" || plain.What != buildsource.AnyAndAll {
		t.Errorf("%s", plain.Text())
	}
	s := good(t, "base: hello\nsuffix: +p1\npatches: {a.patch: x, b.patch: y}\nuse: {with: [greet], without: [nls]}\noptions: [nostrip, noopt]\nenv: {B: '2', A: '1'}\nbuild: any\n")
	id := s.Identity
	if got := strings.Join(id.Profiles, " "); got != "pkg.hello.greet pkg.hello.nonls" {
		t.Errorf("profiles %s", got)
	}
	if got := strings.Join(slices.Concat(id.Options, id.Env), " "); got != "noopt nostrip A=1 B=2" {
		t.Errorf("options and variables %s", got)
	}
	if !id.Date.Equal(plain.Date.Add(time.Second)) || id.Version != "2.10-3+p1" || id.Base != "2.10-3" || id.What != buildsource.Any || len(id.Patches) != 2 {
		t.Errorf("%s", id.Text())
	}
	if id.Files[0].Name != "hello_2.10-3.dsc" || id.Files[1].Name != "hello_2.10-3.debian.tar.gz" || id.Files[2].Name != "hello_2.10.orig.tar.gz" {
		t.Errorf("files %v", id.Files)
	}
	if id.Environment != snapshot.Sum(s.environment.Text()) || id.Environment == plain.Environment || !strings.Contains(string(s.environment.Text()), "\nlibgreet-dev 1 amd64 sha256:") {
		t.Errorf("a profile does not change what is needed: %s", s.environment.Text())
	}
	// The text is one that others can read.
	if back, err := buildsource.ParseIdentity(id.Text()); err != nil || back.Digest() != id.Digest() {
		t.Error(err)
	}
	if native := good(t, "base: tool\nsuffix: +p1\npatches: {a.patch: x}\n").Identity; native.Version != "1.0+p1" || len(native.Files) != 2 {
		t.Errorf("%s", native.Text())
	}
}

func TestResolveFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, without string
		is            error
		says          []string
	}{
		{"base: dash\n", "", outcome.ErrNotFound, []string{"pkg.yaml:1: ", "source dash is not in the snapshot", "build-depends: [dash]"}},
		{"base: hello (= 3)\n", "", outcome.ErrNotFound, []string{"pkg.yaml:1: ", "hello 3", "2.10-3"}},
		{"base: hello\n", "helper", outcome.ErrNotFound, []string{"helper (>= 1)", "build-depends: [hello]"}},
		{"base: hello\n", "fakeroot", outcome.ErrNotFound, []string{"fakeroot"}},
		{"base: hello\nsuffix: +a\nuse: {with: [ipv6]}\n", "", document.ErrUsage, []string{"pkg.yaml:3: ", "pkg.hello.ipv6", "pkg.hello.greet, pkg.hello.nonls"}},
		{"base: hello\nsuffix: +a\nprofiles: [nodoc]\n", "", document.ErrUsage, []string{"pkg.yaml:3: ", "nodoc", "pkg.hello.greet, pkg.hello.nonls"}},
		{"base: tool\nsuffix: +a\nprofiles: [nodoc]\n", "", document.ErrUsage, []string{"pkg.yaml:3: ", "no profiles"}},
		{"base: hello\nsuffix: +a\npatches: {none.patch: x}\n", "", document.ErrUsage, []string{"pkg.yaml:3: patch none.patch: no such file"}},
	} {
		_, err := resolved(t, tt.text, tt.without)
		if !errors.Is(err, tt.is) {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		for _, want := range tt.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v lacks %q", tt.text, err, want)
			}
		}
	}
}

// TestPatchFromNetwork: it is fetched once, has the digest that is written down, and is not kept otherwise.
func TestPatchFromNetwork(t *testing.T) {
	t.Parallel()
	data := []byte("--- a/hello.c\n+++ b/hello.c\n@@ -1 +1 @@\n-one\n+ONE\n")
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); _, _ = w.Write(data) }))
	defer server.Close()
	snap, trust := site(t)
	kept := filepath.Join(t.TempDir(), "kept")
	resolve := func(digest string) (*Source, error) {
		plan, err := buildsource.Parse("pkg.yaml", t.TempDir(), []byte("base: hello\nsuffix: +p1\npatches:\n  "+server.URL+"/a.patch?token=hush: {sha256: "+digest+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return Resolve(t.Context(), Options{Plan: plan, Snapshot: snap, Trust: trust, Architecture: "amd64", Kept: kept})
	}
	if _, err := resolve(strings.Repeat("01", 32)); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "pkg.yaml:4: ") || strings.Contains(err.Error(), "hush") {
		t.Errorf("another digest: %v", err)
	}
	if there, _ := os.ReadDir(kept); len(there) != 0 {
		t.Error("a patch of another digest is kept")
	}
	right := snapshot.Sum(data).Hex()
	asked.Store(0)
	for range 2 {
		s, err := resolve(right)
		if err != nil || len(s.Identity.Patches) != 1 || s.Identity.Patches[0] != snapshot.BlobOf(data) {
			t.Fatalf("%v", err)
		}
		if title := s.o.Plan.Patches[0].Title(); title != server.URL+"/a.patch" { // a build has it, for everybody
			t.Errorf("title %q", title)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("fetched %d times", asked.Load())
	}
	write(t, filepath.Join(kept, right), []byte("damaged"))
	if _, err := resolve(right); err != nil || asked.Load() != 2 {
		t.Errorf("a damaged one is not fetched again: %v, %d", err, asked.Load())
	}
}

func contents(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if rel, bad := filepath.Rel(dir, p); bad == nil && err == nil && !d.IsDir() {
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWhatABuilderGets: the patched source, the identity, the environment's lines and the variables of a build, and nothing of this machine's.
func TestWhatABuilderGets(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "x")
	for _, text := range []string{
		patchedHello + "use: {with: [greet]}\noptions: [nostrip]\nenv: {DEB_CFLAGS_APPEND: -g3}\n",
		"base: tool\nsuffix: +p1\npatches: {a.patch: x, b.patch: y}\noptions: [nostrip]\nenv: {DEB_CFLAGS_APPEND: -g3}\n",
		"base: hello\n",
	} {
		s := good(t, text)
		seen := filepath.Join(t.TempDir(), "seen")
		if _, err := s.Build(t.Context(), filepath.Join(t.TempDir(), "out"), BuildOptions{Command: command("x", seen), WithoutEnvironment: true}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]byte{"identity": s.Identity.Text(), "environment": s.environment.Text()} {
			if got, err := os.ReadFile(filepath.Join(seen, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if _, err := os.Stat(filepath.Join(seen, "environment.tar")); err == nil {
			t.Error("a tar was made that nobody wants")
		}
		var files []debsource.File
		for _, name := range contents(t, filepath.Join(seen, "source")) {
			data, err := os.ReadFile(filepath.Join(seen, "source", name))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, debsource.File{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
		}
		p, err := debsource.Open(files)
		if err != nil {
			t.Fatal(err)
		}
		if p.Version != s.Identity.Version || !p.Date().Equal(s.Identity.Date) {
			t.Errorf("%s %s, and the identity has %s %s", p.Version, p.Date(), s.Identity.Version, s.Identity.Date)
		}
		variables, err := os.ReadFile(filepath.Join(seen, "variables"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", s.Identity.Date.Unix()), "LC_ALL=C.UTF-8", "TZ=UTC"}
		if len(s.Identity.Options) > 0 {
			want = append(want, "DEB_BUILD_OPTIONS=nostrip", "DEB_CFLAGS_APPEND=-g3")
		}
		if len(s.Identity.Profiles) > 0 {
			want = append(want, "DEB_BUILD_PROFILES=pkg.hello.greet")
		}
		for _, v := range want {
			if !slices.Contains(strings.Split(string(variables), "\n"), v) {
				t.Errorf("the builder does not see %s", v)
			}
		}
		if strings.Contains(string(variables), "SECRET") {
			t.Error("the builder sees this process's variables")
		}
	}
}

// TestBuild: what is written is a build of the identity, with the base, the patched source and the patches.
func TestBuild(t *testing.T) {
	t.Parallel()
	s := good(t, patchedHello)
	out := filepath.Join(t.TempDir(), "below", "out")
	local, err := s.Build(t.Context(), out, BuildOptions{Command: command("x", "-"), WithoutEnvironment: true})
	if err != nil {
		t.Fatal(err)
	}
	want := "about.txt environment.txt hello_2.10-3+p1.debian.tar.gz hello_2.10-3+p1.dsc hello_2.10-3+p1_amd64.buildinfo hello_2.10-3+p1_amd64.changes hello_2.10-3+p1_amd64.deb " +
		"hello_2.10-3.debian.tar.gz hello_2.10-3.dsc hello_2.10.orig.tar.gz identity.txt patches/001-a.patch patches/002-b.patch"
	if got := strings.Join(contents(t, out), " "); got != want {
		t.Errorf("%s", got)
	}
	if local.Identity.Digest() != s.Identity.Digest() || local.About.Author != "A <a@example.org>" || strings.Join(local.About.Patches, "|") != "Louder|b.patch" {
		t.Errorf("%+v", local.About)
	}
	if entries, _ := os.ReadDir(filepath.Dir(out)); len(entries) != 1 {
		t.Errorf("left beside it: %v", entries)
	}
	if _, err := s.Build(t.Context(), out, BuildOptions{Command: command("x", "-"), WithoutEnvironment: true}); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over it: %v", err)
	}
}

// TestFailedBuild: whatever goes wrong, there is no OUT, and nothing is left beside it or among the scratch files.
func TestFailedBuild(t *testing.T) {
	t.Parallel()
	hello := good(t, patchedHello)
	rotten := good(t, "base: hello\nsuffix: +p1\npatches: {b.patch: It needs a.patch}\n")
	nativeRotten := good(t, "base: tool\nsuffix: +p1\npatches: {a.patch: x, b.patch: y, ./b.patch: again}\n")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	for name, tt := range map[string]struct {
		s       *Source
		command []string
		ctx     context.Context
		is      error
		says    string
	}{
		"fails":                {s: hello, command: command("fail", "-"), says: "cc1: error"},
		"leaves nothing":       {s: hello, command: command("empty", "-"), is: outcome.ErrIntegrity, says: "no .changes"},
		"is not there":         {s: hello, command: []string{"no-such-builder"}, is: builder.ErrCannot, says: "no-such-builder is missing"},
		"patch":                {s: rotten, command: command("x", "-"), is: outcome.ErrUsage, says: "pkg.yaml:3: patch b.patch does not apply: hello.c, hunk 1 (line 3 of the patch)"},
		"native, second patch": {s: nativeRotten, command: command("x", "-"), is: outcome.ErrUsage, says: "hello.c, hunk 1"},
		"cancelled":            {s: hello, command: command("x", "-"), ctx: ended, is: context.Canceled},
	} {
		parent, scratch := t.TempDir(), t.TempDir()
		ctx := tt.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		_, err := tt.s.Build(ctx, filepath.Join(parent, "out"), BuildOptions{Command: tt.command, WithoutEnvironment: true, Dir: scratch})
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		for _, dir := range []string{parent, scratch} {
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s: left: %v", name, left)
			}
		}
	}
}

// TestGet: what counts at a place is taken and nothing is built; else it is built, put, and found from then on.
func TestGet(t *testing.T) {
	t.Parallel()
	listed, thief := testarchive.SiteKey(), testarchive.NewKey("somebody who may push")
	s := good(t, patchedHello)
	place := func(name string) artifact.Reference {
		ref, err := builds.ParsePlace("oci:" + filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	to, read := place("to"), place("read")
	never := []string{filepath.Join(t.TempDir(), "no-such-builder")}
	get := func(dir string, change func(*GetOptions)) (*Got, error) {
		o := GetOptions{Builders: builds.Trust{Builders: world.Ring(t, listed)}, To: &to, Signer: world.SignerOf(t, listed), BuilderName: "test"}
		o.Build = BuildOptions{Command: command("x", "-"), WithoutEnvironment: true}
		if change != nil {
			change(&o)
		}
		return s.Get(t.Context(), dir, o)
	}
	first, err := get("", nil)
	if err != nil || first.Reference == nil || first.Differs() != nil {
		t.Fatalf("%+v, %v", first, err)
	}
	out := filepath.Join(t.TempDir(), "out")
	again, err := get(out, func(o *GetOptions) { o.Build.Command = never })
	if err != nil || again.Reference.Digest != first.Reference.Digest {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := builds.ReadDir(t.Context(), out); err != nil {
		t.Error(err)
	}
	// A place that is read is asked before the one that is written, and does not become one.
	if _, err := get("", func(o *GetOptions) { o.To, o.Places, o.Build.Command = nil, []artifact.Reference{read, to}, never }); err != nil {
		t.Error(err)
	}
	if there, err := builds.Has(t.Context(), read, s.Identity.Digest(), artifact.Options{}); there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	// Another builder that makes the same, and one that does not.
	same, err := get("", func(o *GetOptions) { o.Rebuild, o.Signer = true, world.SignerOf(t, thief) })
	if err != nil || same.Differs() != nil || same.Reference.Digest != first.Reference.Digest {
		t.Errorf("%+v, %v", same, err)
	}
	other, err := get("", func(o *GetOptions) { o.Rebuild, o.Build.Command = true, command("otherwise", "-") })
	if err != nil || !errors.Is(other.Differs(), outcome.ErrIntegrity) || !strings.Contains(other.Differs().Error(), "not reproducible: hello_2.10-3+p1_amd64.deb") {
		t.Errorf("%+v, %v", other, err)
	}
	// What somebody put there who is not listed is no reason to build: it is said.
	forged := place("forged")
	if _, err := get("", func(o *GetOptions) { o.To, o.Signer = &forged, world.SignerOf(t, thief) }); err != nil {
		t.Fatal(err)
	}
	if got, err := get("", func(o *GetOptions) { o.Places = []artifact.Reference{forged} }); !errors.Is(err, outcome.ErrIntegrity) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	// sbuild builds for the machine it runs on; a program may do otherwise.
	foreign := func(command []string) error {
		_, err := get("", func(o *GetOptions) { o.Rebuild, o.Native, o.Build.Command = true, "arm64", command })
		return err
	}
	if err := foreign(nil); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "sbuild builds for this machine's architecture, arm64, and not for amd64: build hello 2.10-3+p1 on") {
		t.Errorf("by sbuild: %v", err)
	}
	if err := foreign(command("x", "-")); err != nil {
		t.Errorf("by a program: %v", err)
	}
	// Two builders are asked for, and one built it: it is built again.
	built := false
	_, err = get("", func(o *GetOptions) {
		o.Builders = builds.Trust{Builders: world.Ring(t, listed, testarchive.NewKey("third")), Confirm: 2}
		o.Signer = world.SignerOf(t, testarchive.NewKey("third"))
		o.Log = func(format string, args ...any) {
			built = built || strings.Contains(fmt.Sprintf(format, args...), "is built,")
		}
	})
	if err != nil || !built {
		t.Errorf("%v, built %v", err, built)
	}
	if _, err := builds.Read(t.Context(), to, s.Identity.Digest(), builds.Trust{Builders: world.Ring(t, listed, testarchive.NewKey("third")), Confirm: 2}, artifact.Options{}); err != nil {
		t.Error(err)
	}
}
