package snapshot

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.org/mmoci/pkg/archive/pgp"
)

// vectorSection is the text of SPEC.md between a heading and the next one. The
// vectors are read from there, so that text and code cannot part.
func vectorSection(t *testing.T, heading string) string {
	t.Helper()
	spec, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(spec), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("SPEC.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	return section
}

// indented are the lines of the section's only code block.
func indented(section string) string {
	var b strings.Builder
	for line := range strings.Lines(section) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			b.WriteString(code)
		}
	}
	return b.String()
}

// vectorRows reads the rows `| path | size | version | source |` of the section.
func vectorRows(t *testing.T, section string) []Row {
	t.Helper()
	var rows []Row
	for _, m := range regexp.MustCompile("(?m)^\\| `(.*)` \\| ([0-9]+) \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		path, content := m[1], m[1]
		size, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		r := file(path, content[:size]) // all of the path, or nothing
		if f := strings.Split(m[3], " "); len(f) == 4 {
			r.Package = Package{f[0], f[1], f[2], f[3]}
		}
		rows = append(rows, r)
	}
	return rows
}

func vectorTable(t *testing.T) []byte {
	t.Helper()
	section := vectorSection(t, "### Table of three files")
	data, err := hex.DecodeString(strings.Join(strings.Fields(indented(section)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(section, BlobOf(data).String()) {
		t.Errorf("SPEC.md does not name digest and size of the table, %s", BlobOf(data))
	}
	return data
}

func TestVectorTable(t *testing.T) {
	t.Parallel()
	data := vectorTable(t)
	rows := vectorRows(t, vectorSection(t, "### Table of three files"))
	if len(rows) != 3 {
		t.Fatalf("SPEC.md has %d rows", len(rows))
	}
	table, err := OpenTable(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(table.Rows()); !slices.Equal(got, rows) {
		t.Errorf("rows\n%v\nwant\n%v", got, rows)
	}
	if made := mustTable(t, rows...); !bytes.Equal(made.Bytes(), data) {
		t.Errorf("encoded\n% x\nwant\n% x", made.Bytes(), data)
	}
}

func TestVectorStatement(t *testing.T) {
	t.Parallel()
	for heading, want := range map[string]*Statement{"### Statement": fullStatement(), "### Statement of all formats": withFormats()} {
		section := vectorSection(t, heading)
		text := indented(section)
		if want := Sum([]byte(text)).String(); !strings.Contains(strings.ReplaceAll(section, text, ""), want) {
			t.Errorf("SPEC.md does not name the digest of the statement, %s", want)
		}
		st, err := ParseStatement([]byte(text), pgp.How{})
		if err != nil {
			t.Fatal(err)
		}
		want.Table, want.Lock = BlobOf(vectorTable(t)), BlobOf([]byte("mmoci-lock-v1\ndate 2026-11-21T09:13:40Z\n"))
		if !reflect.DeepEqual(st, want) {
			t.Errorf("statement\n%+v\nwant\n%+v", st, want)
		}
		if again, err := want.Encode(); err != nil || string(again) != text {
			t.Errorf("encoded, %v\n%s\nwant\n%s", err, again, text)
		}
	}
}
