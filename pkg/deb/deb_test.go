package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const testControl = "Package: docker-ce\nVersion: 5:20.10.9~3-0~debian-bookworm\nArchitecture: amd64\nDescription: x\n y\n"

// arMember is a member to be written; the header is made from it.
type arMember struct {
	name    string
	content []byte
}

// ar writes an ar archive.
func ar(members ...arMember) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d%s", m.name, 0, 0, 0, "100644", len(m.content), arHeaderEnd)
		b.Write(m.content)
		if len(m.content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tarOf writes a tar; contents stand beside their headers.
func tarOf(t testing.TB, entries ...any) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		h, content := entries[i].(*tar.Header), entries[i+1].(string)
		h.Size = int64(len(content))
		check(t, w.WriteHeader(h))
		_, err := io.WriteString(w, content)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func file(name string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
}

// controlTar is what dpkg-deb makes: the directory, the control file, md5sums.
func controlTar(t testing.TB) []byte {
	return tarOf(t, &tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "",
		file("./control"), testControl, file("./md5sums"), "0123456789abcdef0123456789abcdef  usr/bin/docker\n")
}

// pack compresses by the ending of a member's name.
func pack(t testing.TB, ending string, data []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case "":
		return data
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<16))
	}
	check(t, err)
	_, err = w.Write(data)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

var endings = []string{"", ".gz", ".xz", ".zst"}

var binary20 = arMember{"debian-binary", []byte("2.0\n")}

// debOf is a .deb with its control.tar under that ending.
func debOf(t testing.TB, ending string) []byte {
	return ar(binary20, arMember{"control.tar" + ending, pack(t, ending, controlTar(t))}, arMember{"data.tar.xz", []byte("odd")})
}

func TestReadDeb(t *testing.T) {
	t.Parallel()
	for _, ending := range endings {
		file := debOf(t, ending)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(file), "bytewise": iotest.OneByteReader(bytes.NewReader(file)), "eof": iotest.DataErrReader(bytes.NewReader(file)),
		} {
			d, err := ReadDeb(r)
			if err != nil {
				t.Errorf("%s %s: %v", ending, name, err)
				continue
			}
			if string(d.Control) != testControl || d.Format != "2.0" || d.Size != int64(len(file)) || len(d.Members) != 3 {
				t.Errorf("%s %s: %+v", ending, name, d)
			}
			for _, m := range d.Members {
				if m.Name == "data.tar.xz" && string(file[m.Offset:m.Offset+m.Size]) != "odd" {
					t.Errorf("%s: member %+v", ending, m)
				}
			}
		}
	}
}

// Control must take nothing from the reader that lies behind control.tar.
// A file is gone over by Seek, a stream is read: both are told alike what it is, whole or cut.
func TestReadDebSeeks(t *testing.T) {
	t.Parallel()
	whole := ar(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar.gz", pack(t, ".gz", controlTar(t))},
		arMember{"data.tar", make([]byte, 3*minSeek+1)}, arMember{"_own", make([]byte, 2*minSeek)})
	for _, n := range []int{len(whole), len(whole) - 1, len(whole) - minSeek, len(whole) - 2*minSeek, len(whole) - 2*minSeek - 30, len(whole) - 2*minSeek - arHeaderLen,
		len(whole) - 2*minSeek - arHeaderLen - 1, len(whole) - 2*minSeek - arHeaderLen - 2, len(whole) - 3*minSeek, len(whole) - 5*minSeek, 400} {
		read := &countingSeeker{Reader: bytes.NewReader(whole[:n])}
		sought, err := ReadDeb(read)
		streamed, err2 := ReadDeb(struct{ io.Reader }{bytes.NewReader(whole[:n])})
		if fmt.Sprint(sought, err) != fmt.Sprint(streamed, err2) {
			t.Errorf("%d bytes: as a file %v, %v; as a stream %v, %v", n, sought, err, streamed, err2)
		}
		if n == len(whole) && (err != nil || sought.Size != int64(n) || read.n > minSeek) {
			t.Errorf("whole: %v; size %d of %d, %d bytes read", err, sought.Size, n, read.n)
		}
	}
}

// countingSeeker counts what is read of it.
type countingSeeker struct {
	*bytes.Reader
	n int
}

