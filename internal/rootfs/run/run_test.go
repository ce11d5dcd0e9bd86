package run

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// TestAgainstRoot compares the image of MMOCI_PACKAGES with a root in which
// another program installed the same packages, MMOCI_ORACLE. What differs must be
// of one of the kinds below.
func TestAgainstRoot(t *testing.T) {
	o := realOptions(t)
	root := os.Getenv("MMOCI_ORACLE")
	if root == "" {
		t.Skip("MMOCI_ORACLE is not set")
	}
	r, err := Configure(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	ours := describe(o.Union, r.Entries)
	theirs := map[string]string{}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		e := rootfs.Entry{Path: rel, Type: types[st.Mode&unix.S_IFMT], Mode: int64(st.Mode & 0o7777), UID: int(st.Uid), GID: int(st.Gid)}
		switch e.Type {
		case tar.TypeSymlink:
			if e.Link, err = os.Readlink(p); err != nil {
				return err
			}
		case tar.TypeReg:
			e.Digest = blobOf(t, p).Digest
		}
		theirs[rel] = line(&e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range slices.Sorted(maps.Keys(merge(ours, theirs))) {
		if ours[p] == theirs[p] {
			continue
		}
		k := kindOf(p)
		if owner := regexp.MustCompile(`\b\d+:\d+\b`); k == "" && owner.ReplaceAllString(ours[p], "") == owner.ReplaceAllString(theirs[p], "") {
			k = "numbers of users" // scripts/e2e compares their names
		}
		count[k]++
		if k == "" {
			t.Errorf("%s\n  ours   %s\n  theirs %s", p, ours[p], theirs[p])
		}
	}
	t.Logf("differences: %v", count)
}

func merge(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// describe is a line for each path of the union with the system layer over it.
func describe(union []rootfs.Entry, system []rootfs.SystemEntry) map[string]string {
	byPath := map[string]rootfs.Entry{}
	for _, e := range union {
		byPath[e.Path] = e
	}
	for _, e := range system {
		if e.Whiteout {
			maps.DeleteFunc(byPath, func(p string, _ rootfs.Entry) bool { return p == e.Path || strings.HasPrefix(p, e.Path+"/") })
			continue
		}
		byPath[e.Path] = e.Entry
	}
	out := map[string]string{}
	for p, e := range byPath {
		if e.Type == tar.TypeLink {
			first := byPath[e.Link]
			e.Type, e.Digest, e.Link = first.Type, first.Digest, ""
		}
		out[p] = line(&e)
	}
	return out
}

func line(e *rootfs.Entry) string {
	if e.Type == tar.TypeSymlink {
		return fmt.Sprintf("link %d:%d %s", e.UID, e.GID, e.Link)
	}
	return fmt.Sprintf("%c %o %d:%d %s", e.Type, e.Mode, e.UID, e.GID, e.Digest)
}

// kinds are the differences between an image and the root that mmdebstrap makes
// of the same packages, as SPEC.md names them.
var kinds = []struct{ name, pattern string }{
	{"devices", "^dev/"},
	{"runtime directories", "^(run|tmp)/"},
	{"numbers of users", "^etc/(passwd|group|shadow|gshadow)$"},
	{"apt's own", "^(etc/apt|var/cache/apt|var/lib/apt|var/log/apt)(/|$)"},
	{"the machine's name and network", "^etc/(hostname|resolv.conf|hosts)$"},
	{"mmdebstrap's own", "^(etc/fstab|var/lib/dpkg/arch)$"},
	{"laid out before a diversion", "^usr/bin/pg_config.libpq-dev$"},
	{"random", "^(var/lib/postgresql/[0-9]+/main/.*|etc/ssl/(private|certs)/ssl-cert-snakeoil.(key|pem)|etc/ssl/certs/[0-9a-f]{8}\\.[0-9])$"},
	{"the machine's environment", "^(etc/postgresql/[0-9]+/main/postgresql.conf|usr/share/python3/debpython/__pycache__/.*)$"},
	{"order of triggers", "^var/lib/dpkg/triggers/"},
	{"links of the skeleton", "^(usr/)?lib(32|x32|64)$"},
}

// kindOf is the kind of a difference, or "".
func kindOf(p string) string {
	if why, _ := isCleaned(p); why != "" {
		return "cleaned"
	}
	for _, k := range kinds {
		if regexp.MustCompile(k.pattern).MatchString(p) {
			return k.name
		}
	}
	return ""
}
