package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"example.org/mmoci/pkg/deb"
)

// Whatever a .deb holds, the layer is refused as malformed or is a tar whose entries stay inside, each once, below
// directories of its own; and its note says the same.
func FuzzWriteLayer(f *testing.F) {
	for _, d := range []Deb{
		vector(f),
		debOf(f, "a", "", nil, reg("../x", "")),
		debOf(f, "b", "Depends: c (>= 1)\n", []string{"conffiles=/etc/b\n"}, dir("etc/"), reg("etc/b", "b"), hard("etc/c", "etc/b"), sym("lib", "usr/lib")),
		debOf(f, "c", "", []string{"md5sums=x  y\n", "postinst=#!/bin/sh\n"}, reg(strings.Repeat("d/", 120)+"e", "long")),
	} {
		r, _ := d.Open()
		b, _ := io.ReadAll(r)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, file []byte, merged bool) {
		var b bytes.Buffer
		x, _ := ParseExclude([]string{"man", "etc/*"})
		n, err := WriteLayer(&b, debFrom(file), Recipe{MergedUsr: merged, Exclude: x})
		if err != nil {
			if !errors.Is(err, deb.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		seen := map[string]byte{}
		for i, h := range entriesOf(t, b.Bytes()) {
			p := strings.TrimSuffix(h.Name, "/")
			if strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.HasPrefix(p, "../") || p == ".." || p == "." || seen[p] != 0 {
				t.Fatalf("entry %q", h.Name)
			}
			if d := path.Dir(p); d != "." && seen[d] != tar.TypeDir {
				t.Fatalf("entry %q without its directory", h.Name)
			}
			if h.Typeflag == tar.TypeLink && seen[h.Linkname] != tar.TypeReg && seen[h.Linkname] != tar.TypeFifo {
				t.Fatalf("hard link %q to %q", h.Name, h.Linkname)
			}
			if strings.IndexByte("01256", h.Typeflag) < 0 {
				t.Fatalf("entry %q of type %q", h.Name, h.Typeflag)
			}
			seen[p] = h.Typeflag
			if e := n.Entries[i]; e.Path != p || e.Type != h.Typeflag {
				t.Fatalf("the note has %q where the layer has %q", e.Path, p)
			}
		}
		if len(seen) != len(n.Entries) {
			t.Fatalf("the note has %d entries, the layer %d", len(n.Entries), len(seen))
		}
		again, err := ParseNote(n.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Encode(), n.Encode()) || !bytes.Equal(again.List(nil), n.List(nil)) {
			t.Fatal("the note's text does not say the same")
		}
	})
}

// A text is refused, or is the one text of its note.
func FuzzParseNote(f *testing.F) {
	for _, r := range []Recipe{{}, {MergedUsr: true}} {
		_, n := layerOf(f, vector(f), r)
		f.Add(n.Encode())
	}
	x, _ := ParseExclude([]string{"etc/*", "docs"})
	_, n := layerOf(f, debOf(f, "b", "", []string{"conffiles=/etc/b\n", "triggers=interest /x\n"}, dir("etc/"), reg("etc/b", "b"), hard("d", "etc/b"), reg("usr/share/doc/b/copyright", "c")), Recipe{Exclude: x})
	f.Add(n.Encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := ParseNote(text)
		if err == nil && !bytes.Equal(n.Encode(), text) {
			t.Fatal("two texts of one note")
		}
	})
}

// A glob matches itself where it has nothing special, and every path behind a star.
func FuzzParseExclude(f *testing.F) {
	f.Add("usr/share/man/*", "usr/share/man/man1/x.1")
	f.Add("/usr/[!a-c]*/\\*?", "usr/d/*x")
	f.Add("*/*/*/*/*/*a", strings.Repeat("/", 400))
	f.Fuzz(func(t *testing.T, word, p string) {
		x, err := ParseExclude([]string{word})
		if err != nil {
			return
		}
		again, err := ParseExclude(strings.Fields(x.String()))
		if err != nil || again.String() != x.String() {
			t.Fatalf("%q is not canonical: %v", x, err)
		}
		if again.match(p) != x.match(p) {
			t.Fatal("another answer")
		}
		g := strings.TrimLeft(word, "/")
		if strings.Contains(g, "/") && !strings.ContainsAny(g, `*?[\`) && !isCopyright(g) && !x.match(g) {
			t.Fatalf("%q does not match itself", word)
		}
	})
}
