package stack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
)

// set are packages of a test, with their .debs.
type set struct {
	notes []*rootfs.Note
	debs  map[*rootfs.Note]rootfs.Deb
}

func setOf(t testing.TB, r rootfs.Recipe, debs ...rootfs.Deb) set {
	t.Helper()
	s := set{debs: map[*rootfs.Note]rootfs.Deb{}}
	for _, d := range debs {
		_, n := layerOf(t, d, r)
		s.notes = append(s.notes, n)
		s.debs[n] = d
	}
	return s
}

func (s set) open(n *rootfs.Note) (io.ReadCloser, error) { return s.debs[n].Open() }

// image is the tree of the layers, as an overlay of them has it, in lines; what the system layer is for in why.
func (s set) image(t testing.TB, most int) (tree map[string]string, why []string) {
	t.Helper()
	groups, err := Arrange(s.notes, most)
	if err != nil {
		t.Fatal(err)
	}
	system, err := NewSystem(s.notes, groups, SystemOptions{Open: s.open})
	if err != nil {
		t.Fatal(err)
	}
	var layers [][]byte
	add := func(write func(io.Writer) error) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, b.Bytes())
	}
	for _, g := range groups {
		add(func(w io.Writer) error { _, err := WriteGroup(w, g, s.open); return err })
	}
	add(func(w io.Writer) error { _, err := system.WriteLayer(w, time.Unix(1, 0)); return err })
	for _, e := range system.Entries {
		if e.Why != "database" && e.Why != "parent" {
			why = append(why, e.Why+": "+e.Path)
		}
	}
	return overlaid(t, layers), why
}

// overlaid is what layers make one above the other (OCI image-spec, layer.md).
func overlaid(t testing.TB, layers [][]byte) map[string]string {
	t.Helper()
	tree := map[string]string{}
	isDir := func(p string) bool { return strings.HasPrefix(tree[p], "5") }
	remove := func(p string) {
		for q := range tree {
			if q == p || strings.HasPrefix(q, p+"/") {
				delete(tree, q)
			}
		}
	}
	for _, layer := range layers {
		content := map[string]string{}
		seen := map[string]bool{}
		r := tar.NewReader(bytes.NewReader(layer))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			p := strings.TrimSuffix(h.Name, "/")
			if seen[p] {
				t.Errorf("a layer has %s twice", p)
			}
			seen[p] = true
			if i := strings.LastIndex(p, "/"); i > 0 && !isDir(p[:i]) {
				t.Errorf("%s before its directory", p)
			}
			if i := strings.LastIndex(p, ".wh."); i >= 0 {
				remove(p[:i] + p[i+4:])
				continue
			}
			b, _ := io.ReadAll(r)
			switch h.Typeflag {
			case tar.TypeReg:
				content[p] = string(b)
			case tar.TypeLink:
				c, ok := content[h.Linkname]
				if !ok {
					t.Errorf("%s: hard link to %s, which is not in the layer", p, h.Linkname)
				}
				content[p] = c
			}
			if h.Typeflag != tar.TypeDir {
				remove(p)
			} else if !isDir(p) {
				remove(p)
			}
			kind := h.Typeflag
			text := content[p]
			if kind == tar.TypeLink {
				kind = tar.TypeReg
			}
			if kind == tar.TypeSymlink {
				text = h.Linkname
			}
			tree[p] = fmt.Sprintf("%c %o %d %s", kind, h.Mode, h.Uid, text)
		}
	}
	return tree
}

