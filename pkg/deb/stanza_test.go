package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pault.ag/go/debian/control"
)

const dockerStanza = `Package: docker-ce
Version: 5:20.10.9~3-0~debian-bookworm
architecture: amd64
Depends: containerd.io (>= 1.6.4), iptables,
 libc6 (>= 2.34)
Description: Docker: the open-source application container engine
 Docker is a product for you.
 .
 Really.
Size : 36
Empty:
`

func TestStanzaGet(t *testing.T) {
	t.Parallel()
	s := Stanza(dockerStanza)
	for _, c := range []struct{ field, want string }{
		{"Package", "docker-ce"},
		{"pACKAGE", "docker-ce"},
		{"Version", "5:20.10.9~3-0~debian-bookworm"},
		{"Architecture", "amd64"},
		{"Depends", "containerd.io (>= 1.6.4), iptables,\n libc6 (>= 2.34)"},
		{"Description", "Docker: the open-source application container engine\n Docker is a product for you.\n .\n Really."},
		{"Size", "36"},
		{"Empty", ""},
		{"", ""},
		{"Pack", ""},
		{"Package:", ""},
		{" Docker", ""},
		{"Nothing", ""},
	} {
		if got := s.Get(c.field); got != c.want {
			t.Errorf("Get(%q) = %q, want %q", c.field, got, c.want)
		}
		if v := make([]string, 2); c.field != "" {
			s.Values(v, "Version", c.field)
			if v[1] != c.want || v[0] != s.Get("Version") {
				t.Errorf("Values(%q) = %q", c.field, v)
			}
		}
	}
	var names []string
	for name := range s.Fields() {
		names = append(names, name)
	}
	want := []string{"Package", "Version", "architecture", "Depends", "Description", "Size", "Empty"}
	if !slices.Equal(names, want) {
		t.Errorf("fields %q, want %q", names, want)
	}
}

func TestStanzaGetEdges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, field, want string }{
		{"A:b", "A", "b"},
		{"A:b\r\nB: c\r\n", "A", "b"},
		{"A:b\r\nB: c\r\n", "B", "c"},
		{"A:\n b\n c", "A", "b\n c"},
		{"A:", "A", ""},
		{"A", "A", ""},
		{"", "A", ""},
		{"AB: 1\nA: 2\n", "A", "2"},
		{"A B: 1\nA: 2\n", "A", "2"},
		{"X: 1\n A: 2\nA: 3\n", "A", "3"},
		{"X: 1\n\tA: 2\n", "A", ""},
	} {
		if got := Stanza(c.text).Get(c.field); got != c.want {
			t.Errorf("%q: Get(%q) = %q, want %q", c.text, c.field, got, c.want)
		}
	}
}

func TestStanzaSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, name, version string }{
		{"Package: a\nVersion: 1\n", "a", "1"},
		{"Package: a\nVersion: 1\nSource: b\n", "b", "1"},
		{"Package: a\nVersion: 1+b1\nSource: b (1)\n", "b", "1"},
		{"Package: a\nVersion: 1+b1\nsource: b(1:2-3 )\n", "b", "1:2-3"},
		{"Package: a\nVersion: 1\nSource: b (\n", "b", "1"},
		{"Package: a\nVersion: 1\nSource: b ()\n", "b", "1"},
		{"Package: a\nVersion: 1\nSource:\n", "a", "1"},
	} {
		if name, version := Stanza(c.text).Source(); name != c.name || version != c.version {
			t.Errorf("%q: %s %s, want %s %s", c.text, name, version, c.name, c.version)
		}
	}
}