func (c *countingSeeker) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	for _, ending := range endings {
		file := debOf(t, ending)
		for n := range len(file) {
			d, err := ReadDeb(bytes.NewReader(file[:n]))
			if !errors.Is(err, ErrMalformed) || d != nil {
				t.Fatalf("%s: cut at %d of %d: %v", ending, n, len(file), err)
			}
		}
	}
}

// A byte changed in control.tar under a checksum is found by ReadDeb.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{".gz", ".xz"} {
		file := debOf(t, ending)
		start := bytes.Index(file, []byte("control.tar")) + arHeaderLen + 10 // gzip's own header has no checksum
		end := bytes.Index(file, []byte("data.tar")) - 1
		for i := start; i < end; i++ {
			bad := bytes.Clone(file)
			bad[i] ^= 0x10
			if d, err := ReadDeb(bytes.NewReader(bad)); err == nil && string(d.Control) != testControl {
				t.Errorf("%s: flipped at %d: %q", ending, i, d.Control)
			}
		}
	}
}

func TestReadErrorsAreNotTheFiles(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	for _, ending := range endings {
		file := debOf(t, ending)
		for n := 0; n < len(file); n += 7 {
			_, err := ReadDeb(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
				t.Fatalf("%s: broken at %d: %v", ending, n, err)
			}
		}
	}
}

func TestFraming(t *testing.T) {
	t.Parallel()
	control := arMember{"control.tar", controlTar(t)}
	data := arMember{"data.tar.xz", []byte("data")}
	many := []arMember{binary20}
	for range maxMembers {
		many = append(many, arMember{"_x", nil})
	}
	for _, c := range []struct {
		name    string
		members []arMember
		want    string // "" for good
	}{
		{"plain", []arMember{binary20, control, data}, ""},
		{"slashes", []arMember{{"debian-binary/", binary20.content}, {"control.tar/", control.content}, {"data.tar.xz/", nil}}, "empty"},
		{"slashes and data", []arMember{{"debian-binary/", binary20.content}, {"control.tar/", control.content}, {"data.tar.xz/", data.content}}, ""},
		{"optional members", []arMember{binary20, {"_a", []byte("odd")}, control, {"_b", nil}, data, {"_gpgorigin", []byte("x")}, {"later", nil}}, ""},
		{"newer minor", []arMember{{"debian-binary", []byte("2.1\nmore\n")}, control, data}, ""},
		{"newer major", []arMember{{"debian-binary", []byte("3.0\n")}, control, data}, "unknown format 3.0"},
		{"no newline", []arMember{{"debian-binary", []byte("2.0")}, control, data}, "format"},
		{"no number", []arMember{{"debian-binary", []byte("2.x\n")}, control, data}, "format"},
		{"empty format", []arMember{{"debian-binary", nil}, control, data}, "format"},
		{"long format", []arMember{{"debian-binary", make([]byte, maxFormat+1)}, control, data}, "over"},
		{"no members", nil, "EOF"},
		{"control first", []arMember{control, binary20, data}, "before debian-binary"},
		{"optional first", []arMember{{"_a", nil}, binary20, control, data}, "before debian-binary"},
		{"data first", []arMember{binary20, data, control}, "before control.tar"},
		{"stranger", []arMember{binary20, {"x", nil}, control, data}, "before control.tar"},
		{"stranger before data", []arMember{binary20, control, {"x", nil}, data}, "before data.tar"},
		{"two formats", []arMember{binary20, binary20, control, data}, "before control.tar"},
		{"two controls", []arMember{binary20, control, control, data}, "before data.tar"},
		{"two data", []arMember{binary20, control, data, data}, "second member"},
		{"control behind data", []arMember{binary20, control, data, {"control.tar.gz", nil}}, "second member"},
		{"no control", []arMember{binary20}, "no member control.tar"},
		{"no data", []arMember{binary20, control}, "no member data.tar"},
		{"empty control", []arMember{binary20, {"control.tar", nil}, data}, "empty"},
		{"control.tar.bz2", []arMember{binary20, {"control.tar.bz2", []byte("x")}, data}, "unknown compression"},
		{"control.tarball", []arMember{binary20, {"control.tarball", []byte("x")}, data}, "unknown compression"},
		{"data.tar.lz4", []arMember{binary20, control, {"data.tar.lz4", []byte("x")}}, "unknown compression"},
		{"data.tar.bz2", []arMember{binary20, control, {"data.tar.bz2", []byte("x")}}, ""},
		{"data.tar", []arMember{binary20, control, {"data.tar", []byte("x")}}, ""},
		{"long name table", []arMember{binary20, {"//", []byte("control.tar.xz/\n")}, control, data}, "before control.tar"},
		{"BSD long name", []arMember{binary20, {"#1/11", control.content}, data}, "before control.tar"},
		{"name with blank", []arMember{binary20, {"_a b", nil}, control, data}, "name"},
		{"no name", []arMember{binary20, {"", nil}, control, data}, "name"},
		{"many members", append(many, control, data), "more than"},
		{"wrong ending", []arMember{binary20, {"control.tar.gz", control.content}, data}, "control.tar.gz"},
		{"wrong ending xz", []arMember{binary20, {"control.tar.xz", control.content}, data}, "control.tar.xz: xz"},
		{"wrong ending zst", []arMember{binary20, {"control.tar.zst", control.content}, data}, "control.tar.zst"},
	} {
		_, err := ReadDeb(bytes.NewReader(ar(c.members...)))
		checkError(t, c.name, err, c.want)
	}
}

