package imagebuild

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// packages are a small distribution: a program, its library, its data, and the lists of users.
func packages() []testarchive.Package {
	return []testarchive.Package{
		{Name: "libc6", Version: "2.36-9", Architecture: "amd64", Source: "glibc", Fields: [][2]string{{"Multi-Arch", "same"}}, Content: map[string]string{"lib/x86_64-linux-gnu/libc.so.6": "libc", "usr/share/doc/libc6/copyright": "LGPL"}},
		{Name: "libc6", Version: "2.36-9", Architecture: "arm64", Source: "glibc", Fields: [][2]string{{"Multi-Arch", "same"}}, Content: map[string]string{"lib/aarch64-linux-gnu/libc.so.6": "libc for arm", "usr/share/doc/libc6/copyright": "LGPL"}},
		{Name: "web", Version: "1.0-1", Architecture: "amd64", Fields: [][2]string{{"Depends", "libc6 (>= 2.30), web-data (= 1.0-1)"}}, Size: 20_000,
			Content: map[string]string{"usr/sbin/web": "program", "etc/web/web.conf": "default"}, ControlFiles: map[string]string{"conffiles": "/etc/web/web.conf\n", "postinst": "#!/bin/sh\nset -e\nexit 0\n"}},
		{Name: "web", Version: "1.0-1", Architecture: "arm64", Fields: [][2]string{{"Depends", "libc6 (>= 2.30), web-data (= 1.0-1)"}},
			Content: map[string]string{"usr/sbin/web": "program for arm", "etc/web/web.conf": "default"}, ControlFiles: map[string]string{"conffiles": "/etc/web/web.conf\n"}},
		{Name: "web-data", Version: "1.0-1", Architecture: "all", Source: "web", Content: map[string]string{"usr/share/web/index.html": "<p>", "usr/share/doc/web-data/README": "read"}},
		{Name: "base-passwd", Version: "3.6.1", Architecture: "amd64", Content: map[string]string{"usr/share/base-passwd/passwd.master": "root::0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n", "usr/share/base-passwd/group.master": "root:*:0:\nwww-data:*:33:\n"}},
		{Name: "base-passwd", Version: "3.6.1", Architecture: "arm64", Content: map[string]string{"usr/share/base-passwd/passwd.master": "root::0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n", "usr/share/base-passwd/group.master": "root:*:0:\nwww-data:*:33:\n"}},
	}
}

// site is a snapshot of the packages, and who trusts its archive.
func site(t testing.TB, pkgs ...testarchive.Package) (*snapshot.Snapshot, prove.Trust) {
	t.Helper()
	archs := []string{"amd64", "arm64"}
	return freezeArchive(t, testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{Dir: "bookworm", Date: world.Date.AddDate(0, 0, -1), Architectures: archs, Packages: pkgs}}}, archs)
}

func freezeArchive(t testing.TB, a testarchive.Archive, archs []string) (*snapshot.Snapshot, prove.Trust) {
	t.Helper()
	dir := testarchive.MemoryDir(t)
	a.Build(t).Write(t, filepath.Join(dir, "debian"))
	key := filepath.Join(dir, "debian.asc")
	if err := os.WriteFile(key, testarchive.DebianKey().Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "debian", Suites: []string{"bookworm"}, Components: []string{"main"}, Architectures: archs, URLs: []string{filepath.Join(dir, "debian")}, SignedBy: key, All: true}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"debian": world.Ring(t, testarchive.DebianKey())}, Named: []string{"debian"}, Now: world.Now}
	frozen.Snapshot.Root = snapshot.Sum([]byte(frozen.Snapshot.Statement.Date.String())) // as of one that was read from a place
	return frozen.Snapshot, trust
}

