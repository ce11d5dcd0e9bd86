package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"example.org/mmoci/internal/rootfs/testdeb"
	"example.org/mmoci/pkg/snapshot"
)

type item = testdeb.Item

var (
	dir, reg, sym, hard = testdeb.Dir, testdeb.Reg, testdeb.Sym, testdeb.Hard
	entry, dataTar      = testdeb.Entry, testdeb.DataTar
	arOf, controlTar    = testdeb.Ar, testdeb.Control
)

const testTime = testdeb.Time

// debOf is a .deb. control has further fields of the control file; the files are
// those of control.tar beside it, NAME=TEXT.
func debOf(t testing.TB, name, control string, files []string, items ...item) Deb {
	t.Helper()
	return debFrom(arOf(controlTar(t, name, control, files), dataTar(t, items...)))
}

func debFrom(b []byte) Deb {
	return Deb{Blob: snapshot.BlobOf(b), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// layerOf is the package layer and its note.
func layerOf(t testing.TB, d Deb, r Recipe) ([]byte, *Note) {
	t.Helper()
	var b bytes.Buffer
	n, err := WriteLayer(&b, d, r)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), n
}

// entriesOf reads a layer by Go's own reader.
func entriesOf(t testing.TB, layer []byte) []*tar.Header {
	t.Helper()
	var out []*tar.Header
	r := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h)
	}
}

// contentOf is the content of an entry of a layer.
func contentOf(t testing.TB, layer []byte, name string) string {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Name == name {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}

// spelled is a layer in lines, as a person would compare it.
func spelled(t testing.TB, layer []byte) string {
	t.Helper()
	var b strings.Builder
	for _, h := range entriesOf(t, layer) {
		fmt.Fprintf(&b, "%c %o %d/%d %d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&b, " -> %s", h.Linkname)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// What a comment of a script says wrote a part of it is a name, or nothing.
func TestToolsOfScripts(t *testing.T) {
	s := readScript("postinst", []byte("#!/bin/sh\n# Automatically added by dh_installdeb/13\ntrue\n# End automatically added section\n# Automatically added by dh\t\x1b[2J/1\ntrue\n# End automatically added section\n"))
	if len(s.Tools) != 1 || s.Tools[0] != "dh_installdeb" {
		t.Errorf("tools %q", s.Tools)
	}
}