// checkError wants an error of the file that holds want, or none for "".
func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: error %v, want one with %q", name, err, want)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	good := string(debOf(t, ""))
	size := fmt.Sprintf("%-10d`\n", len(controlTar(t)))
	for _, c := range []struct{ name, from, to, want string }{
		{"magic", "!<arch>\n", "!<arch>\r", "no ar archive"},
		{"thin", "!<arch>\n", "!<thin>\n", "no ar archive"},
		{"end mark, first byte", size, size[:10] + "'\n", "no end mark"},
		{"end mark, second byte", size, size[:10] + "`\r", "no end mark"},
		{"negative", size, "-1        `\n", "size"},
		{"signed", size, "+100      `\n", "size"},
		{"hexadecimal", size, "0x100     `\n", "size"},
		{"blank", size, "          `\n", "size"},
		{"two numbers", size, "1 0       `\n", "size"},
		{"oversized", size, "9999999999`\n", "EOF"},
		{"padded left", size, fmt.Sprintf("%10d`\n", len(controlTar(t))), ""},
		{"short by two", size, fmt.Sprintf("%-10d`\n", len(controlTar(t))-2), "no end mark"},
		{"trailing byte", good, good + "x", "EOF"},
		{"trailing newline", good, good + "\n", "EOF"},
		{"garbage", good, good + strings.Repeat("x", 60), "no end mark"},
		{"pad byte of any value", "odd\n", "odd\x00", ""},
		{"no pad byte", "odd\n", "odd", "padding"},
	} {
		if !strings.Contains(good, c.from) {
			t.Fatalf("%s: %q not in the file", c.name, c.from)
		}
		_, err := ReadDeb(strings.NewReader(strings.Replace(good, c.from, c.to, 1)))
		checkError(t, c.name, err, c.want)
	}
}