// load writes and reads a plan, with files beside it.
func load(t testing.TB, text string, files map[string]string) *imageplan.Plan {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, imageplan.Name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := imageplan.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func options(t testing.TB, text string, files map[string]string, pkgs ...testarchive.Package) Options {
	t.Helper()
	if pkgs == nil {
		pkgs = packages()
	}
	s, trust := site(t, pkgs...)
	return Options{Plan: load(t, text, files), Snapshot: s, Trust: trust}
}

func mustBuild(t testing.TB, o Options) *Image {
	t.Helper()
	im, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

const webPlan = `
name: web
version: "1"
arch: [amd64]
packages: [web]
users: [{name: app, uid: 10001}]
sync:
- {src: web.conf, dest: /etc/web/web.conf, mode: "0640", owner: app}
- {src: www, dest: /srv/www, recursive: true}
config: {entrypoint: [/usr/sbin/web], user: app, expose: [80], stop-signal: SIGQUIT, labels: {a: b}, env: {A: b}}
`

func webFiles() map[string]string {
	return map[string]string{"web.conf": "ours", "www/index.html": "<h1>", "www/sub/x": "x"}
}

// read gives an image through a reader of other hands.
func read(t *testing.T, o Options, im *Image) v1.ImageIndex {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	put(t, im, artifact.Reference{Kind: artifact.Layout, Name: dir, Tag: "v1"})
	l, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := l.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(top.Manifests, func(d v1.Descriptor) bool { return d.Annotations["org.opencontainers.image.ref.name"] == "v1" })
	if at < 0 {
		t.Fatalf("index.json %+v", top)
	}
	index, err := l.ImageIndex(top.Manifests[at].Digest)
	if err != nil {
		t.Fatal(err)
	}
	var how []validate.Option
	if o.Plan.Layers.Compression != imageplan.Gzip { // which that reader alone expects
		how = append(how, validate.Fast)
	}
	if err := validate.Index(index, how...); err != nil {
		t.Error(err)
	}
	return index
}

func put(t *testing.T, im *Image, ref artifact.Reference) artifact.Copied {
	t.Helper()
	c, err := im.Put(t.Context(), ref, artifact.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents are the files of an image, one layer over the other; whiteouts are not among what is tested here.
func contents(t *testing.T, img v1.Image) (files map[string]string, headers map[string]*tar.Header, perLayer [][]string) {
	t.Helper()
	files, headers = map[string]string{}, map[string]*tar.Header{}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
			files[h.Name], headers[h.Name] = string(data), h
		}
		r.Close()
		perLayer = append(perLayer, names)
	}
	return files, headers, perLayer
}

func imageFor(t *testing.T, index v1.ImageIndex, arch string) v1.Image {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform.Architecture == arch && d.Platform.OS == "linux" {
			img, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	t.Fatalf("no %s in %+v", arch, m.Manifests)
	return nil
}

// An image has a layer for each package, dpkg's database over all, users and files; its config says what the plan says.
func TestBuild(t *testing.T) {
	o := options(t, webPlan, webFiles())
	im := mustBuild(t, o)
	img := imageFor(t, read(t, o, im), "amd64")
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := cf.Config
	if c.User != "app" || c.StopSignal != "SIGQUIT" || c.Labels["a"] != "b" || c.Labels["org.opencontainers.image.title"] != "web" || !slices.Equal(c.Env, []string{defaultPath, "A=b"}) || !cf.Created.Equal(o.Snapshot.Statement.Date) {
		t.Errorf("config %+v", cf)
	}
	var by []string
	for _, h := range cf.History {
		by = append(by, h.CreatedBy)
	}
	if want := []string{"skeleton", "package libc6 2.36-9 amd64", "package web-data 1.0-1 all", "package web 1.0-1 amd64", "system", "files"}; !slices.Equal(by, want) {
		t.Errorf("layers %q, want %q", by, want)
	}
	files, headers, layers := contents(t, img)
	if files["usr/sbin/web"] != "program" || files["etc/web/web.conf"] != "ours" || files["srv/www/index.html"] != "<h1>" || files["usr/lib/x86_64-linux-gnu/libc.so.6"] != "libc" {
		t.Errorf("files %q", files)
	}
	if h := headers["etc/web/web.conf"]; h.Mode != 0o640 || h.Uid != 10001 || h.Gid != 10001 || !h.ModTime.Equal(o.Snapshot.Statement.Date) {
		t.Errorf("web.conf: %+v", h)
	}
	if h := headers["lib"]; h == nil || h.Linkname != "usr/lib" {
		t.Errorf("lib: %+v", h)
	}
	status := files["var/lib/dpkg/status"]
	if n := strings.Count(status, "\nStatus: install ok installed\n"); n != 3 || strings.Contains(status, "base-passwd") {
		t.Errorf("status of %d packages:\n%s", n, status)
	}
	if p := files["etc/passwd"]; !strings.Contains(p, "www-data:") || !strings.Contains(p, "app:x:10001:10001:") && !strings.Contains(p, "app:*:10001:10001:") {
		t.Errorf("passwd:\n%s", p)
	}
	if want := []string{"etc/", "etc/web/", "etc/web/web.conf", "srv/", "srv/www/", "srv/www/index.html", "srv/www/sub/", "srv/www/sub/x"}; !slices.Equal(layers[5], want) {
		t.Errorf("the files layer has %q, want %q", layers[5], want)
	}
	if im.Lock.Architectures[0].Helpers[0].Name != "base-passwd" || len(im.Lock.Architectures[0].Packages) != 3 {
		t.Errorf("lock\n%s", im.Lock.Encode())
	}
}

// Registry, layout and oci-archive get one digest; again nothing is sent, and of an image with common packages only the rest.
func TestPut(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	o := options(t, webPlan, webFiles())
	im := mustBuild(t, o)
	dir := t.TempDir()
	for _, ref := range []artifact.Reference{
		{Kind: artifact.Registry, Name: r.Host() + "/site/web", Tag: "1"},
		{Kind: artifact.Layout, Name: filepath.Join(dir, "l"), Tag: "1"},
		{Kind: artifact.Archive, Name: filepath.Join(dir, "a.tar"), Tag: "1"},
	} {
		c := put(t, im, ref)
		if root, err := artifact.Resolve(t.Context(), ref, artifact.Options{}); err != nil || root != im.Digest() || c.Root != root || !c.Changed {
			t.Errorf("%s: %s, %v; %+v", ref, root, err, c)
		}
		read, err := images.Read(t.Context(), ref, images.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := read.Verify(t.Context(), false, artifact.Options{}); err != nil {
			t.Error(err)
		}
	}
	ref := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/site/web", Tag: "1"}
	if c := put(t, mustBuild(t, o), ref); c.Changed || c.Uploaded != 0 {
		t.Errorf("again: %+v", c)
	}
	// Without files of one's own: config, system layer, which has no such user, and of the companion plan, account, list of layers, bills of materials, provenance and statement.
	o.Plan = load(t, "packages: [web]\narch: amd64", nil)
	ref.Tag = "plain"
	if c := put(t, mustBuild(t, o), ref); c.Uploaded != 9 {
		t.Errorf("another image of the same packages: %+v", c)
	}
}

// What another repository of the registry got from here is mounted, where the registry can, and sent where that repository lost it.
func TestMounts(t *testing.T) {
	for _, mounts := range []bool{true, false} {
		r := testregistry.New(t, testregistry.Options{Mounts: mounts})
		o := options(t, webPlan, webFiles())
		cache, err := layercache.Open(t.TempDir(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		o.Cache = cache
		ref := func(repo string) artifact.Reference {
			return artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/site/" + repo, Tag: "1"}
		}
		put(t, mustBuild(t, o), ref("one"))
		if c := put(t, mustBuild(t, o), ref("two")); !c.Changed || mounts && c.Bytes != 0 || !mounts && c.Bytes == 0 {
			t.Errorf("mounts %t: %+v", mounts, c)
		}
		for _, d := range r.Blobs("site/two") {
			r.DeleteBlob("site/two", d)
		}
		if c := put(t, mustBuild(t, o), ref("three")); !c.Changed || c.Bytes == 0 {
			t.Errorf("mounts %t, from a repository that lost all: %+v", mounts, c)
		}
		im, err := images.Read(t.Context(), ref("three"), images.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.Verify(t.Context(), false, artifact.Options{}); err != nil {
			t.Error(err)
		}
	}
}

// The same snapshot and plan make the same digest, however they are built; what changes is what depends on the change.
func TestDeterminism(t *testing.T) {
	o := options(t, webPlan, webFiles())
	want := mustBuild(t, o).Digest()
	cache, err := layercache.Open(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	local := time.Local
	defer func() { time.Local = local }()
	for _, procs := range []int{1, 8} {
		was := runtime.GOMAXPROCS(procs)
		time.Local = time.FixedZone("x", procs*3600)
		o.Workers, o.Cache = procs, cache
		if got := mustBuild(t, o).Digest(); got != want {
			t.Errorf("GOMAXPROCS %d: %s, want %s", procs, got, want)
		}
		runtime.GOMAXPROCS(was)
	}
	// Modes of a checkout do not count, nor times, nor where it lies.
	p := load(t, webPlan, webFiles())
	for name := range webFiles() {
		if err := errors.Join(os.Chmod(filepath.Join(p.Dir, name), 0o600), os.Chtimes(filepath.Join(p.Dir, name), time.Unix(1, 0), time.Unix(1, 0))); err != nil {
			t.Fatal(err)
		}
	}
	o.Plan = p
	if got := mustBuild(t, o).Digest(); got != want {
		t.Errorf("files of another checkout: %s, want %s", got, want)
	}
}

// TestChangeOfAPackage: exactly its layer, the system layer and the config change.
func TestChangeOfAPackage(t *testing.T) {
	o := options(t, webPlan, webFiles())
	before := mustBuild(t, o)
	pkgs := packages()
	pkgs[0].Version, pkgs[0].Content["lib/x86_64-linux-gnu/libc.so.6"] = "2.36-9+deb12u1", "patched"
	o.Snapshot, o.Trust = site(t, pkgs...)
	after := mustBuild(t, o)
	var changed []string
	for i, l := range after.Architectures[0].Layers {
		if l.Digest != before.Architectures[0].Layers[i].Digest {
			changed = append(changed, l.By)
		}
	}
	if want := []string{"package libc6 2.36-9+deb12u1 amd64", "system"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %q, want %q", changed, want)
	}
}

// Several architectures are one index; none of their programs is run.
func TestArchitectures(t *testing.T) {
	o := options(t, strings.Replace(webPlan, "[amd64]", "[amd64, arm64]", 1), webFiles())
	im := mustBuild(t, o)
	index := read(t, o, im)
	files, _, _ := contents(t, imageFor(t, index, "arm64"))
	if files["usr/sbin/web"] != "program for arm" || files["usr/lib/aarch64-linux-gnu/libc.so.6"] == "" || files["etc/web/web.conf"] != "ours" {
		t.Errorf("arm64 has %q", files)
	}
	if a, b := im.Architectures[0].Layers, im.Architectures[1].Layers; a[2] != b[2] || a[2].By != "package web-data 1.0-1 all" {
		t.Errorf("packages of all architectures: %+v and %+v", a[2], b[2])
	}
	o.Plan = load(t, "packages: [web]\narch: riscv64", nil)
	if _, err := Build(t.Context(), o); !errors.Is(err, resolve.ErrUnsatisfied) && !errors.Is(err, outcome.ErrNotFound) {
		t.Errorf("riscv64: %v", err)
	}
	o.Architectures = []string{"amd64", "arm64", "amd64"}
	if _, err := MakeLock(t.Context(), o); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "amd64 is asked for twice") {
		t.Errorf("amd64 twice: %v", err)
	}
}

// Compressions differ in blobs, not in diffIDs.
func TestCompressions(t *testing.T) {
	o := options(t, webPlan, webFiles())
	gz := mustBuild(t, o)
	for _, c := range []string{"zstd", "none"} {
		o.Plan = load(t, webPlan+"layers: {compression: "+c+"}\n", webFiles())
		im := mustBuild(t, o)
		img := imageFor(t, read(t, o, im), "amd64")
		if files, _, _ := contents(t, img); files["usr/sbin/web"] != "program" {
			t.Errorf("%s: %q", c, files)
		}
		for i, l := range im.Architectures[0].Layers {
			if g := gz.Architectures[0].Layers[i]; g.DiffID != l.DiffID || g.Digest == l.Digest || c == "none" && l.Digest != l.DiffID {
				t.Errorf("%s: layer %+v, gzip %+v", c, l, g)
			}
		}
	}
}

// counting counts what is opened of .debs.
type counting struct {
	snapshot.Blobs
	debs map[snapshot.Digest]bool
	n    atomic.Int64
}

func countingOf(s *snapshot.Snapshot, b snapshot.Blobs) *counting {
	c := &counting{Blobs: b, debs: map[snapshot.Digest]bool{}}
	for row := range s.Table.Rows() {
		c.debs[row.Digest] = row.IsPackage()
	}
	return c
}

func (c *counting) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	if c.debs[b.Digest] {
		c.n.Add(1)
	}
	return c.Blobs.Open(ctx, b, offset)
}

// With all notes at hand no .deb is read; a note that is damaged is made anew; a layer whose bytes are gone is made again.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	o := options(t, webPlan, webFiles())
	var debs *counting
	o.Snapshot = o.Snapshot.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { debs = countingOf(o.Snapshot, b); return debs })
	opened := func() int64 {
		t.Helper()
		cache, err := layercache.Open(dir, 0, func(format string, args ...any) {})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		o.Cache = cache
		before := debs.n.Load()
		im := mustBuild(t, o)
		n := debs.n.Load() - before
		put(t, im, artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "layout"), Tag: "v1"})
		im.Close()
		return n
	}
	if n := opened(); n != 4 {
		t.Errorf("cold: %d .debs are read, want 4", n)
	}
	if n := opened(); n != 0 {
		t.Errorf("warm: %d .debs are read", n)
	}
	notes, err := filepath.Glob(filepath.Join(dir, "notes", "*"))
	if err != nil || len(notes) != 4 {
		t.Fatalf("notes %q, %v", notes, err)
	}
	data, err := os.ReadFile(notes[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, data[:len(data)/2], []byte("layer x y 1 z\n"), append([]byte("x"), data...)} {
		if err := os.WriteFile(notes[0], bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if n := opened(); n != 1 {
			t.Errorf("with one damaged note: %d .debs are read", n)
		}
	}
	// Another place lacks the layers, and so does the store.
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "layers")), os.RemoveAll(filepath.Join(dir, "layout"))); err != nil {
		t.Fatal(err)
	}
	if n := opened(); n != 0 {
		t.Errorf("warm again: %d .debs are read before they are needed", n)
	}
	read, err := images.Read(t.Context(), artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "layout"), Tag: "v1"}, images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Verify(t.Context(), false, artifact.Options{}); err != nil {
		t.Error(err)
	}
}

