package stack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// item is an entry of a data.tar in a test.
type item struct {
	name string
	kind byte
	text string // content of a file, target of a link
	mode int64
	uid  int
}

func dir(name string) item          { return item{name, tar.TypeDir, "", 0o755, 0} }
func reg(name, text string) item    { return item{name, tar.TypeReg, text, 0o644, 0} }
func sym(name, target string) item  { return item{name, tar.TypeSymlink, target, 0o777, 0} }
func hard(name, target string) item { return item{name, tar.TypeLink, target, 0o644, 0} }

const testTime = 1_700_000_000

// dataTar is a data.tar as GNU tar writes it.
func dataTar(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Mode: i.mode, Uid: i.uid, ModTime: time.Unix(testTime, 0), Format: tar.FormatGNU}
		if i.kind == tar.TypeReg {
			h.Size = int64(len(i.text))
		} else {
			h.Linkname = i.text
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if i.kind == tar.TypeReg {
			io.WriteString(w, i.text)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// arOf is a .deb of these members.
func arOf(control, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", control}, {"data.tar", data}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.data), m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// debOf is a .deb. control has further fields of the control file; the files are
// those of control.tar beside it, NAME=TEXT.
func debOf(t testing.TB, name, control string, files []string, items ...item) rootfs.Deb {
	t.Helper()
	return debFrom(arOf(controlTar(t, name, control, files), dataTar(t, items...)))
}

func controlTar(t testing.TB, name, control string, files []string) []byte {
	t.Helper()
	version, arch := "1.0", "amd64"
	if n, v, ok := strings.Cut(name, "="); ok {
		name, version = n, v
	}
	text := "Package: " + name + "\nVersion: " + version + "\nArchitecture: " + arch + "\nMaintainer: Test <test@example.org>\n" + control + "Description: a test\n of layers\n"
	in := []item{dir("./"), reg("./control", text)}
	for _, f := range files {
		n, data, _ := strings.Cut(f, "=")
		i := reg("./"+n, data)
		if slices.Contains([]string{"preinst", "postinst", "prerm", "postrm", "config"}, n) {
			i.mode = 0o755
		}
		in = append(in, i)
	}
	return dataTar(t, in...)
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
