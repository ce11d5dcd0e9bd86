package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// vector is the package of SPEC.md's test vector: what is special about a layer is in it. It has entries whose
// directories are missing, and so dpkg unpacks it only where usr/share/.. and run are there; then its tree is the layer.
func vector(t testing.TB) Deb {
	b, err := os.ReadFile("testdata/vector.deb")
	if err != nil {
		t.Fatal(err)
	}
	return debFrom(b)
}

const vectorLayer = `5 755 0/0 0 etc/
0 644 0/0 4 etc/vector.conf
5 755 0/0 0 usr/
5 755 0/0 0 usr/lib/
0 4755 0/0 6 usr/lib/tool
5 2775 60/0 0 usr/games/
1 4755 0/0 0 usr/games/same -> usr/lib/tool
5 755 0/0 0 usr/share/
5 755 0/0 0 usr/share/LONG/
0 644 0/0 4 usr/share/LONG/OTHER
5 755 0/0 0 run/
6 600 7/0 0 run/fifo
2 777 0/0 0 usr/games/tool -> /lib/tool
5 755 0/0 0 var/
5 755 0/0 0 var/lib/
5 755 0/0 0 var/lib/dpkg/
5 755 0/0 0 var/lib/dpkg/info/
0 644 0/0 17 var/lib/dpkg/info/vector:amd64.conffiles
0 644 0/0 365 var/lib/dpkg/info/vector:amd64.list
0 644 0/0 433 var/lib/dpkg/info/vector:amd64.md5sums
0 755 0/0 100 var/lib/dpkg/info/vector:amd64.postinst
0 644 0/0 26 var/lib/dpkg/info/vector:amd64.triggers
0 644 0/0 338 var/lib/dpkg/status
`

const vectorStatus = `Package: vector
Status: install ok installed
Priority: optional
Section: misc
Maintainer: Test <test@example.org>
Architecture: amd64
Multi-Arch: same
Version: 1:2.0-1
Depends: libc6 (>= 2.36) | musl, a, b (<< 3)
Conffiles:
 /etc/vector.conf 6aea67367311873a8a1383e4373a0e3c
Description: a test
 of layers
Homepage: https://example.org/

`

// The digests of SPEC.md: of the layer, with /usr merged and without.
const (
	vectorMerged = "sha256:321ade0474f4da7d9f1d2b02d7efa50ead9e92517ec4a50326b4b4cef411b4ad"
	vectorSplit  = "sha256:f471a638958462b104faea3b4c7d26ab31c775113f2b112c66c533fa2036db7f"
)

// The layer of the package in SPEC.md is what stands there, entry by entry and as a digest.
func TestLayerVector(t *testing.T) {
	t.Parallel()
	layer, n := layerOf(t, vector(t), Recipe{MergedUsr: true})
	got := strings.ReplaceAll(strings.ReplaceAll(spelled(t, layer), strings.Repeat("long-", 25), "LONG"), strings.Repeat("x", 120), "OTHER")
	if got != vectorLayer {
		t.Errorf("the layer has\n%s", got)
	}
	if s := contentOf(t, layer, StatusPath); s != vectorStatus {
		t.Errorf("status:\n%s", s)
	}
	if s := contentOf(t, layer, "var/lib/dpkg/info/vector:amd64.md5sums"); !strings.HasPrefix(s, "6aea67367311873a8a1383e4373a0e3c  etc/vector.conf\n483fdcbf9cabe30dfb1f2a66be803a2e  lib/tool\n483fdcbf9cabe30dfb1f2a66be803a2e  usr/games/same\n0f52") {
		t.Errorf("md5sums:\n%s", s)
	}
	if s := contentOf(t, layer, "var/lib/dpkg/info/vector:amd64.list"); !strings.HasPrefix(s, "/.\n/etc\n/etc/vector.conf\n/lib\n/lib/tool\n/usr\n") || !strings.HasSuffix(s, "/run/fifo\n/usr/lib\n/usr/games/tool\n") {
		t.Errorf("list:\n%s", s)
	}
	for _, h := range entriesOf(t, layer) {
		if h.ModTime.Unix() != testTime || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: time %v, owner %q, group %q", h.Name, h.ModTime, h.Uname, h.Gname)
		}
	}
	if n.Layer != snapshot.BlobOf(layer) {
		t.Errorf("the note says %v, the layer is %v", n.Layer, snapshot.BlobOf(layer))
	}
	if s := n.Scripts; len(s) != 1 || s[0].Own || fmt.Sprint(s[0].Tools) != "[dh_x]" {
		t.Errorf("scripts %+v", s)
	}
	_, split := layerOf(t, vector(t), Recipe{})
	if n.Layer.Digest.String() != vectorMerged || split.Layer.Digest.String() != vectorSplit {
		t.Errorf("merged %s\nsplit %s", n.Layer.Digest, split.Layer.Digest)
	}
}