// TestKilledAtEveryRequest ends a build that replaces an image at each of its requests: the tag names one of both, whole, and a rerun finishes.
func TestKilledAtEveryRequest(t *testing.T) {
	o := options(t, webPlan, webFiles())
	old := mustBuild(t, o)
	pkgs := packages()
	pkgs[0].Content["lib/x86_64-linux-gnu/libc.so.6"] = "patched"
	o.Snapshot, o.Trust = site(t, pkgs...)
	next := mustBuild(t, o)
	for at := 0; ; at++ {
		r := testregistry.New(t, testregistry.Options{})
		ref := artifact.Reference{Kind: artifact.Registry, Name: r.Host() + "/site/web", Tag: "1"}
		put(t, old, ref)
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		r.Fault(func(testregistry.Request, int) testarchive.Broken {
			if n.Add(1) > int64(at) {
				cancel()
				return testarchive.Broken{Status: 503}
			}
			return testarchive.Broken{}
		})
		_, err := next.Put(ctx, ref, artifact.PushOptions{})
		cancel()
		r.Fault(nil)
		if err == nil {
			if at < 15 {
				t.Errorf("only %d requests", at)
			}
			return
		}
		im, err := images.Read(t.Context(), ref, images.Options{})
		if err != nil {
			t.Fatalf("killed at %d: %v", at, err)
		}
		if err := im.Verify(t.Context(), false, artifact.Options{}); err != nil || im.Root.Digest != old.Digest() && im.Root.Digest != next.Digest() {
			t.Errorf("killed at %d: the tag names %s: %v", at, im.Root.Digest, err)
		}
		if put(t, next, ref); len(readCompanions(t, ref)) != 1 {
			t.Errorf("killed at %d: after the rerun %d manifests refer to it", at, len(readCompanions(t, ref)))
		}
	}
}