func TestControlTar(t *testing.T) {
	t.Parallel()
	other := "Package: evil\nVersion: 1\n"
	sparse := &tar.Header{Name: "./control", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}}
	for _, c := range []struct {
		name string
		tar  []byte
		want string // part of the error, or ""
	}{
		{"no dot", tarOf(t, file("control"), testControl), ""},
		{"pax records", tarOf(t, sparse, testControl), ""},
		{"not first", tarOf(t, file("./postinst"), "#!/bin/sh\n", file("./control"), testControl), ""},
		{"empty lines around", tarOf(t, file("./control"), "\n"+testControl+"\n\n"), ""},
		{"none", tarOf(t, file("./md5sums"), ""), "no control file"},
		{"in a directory", tarOf(t, file("./x/control"), testControl), "named"},
		{"twice", tarOf(t, file("./control"), testControl, file("./control"), other), "second control file"},
		{"twice, other spelling", tarOf(t, file("./control"), testControl, file("control"), other), "second control file"},
		{"twice, odd spelling", tarOf(t, file("./control"), testControl, file(".//control"), other), "named"},
		{"absolute", tarOf(t, file("/control"), other), "named"},
		{"climbing", tarOf(t, file("./x/../control"), other), "named"},
		{"symlink", tarOf(t, &tar.Header{Name: "./control", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, ""), "regular"},
		{"hardlink", tarOf(t, &tar.Header{Name: "./control", Typeflag: tar.TypeLink, Linkname: "md5sums"}, ""), "regular"},
		{"directory", tarOf(t, &tar.Header{Name: "./control/", Typeflag: tar.TypeDir}, ""), "no regular file"},
		{"empty file", tarOf(t, file("./control"), "\n"), "empty"},
		{"two stanzas", tarOf(t, file("./control"), testControl+"\n"+other), "second stanza"},
		{"duplicate field", tarOf(t, file("./control"), testControl+"package: evil\n"), "twice"},
		{"NUL", tarOf(t, file("./control"), testControl+"X: \x00\n"), "NUL"},
		{"at the limit", tarOf(t, file("./control"), long(MaxControl)), ""},
		{"over the limit", tarOf(t, file("./control"), long(MaxControl+1)), "over"},
		{"no tar", []byte(strings.Repeat("x", 1024)), "tar"},
	} {
		deb := ar(binary20, arMember{"control.tar", c.tar}, arMember{"data.tar", []byte("x")})
		_, err := ReadDeb(bytes.NewReader(deb))
		checkError(t, c.name, err, c.want)
	}
}

// long is a valid control file of n bytes.
func long(n int) string {
	s := testControl + "Long:\n"
	s += strings.Repeat(" "+strings.Repeat("x", 1022)+"\n", (n-len(s))/1024)
	return s + strings.Repeat(" ", n-len(s)-2) + "x\n"
}

// quickly bounds how often a new input is made smaller: otherwise that goes on for a minute,
// byte by byte and pair by pair, and little else is done.
func quickly(f *testing.F) {
	if err := flag.Set("test.fuzzminimizetime", "100x"); err != nil {
		f.Fatal(err)
	}
}

func FuzzDeb(f *testing.F) {
	quickly(f)
	for _, ending := range endings {
		f.Add(debOf(f, ending))
	}
	control := arMember{"control.tar", controlTar(f)}
	f.Add(ar(binary20, arMember{"_x", []byte("odd")}, control, arMember{"data.tar", nil}, arMember{"_gpgorigin", nil}))
	f.Add(ar(binary20, control, control))
	f.Fuzz(func(t *testing.T, file []byte) {
		const most = 1 << 10
		files, err := DataFiles(bytes.NewReader(file), most, func(string) bool { return true })
		if err != nil && (!errors.Is(err, ErrMalformed) || files != nil) {
			t.Fatalf("error %v with %v", err, files)
		}
		total := 0
		for _, data := range files {
			total += len(data)
		}
		if total > most {
			t.Fatalf("%d bytes of files, more than %d", total, most)
		}
		d, err := ReadDeb(bytes.NewReader(file))
		if err != nil {
			if !errors.Is(err, ErrMalformed) || d != nil {
				t.Fatalf("error %v with %v", err, d)
			}
			return
		}
		if d.Size != int64(len(file)) {
			t.Fatalf("%+v of a file of %d bytes", d, len(file))
		}
		for _, m := range d.Members {
			if m.Offset < 0 || m.Size < 0 || m.Offset+m.Size > d.Size {
				t.Fatalf("member %+v of %d bytes", m, d.Size)
			}
		}
	})
}

// FuzzControlTar goes past the framing: its input is the content of a
// control.tar under each compression.
func FuzzControlTar(f *testing.F) {
	quickly(f)
	for i, ending := range endings {
		f.Add(pack(f, ending, controlTar(f)), uint8(i))
	}
	f.Fuzz(func(t *testing.T, content []byte, kind uint8) {
		ending := endings[int(kind)%len(endings)]
		s, err := readMember(bytes.NewReader(content), ending)
		if (err == nil) != (s != nil) {
			t.Fatalf("%q, %v", s, err)
		}
		if err == nil {
			if _, err := NewScanner(s).Next(); err != nil {
				t.Fatalf("control %q: %v", s, err)
			}
		}
	})
}
