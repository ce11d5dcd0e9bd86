package rpm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

func readAll(t *testing.T, text string) ([]Package, error) {
	t.Helper()
	var out []Package
	err := ReadPrimary(strings.NewReader(text), func(p Package) error {
		out = append(out, p)
		return nil
	})
	return out, err
}

const head = `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
`

// pkgXML is a package as createrepo_c writes it.
func pkgXML(change ...string) string {
	text := `<package type="rpm">
  <name>hello</name>
  <arch>x86_64</arch>
  <version epoch="2" ver="1.0~rc1" rel="3.fc39"/>
  <checksum type="sha256" pkgid="YES">` + strings.Repeat("ab", 32) + `</checksum>
  <summary>Hello &amp; bye</summary>
  <description>x &lt; y</description>
  <time file="1" build="2"/>
  <size package="6210" installed="1" archive="2"/>
  <location href="Packages/h/hello-1.0~rc1-3.fc39.x86_64.rpm"/>
  <format>
    <rpm:license>MIT</rpm:license>
    <rpm:sourcerpm>greetings-1.0~rc1-3.fc39.src.rpm</rpm:sourcerpm>
    <rpm:provides><rpm:entry name="hello" flags="EQ" epoch="2" ver="1.0~rc1" rel="3.fc39"/></rpm:provides>
    <file>/usr/bin/hello</file>
  </format>
</package>
`
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			panic("nothing to change: " + change[i])
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	return text
}