func readCompanions(t *testing.T, ref artifact.Reference) []snapshot.Blob {
	t.Helper()
	im, err := images.Read(t.Context(), ref, images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return im.Referrers
}

// What a killed build left half done goes with the next one; what a running one has stays.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	o := options(t, webPlan, webFiles())
	var err error
	if o.Cache, err = layercache.Open(dir, 0, nil); err != nil {
		t.Fatal(err)
	}
	defer o.Cache.Close()
	running := mustBuild(t, o)
	left := filepath.Join(dir, "tmp", "image-x")
	if err := errors.Join(os.Mkdir(left, 0o700), os.WriteFile(filepath.Join(left, "layer-1"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	other, err := layercache.Open(dir, 0, func(format string, args ...any) { t.Errorf(format, args...) })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left is there: %v", err)
	}
	put(t, running, artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "l"), Tag: "v1"})
}

// A note that names a blob which the .deb does not give ends in an error, not in another layer.
func TestWrongNote(t *testing.T) {
	dir := t.TempDir()
	o := options(t, webPlan, webFiles())
	cache, err := layercache.Open(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	o.Cache = cache
	mustBuild(t, o)
	notes, err := filepath.Glob(filepath.Join(dir, "notes", "*"))
	if err != nil || len(notes) == 0 {
		t.Fatal(notes, err)
	}
	for _, name := range notes {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f := strings.SplitN(string(data), " ", 4)
		f[2] = snapshot.Sum(data).String()
		if err := os.WriteFile(name, []byte(strings.Join(f, " ")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; ; n++ {
		im := mustBuild(t, o)
		_, err = im.Put(t.Context(), artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "l"), Tag: "v1"}, artifact.PushOptions{})
		if err == nil && n > 0 {
			return // a wrong note is wrong once
		}
		if remedy, _ := outcome.RemedyOf(err); n > len(notes) || remedy != outcome.MakeAnew || !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "made again, is") {
			t.Fatalf("build %d: %v", n, err)
		}
	}
}

// Notes that are too many to be read are left out; the image is made all the same.
func TestTooManyNotes(t *testing.T) {
	o := options(t, webPlan, webFiles())
	im := mustBuild(t, o)
	im.blobs.note("key", layercache.Layer{Layer: image.Layer{DiffID: snapshot.Sum(nil)}, Text: make([]byte, layercache.MaxNotes)})
	c, err := newCompanion(&o, im, syncfiles.Files{})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(c.manifest.Data); strings.Contains(text, "notes.txt") || !strings.Contains(text, "layers.txt") {
		t.Errorf("companion %s", text)
	}
}

// A lock is obeyed, also by another snapshot that has its packages; what it names and is not there is not found.
func TestLock(t *testing.T) {
	o := options(t, webPlan, webFiles())
	lock, err := MakeLock(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := imagelock.Parse("x.lock", lock.Encode())
	if err != nil {
		t.Fatalf("%v\n%s", err, lock.Encode())
	}
	want := mustBuild(t, o).Digest()
	o.Lock = again
	if got := mustBuild(t, o).Digest(); got != want {
		t.Errorf("with its lock: %s, want %s", got, want)
	}
	// A snapshot with a newer one beside.
	newer := packages()
	newer = append(newer, testarchive.Package{Name: "libc6", Version: "2.37-1", Architecture: "amd64", Source: "glibc"})
	o.Snapshot, o.Trust = site(t, newer...)
	im := mustBuild(t, o)
	if p := im.Lock.Architectures[0].Packages[0]; p.Version != "2.36-9" {
		t.Errorf("the lock is not obeyed: %s", p)
	}
	o.Lock = nil
	if p := mustBuild(t, o).Lock.Architectures[0].Packages[0]; p.Version != "2.37-1" {
		t.Errorf("without lock: %s", p)
	}
	o.Lock = again
	// One that lacks what it names.
	o.Snapshot, o.Trust = site(t, slices.Replace(packages(), 0, 1, testarchive.Package{Name: "libc6", Version: "2.37-1", Architecture: "amd64"})...)
	if _, err := Build(t.Context(), o); !errors.Is(err, resolve.ErrUnsatisfied) && !errors.Is(err, outcome.ErrNotFound) {
		t.Errorf("without the locked libc6: %v", err)
	}
	// The same version with other bytes.
	other := packages()
	other[0].Content = map[string]string{"lib/x": "other"}
	o.Snapshot, o.Trust = site(t, other...)
	if _, err := Build(t.Context(), o); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), "libc6 2.36-9 amd64") {
		t.Errorf("with other bytes of libc6: %v", err)
	}
	// Another plan.
	o = options(t, "packages: [web-data]\narch: amd64", nil)
	o.Lock = again
	if _, err := Build(t.Context(), o); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), "mmoci image lock") {
		t.Errorf("for another plan: %v", err)
	}
}