// However the .deb is read, the layer is the same; what is cut off anywhere gives none.
func TestLayerOfPieces(t *testing.T) {
	t.Parallel()
	d := vector(t)
	want, _ := layerOf(t, d, Recipe{MergedUsr: true})
	r, _ := d.Open()
	file, _ := io.ReadAll(r)
	for name, wrap := range map[string]func(io.Reader) io.Reader{"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "end with data": iotest.DataErrReader} {
		d := d
		d.Open = func() (io.ReadCloser, error) { return io.NopCloser(wrap(bytes.NewReader(file))), nil }
		if got, _ := layerOf(t, d, Recipe{MergedUsr: true}); !bytes.Equal(got, want) {
			t.Errorf("%s: another layer", name)
		}
	}
	for n := 0; n < len(file)-tarBlock; n += 97 { // behind that data.tar may end as dpkg has it
		if _, err := WriteLayer(io.Discard, debFrom(file[:n]), Recipe{}); !errors.Is(err, deb.ErrMalformed) {
			t.Errorf("cut at %d of %d: %v", n, len(file), err)
		}
	}
	broken := errors.New("line is dead")
	d.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(file[:len(file)/2]), iotest.ErrReader(broken))), nil
	}
	if _, err := WriteLayer(io.Discard, d, Recipe{}); !errors.Is(err, broken) || errors.Is(err, deb.ErrMalformed) {
		t.Errorf("a dead line: %v", err)
	}
	full := errors.New("disk is full")
	if _, err := WriteLayer(failing{full}, vector(t), Recipe{}); !errors.Is(err, full) || errors.Is(err, deb.ErrMalformed) {
		t.Errorf("a full disk: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What would reach out of the package's own tree, or what dpkg does not unpack, is refused and named.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	good := controlTar(t, "hostile", "", nil)
	raw := func(kind byte, name string, change func(h []byte)) []byte {
		b := dataTar(t, entry(name, tar.TypeReg, "", 0o644, 0))[:tarBlock]
		b[156] = kind
		if change != nil {
			change(b)
		}
		sum := 8 * 32
		for i, c := range b {
			if i < 148 || i >= 156 {
				sum += int(c)
			}
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		return append(b, zeros[:]...)
	}
	pax := func(records map[string]string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: records})
		w.Close()
		return b.Bytes()
	}
	etc := []item{dir("etc/"), reg("etc/a", "x")}
	for _, tt := range []struct {
		name, says string
		data       []byte
	}{
		{"up", `"../etc/passwd"`, dataTar(t, reg("../etc/passwd", ""))},
		{"up below", `"./a/../../etc/passwd"`, dataTar(t, reg("./a/../../etc/passwd", ""))},
		{"up at the end", `"a/../"`, dataTar(t, dir("a/../"))},
		{"two slashes", `"a//b"`, dataTar(t, reg("a//b", ""))},
		{"whiteout", `".wh."`, dataTar(t, reg("usr/bin/.wh.sudo", ""))},
		{"opaque directory", `".wh."`, dataTar(t, reg("etc/.wh..wh..opq", ""))},
		{"directory like a whiteout", `".wh."`, dataTar(t, dir("etc/.wh.x/"))},
		{"symlink like a whiteout", `".wh."`, dataTar(t, sym("etc/.wh.x", "y"))},
		{"hard link like a whiteout", `".wh."`, dataTar(t, append(etc, hard("etc/.wh.b", "etc/a"))...)},
		{"newline", "newline", dataTar(t, reg("a\nb", ""))},
		{"newline in a link", "newline", dataTar(t, sym("a", "b\nc"))},
		{"long component", "no plain path", dataTar(t, reg("a/"+strings.Repeat("x", 256), ""))},
		{"long path", "name of 4", dataTar(t, reg(strings.Repeat("x/", 2040)+strings.Repeat("y", 16), ""))},
		{"character device", "a device node", dataTar(t, entry("dev/null", tar.TypeChar, "", 0o666, 0))},
		{"block device", "a device node", dataTar(t, entry("dev/sda", tar.TypeBlock, "", 0o666, 0))},
		{"hard link out", `hard link to "/etc/shadow"`, dataTar(t, append(etc, hard("etc/b", "/etc/shadow"))...)},
		{"hard link up", `"../../etc/shadow"`, dataTar(t, append(etc, hard("etc/b", "../../etc/shadow"))...)},
		{"hard link ahead", "not before it", dataTar(t, hard("b", "a"), reg("a", "x"))},
		{"hard link to a name the recipe made", "no file", dataTar(t, reg("a/b", ""), hard("c", "a"))},
		{"hard link to itself", "not before it", dataTar(t, hard("b", "b"))},
		{"hard link to a directory", "which is no file", dataTar(t, append(etc, hard("b", "etc"))...)},
		{"twice", "second entry", dataTar(t, reg("a", "1"), reg("./a", "2"))},
		{"below a file", "no directory", dataTar(t, reg("a", "1"), reg("a/b", "2"))},
		{"hard link to a symlink", "not before it", dataTar(t, sym("a", "x"), hard("b", "a"))},
		{"hard link with another mode", "another mode", dataTar(t, reg("a", "x"), entry("b", tar.TypeLink, "a", 0o4755, 0))},
		{"below a symlink", "second entry", dataTar(t, sym("a", "/etc"), reg("a/b", "2"))},
		{"directory and file", "second entry", dataTar(t, dir("a/"), reg("a", "2"))},
		{"dpkg's database", "second entry", dataTar(t, reg("var/lib/dpkg/status", "Package: x\n"))},
		{"its own list", "second entry", dataTar(t, reg("var/lib/dpkg/info/hostile.list", "/etc/passwd\n"))},
		{"database through a symlink", "below \"var\"", dataTar(t, sym("var", "/tmp"))},
		{"root is a symlink", "the root", dataTar(t, sym(".", "/tmp"))},
		{"PAX", "'x'", pax(map[string]string{"MMOCI.x": "y"})},
		{"extended attributes", "'x'", pax(map[string]string{"SCHILY.xattr.security.capability": "x"})},
		{"PAX global", "'g'", raw('g', "a", nil)},
		{"GNU sparse", "'S'", raw('S', "a", nil)},
		{"contiguous file", "'7'", raw('7', "a", nil)},
		{"file like a directory", "name of a directory", raw('0', "a", func(h []byte) { copy(h[:100], "a/") })},
		{"old file like a directory", "name of a directory", raw(0, "a", func(h []byte) { copy(h[:100], "a/") })},
		{"unknown type", "'Z'", raw('Z', "a", nil)},
		{"10 GB that are not there", "in the middle", raw('0', "a", func(h []byte) { copy(h[124:136], "77777777777\x00") })},
		{"over 8 GiB", "size", raw('0', "a", func(h []byte) { copy(h[124:136], "\x80\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00") })},
		{"negative size", "size", raw('0', "a", func(h []byte) { copy(h[124:136], bytes.Repeat([]byte{0xff}, 12)) })},
		{"owner out of range", "owner", raw('0', "a", func(h []byte) { copy(h[108:116], "\x80\x00\x00\x00\x7f\x00\x00\x00") })},
		{"directory with content", "with content", raw('5', "a", func(h []byte) { copy(h[124:136], "00000000010\x00") })},
		{"no header", "checksum", append(bytes.Repeat([]byte("x"), tarBlock), zeros[:]...)},
		{"symlink to nothing", "symlink", dataTar(t, sym("a", ""))},
		{"another merged /usr", "not how /usr is merged", dataTar(t, sym("lib", "etc"))},
	} {
		_, err := WriteLayer(io.Discard, debFrom(arOf(good, tt.data)), Recipe{MergedUsr: true})
		if !errors.Is(err, deb.ErrMalformed) || !strings.Contains(err.Error(), tt.says) || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, tt := range []struct{ name, control, files, says string }{
		{"status", "Status: install ok installed\n", "", "field Status"},
		{"relation", "Depends: a (>= \n", "", "field Depends"},
		{"conffile up", "", "conffiles=/etc/../../x\n", "conffiles"},
		{"relative conffile", "", "conffiles=etc/x\n", "conffiles"},
		{"conffile like a whiteout", "", "conffiles=/etc/.wh.x\n", "conffiles"},
		{"conffile twice", "", "conffiles=/etc/x\n/etc/x\n", "twice"},
		{"trigger", "", "triggers=interest a b\n", "triggers"},
		{"trigger up", "", "triggers=interest /a/../b\n", "triggers"},
		{"trigger with a slash", "", "triggers=interest ../../etc/passwd\n", "triggers"},
		{"trigger like dpkg's file", "", "triggers=interest File\n", "triggers"},
		{"info file", "", "a:b=x", "cannot hold"},
	} {
		var files []string
		if tt.files != "" {
			files = []string{tt.files}
		}
		_, err := WriteLayer(io.Discard, debOf(t, "hostile", tt.control, files, etc...), Recipe{})
		if !errors.Is(err, deb.ErrMalformed) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A package of a million entries, one of many bytes and one of long paths take bounded memory.
func TestLayerMemory(t *testing.T) {
	control := controlTar(t, "big", "", nil)
	one := dataTar(t, reg("a", ""))[:tarBlock]
	header := func(name string, size int) []byte {
		b := bytes.Clone(one)
		copy(b[:100], name+"\x00")
		copy(b[124:136], fmt.Sprintf("%011o\x00", size))
		sum := 8 * 32
		for i, c := range b {
			if i < 148 || i >= 156 {
				sum += int(c)
			}
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		return b
	}
	open := func(size int64, data io.Reader) Deb {
		frame := arOf(control, nil)
		frame = append(frame[:len(frame)-60], fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", "data.tar", 0, 0, 0, "100644", size)...)
		return Deb{Open: func() (io.ReadCloser, error) { return io.NopCloser(io.MultiReader(bytes.NewReader(frame), data)), nil }}
	}
	var i int
	million := readerFunc(func() []byte {
		if i++; i > 1_000_000 {
			return nil
		}
		return header(fmt.Sprintf("usr/share/icons/%d", i), 0)
	})
	const gib = 1 << 30
	var left = int64(gib)
	large := io.MultiReader(bytes.NewReader(header("usr/lib/libx.so.1", gib)), bytes.NewReader([]byte("\x7fELF")), readerFunc(func() []byte {
		if left -= 1 << 20; left < 0 {
			return nil
		}
		return make([]byte, 1<<20)
	}))
	for _, tt := range []struct {
		name string
		deb  Deb
		says string
		most uint64
	}{
		{"million entries", open(1_000_000*tarBlock, million), "entries", 256 << 20},
		{"1 GiB", open(tarBlock+gib, io.LimitReader(large, tarBlock+gib)), "", 64 << 20},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		n, err := WriteLayer(io.Discard, tt.deb, Recipe{})
		runtime.GC()
		runtime.ReadMemStats(&after)
		if (err == nil) != (tt.says == "") || err != nil && (!errors.Is(err, deb.ErrMalformed) || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if grown := after.HeapSys - min(before.HeapSys, after.HeapSys); grown > tt.most {
			t.Errorf("%s: the heap grew by %d MiB", tt.name, grown>>20)
		}
		runtime.KeepAlive(n)
	}
}

// readerFunc reads what calls of a function give; nil ends it.
func readerFunc(next func() []byte) io.Reader {
	r, w := io.Pipe()
	go func() {
		for {
			b := next()
			if b == nil {
				w.Close()
				return
			}
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}()
	return r
}

// What is excluded is missing in the layer and stays in dpkg's list and sums; directories are there if something in them
// is, as the package has them; the content of a hard link goes to the first name that stays.
func TestExclude(t *testing.T) {
	t.Parallel()
	x, err := ParseExclude([]string{"man", "docs", "/usr/lib/first/*", "docs"})
	if err != nil {
		t.Fatal(err)
	}
	if x.String() != "docs man usr/lib/first/*" {
		t.Errorf("canonical form %q", x)
	}
	layer, n := layerOf(t, debOf(t, "x", "", nil,
		dir("usr/"), dir("usr/share/"), dir("usr/share/doc/"), entry("usr/share/doc/x/", tar.TypeDir, "", 0o700, 3), reg("usr/share/doc/x/README", "r"), reg("usr/share/doc/x/copyright", "c"), sym("usr/share/doc/y", "x"),
		dir("usr/share/man/"), dir("usr/share/man/man1/"), reg("usr/share/man/man1/x.1", "m"),
		dir("usr/lib/"), dir("usr/lib/first/"), reg("usr/lib/first/a", "the content"), hard("usr/lib/first/b", "usr/lib/first/a"), hard("usr/lib/c", "usr/lib/first/b"), hard("usr/lib/d", "usr/lib/first/a"), hard("usr/lib/e", "usr/lib/c")),
		Recipe{Exclude: x})
	const want = `5 755 0/0 0 usr/
5 755 0/0 0 usr/share/
5 755 0/0 0 usr/share/doc/
5 700 3/0 0 usr/share/doc/x/
0 644 0/0 1 usr/share/doc/x/copyright
5 755 0/0 0 usr/share/man/
5 755 0/0 0 usr/lib/
5 755 0/0 0 usr/lib/first/
0 644 0/0 11 usr/lib/c
1 644 0/0 0 usr/lib/d -> usr/lib/c
1 644 0/0 0 usr/lib/e -> usr/lib/c
2 777 0/0 0 usr/share/doc/y -> x
`
	got := spelled(t, layer)
	if before, _, _ := strings.Cut(got, "5 755 0/0 0 var/\n"); before != want {
		t.Errorf("the layer has\n%s", before)
	}
	if s := contentOf(t, layer, "usr/lib/c"); s != "the content" {
		t.Errorf("content %q", s)
	}
	list := contentOf(t, layer, "var/lib/dpkg/info/x.list")
	sums := contentOf(t, layer, "var/lib/dpkg/info/x.md5sums")
	for _, p := range []string{"usr/share/doc/x/README", "usr/share/man/man1/x.1", "usr/lib/first/a"} {
		if !strings.Contains(list, "/"+p+"\n") || !strings.Contains(sums, "  "+p+"\n") {
			t.Errorf("%s is missing in the list or the sums", p)
		}
	}
	if again, err := ParseNote(n.Encode()); err != nil || !bytes.Equal(again.Encode(), n.Encode()) {
		t.Errorf("note: %v", err)
	}
	if x, err = ParseExclude([]string{"usr/share/doc/*"}); err != nil {
		t.Fatal(err)
	}
	layer, _ = layerOf(t, debOf(t, "x", "", nil, dir("usr/"), dir("usr/share/"), dir("usr/share/doc/"), entry("usr/share/doc/x/", tar.TypeDir, "", 0o700, 3), reg("usr/share/doc/x/README", "r"), reg("usr/share/doc/x/copyright", "c"), dir("usr/share/doc/y/")), Recipe{Exclude: x})
	if got := spelled(t, layer); !strings.Contains(got, "usr/share/doc/\n5 700 3/0 0 usr/share/doc/x/\n0 644 0/0 1 usr/share/doc/x/copyright\n5 755 0/0 0 var/\n") {
		t.Errorf("an excluded directory with something in it:\n%s", got)
	}
	for _, w := range []string{"", "nothing", "a b/c", "a/[", "a/\\"} {
		if _, err := ParseExclude([]string{w}); err == nil {
			t.Errorf("%q is taken", w)
		}
	}
}

// Names of every length come back by Go's own reader, in the form that SPEC.md has for them.
func TestTarNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		form string // "plain", "prefix LEN" or "PAX"
	}{
		{strings.Repeat("x", 100), "plain"},
		{strings.Repeat("x", 101), "PAX"},
		{"d/" + strings.Repeat("x", 99), "prefix 1"},
		{"d/" + strings.Repeat("x", 100), "prefix 1"},
		{"d/" + strings.Repeat("x", 101), "PAX"},
		{strings.Repeat("d", 155) + "/x", "prefix 155"},
		{strings.Repeat("d", 156) + "/x", "PAX"},
		{strings.Repeat("d", 155) + "/" + strings.Repeat("x", 100), "prefix 155"},
		{strings.Repeat("d", 60) + "/" + strings.Repeat("e", 60) + "/x", "prefix 121"},
		{strings.Repeat("\xff/", 60) + "\n", "prefix 119"},
	} {
		for _, kind := range []byte{tar.TypeReg, tar.TypeSymlink} {
			e := Entry{Path: tt.name, Type: kind, Mode: 0o644}
			if kind == tar.TypeSymlink {
				e.Link = tt.name
			}
			var b bytes.Buffer
			w := NewTarWriter(&b)
			if err := w.Entry(&e); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := entriesOf(t, b.Bytes())
			if len(got) != 1 || got[0].Name != tt.name || got[0].Linkname != e.Link || got[0].Typeflag != kind {
				t.Errorf("%q came back as %+v", tt.name, got)
			}
			form := "plain"
			if h := b.Bytes(); h[156] == tar.TypeXHeader {
				form = "PAX"
			} else if h[345] != 0 {
				form = fmt.Sprintf("prefix %d", len(cString(h[345:500])))
			}
			if len(e.Link) > 100 {
				if form != "PAX" {
					t.Errorf("link to %q: %s", tt.name, form)
				}
			} else if form != tt.form {
				t.Errorf("%q: %s, not %s", tt.name, form, tt.form)
			}
		}
	}
}

// An owner that ustar has no room for comes back as it is; what no form has room for is an error, and never another number.
func TestTarNumbers(t *testing.T) {
	t.Parallel()
	for _, id := range []int{0, 1<<21 - 1, 1 << 21, 3000000, 1<<32 - 3} {
		for _, e := range []Entry{{UID: id, GID: 7}, {UID: 7, GID: id}, {UID: id, GID: id, Link: strings.Repeat("x", 101)}} {
			e.Path, e.Type, e.Mode = "d/"+strings.Repeat("y", 101), tar.TypeReg, 0o644
			if e.Link != "" {
				e.Type = tar.TypeSymlink
			}
			var b bytes.Buffer
			w := NewTarWriter(&b)
			if err := w.Entry(&e); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := entriesOf(t, b.Bytes())
			if len(got) != 1 || got[0].Uid != e.UID || got[0].Gid != e.GID || got[0].Name != e.Path || got[0].Linkname != e.Link {
				t.Errorf("%d:%d came back as %+v", e.UID, e.GID, got)
			}
		}
	}
	for name, e := range map[string]Entry{
		"time before 1970": {ModTime: -1}, "time": {ModTime: 1 << 33}, "size": {Size: 1 << 33}, "owner": {UID: -1}, "group": {GID: -1}, "mode": {Mode: 1 << 21},
	} {
		e.Path, e.Type = "some/path", tar.TypeReg
		if err := NewTarWriter(io.Discard).Entry(&e); err == nil || !strings.Contains(err.Error(), "some/path") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
