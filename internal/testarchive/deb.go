package testarchive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// Package is a binary package; its .deb is made from it.
type Package struct {
	Name, Version, Architecture string
	Source                      string            // "" is Name; may carry a version, "foo (1.2)"
	Component                   string            // "" is main
	Fields                      [][2]string       // Depends and its like, in order
	Content                     map[string]string // files in data.tar, path to content; nil: one file under usr/share/doc
	Compression                 string            // of control and data: xz (default), gz, zst, none
	Size                        int               // pads the content with incompressible bytes to about this size
	ControlFiles                map[string]string // further members of control.tar: postinst, conffiles ...

	// NoSHA256 leaves the digest out of the stanza (MD5sum remains).
	NoSHA256 bool
}

// Ref is NAME=VERSION.
func (p Package) Ref() string { return p.Name + "=" + p.Version }

// FileName is NAME_VERSION_ARCH.deb, the version without its epoch.
func (p Package) FileName() string {
	return p.Name + "_" + withoutEpoch(p.Version) + "_" + p.Architecture + ".deb"
}

func (p Package) component() string { return cmp.Or(p.Component, "main") }

// source is the name of the source package, without a version.
func (p Package) source() string {
	name, _, _ := strings.Cut(cmp.Or(p.Source, p.Name), " ")
	return name
}

func withoutEpoch(v string) string {
	if _, rest, ok := strings.Cut(v, ":"); ok {
		return rest
	}
	return v
}

// field is the value of one of Fields, or else.
func (p Package) field(name, otherwise string) string {
	for _, f := range p.Fields {
		if strings.EqualFold(f[0], name) {
			return f[1]
		}
	}
	return otherwise
}

func (p Package) description() string {
	return p.field("Description", "test package "+p.Name+"\n Made by a test; it does nothing.")
}

// control is the control stanza (deb-control(5)).
func (p Package) control(shortDescription bool) string {
	var out strings.Builder
	field := func(name, value string) { fmt.Fprintf(&out, "%s: %s\n", name, value) }
	field("Package", p.Name)
	if p.Source != "" {
		field("Source", p.Source)
	}
	field("Version", p.Version)
	field("Architecture", p.Architecture)
	field("Maintainer", p.field("Maintainer", "Test <test@example.org>"))
	size := 0
	for _, f := range p.dataFiles() {
		size += len(f.data)
	}
	field("Installed-Size", fmt.Sprint(1+size/1024))
	for _, f := range p.Fields {
		if !strings.EqualFold(f[0], "Description") && !strings.EqualFold(f[0], "Maintainer") {
			field(f[0], f[1])
		}
	}
	for _, d := range [][2]string{{"Section", "misc"}, {"Priority", "optional"}} {
		if p.field(d[0], "") == "" {
			field(d[0], d[1])
		}
	}
	d := p.description()
	if shortDescription {
		short, _, _ := strings.Cut(d, "\n")
		field("Description", short)
		field("Description-md5", md5Hex([]byte(d+"\n")))
	} else {
		field("Description", d)
	}
	return out.String()
}

// stanza is the package's record in a Packages index.
func (p Package) stanza(s Suite, filename string, deb []byte) string {
	var out strings.Builder
	out.WriteString(p.control(s.Translations))
	fmt.Fprintf(&out, "Filename: %s\nSize: %d\nMD5sum: %s\n", filename, len(deb), md5Hex(deb))
	switch {
	case s.SHA512:
		fmt.Fprintf(&out, "SHA512: %s\n", sha512Hex(deb))
	case !p.NoSHA256:
		fmt.Fprintf(&out, "SHA256: %s\n", Sha256Hex(deb))
	}
	return out.String()
}

// dataFile is a file of data.tar.
type dataFile struct {
	name string
	data []byte
}

// dataFiles are the files of data.tar in path order, padding included.
func (p Package) dataFiles() []dataFile {
	content := p.Content
	if content == nil {
		content = map[string]string{"usr/share/doc/" + p.Name + "/README": p.Name + " " + p.Version + "\n"}
	}
	var files []dataFile
	for name, c := range content {
		files = append(files, dataFile{name, []byte(c)})
	}
	if p.Size > 0 {
		files = append(files, dataFile{"usr/share/" + p.Name + "/padding", p.padding()})
	}
	slices.SortFunc(files, func(a, b dataFile) int { return cmp.Compare(a.name, b.name) })
	return files
}

// padding is Size incompressible bytes that depend on name, version and architecture only.
func (p Package) padding() []byte {
	b := make([]byte, p.Size)
	// Read never fails and is stable over Go versions.
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(p.FileName()))).Read(b)
	return b
}

// Deb makes the bytes of the package's .deb (deb(5)).
func (p Package) Deb(t testing.TB) []byte {
	t.Helper()
	control := []dataFile{{"control", []byte(p.control(false))}}
	for name, c := range p.ControlFiles {
		control = append(control, dataFile{name, []byte(c)})
	}
	var sums strings.Builder
	for _, f := range p.dataFiles() {
		fmt.Fprintf(&sums, "%s  %s\n", md5Hex(f.data), f.name)
	}
	control = append(control, dataFile{"md5sums", []byte(sums.String())})
	slices.SortFunc(control, func(a, b dataFile) int { return cmp.Compare(a.name, b.name) })

	compression := cmp.Or(p.Compression, "xz")
	ending := "." + compression
	if compression == "none" {
		ending = ""
	}
	return Ar(
		ArMember{"debian-binary", []byte("2.0\n")},
		ArMember{"control.tar" + ending, Compress(t, compression, tarball(t, control))},
		ArMember{"data.tar" + ending, Compress(t, compression, tarball(t, p.dataFiles()))},
	)
}

// ArMember is a member of an ar archive.
type ArMember struct {
	Name string
	Data []byte
}

// Ar writes the ar format as deb(5) wants it: no long names, odd sizes padded, dated 2000-01-01.
func Ar(members ...ArMember) []byte {
	out := bytes.NewBufferString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, epoch().Unix(), 0, 0, "100644", len(m.Data))
		out.Write(m.Data)
		if len(m.Data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// tarball is a ustar of the files with their directories, owned by root, dated 2000-01-01.
func tarball(t testing.TB, files []dataFile) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := func(h tar.Header) {
		h.ModTime, h.Format, h.Uname, h.Gname = epoch(), tar.FormatUSTAR, "root", "root"
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	header(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755})
	made := map[string]bool{".": true}
	for _, f := range files {
		for _, d := range parents(f.name) {
			if !made[d] {
				made[d] = true
				header(tar.Header{Typeflag: tar.TypeDir, Name: "./" + d + "/", Mode: 0o755})
			}
		}
		header(tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.name, Mode: mode(f), Size: int64(len(f.data))})
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// parents are the directories above name, outermost first.
func parents(name string) []string {
	var up []string
	for d := path.Dir(name); d != "." && d != "/"; d = path.Dir(d) {
		up = append(up, d)
	}
	slices.Reverse(up)
	return up
}

// mode makes programs and maintainer scripts executable.
func mode(f dataFile) int64 {
	if strings.HasSuffix(path.Dir(f.name), "bin") || strings.HasPrefix(string(f.data), "#!") {
		return 0o755
	}
	return 0o644
}

// epoch is when everything in here was made that says when.
func epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }
