package imagebuild

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// The files layer over what scripts made is the same whether they ran now or in an earlier build: directories that it repeats keep
// their times, those of a package and those that were made.
func TestFilesOverWhatRanBefore(t *testing.T) {
	cache, err := layercache.Open(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	m, err := newMaker(t.Context(), &Options{Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	fresh := &stack.System{Entries: []stack.SystemEntry{
		{Entry: rootfs.Entry{Path: "etc", Type: tar.TypeDir, Mode: 0o755, ModTime: 1_600_000_000}},
		{Entry: rootfs.Entry{Path: "etc/web", Type: tar.TypeDir, Mode: 0o2750, UID: 33, GID: 34, Made: true}},
		{Entry: rootfs.Entry{Path: "etc/web/old"}, Whiteout: true},
		{Entry: rootfs.Entry{Path: "srv", Type: tar.TypeSymlink, Mode: 0o777, Link: "etc/web", ModTime: 1_600_000_001}},
	}}
	layer := image.Layer{MediaType: image.TypeLayer, Blob: snapshot.BlobOf([]byte("x")), DiffID: snapshot.Sum([]byte("x"))}
	m.keepRun("key", fresh, layer, &built{})
	kept, _, ok := m.ranBefore("key")
	if !ok {
		t.Fatal("the run is not kept")
	}
	write := func(s *stack.System) []byte {
		top, err := syncfiles.Layer([]syncfiles.File{{Path: "/srv/x", Mode: 0o644, Data: []byte("x")}}, stack.Below(true, nil, s))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := top.WriteLayer(&b, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(write(fresh), write(kept.system())) {
		t.Error("the files layer is another one over what an earlier run made")
	}
	// A name that is no text would come back as another one.
	for key, s := range map[string]*stack.System{
		"path": {Entries: []stack.SystemEntry{{Entry: rootfs.Entry{Path: "caf\xe9", Type: tar.TypeDir}}}},
		"link": {Entries: []stack.SystemEntry{{Entry: rootfs.Entry{Path: "srv", Type: tar.TypeSymlink, Link: "caf\xe9"}}}},
	} {
		m.keepRun(key, s, layer, &built{})
		if kept, _, ok := m.ranBefore(key); ok {
			t.Errorf("%s: kept as %+v", key, kept.Entries)
		}
	}
	// So it is on a machine that kept nothing, by the notes of the site.
	elsewhere, err := newMaker(t.Context(), &Options{Signed: func(context.Context) layercache.Notes { return m.notes }})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.close()
	signed, at, ok := elsewhere.ranBefore("key")
	if !ok || at.Blob != layer.Blob || !bytes.Equal(write(fresh), write(signed.system())) {
		t.Error("what the site signed of an earlier run is made anew")
	}
}

// TestPackagesInterrupted: whoever ends the making of layers before a package failed, such as scripts that cannot be run, is told so.
func TestPackagesInterrupted(t *testing.T) {
	m, err := newMaker(t.Context(), &Options{Plan: load(t, "packages: [web]\narch: amd64\n", nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if made, err := m.packages(ctx, []*resolve.Package{{}}, rootfs.Recipe{}, 9, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", made, err)
	}
}

// What scripts made is found again by the plan that lies beside the image, or in another checkout, and by none that says otherwise.
func TestScriptsKey(t *testing.T) {
	const text = "packages: [web]\narch: amd64\nscripts-for: {web: skip}\nusers: [{name: app, uid: 10001}]\n"
	date := time.Unix(1_700_000_000, 0)
	key := func(p *imageplan.Plan) string {
		m := &maker{o: &Options{Plan: p, Lock: &imagelock.Lock{Date: date}}}
		return m.scriptsKey(chosen{architecture: "amd64"}, rootfs.Recipe{}, 9)
	}
	want := key(load(t, text, nil))
	beside, err := imageplan.Parse("image.yaml", ".", load(t, text, nil).Format())
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]*imageplan.Plan{"in another directory": load(t, text, nil), "with a comment": load(t, "# why\n"+text, nil), "beside the image": beside} {
		if key(p) != want {
			t.Errorf("the plan %s has another key", what)
		}
	}
	for _, change := range []string{"web: skip|web: run", "app|apq", "10001|10002", "10001}|10001, home: /srv}", "10001}|10001, shell: /bin/sh}"} {
		old, now, _ := strings.Cut(change, "|")
		if key(load(t, strings.Replace(text, old, now, 1), nil)) == want {
			t.Errorf("%s: the same key", change)
		}
	}
}

// A site's own certificates are in the bundle, whether a package or sync: brings them; scripts that the plan leaves out are told as such.
func TestFixupsSeeTheSitesOwn(t *testing.T) {
	pkgs := append(packages(),
		testarchive.Package{Name: "ca-certificates", Version: "1", Architecture: "all", Content: map[string]string{"usr/share/ca-certificates/a/one.crt": "ONE"}, ControlFiles: map[string]string{"postinst": "#!/bin/sh\nupdate-ca-certificates\n"}},
		testarchive.Package{Name: "site-ca", Version: "1", Architecture: "all", Content: map[string]string{"usr/local/share/ca-certificates/two.crt": "TWO"}})
	o := options(t, `
packages: [ca-certificates, site-ca]
arch: amd64
scripts-for: {ca-certificates: skip}
sync: [{src: three.crt, dest: /usr/local/share/ca-certificates/x/three.crt}, {src: three.crt, dest: /etc/ssl/other.crt}]
`, map[string]string{"three.crt": "THREE"}, pkgs...)
	im := mustBuild(t, o)
	files, headers, _ := contents(t, imageFor(t, read(t, o, im), "amd64"))
	if got := files["etc/ssl/certs/ca-certificates.crt"]; got != "ONE\nTWO\nTHREE\n" {
		t.Errorf("bundle %q", got)
	}
	if h := headers["etc/ssl/certs/three.pem"]; h == nil || h.Linkname != "/usr/local/share/ca-certificates/x/three.crt" {
		t.Errorf("three.pem: %+v", h)
	}
	if got := files["etc/ca-certificates.conf"]; !strings.HasSuffix(got, "#\na/one.crt\n") {
		t.Errorf("conf %q", got)
	}
	i := slices.IndexFunc(im.Architectures[0].Account, func(l account.Line) bool { return l.Script == "postinst" })
	if i < 0 || im.Architectures[0].Account[i].What != account.Skipped {
		t.Errorf("account %+v", im.Architectures[0].Account)
	}
	o.Plan = load(t, "packages: [web]\narch: amd64\nscripts-for: {nobody: skip}", nil)
	if _, err := Build(t.Context(), o); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("scripts-for of a package that is not there: %v", err)
	}
}