func TestStanzaAppend(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"A: b\n": "A: b\n\n", "A: b": "A: b\n\n"} {
		if got := string(Stanza(in).Append(nil)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// scan gives stanzas as "offset:line:text" and faults as "offset:line:!error".
func scan(data string) []string {
	var out []string
	for sc := NewScanner([]byte(data)); ; {
		s, err := sc.Next()
		if err == io.EOF {
			return out
		}
		text := string(s)
		if err != nil {
			text = "!" + err.Error()
		}
		out = append(out, fmt.Sprintf("%d:%d:%s", sc.Offset(), sc.Line(), text))
	}
}

func TestScanner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"\n \n\r\n\t\n", nil},
		{"A: 1", []string{"0:1:A: 1"}},
		{"A: 1\n", []string{"0:1:A: 1\n"}},
		{"A: 1\n\nA: 2\n\n", []string{"0:1:A: 1\n", "6:3:A: 2\n"}},
		{"\n\nA: 1\n\n\n\nB: 2", []string{"2:3:A: 1\n", "10:7:B: 2"}},
		{"A: 1\n \t \nB: 2\n", []string{"0:1:A: 1\n", "9:3:B: 2\n"}},
		{"A: 1\r\n\r\nB: 2\r\n", []string{"0:1:A: 1\r\n", "8:3:B: 2\r\n"}},
		{"A: 1\n b\n .\n\tc\nB:\n", []string{"0:1:A: 1\n b\n .\n\tc\nB:\n"}},
		{"A : 1\nX-b#c: 2\n", []string{"0:1:A : 1\nX-b#c: 2\n"}},
		{"A: 1\nB: 2\na: 3\nA: 4\n\nC: 1\n", []string{`0:1:!line 3: field "a": field occurs twice`, "21:6:C: 1\n"}},
		{"Package: p\nA: 1\nA : 1\n", []string{`0:1:!line 3: package "p": field "A": field occurs twice`}},
		{"Package: p\nno colon\nB: 2\n\nC: 1\n", []string{`0:1:!line 2: package "p": line without a colon`, "26:5:C: 1\n"}},
		{" A: 1\nB: 2\n", []string{`0:1:!line 1: continuation line before the first field`}},
		{"A: 1\n: 2\n", []string{`0:1:!line 2: malformed field name`}},
		{"A: 1\nB c: 2\n", []string{`0:1:!line 2: malformed field name`}},
		{"\xef\xbb\xbfA: 1\n", []string{`0:1:!line 1: malformed field name`}},
		{"# comment\nA: 1\n", []string{`0:1:!line 1: line without a colon`}},
		{"# comment: x\nA: 1\n", []string{`0:1:!line 1: malformed field name`}},
		{"-A: 1\n", []string{`0:1:!line 1: malformed field name`}},
		{"A: 1\n\nB: 1\nC: 2\x003\n\nD: 1\n", []string{"0:1:A: 1\n", `6:3:!line 4: NUL byte`, "19:6:D: 1\n"}},
		{"A: 1\n\x00", []string{`0:1:!line 2: line without a colon`}},
		{"A: 1\n\nB: 1\n \x00\n\nC: 1\n \x00\n", []string{"0:1:A: 1\n", `6:3:!line 4: NUL byte`, `15:6:!line 7: NUL byte`}},
	} {
		if got := scan(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestScannerLimits(t *testing.T) {
	t.Parallel()
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "F%d: x\n", i)
		}
		return b.String()
	}
	line := func(n int) string { return "A:" + strings.Repeat("x", n-2) + "\n" }
	lines := func(n int) string { return "A:\n" + strings.Repeat(" "+strings.Repeat("x", 30)+"\n", n/32) }
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"fields at limit", fields(MaxFields), nil},
		{"fields over limit", fields(MaxFields + 1), errFieldsMany},
		{"line at limit", line(MaxLine), nil},
		{"line over limit", line(MaxLine + 1), errLineLong},
		{"continuation over limit", "A:\n " + strings.Repeat("x", MaxLine) + "\n", errLineLong},
		{"stanza at limit", lines(MaxStanza - 32), nil},
		{"stanza over limit", lines(MaxStanza), errStanzaLong},
	} {
		n := 0
		for s, err := range Stanzas([]byte(c.in + "\nNext: 1\n")) {
			n++
			if n == 1 && (!errors.Is(err, c.err) || (err == nil) != (s != nil)) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			if n == 2 && (err != nil || s.Get("Next") != "1") {
				t.Errorf("%s: reading did not go on: %v", c.name, err)
			}
		}
		if n != 2 {
			t.Errorf("%s: %d stanzas", c.name, n)
		}
	}
}

func TestStanzasStops(t *testing.T) {
	t.Parallel()
	n := 0
	for range Stanzas([]byte("A: 1\n\nB: 2\n\nC: 3\n")) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d stanzas", n)
	}
}

// A stanza must not reach into the next one when it is appended to.
func TestStanzaHasNoRoom(t *testing.T) {
	t.Parallel()
	data := []byte("A: 1\n\nB: 2\n")
	for s := range Stanzas(data) {
		_ = append(s, "overwritten"...)
	}
	if string(data) != "A: 1\n\nB: 2\n" {
		t.Errorf("data became %q", data)
	}
}

func FuzzStanzas(f *testing.F) {
	for _, s := range []string{
		dockerStanza + "\n" + dockerStanza, "A: 1\n\nB: 2", "A: 1\r\n\r\nA: 2\r\n", "A: 1\n \nA: 2", " x\n\nA: 1\na: 2\n\nB\n", "A: \x00\n\n# x\n",
		"Package : x\nPackage: y\n", "A:\n b\n\tc\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		var good [][]byte
		at, whole := 0, true
		for sc := NewScanner(data); ; {
			s, err := sc.Next()
			if err == io.EOF {
				break
			}
			if sc.Offset() < at || sc.Line() != 1+bytes.Count(data[:sc.Offset()], []byte("\n")) {
				t.Fatalf("offset %d after %d, line %d", sc.Offset(), at, sc.Line())
			}
			at = sc.Offset() + 1
			if err != nil {
				var e *StanzaError
				if !errors.As(err, &e) || s != nil || e.Line < sc.Line() || e.Offset != sc.Offset() {
					t.Fatalf("error %#v with stanza %q", err, s)
				}
				whole = false
				continue
			}
			if len(s) == 0 || !bytes.HasPrefix(data[sc.Offset():], s) {
				t.Fatalf("stanza %q is not at %d", s, sc.Offset())
			}
			at = sc.Offset() + len(s)
			good = append(good, s)
			checkFields(t, s)
		}
		if !bytes.Equal(before, data) {
			t.Fatal("data modified")
		}
		if whole {
			compareParagraphs(t, data, good)
		}
	})
}

