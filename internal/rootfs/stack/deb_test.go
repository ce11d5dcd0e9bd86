package stack

import (
	"bytes"
	"io"
	"os"
	"testing"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/testdeb"
	"example.org/mmoci/pkg/snapshot"
)

type item = testdeb.Item

var (
	dir, reg, sym, hard = testdeb.Dir, testdeb.Reg, testdeb.Sym, testdeb.Hard
	entry, dataTar      = testdeb.Entry, testdeb.DataTar
	arOf, controlTar    = testdeb.Ar, testdeb.Control
)

// debOf is a .deb. control has further fields of the control file; the files are
// those of control.tar beside it, NAME=TEXT.
func debOf(t testing.TB, name, control string, files []string, items ...item) rootfs.Deb {
	t.Helper()
	return debFrom(arOf(controlTar(t, name, control, files), dataTar(t, items...)))
}

func debFrom(b []byte) rootfs.Deb {
	return rootfs.Deb{Blob: snapshot.BlobOf(b), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// layerOf is the package layer and its note.
func layerOf(t testing.TB, d rootfs.Deb, r rootfs.Recipe) ([]byte, *rootfs.Note) {
	t.Helper()
	var b bytes.Buffer
	n, err := rootfs.WriteLayer(&b, d, r)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), n
}

// vector is the package of SPEC.md's test vector.
func vector(t testing.TB) rootfs.Deb {
	b, err := os.ReadFile("../testdata/vector.deb")
	if err != nil {
		t.Fatal(err)
	}
	return debFrom(b)
}
