package stack

import (
	"archive/tar"
	"io"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/rootfs"
)

// What fix-ups look at is the tree that dpkg makes, and what lies below a files layer is the same one, put together of the layers.
func TestBelow(t *testing.T) {
	t.Parallel()
	s := setOf(t, rootfs.Recipe{MergedUsr: true},
		debOf(t, "b", "", nil, dir("usr/"), dir("usr/b/"), reg("usr/b/own", "b")),
		debOf(t, "a", "Replaces: y\n", nil, dir("usr/"), sym("usr/l", "b"), reg("usr/both", "a")),
		debOf(t, "y", "", nil, dir("usr/"), dir("usr/l/"), reg("usr/l/f", "y"), reg("usr/both", "y"), hard("usr/l/g", "usr/l/f")))
	groups, err := Arrange(s.notes, 100)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	look := func(tree *Tree) (out []string) {
		for e := range tree.All() {
			if !strings.HasPrefix(e.Path, "var") {
				n, at := tree.Source(e.Path)
				from := ""
				if n != nil && !e.IsDir() { // whose a directory is says nothing of it
					from = n.Name() + "/" + at
				}
				out = append(out, e.Path+" "+from)
			}
		}
		return out
	}
	system, err := NewSystem(s.notes, groups, SystemOptions{Extra: func(tree *Tree) ([]SystemEntry, error) {
		seen = look(tree)
		for p, want := range map[string]string{"/usr/l/f": "usr/b/f", "bin/x": "usr/bin/x", "/usr/l": "usr/l", "/usr/new/x": "usr/new/x"} {
			if got, err := tree.Resolve(p); got != want || err != nil {
				t.Errorf("%s is %s, %v; want %s", p, got, err, want)
			}
		}
		if p, err := tree.Resolve("/usr/both/x"); err == nil || err.Error() != "/usr/both/x: /usr/both is no directory" {
			t.Errorf("below a file: %s, %v", p, err)
		}
		return nil, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"usr/both a/usr/both", "usr/b/f y/usr/l/f", "usr/b/g y/usr/l/f", "usr/l a/usr/l", "lib "} {
		if !slices.Contains(seen, want) {
			t.Errorf("%q is not in %q", want, seen)
		}
	}
	if got := look(Below(true, groups, system)); !slices.Equal(got, seen) {
		t.Errorf("of the layers\n%q, dpkg's\n%q", got, seen)
	}
	around := Below(true, nil, nil)
	around.Put(rootfs.Entry{Path: "a", Type: '2', Link: "b"})
	around.Put(rootfs.Entry{Path: "b", Type: '2', Link: "a"})
	if p, err := around.Resolve("/a/x"); err == nil || !strings.Contains(err.Error(), "leads around") {
		t.Errorf("in a circle: %s, %v", p, err)
	}
}

// Paths lead where the system's would, and patterns match what glob(3) matches; a clone changes by itself.
func TestFollow(t *testing.T) {
	tree := NewTree()
	for _, e := range []rootfs.Entry{
		{Path: "usr/lib/a", Type: tar.TypeReg}, {Path: "usr/lib/c.conf", Type: tar.TypeReg}, {Path: "usr/lib/.d.conf", Type: tar.TypeReg},
		{Path: "lib", Type: tar.TypeSymlink, Link: "usr/lib"}, {Path: "usr/lib/up", Type: tar.TypeSymlink, Link: "../../../../usr/lib/a"},
		{Path: "usr/lib/far", Type: tar.TypeSymlink, Link: "/lib/up"}, {Path: "loop", Type: tar.TypeSymlink, Link: "loop/x"},
		{Path: "self", Type: tar.TypeSymlink, Link: "self"}, {Path: "gone", Type: tar.TypeSymlink, Link: "usr/nothing"},
		{Path: "top", Type: tar.TypeSymlink, Link: "/"},
	} {
		tree.Put(e)
	}
	for name, want := range map[string]string{
		"/lib/a": "usr/lib/a", "/lib/up": "usr/lib/a", "lib/far": "usr/lib/a", "loop": "-", "self": "-", "gone": "-", "lib/a/x": "-",
		"lib/../lib/./a": "usr/lib/a", "lib": "usr/lib", "lib/": "usr/lib", "/": "", "": "", "top/usr/lib/a": "usr/lib/a", "nothing": "-", "usr/lib/../nothing": "-",
	} {
		if e, ok := tree.Follow(name); !ok && want != "-" || ok && e.Path != want {
			t.Errorf("%q leads to %q, %t; want %q", name, e.Path, ok, want)
		}
	}
	for pattern, want := range map[string][]string{"/lib/*.conf": {"/lib/c.conf"}, "/*/lib/?": {"/top/lib/a", "/usr/lib/a"}, "/lib/[": nil, "/lib/a": {"/lib/a"}, "/no*": nil} {
		if got := tree.Glob(pattern); !slices.Equal(got, want) {
			t.Errorf("%s matches %q, want %q", pattern, got, want)
		}
	}
	other := tree.Clone()
	other.Remove("usr/lib/a")
	other.Put(rootfs.Entry{Path: "usr/lib/b", Type: tar.TypeReg})
	if got, want := tree.Names("usr/lib"), []string{".d.conf", "a", "c.conf", "far", "up"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if got, want := other.Names("usr/lib"), []string{".d.conf", "b", "c.conf", "far", "up"}; !slices.Equal(got, want) {
		t.Errorf("of the clone %q, want %q", got, want)
	}
	if got := tree.Names("lib"); got != nil {
		t.Errorf("names below a link: %q", got)
	}
}

// The digest of SPEC.md.
func TestSkeletonVector(t *testing.T) {
	b, err := WriteSkeleton(io.Discard)
	if err != nil || b.Digest.String() != "sha256:1c61627c0e1e2526b6e959c67057ee95a18bc0dda9139cf71e84956a5122b2e4" {
		t.Errorf("%s, %v", b.Digest, err)
	}
}