// checkFields checks that the ways to read a stanza agree.
func checkFields(t *testing.T, s Stanza) {
	t.Helper()
	n := 0
	for name, value := range s.Fields() {
		n++
		if s.Get(strings.ToUpper(name)) != value {
			t.Fatalf("%q: Get(%q) is %q, not %q", s, name, s.Get(name), value)
		}
		var v [1]string
		if s.Values(v[:], strings.ToLower(name)); v[0] != value {
			t.Fatalf("%q: Values(%q) is %q, not %q", s, name, v[0], value)
		}
	}
	if n == 0 {
		t.Fatalf("%q: no field", s)
	}
	again, err := NewScanner(s.Append(nil)).Next()
	if err != nil || strings.TrimSuffix(string(again), "\n") != strings.TrimSuffix(string(s), "\n") {
		t.Fatalf("%q: written and read again %q, %v", s, again, err)
	}
}

// compareParagraphs compares with go-debian what it reads alike: no comments,
// no carriage returns, no blanks around field names, no blank lines but empty
// ones, valid in its narrower grammar.
func compareParagraphs(t *testing.T, data []byte, good [][]byte) {
	if bytes.ContainsAny(data, "#\r\t\v\f-\x85\xa0") || bytes.Contains(data, []byte(" :")) || bytes.Contains(data, []byte(" \n")) {
		return
	}
	if bytes.ContainsFunc(data, func(r rune) bool { return r > '~' }) || !bytes.HasSuffix(data, []byte("\n")) {
		return
	}
	r, err := control.NewParagraphReader(bytes.NewReader(data), nil)
	if err != nil {
		return
	}
	paragraphs, err := r.All()
	if err != nil {
		return
	}
	if len(paragraphs) != len(good) {
		t.Fatalf("%q: %d stanzas, go-debian has %d", data, len(good), len(paragraphs))
	}
	for i, p := range paragraphs {
		var names []string
		for name := range Stanza(good[i]).Fields() {
			names = append(names, name)
		}
		if !slices.Equal(names, p.Order) {
			t.Fatalf("%q: fields %q, go-debian has %q", good[i], names, p.Order)
		}
	}
}

// syntheticIndex is an index of about size bytes that resembles Debian's.
func syntheticIndex(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "Package: package-%d\nSource: source-%d (1.%d-1)\nVersion: 1:%d.%d-%d+b1\nInstalled-Size: %d\n", i, i/3, i, i%90, i%7, i%5+1, i%9999)
		b.WriteString("Maintainer: Example Maintainers <maintainers@lists.example.org>\nArchitecture: amd64\n")
		b.WriteString("Depends: libc6 (>= 2.34), libgcc-s1 (>= 3.0), libstdc++6 (>= 12), debconf (>= 0.5) | debconf-2.0, python3:any\n")
		b.WriteString("Recommends: example-data (= 1.2-3), ca-certificates\nDescription: example of a package whose description has one line\n")
		b.WriteString("Multi-Arch: same\nHomepage: https://www.example.org/projects/example\nDescription-md5: 0123456789abcdef0123456789abcdef\n")
		b.WriteString("Tag: devel::library, implemented-in::c++, role::program, scope::utility,\n uitoolkit::gtk, use::searching\nSection: utils\nPriority: optional\n")
		fmt.Fprintf(&b, "Filename: pool/main/p/package-%d/package-%d_%d.%d-%d+b1_amd64.deb\nSize: %d\nMD5sum: 0123456789abcdef0123456789abcdef\n", i, i, i%90, i%7, i%5+1, i)
		b.WriteString("SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\n")
	}
	return b.Bytes()
}

func BenchmarkStanzas(b *testing.B) {
	data := syntheticIndex(50 << 20)
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			for _, err := range Stanzas(data) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("values", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		var v [12]string
		for b.Loop() {
			for s := range Stanzas(data) {
				s.Values(v[:], "Package", "Version", "Architecture", "Source", "Depends", "Pre-Depends", "Provides",
					"Conflicts", "Breaks", "Filename", "Size", "SHA256")
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for s := range Stanzas(data) {
				s.Get("Package")
				s.Get("Depends")
				s.Get("SHA256")
			}
		}
	})
}
