package run

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// read reads the .debs of a directory, in dpkg's order.
func read(t *testing.T, dir string) ([]Package, []rootfs.Deb) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no .debs: %v", dir, err)
	}
	var all []*resolve.Package
	paths := map[*resolve.Package]string{}
	for _, p := range files {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		d, err := deb.ReadDeb(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		pkg := &resolve.Package{PackageFile: archive.PackageFile{Name: d.Control.Get("Package"), Version: d.Control.Get("Version"), Architecture: d.Control.Get("Architecture")}, Stanza: d.Control}
		paths[pkg] = p
		all = append(all, pkg)
	}
	var out []Package
	var debs []rootfs.Deb
	for _, group := range resolve.Order(all) {
		for _, p := range group {
			file := paths[p]
			open := func() (io.ReadCloser, error) { return os.Open(file) }
			out = append(out, Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Open: open})
			debs = append(debs, rootfs.Deb{Open: open, Blob: blobOf(t, file)})
		}
	}
	return out, debs
}

func blobOf(t *testing.T, file string) snapshot.Blob {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Blob{Digest: snapshot.Digest(sha256.Sum256(b)), Size: int64(len(b))}
}

// realOptions are options for the packages of MMOCI_PACKAGES and the helpers of
// MMOCI_HELPERS, directories of .debs.
func realOptions(t *testing.T) Options {
	t.Helper()
	if os.Getenv("MMOCI_PACKAGES") == "" {
		t.Skip("MMOCI_PACKAGES is not set")
	}
	pkgs, debs := read(t, os.Getenv("MMOCI_PACKAGES"))
	o := Options{Packages: pkgs, Architecture: "amd64", Date: time.Unix(1764000000, 0)}
	if h := os.Getenv("MMOCI_HELPERS"); h != "" {
		o.Helpers, _ = read(t, h)
	}
	for _, l := range []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"} {
		o.Union = append(o.Union, rootfs.Entry{Path: l, Type: tar.TypeSymlink, Mode: 0o777, Link: "usr/" + l})
	}
	for _, d := range debs {
		n, err := rootfs.WriteLayer(io.Discard, d, rootfs.Recipe{MergedUsr: true})
		if err != nil {
			t.Fatal(err)
		}
		o.Union = append(o.Union, n.Entries...)
	}
	return o
}

func TestReal(t *testing.T) {
	o := realOptions(t)
	o.Twice = os.Getenv("MMOCI_TWICE") != ""
	began := time.Now()
	r, err := Configure(context.Background(), o)
	t.Logf("took %s", time.Since(began))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Entries {
		w := ""
		if e.Whiteout {
			w = "WHITEOUT "
		}
		t.Logf("%s%c %o %d:%d %s %s %d %s", w, e.Type, e.Mode, e.UID, e.GID, e.Path, e.Link, e.Size, e.Why)
	}
	for _, c := range r.Cleaned {
		t.Logf("cleaned %s: %s", c.Path, c.Why)
	}
	t.Logf("account:\n%s", account.Encode(r.Account))
}