// Scripts are run beside what is Essential: a snapshot without it is told so, where they are run.
func TestScriptsWantEssential(t *testing.T) {
	o := options(t, webPlan, webFiles())
	o.Native = "amd64"
	if _, err := MakeLock(t.Context(), o); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), "what is Essential, which is not found in the snapshot") {
		t.Errorf("got %v", err)
	}
	o.Native = "arm64"
	if lock, err := MakeLock(t.Context(), o); err != nil || lock.Architectures[0].Scripts != imageplan.None {
		t.Errorf("for another machine: %+v, %v", lock, err)
	}
}

// What sync: cannot take is refused with its place before anything is made.
func TestSyncErrors(t *testing.T) {
	for want, c := range map[string]struct {
		sync string
		make func(dir string) error
	}{
		"sync: none: no such file":                 {sync: "{src: none, dest: /x}"},
		"sync: www is a directory; write recurs":   {sync: "{src: www, dest: /x}"},
		"sync: out: path escapes from parent":      {sync: "{src: out, dest: /x}", make: func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "out")) }},
		"sync: www/out is a symbolic link to \"..": {sync: "{src: www, dest: /x, recursive: true}", make: func(dir string) error { return os.Symlink("../web.conf", filepath.Join(dir, "www/out")) }},
		"sync: www/abs is a symbolic link to \"/":  {sync: "{src: www, dest: /x, recursive: true}", make: func(dir string) error { return os.Symlink("/etc", filepath.Join(dir, "www/abs")) }},
		"names that begin with .wh.":               {sync: "{src: web.conf, dest: /etc/.wh.passwd}"},
		"dpkg's database is not written by hand":   {sync: "{src: web.conf, dest: /var/lib/dpkg/status}"},
		"is a directory in one of image and":       {sync: "{src: web.conf, dest: /etc/web}"},
		"/bin is a symbolic link to the directory /usr/bin in the image; give the path below /usr/bin": {sync: "{src: web.conf, dest: /bin}"},
		"/sbin is a symbolic link to the directory /usr/sbin in the image": {sync: "{src: www, dest: /, recursive: true}", make: func(dir string) error {
			return os.Mkdir(filepath.Join(dir, "www/sbin"), 0o755)
		}},
		"/usr/sbin/web is no directory": {sync: "{src: web.conf, dest: /usr/sbin/web/x}"},
	} {
		o := options(t, "packages: [web]\narch: amd64\nsync:\n- "+c.sync, webFiles())
		if c.make != nil {
			if err := c.make(o.Plan.Dir); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Build(t.Context(), o)
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "image.yaml:4: ") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A destination below a symbolic link of a package lies where that link leads.
func TestSyncThroughLinks(t *testing.T) {
	o := options(t, "packages: [web]\narch: amd64\nsync:\n- {src: www/in, dest: /bin/tool, mode: \"0755\"}\n- {src: www, dest: /opt, recursive: true}", webFiles())
	if err := errors.Join(os.WriteFile(filepath.Join(o.Plan.Dir, "www/tool"), []byte("tool"), 0o755), os.Symlink("tool", filepath.Join(o.Plan.Dir, "www/in"))); err != nil {
		t.Fatal(err)
	}
	im := mustBuild(t, o)
	files, headers, _ := contents(t, imageFor(t, read(t, o, im), "amd64"))
	if files["usr/bin/tool"] != "tool" || headers["usr/bin/tool"].Mode != 0o755 || headers["bin/tool"] != nil {
		t.Errorf("files %q", files)
	}
	if headers["opt/in"].Linkname != "tool" || headers["opt/tool"].Mode != 0o755 || headers["opt/index.html"].Mode != 0o644 {
		t.Errorf("opt: %+v", headers["opt/in"])
	}
}

// A .deb whose bytes are not those that its archive signed is none, and nothing is made of it.
func TestWrongDeb(t *testing.T) {
	o := options(t, webPlan, webFiles())
	wrong := func(next snapshot.Blobs) snapshot.Blobs {
		return opener(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			c, err := next.Open(ctx, b, 0)
			if err != nil || b.Size < 20_000 {
				return c, err
			}
			data, err := io.ReadAll(c.R)
			if err != nil {
				return nil, err
			}
			data[len(data)/2] ^= 1
			return inMemory(data), nil
		})
	}
	o.Snapshot = o.Snapshot.WithBlobs(wrong)
	if _, err := Build(t.Context(), o); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "package web 1.0-1 amd64") {
		t.Errorf("got %v", err)
	}
}