func TestPrimary(t *testing.T) {
	t.Parallel()
	got, err := readAll(t, head+pkgXML()+pkgXML(`epoch="2"`, `epoch="0"`, "greetings-1.0~rc1-3.fc39.src.rpm", "", `href="Packages`, `href="./Packages`, `package="6210" `, "")+"</metadata>\n")
	if err != nil {
		t.Fatal(err)
	}
	sum := Checksum{SHA256, strings.Repeat("ab", 32)}
	want := []Package{
		{"hello", "x86_64", "2:1.0~rc1-3.fc39", "greetings", "Packages/h/hello-1.0~rc1-3.fc39.x86_64.rpm", sum, 6210},
		{"hello", "x86_64", "1.0~rc1-3.fc39", "hello", "Packages/h/hello-1.0~rc1-3.fc39.x86_64.rpm", sum, -1},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// What no program writes is refused with the line; nothing of it is guessed at.
func TestMalformedPrimary(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":                   "",
		"no XML":                  "Package: hello\n",
		"another root":            "<repomd/>",
		"cut off":                 head + pkgXML(),
		"entity":                  head + pkgXML("hello", "&lol;") + "</metadata>",
		"doctype":                 "<!DOCTYPE metadata [<!ENTITY a \"b\">]>" + head[39:] + "</metadata>",
		"another encoding":        strings.Replace(head, "UTF-8", "ISO-8859-1", 1) + "</metadata>",
		"two roots":               head + "</metadata><metadata/>",
		"text behind":             head + "</metadata>x",
		"foreign namespace":       head + `<x:package xmlns:x="http://example.org/x"/></metadata>`,
		"foreign name":            head + pkgXML("<name>", `<x:name xmlns:x="urn:x">`, "</name>", "</x:name>") + "</metadata>",
		"foreign default":         `<metadata xmlns="http://example.org/"></metadata>`,
		"two names":               head + pkgXML("<arch>", "<name>other</name><arch>") + "</metadata>",
		"two locations":           head + pkgXML("<format>", `<location href="b.rpm"/><format>`) + "</metadata>",
		"no name":                 head + pkgXML("<name>hello</name>", "") + "</metadata>",
		"no version":              head + pkgXML(`ver="1.0~rc1"`, "") + "</metadata>",
		"no checksum":             head + pkgXML(` type="sha256" pkgid="YES">`+strings.Repeat("ab", 32), ">") + "</metadata>",
		"short checksum":          head + pkgXML("abab", "ab") + "</metadata>",
		"md5":                     head + pkgXML(`type="sha256" pkgid="YES">`+strings.Repeat("ab", 32), `type="md5">`+strings.Repeat("ab", 16)) + "</metadata>",
		"element in a name":       head + pkgXML("<name>hello", "<name><b/>hello") + "</metadata>",
		"name with a slash":       head + pkgXML("<name>hello", "<name>../hello") + "</metadata>",
		"name with a blank":       head + pkgXML("<name>hello", "<name>hello world") + "</metadata>",
		"negative size":           head + pkgXML(`"6210"`, `"-1"`) + "</metadata>",
		"size beyond all":         head + pkgXML(`"6210"`, `"99999999999999999999"`) + "</metadata>",
		"up":                      head + pkgXML("Packages/h", "../h") + "</metadata>",
		"up in the middle":        head + pkgXML("Packages/h", "Packages/../../h") + "</metadata>",
		"up, decoded":             head + pkgXML("Packages/h", "%2e%2e/h") + "</metadata>",
		"absolute":                head + pkgXML("Packages/h", "/h") + "</metadata>",
		"elsewhere":               head + pkgXML("Packages/h", "http://example.org/h") + "</metadata>",
		"base":                    head + pkgXML(`<location href`, `<location xml:base="http://example.org/" href`) + "</metadata>",
		"query":                   head + pkgXML("Packages/h", "get?f=") + "</metadata>",
		"half an escape":          head + pkgXML("Packages/h", "a%2/h") + "</metadata>",
		"control character":       head + pkgXML("Packages/h", "a%0ab/h") + "</metadata>",
		"no href":                 head + pkgXML(` href="Packages/h/hello-1.0~rc1-3.fc39.x86_64.rpm"`, "") + "</metadata>",
		"no rpm":                  head + pkgXML(".x86_64.rpm", ".x86_64.deb") + "</metadata>",
		"among the metadata":      head + pkgXML("Packages/h", "repodata") + "</metadata>",
		"attribute without quote": head + `<package type=rpm></package></metadata>`,
		"mismatched ends":         head + "<package></metadata></package>",
		"NUL":                     head + pkgXML("hello", "he\x00llo") + "</metadata>",
		"no UTF-8":                head + pkgXML("hello", "he\xffllo") + "</metadata>",
	} {
		_, err := readAll(t, text)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(fmt.Sprint(err), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endless repeats a text for ever, behind a beginning.
type endless struct {
	begin, text string
	n           int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.begin)
	e.begin = e.begin[n:]
	for at := 0; n < len(p) && len(e.begin) == 0; {
		at = int((e.n) % int64(len(e.text)))
		m := copy(p[n:], e.text[at:])
		n += m
		e.n += int64(m)
	}
	return n, nil
}

// Hostile documents end in an error, in bounded memory, however long they are.
func TestHostileXML(t *testing.T) {
	for name, c := range map[string]struct {
		in   io.Reader
		want string
	}{
		"elements":          {&endless{begin: head, text: "<a/>"}, "more than 1000000 elements"},
		"packages' insides": {&endless{begin: head + "<package>", text: "<a></a>"}, "more than 1000000 elements"},
		"depth":             {&endless{begin: head, text: "<a>"}, "nested more than 32 deep"},
		"a name":            {&endless{begin: head + "<", text: "a"}, "more than 1048576 bytes"},
		"an attribute":      {&endless{begin: head + `<a b="`, text: "c"}, "more than 1048576 bytes"},
		"attributes":        {&endless{begin: head + "<a ", text: `xmlns:b="c" `}, "more than 1048576 bytes"},
		"a text":            {&endless{begin: head, text: "text"}, "more than 1048576 bytes"},
		"a used text":       {&endless{begin: head + "<package><name>", text: "<!---->name"}, "more than 4096 bytes"},
		"a comment":         {&endless{begin: head + "<!--", text: "text"}, "more than 1048576 bytes"},
		"CDATA":             {&endless{begin: head + "<![CDATA[", text: "text"}, "more than 1048576 bytes"},
		"an instruction":    {&endless{begin: head + "<?x", text: "text"}, "more than 1048576 bytes"},
		"an entity":         {&endless{begin: head + "&", text: "text"}, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			s := newScanner("primary.xml", c.in)
			s.limit = MaxElements / 10 // an end-to-end script has all of them
			err := readPrimary(s, func(Package) error { return nil })
			grown := int64(heap()) - int64(before)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("%v, should be about %q", err, c.want)
			}
			if grown > 16<<20 {
				t.Errorf("it took %d bytes", grown)
			}
		})
	}
}

// heap is what is in use, garbage of the last moments included.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// An error of the source is no malformed document, and nothing of the reader's own.
func TestSourceError(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	err := ReadPrimary(io.MultiReader(strings.NewReader(head), errReader{broken}), func(Package) error { return nil })
	if !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	err = ReadPrimary(strings.NewReader(head+pkgXML()+"</metadata>"), func(Package) error { return broken })
	if err != broken {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

const repomd = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1700000000</revision>
  <data type="primary">
    <checksum type="sha256">AA</checksum>
    <open-checksum type="sha">BB</open-checksum>
    <location href="repodata/primary.xml.gz"/>
    <timestamp>1700000001.5</timestamp>
    <size>134</size>
    <open-size>167</open-size>
  </data>
  <data type="filelists">
    <checksum type="sha512">CC</checksum>
    <location href="repodata/filelists.xml.zst"/>
    <timestamp>1700000009</timestamp>
  </data>
</repomd>
`

func repomdXML(change ...string) string {
	text := strings.NewReplacer("AA", strings.Repeat("ab", 32), "BB", strings.Repeat("cd", 20), "CC", strings.Repeat("ef", 64)).Replace(repomd)
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			panic("nothing to change: " + change[i])
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	return text
}

func TestRepomd(t *testing.T) {
	t.Parallel()
	x, err := ReadRepomd(strings.NewReader(repomdXML()))
	if err != nil {
		t.Fatal(err)
	}
	p := x.Primary()
	if p.Path != "repodata/primary.xml.gz" || p.Size != 134 || p.OpenSize != 167 || p.Checksum.String() != "sha256:"+strings.Repeat("ab", 32) || p.Open.String() != "sha1:"+strings.Repeat("cd", 20) {
		t.Errorf("primary is %+v", p)
	}
	if f := x.Find("filelists"); f.Size != -1 || f.OpenSize != -1 || f.Open != (Checksum{}) || f.Checksum.Type != "sha512" {
		t.Errorf("filelists is %+v", f)
	}
	if got := x.Newest().Unix(); got != 1700000009 {
		t.Error("newest:", got)
	}
	x, err = ReadRepomd(strings.NewReader(repomdXML("<timestamp>1700000001.5</timestamp>", "", "<timestamp>1700000009</timestamp>", "")))
	if err != nil || x.Newest().Unix() != 1700000000 {
		t.Error("without timestamps the revision counts:", x, err)
	}
	x, err = ReadRepomd(strings.NewReader(repomdXML("<timestamp>1700000001.5</timestamp>", "", "<timestamp>1700000009</timestamp>", "", "1700000000", "v7")))
	if err != nil || !x.Newest().IsZero() {
		t.Error("a revision that is no time:", x, err)
	}
}

func TestMalformedRepomd(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":              "",
		"no primary":         repomdXML(`"primary"`, `"other"`),
		"two primaries":      repomdXML(`"filelists"`, `"primary"`),
		"one path, two sums": repomdXML("filelists.xml.zst", "primary.xml.gz"),
		"itself":             repomdXML("filelists.xml.zst", "repomd.xml"),
		"its signature":      repomdXML("filelists.xml.zst", "repomd.xml.asc"),
		"no checksum":        repomdXML(`<checksum type="sha256">`+strings.Repeat("ab", 32)+"</checksum>", ""),
		"no location":        repomdXML(`<location href="repodata/primary.xml.gz"/>`, ""),
		"no type":            repomdXML(` type="primary"`, ""),
		"two sizes":          repomdXML("<size>134</size>", "<size>134</size><size>135</size>"),
		"no number":          repomdXML("134", "many"),
		"no time":            repomdXML("1700000009", "yesterday"),
		"base":               repomdXML(`<location href="repodata/primary`, `<location xml:base="http://example.org/" href="repodata/primary`),
		"foreign":            repomdXML("http://linux.duke.edu/metadata/repo", "http://example.org/"),
		"doctype":            repomdXML("<repomd", "<!DOCTYPE repomd><repomd"),
	} {
		if _, err := ReadRepomd(strings.NewReader(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const metalink = `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files>
  <file name="repomd.xml">
   <mm0:timestamp>1700000000</mm0:timestamp>
   <size>4</size>
   <verification><hash type="md5">8d777f385d3dfec8815d20f7496026dc</hash><hash type="sha256">3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7</hash></verification>
   <mm0:alternates><mm0:alternate><mm0:timestamp>1</mm0:timestamp><verification><hash type="sha1">7c4a8d09ca3762af61e59520943dc26494f8941b</hash></verification></mm0:alternate></mm0:alternates>
   <resources maxconnections="1">
    <url protocol="rsync" type="rsync" preference="100">rsync://mirror.example.org/x/repodata/repomd.xml</url>
    <url protocol="http" type="http" preference="90">http://b.example.org/x/repodata/repomd.xml</url>
    <url protocol="https" type="https" location="DE" preference="95">https://a.example.org/x/repodata/repomd.xml</url>
    <url protocol="https" type="https" preference="95">https://a.example.org/elsewhere/other.xml</url>
   </resources>
  </file>
 </files>
</metalink>
`

func TestMetalink(t *testing.T) {
	t.Parallel()
	m, err := ReadMetalink(strings.NewReader(metalink))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.URLs, " "); got != "https://a.example.org/x http://b.example.org/x" {
		t.Error(got)
	}
	if !m.Knows([]byte("data")) || !m.Knows([]byte("123456")) || m.Knows([]byte("other")) {
		t.Errorf("it knows by %v and %v", m.Current, m.Alternates)
	}
	for name, change := range map[string][2]string{
		"md5 alone":       {`<hash type="sha256">3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7</hash>`, ""},
		"no file":         {`name="repomd.xml"`, `name="other.xml"`},
		"two files":       {"</file>", `</file><file name="repomd.xml"></file>`},
		"foreign":         {"http://www.metalinker.org/", "urn:ietf:params:xml:ns:metalink"},
		"no metalink":     {"metalink version", "html version"},
		"cut off":         {"</metalink>", ""},
		"no usable place": {"repodata/repomd.xml</url>", "x</url>"},
	} {
		text := strings.ReplaceAll(metalink, change[0], change[1])
		if _, err := ReadMetalink(strings.NewReader(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadMetalink(&endless{begin: metalink[:strings.Index(metalink, "<resources")], text: "<!-- -->"}); err == nil {
		t.Error("an endless one is read")
	}
}

// An end that comes early is an error in every compression; so is more than was announced.
func TestDecompress(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("hello\n"), 1000)
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(plain)
	z.Close()
	files := map[string][]byte{"p.xml": plain, "p.xml.gz": gz.Bytes()}
	for _, ending := range []string{"xz", "zst", "bz2"} {
		data, err := os.ReadFile("testdata/hello.xml." + ending)
		if err != nil {
			t.Fatal(err)
		}
		files["p.xml."+ending] = data
	}
	read := func(name string, data []byte, limit int64) ([]byte, error) {
		r, err := Decompress(name, bytes.NewReader(data), limit)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	for name, data := range files {
		if got, err := read(name, data, int64(len(plain))); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if _, err := read(name, data, int64(len(plain))-1); err == nil {
			t.Errorf("%s: longer than announced, and no error", name)
		}
		if name == "p.xml" {
			continue
		}
		for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
			if _, err := read(name, data[:n], 1<<20); err == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for the whole", name, n, len(data))
			}
		}
	}
	if _, err := read("p.xml.lz4", plain, 1<<20); !errors.Is(err, ErrMalformed) {
		t.Error("an unknown compression:", err)
	}
}

func FuzzRepomd(f *testing.F) {
	f.Add([]byte(repomdXML()))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ReadRepomd(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
			return
		}
		for _, d := range x.Data {
			judge(t, d.Path, d.Checksum)
		}
	})
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(head + pkgXML() + "</metadata>"))
	f.Add([]byte(head + pkgXML(` type="rpm"`, "", `epoch="2"`, "") + "</metadata>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := ReadPrimary(bytes.NewReader(data), func(p Package) error {
			judge(t, p.Path, p.Checksum)
			if !word(p.Name) || !word(p.Version) || !word(p.Arch) || !word(p.Source) {
				t.Errorf("%v", p)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

// judge holds what was read against what everybody relies on.
func judge(t *testing.T, path string, c Checksum) {
	t.Helper()
	if strings.HasPrefix(path, "/") || strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "/./") || strings.Contains(path, "//") || strings.ContainsAny(path, "\x00\n") {
		t.Errorf("path %q", path)
	}
	if c.New() == nil || len(c.Hex) != 2*c.New().Size() {
		t.Errorf("checksum %q", c)
	}
}

func FuzzMetalink(f *testing.F) {
	f.Add([]byte(metalink))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMetalink(bytes.NewReader(data))
		if err == nil && (len(m.URLs) == 0 || len(m.Current) == 0) {
			t.Errorf("%+v", m)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, errTooLong) {
			t.Error(err)
		}
	})
}

func FuzzLocation(f *testing.F) {
	for _, s := range []string{"a.rpm", "./a/b.rpm", "%2e%2e/a", "a%2Fb", "a//b", "a/./b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, href string) {
		if p, err := Location(href); err == nil {
			judge(t, p, Checksum{SHA256, strings.Repeat("0", 64)})
		}
	})
}
