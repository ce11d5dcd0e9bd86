package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// rawEntry is an entry of a tar as it is written, for what archive/tar's writer does not write.
type rawEntry struct {
	name, body string
	kind       byte
	size       string // "": that of body, octal
	magic      string // "": GNU tar's own
	prefix     string
	sum        string // "": the right one
}

func rawTar(entries ...rawEntry) []byte {
	var out bytes.Buffer
	for _, e := range entries {
		var b [tarBlock]byte
		copy(b[:], e.name)
		copy(b[100:], "0000644\x000000000\x000000000\x00")
		size := e.size
		if size == "" {
			size = fmt.Sprintf("%011o", len(e.body))
		}
		copy(b[124:136], size)
		copy(b[136:], "00000000000\x00")
		b[156] = e.kind
		if e.magic == "" {
			e.magic = "ustar  \x00"
		}
		copy(b[257:265], e.magic)
		copy(b[345:500], e.prefix)
		sum := int64(8 * ' ')
		for _, c := range b {
			sum += int64(c)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		if e.sum != "" {
			copy(b[148:156], e.sum)
		}
		out.Write(b[:])
		out.WriteString(e.body)
		out.Write(make([]byte, -len(e.body)&(tarBlock-1)))
	}
	out.Write(make([]byte, 2*tarBlock))
	return out.Bytes()
}

// record is a PAX record.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// TestControlReader: what may stand in a control.tar. What is taken gives the control file that
// dpkg-deb finds in it; of what is refused, two programs may think differently.
func TestControlReader(t *testing.T) {
	t.Parallel()
	control := rawEntry{name: "./control", kind: '0', body: testControl}
	evil := rawEntry{name: "./other", kind: '0', body: "Package: evil\n"}
	dir := rawEntry{name: "./", kind: '5'}
	pax := func(kind byte, records string) rawEntry {
		return rawEntry{name: "PaxHeaders/control", kind: kind, body: records, magic: "ustar\x0000"}
	}
	with := func(e rawEntry, change func(e *rawEntry)) rawEntry {
		change(&e)
		return e
	}
	times := record("mtime", "1700000000.5") + record("uname", "root") + record("SCHILY.dev", "1") + record("LIBARCHIVE.x", "=\n=")
	for _, c := range []struct {
		name string
		tar  []byte
		want string // "": taken
	}{
		{"as dpkg-deb writes it", rawTar(dir, control), ""},
		{"a lone dot", rawTar(with(dir, func(e *rawEntry) { e.name = "." }), control), ""},
		{"old type of a file", rawTar(with(control, func(e *rawEntry) { e.kind = 0 })), ""},
		{"old type of a directory", rawTar(rawEntry{name: "./", kind: 0}, control), ""},
		{"ustar", rawTar(with(control, func(e *rawEntry) { e.magic = "ustar\x0000" })), ""},
		{"no magic", rawTar(with(control, func(e *rawEntry) { e.magic = "\x00" })), ""},
		{"size with blanks", rawTar(with(control, func(e *rawEntry) { e.size = fmt.Sprintf("%11o ", len(e.body)) })), ""},
		{"no end mark", rawTar(control)[:tarBlock*2], ""},
		{"end after one block", rawTar(control)[:tarBlock*3], ""},
		{"something behind the end", append(rawTar(control), rawTar(evil)...), ""},
		{"PAX times and owners", rawTar(pax('x', times), control), ""},
		{"global PAX times and owners", rawTar(pax('g', times), dir, control), ""},
		{"empty PAX header", rawTar(pax('x', ""), control), ""},
		{"times in GNU's format where ustar has a prefix", rawTar(with(control, func(e *rawEntry) { e.prefix = "14531234567" })), ""},

		{"PAX path", rawTar(pax('x', record("path", "./control")), evil, control), `PAX record "path"`},
		{"PAX path among others", rawTar(pax('x', times+record("path", "./x")), control), `PAX record "path"`},
		{"global PAX path", rawTar(pax('g', record("path", "./control")), evil, control), `PAX record "path"`},
		{"PAX linkpath", rawTar(pax('x', record("linkpath", "x")), control), `PAX record "linkpath"`},
		{"PAX size", rawTar(pax('x', record("size", "14")), control), `PAX record "size"`},
		{"sparse by PAX", rawTar(pax('x', record("GNU.sparse.major", "1")), control), `PAX record "GNU.sparse.major"`},
		{"sparse name by PAX", rawTar(pax('x', record("GNU.sparse.name", "./control")), evil), `PAX record "GNU.sparse.name"`},
		{"PAX record too short", rawTar(pax('x', "3 a=b\n"), control), "PAX records that are none"},
		{"PAX record too long", rawTar(pax('x', "99 a=b\n"), control), "PAX records that are none"},
		{"PAX record without a key", rawTar(pax('x', "5 =b\n"), control), "PAX records that are none"},
		{"PAX record without a value", rawTar(pax('x', "4 a\n"), control), "PAX records that are none"},
		{"PAX record of no length", rawTar(pax('x', "0 a=b\n"), control), "PAX records that are none"},
		{"PAX records without end", rawTar(pax('x', strings.Repeat("x", maxRecords+1)), control), "PAX records of"},
		{"GNU long name", rawTar(rawEntry{name: "././@LongLink", kind: 'L', body: "./control\x00"}, evil, control), `type 'L'`},
		{"GNU long link", rawTar(rawEntry{name: "././@LongLink", kind: 'K', body: "x\x00"}, control), `type 'K'`},
		{"GNU sparse", rawTar(with(control, func(e *rawEntry) { e.kind = 'S' })), `type 'S'`},
		{"hard link", rawTar(control, rawEntry{name: "./x", kind: '1'}), `type '1'`},
		{"symbolic link", rawTar(control, rawEntry{name: "./postinst", kind: '2'}), `type '2'`},
		{"device", rawTar(control, rawEntry{name: "./null", kind: '3'}), `type '3'`},
		{"pipe", rawTar(control, rawEntry{name: "./pipe", kind: '6'}), `type '6'`},
		{"contiguous", rawTar(with(control, func(e *rawEntry) { e.kind = '7' })), `type '7'`},
		{"volume", rawTar(rawEntry{name: "x", kind: 'V'}, control), `type 'V'`},
		{"other directory", rawTar(control, rawEntry{name: "./d/", kind: '5'}), `type '5'`},
		{"a directory with content", rawTar(with(dir, func(e *rawEntry) { e.body = "x" }), control), `type '5'`},
		{"old type of another directory", rawTar(control, rawEntry{name: "./d/", kind: 0}), "named"},
		{"file in a directory", rawTar(control, rawEntry{name: "./d/control", kind: '0'}), "named"},
		{"climbing", rawTar(control, rawEntry{name: "../control", kind: '0'}), "named"},
		{"no name", rawTar(control, rawEntry{kind: '0'}), "named"},
		{"ustar prefix", rawTar(with(control, func(e *rawEntry) { e.magic, e.prefix = "ustar\x0000", "d" })), "prefix"},
		{"base-256 size", rawTar(with(control, func(e *rawEntry) { e.size = "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05" })), "size"},
		{"no size", rawTar(with(control, func(e *rawEntry) { e.size = strings.Repeat("\x00", 12) })), "size"},
		{"negative size", rawTar(with(control, func(e *rawEntry) { e.size = "-0000000001\x00" })), "size"},
		{"wrong checksum", rawTar(with(control, func(e *rawEntry) { e.sum = "0000000\x00" })), "no header"},
		{"cut in a header", rawTar(control)[:100], "unexpected EOF"},
		{"cut in the content", rawTar(control)[:tarBlock+50], "unexpected EOF"},
		{"cut in the padding", rawTar(control)[:tarBlock+len(testControl)+1], "unexpected EOF"},
	} {
		s, err := readControl(bytes.NewReader(c.tar))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if err == nil && string(s) != testControl {
			t.Errorf("%s: %q", c.name, s)
		}
	}
}

// TestControlReaderAgrees: what is taken is what archive/tar reads, however it was written.
func TestControlReaderAgrees(t *testing.T) {
	t.Parallel()
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		h := file("./control")
		h.Format = format
		if format == tar.FormatPAX {
			h.PAXRecords = map[string]string{"comment": "x"}
		}
		s, err := readControl(bytes.NewReader(tarOf(t, h, testControl, file("./md5sums"), "x")))
		if err != nil || string(s) != testControl {
			t.Errorf("%s: %q, %v", format, s, err)
		}
	}
}