// A .deb whose bytes are those that the signed index lists, under another package's name.
func TestOtherPackage(t *testing.T) {
	o := options(t, webPlan, webFiles())
	pkgs := packages()
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
		Dir: "bookworm", Date: world.Date.AddDate(0, 0, -1), Architectures: []string{"amd64"}, Packages: pkgs,
		EditIndex: func(_ string, data []byte) []byte {
			return []byte(strings.ReplaceAll(string(data), "Package: web-data\n", "Package: web-dita\n"))
		},
	}}}
	o.Snapshot, o.Trust = freezeArchive(t, a, []string{"amd64"})
	o.Plan = load(t, "packages: [web-dita]\narch: amd64", nil)
	if _, err := Build(t.Context(), o); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "its control file names web-data") {
		t.Errorf("got %v", err)
	}
}

func FuzzImageLock(f *testing.F) {
	f.Add([]byte("mmoci-image-lock-v1\nsnapshot sha256:" + strings.Repeat("1", 64) + " 2026-01-13T00:00:00Z\nquery web\narchitecture amd64 scripts none\npackage web 1.0-1 amd64 sha256:" + strings.Repeat("2", 64) + " 20\nhelper base-passwd 3.6.1 amd64 sha256:" + strings.Repeat("3", 64) + " 7\n"))
	f.Add([]byte("mmoci-image-lock-v1\narchitecture amd64\n"))
	f.Add([]byte("mmoci-image-lock-v1\nsnapshot sha256:" + strings.Repeat("1", 64) + " 2026-01-13T00:00:00Z\narchitecture amd64 scripts none\nsource sha256:" + strings.Repeat("4", 64) + " pkgs/web\npackage web 1.0-1 amd64 sha256:" + strings.Repeat("2", 64) + " 20 sha256:" + strings.Repeat("4", 64) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := imagelock.Parse("x", data)
		if err != nil {
			if !errors.Is(err, document.ErrUsage) {
				t.Fatal(err)
			}
			return
		}
		if string(l.Encode()) != string(data) {
			t.Fatalf("%q is read as %q", data, l.Encode())
		}
	})
}