// below are the lines of a tree below usr.
func below(tree map[string]string) string {
	var out []string
	for p, v := range tree {
		if strings.HasPrefix(p, "usr") {
			out = append(out, p+" "+strings.TrimSuffix(v, " "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// Where packages get into each other's way the image is what dpkg makes in its order, in however many layers. Each
// outcome here was seen of dpkg 1.21; scripts/e2e/92-image-layers.sh asks dpkg itself about sets drawn by lot.
func TestDpkgsResult(t *testing.T) {
	t.Parallel()
	u := dir("usr/")
	for _, tt := range []struct {
		name string
		debs func() []rootfs.Deb
		want string
		why  string
		list string // package and lines of its list below usr
	}{
		{"the later package Replaces", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "z", "", nil, u, reg("usr/f", "of z"), reg("usr/z", "")), debOf(t, "a", "Replaces: z\n", nil, u, reg("usr/f", "of a"))}
		}, "usr 5 755 0\nusr/f 0 644 0 of a\nusr/z 0 644 0", "as dpkg has it: usr/f", "z: /usr/z"},
		{"the earlier package Replaces", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "z", "Replaces: a (<< 2)\n", nil, u, reg("usr/f", "of z")), debOf(t, "a", "", nil, u, reg("usr/f", "of a"), reg("usr/a", ""))}
		}, "usr 5 755 0\nusr/a 0 644 0\nusr/f 0 644 0 of z", "", "a: /usr/a"},
		{"the mode of a directory is that of the first", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "z", "", nil, u, entry("usr/d/", tar.TypeDir, "", 0o700, 4)), debOf(t, "a", "", nil, u, entry("usr/d/", tar.TypeDir, "", 0o755, 0))}
		}, "usr 5 755 0\nusr/d 5 700 4", "", ""},
		{"the mode of a directory whose first package is below", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "", nil, u, entry("usr/d/", tar.TypeDir, "", 0o1777, 4)), debOf(t, "z", "", nil, u, dir("usr/d/"))}
		}, "usr 5 755 0\nusr/d 5 1777 4", "directory: usr/d", ""},
		{"the owner alone", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "", nil, u, entry("usr/d/", tar.TypeDir, "", 0o755, 4)), debOf(t, "z", "", nil, u, dir("usr/d/"))}
		}, "usr 5 755 0\nusr/d 5 755 4", "directory: usr/d", ""},
		{"the mode alone", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "", nil, u, entry("usr/d/", tar.TypeDir, "", 0o2775, 0)), debOf(t, "z", "", nil, u, dir("usr/d/"))}
		}, "usr 5 755 0\nusr/d 5 2775 0", "directory: usr/d", ""},
		{"a directory over a symlink to one", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "b", "", nil, u, dir("usr/b/")), debOf(t, "a", "", nil, u, sym("usr/l", "b")), debOf(t, "z", "", nil, u, dir("usr/l/"), reg("usr/l/f", "x"))}
		}, "usr 5 755 0\nusr/b 5 755 0\nusr/b/f 0 644 0 x\nusr/l 2 777 0 b", "as dpkg has it: usr/b/f as dpkg has it: usr/l", "z: /usr/l /usr/l/f"},
		{"a symlink over one that leads to the same directory", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "", nil, u, dir("usr/b/"), sym("usr/l", "b")), debOf(t, "z", "", nil, u, sym("usr/l", "../usr/b"))}
		}, "usr 5 755 0\nusr/b 5 755 0\nusr/l 2 777 0 b", "as dpkg has it: usr/l", ""},
		{"a symlink over a directory", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "", nil, u, dir("usr/l/"), reg("usr/l/f", "x")), debOf(t, "z", "", nil, u, sym("usr/l", "nowhere"))}
		}, "usr 5 755 0\nusr/l 5 755 0\nusr/l/f 0 644 0 x", "as dpkg has it: usr/l as dpkg has it: usr/l/f", "z: /usr/l"},
		{"a hard link whose first name another package takes over", func() []rootfs.Deb {
			return []rootfs.Deb{debOf(t, "a", "Source: s\n", nil, u, reg("usr/f", "of a"), hard("usr/g", "usr/f"), hard("usr/h", "usr/f")), debOf(t, "b", "Source: s\nReplaces: a\n", nil, u, reg("usr/f", "of b"))}
		}, "usr 5 755 0\nusr/f 0 644 0 of b\nusr/g 0 644 0 of a\nusr/h 0 644 0 of a", "", "a: /usr/g /usr/h"},
	} {
		for _, most := range []int{100, 1} {
			s := setOf(t, rootfs.Recipe{}, tt.debs()...)
			tree, why := s.image(t, most)
			if got := below(tree); got != tt.want {
				t.Errorf("%s, %d layers:\n%s\nnot\n%s", tt.name, most, got, tt.want)
			}
			if most > 1 && strings.Join(why, " ") != tt.why {
				t.Errorf("%s: the system layer has %q", tt.name, why)
			}
			if name, lines, ok := strings.Cut(tt.list, ": "); ok {
				got := tree["var/lib/dpkg/info/"+name+".list"]
				if want := "0 644 0 /usr\n" + strings.ReplaceAll(lines, " ", "\n") + "\n"; got != want {
					t.Errorf("%s: the list of %s is %q, not %q", tt.name, name, got, want)
				}
			}
			if n := strings.Count(tree[rootfs.StatusPath], "\nStatus: install ok installed\n"); n != len(s.notes) {
				t.Errorf("%s, %d layers: status of %d packages", tt.name, most, n)
			}
		}
	}
}

