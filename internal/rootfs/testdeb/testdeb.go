// Package testdeb makes .debs as other programs make them, good and hostile. Tests only.
package testdeb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// Item is an entry of a data.tar in a test.
type Item struct {
	name string
	kind byte
	text string // content of a file, target of a link
	mode int64
	uid  int
}

// Dir is a directory.
func Dir(name string) Item { return Item{name, tar.TypeDir, "", 0o755, 0} }

// Reg is a file.
func Reg(name, text string) Item { return Item{name, tar.TypeReg, text, 0o644, 0} }

// Sym is a symbolic link.
func Sym(name, target string) Item { return Item{name, tar.TypeSymlink, target, 0o777, 0} }

// Hard is a hard link.
func Hard(name, target string) Item { return Item{name, tar.TypeLink, target, 0o644, 0} }

// Time is when all entries were changed.
const Time = 1_700_000_000

// Entry is an entry of any kind. text is a file's content, or a link's target.
func Entry(name string, kind byte, text string, mode int64, uid int) Item {
	return Item{name, kind, text, mode, uid}
}

// DataTar is a data.tar as GNU tar writes it.
func DataTar(t testing.TB, items ...Item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Mode: i.mode, Uid: i.uid, ModTime: time.Unix(Time, 0), Format: tar.FormatGNU}
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

// Ar is a .deb of these members.
func Ar(control, data []byte) []byte {
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

// Control is a control.tar. name is NAME or NAME=VERSION; control has further fields of the control file; the files are
// those beside it, NAME=TEXT.
func Control(t testing.TB, name, control string, files []string) []byte {
	t.Helper()
	version, arch := "1.0", "amd64"
	if n, v, ok := strings.Cut(name, "="); ok {
		name, version = n, v
	}
	text := "Package: " + name + "\nVersion: " + version + "\nArchitecture: " + arch + "\nMaintainer: Test <test@example.org>\n" + control + "Description: a test\n of layers\n"
	in := []Item{Dir("./"), Reg("./control", text)}
	for _, f := range files {
		n, data, _ := strings.Cut(f, "=")
		i := Reg("./"+n, data)
		if slices.Contains([]string{"preinst", "postinst", "prerm", "postrm", "config"}, n) {
			i.mode = 0o755
		}
		in = append(in, i)
	}
	return DataTar(t, in...)
}