// A file that the overlay would keep and dpkg does not leave is taken away.
func TestWhiteout(t *testing.T) {
	t.Parallel()
	s := setOf(t, rootfs.Recipe{}, debOf(t, "b", "", nil, dir("usr/"), dir("usr/b/")), debOf(t, "a", "", nil, dir("usr/"), sym("usr/l", "b")),
		debOf(t, "y", "", nil, dir("usr/"), dir("usr/l/"), reg("usr/l/f", "x")))
	groups, err := Arrange(s.notes, 100)
	if err != nil {
		t.Fatal(err)
	}
	system, err := NewSystem(s.notes, groups, SystemOptions{Extra: func(*Tree) ([]SystemEntry, error) {
		return []SystemEntry{{Entry: rootfs.Entry{Path: "usr/b/f"}, Whiteout: true, Why: "test"}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range system.Entries {
		if e.Path == "usr/b/f" {
			t.Errorf("%s: %+v, though no layer below has it", e.Path, e.Why)
		}
	}
	system, err = NewSystem(s.notes, groups, SystemOptions{Extra: func(*Tree) ([]SystemEntry, error) {
		return []SystemEntry{{Entry: rootfs.Entry{Path: "usr/b"}, Whiteout: true, Why: "test"}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(system.Entries, func(e SystemEntry) bool { return e.Path == "usr/b" && e.Whiteout }) {
		t.Error("no whiteout of usr/b")
	}
}

// A conffile that another package takes over was never configured, and is obsolete if dpkg says so.
func TestConffilesTakenOver(t *testing.T) {
	t.Parallel()
	etc := dir("etc/")
	a := func(fields string) rootfs.Deb {
		return debOf(t, "a", fields, []string{"conffiles=/etc/c\n/etc/own\n"}, etc, reg("etc/c", "of a"), reg("etc/own", "own"))
	}
	for _, tt := range []struct {
		name string
		debs []rootfs.Deb
		want string
	}{
		{"by a conffile", []rootfs.Deb{a(""), debOf(t, "b", "Replaces: a\n", []string{"conffiles=/etc/c\n"}, etc, reg("etc/c", "of b"))}, "/etc/c newconffile obsolete\n"},
		{"by a file", []rootfs.Deb{a(""), debOf(t, "b", "Replaces: a\n", nil, etc, reg("etc/c", "of b"), reg("etc/b", ""))}, "/etc/c newconffile\n"},
		{"by one that was there", []rootfs.Deb{debOf(t, "b", "Replaces: a\n", nil, etc, reg("etc/c", "of b"), reg("etc/b", "")), a("")}, "/etc/c newconffile obsolete\n"},
		{"by nobody", []rootfs.Deb{a("")}, ""},
	} {
		s := setOf(t, rootfs.Recipe{}, tt.debs...)
		tree, _ := s.image(t, 10)
		if tt.name == "by nobody" {
			if strings.Contains(tree[rootfs.StatusPath], "newconffile") {
				t.Errorf("%s:\n%s", tt.name, tree[rootfs.StatusPath])
			}
			continue
		}
		if !strings.Contains(tree[rootfs.StatusPath], "\n "+tt.want) || strings.Count(tree[rootfs.StatusPath], "newconffile") != 1 {
			t.Errorf("%s:\n%s", tt.name, tree[rootfs.StatusPath])
		}
		if !strings.Contains(tree["etc/c"], "of b") {
			t.Errorf("%s: %s", tt.name, tree["etc/c"])
		}
	}
}

// Sets that dpkg does not unpack are refused with exit code 4, naming both packages and the path.
func TestConflicts(t *testing.T) {
	t.Parallel()
	u := dir("usr/")
	for _, tt := range []struct {
		name, says string
		debs       []rootfs.Deb
	}{
		{"one file", "/usr/f is in a 1.0 amd64 and in b 1.0 amd64", []rootfs.Deb{debOf(t, "a", "", nil, u, reg("usr/f", "")), debOf(t, "b", "", nil, u, reg("usr/f", ""))}},
		{"another version is replaced", "/usr/f is in", []rootfs.Deb{debOf(t, "a", "", nil, u, reg("usr/f", "")), debOf(t, "b", "Replaces: a (<< 1)\n", nil, u, reg("usr/f", ""))}},
		{"what it provides is replaced", "/usr/f is in", []rootfs.Deb{debOf(t, "a", "Provides: v\n", nil, u, reg("usr/f", "")), debOf(t, "b", "Replaces: v\n", nil, u, reg("usr/f", ""))}},
		{"a file over a directory", "/usr/f is a directory of a 1.0 amd64", []rootfs.Deb{debOf(t, "a", "", nil, u, dir("usr/f/")), debOf(t, "b", "", nil, u, reg("usr/f", ""))}},
		{"a directory over a file", "/usr/f is in", []rootfs.Deb{debOf(t, "a", "", nil, u, reg("usr/f", "")), debOf(t, "b", "", nil, u, dir("usr/f/"))}},
		{"one excluded file", "/usr/share/man/f is in", []rootfs.Deb{debOf(t, "a", "", nil, reg("usr/share/man/f", "")), debOf(t, "b", "", nil, reg("usr/share/man/f", ""))}},
		{"all of a package", "disappear", []rootfs.Deb{debOf(t, "a", "", nil, u, reg("usr/f", "")), debOf(t, "b", "Replaces: a\n", nil, u, reg("usr/f", ""))}},
	} {
		s := setOf(t, rootfs.Recipe{}, tt.debs...)
		groups, err := Arrange(s.notes, 10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewSystem(s.notes, groups, SystemOptions{}); !errors.Is(err, outcome.ErrNotFound) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// The bytes of all layers are the same however often and in whichever order the packages come.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	s := setOf(t, rootfs.Recipe{MergedUsr: true}, vector(t), debOf(t, "a", "Replaces: vector\n", nil, dir("lib/"), reg("lib/tool", "mine")))
	var first []byte
	for range 4 {
		groups, err := Arrange(s.notes, 1)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := WriteGroup(&b, groups[0], s.open); err != nil {
			t.Fatal(err)
		}
		system, err := NewSystem(s.notes, groups, SystemOptions{Open: s.open})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := system.WriteLayer(&b, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		}
		if !bytes.Equal(first, b.Bytes()) {
			t.Fatal("other bytes")
		}
	}
}

// Of several interests of a package in one trigger the last counts, and sums that the recipe made do not have files that
// were there before the package.
func TestTriggersAndMadeSums(t *testing.T) {
	t.Parallel()
	u := dir("usr/")
	s := setOf(t, rootfs.Recipe{},
		debOf(t, "b", "Multi-Arch: same\nReplaces: a\n", []string{"triggers=interest-noawait ping\ninterest /usr/x\ninterest ping\ninterest-noawait /usr/x\nactivate pong\n"}, u, reg("usr/f", "of b"), reg("usr/b", "")),
		debOf(t, "a", "", []string{"triggers=# none\ninterest-noawait ping\ninterest-await /usr/y # here\n"}, u, reg("usr/f", "of a"), reg("usr/a", "x")))
	tree, _ := s.image(t, 10)
	for p, want := range map[string]string{
		"var/lib/dpkg/triggers/ping":  "0 644 0 b:amd64\na/noawait\n",
		"var/lib/dpkg/triggers/File":  "0 644 0 /usr/x b:amd64/noawait\n/usr/y a\n",
		"var/lib/dpkg/triggers/pong":  "",
		"var/lib/dpkg/info/a.md5sums": "0 644 0 9dd4e461268c8034f5c8564e155c67a6  usr/a\n",
		"var/lib/dpkg/info/format":    "0 644 0 1\n",
	} {
		if tree[p] != want {
			t.Errorf("%s is %q, not %q", p, tree[p], want)
		}
	}
}
