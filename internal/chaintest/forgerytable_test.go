package chaintest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// verdict is an exit code and part of the message.
type verdict struct {
	word    string
	exit    int
	message string
}

// outcomes are the words of the table below for what is refused, the first that
// fits; besides them
//
//	ok     exit 0, and exactly the good snapshot's packages
//	other  exit 0, every byte of upstream's, but older or fewer packages than in the good snapshot
//	EVIL   exit 0 with a package of the opponent's: whoever could do this holds the
//	       key, or chose the pin, that the reader relies on
//
// For apt, which has no exit codes of that kind, scripts/e2e/45-forgeries.sh tells the words from what it
// prints: signature, expired, unsigned, absent (no Release, or 404), bytes; binding and grammar where serve does not start.
func verdicts() []verdict {
	return []verdict{
		{"unsigned", 3, "statement: not signed, but a key is demanded"},
		{"statement", 3, "statement: integrity: no good signature by a trusted key"},
		{"binding", 3, ", statement sha256:"},
		{"grammar", 3, "no provenance: neither upstream-inrelease nor upstream-release"},
		{"signature", 3, "integrity: no good signature by a trusted key"},
		{"table", 3, "in the table, its "},
		{"unproved", 3, "in no index of upstream's"},
		{"remade", 3, "made again"},
		{"absent", 3, "in the index, but not in the snapshot"},
		{"lock", 3, "lock: "},
		{"bytes", 3, "bytes are sha256:"},
		{"expired", 5, "Release was valid until"},
		{"class", 3, "the statement calls it the site's own"},
		{"keyless", 3, "no key"},
		{"dropped", 3, "has no such archive"},
		{"unnamed", 2, "has no such archive"},
		{"unmet", 4, "unsatisfied: "},
	}
}

// TestForgeryTable holds the table against its own claim: without the site's key
// and without a pin on the forgery itself, nothing of the opponent's reaches anybody.
func TestForgeryTable(t *testing.T) {
	for name, line := range forgeryTable(t) {
		cells := strings.Fields(line)
		if len(cells) != 14 {
			t.Fatalf("%s: %d cells", name, len(cells))
		}
		for i, c := range cells {
			byUpstream, byPin := i/3 == 1 || i == 13, i/3 == 3
			if c == "EVIL" && !byPin && (byUpstream || !strings.HasSuffix(name, " resigned")) {
				t.Errorf("%s, cell %d: %s", name, i, c)
			}
		}
	}
}

// TestForgeriesInSpec holds the table of SPEC section 12 against the one that is executed.
func TestForgeriesInSpec(t *testing.T) {
	spec := specRows(t, "### Forgeries")
	table := forgeryTable(t)
	for _, fg := range forgeries() {
		row := spec[fg.name]
		cells := strings.Fields(table[fg.name+" resigned"])
		if len(row) < 7 || len(cells) != 14 {
			t.Errorf("%s: SPEC has %q", fg.name, row)
			continue
		}
		at := func(i int) string { return strings.Join(cells[3*i:3*i+3], ", ") }
		// SPEC's order: site, both, upstream, pin.
		want := []string{fg.what, at(0), at(2), at(1), at(3), strings.Join(cells[12:], ", ")}
		if !slices.Equal(row[:6], want) {
			t.Errorf("%s: SPEC says\n%q, the table\n%q", fg.name, row[:6], want)
		}
		for _, m := range []string{" unsigned", " foreign"} {
			if other := strings.Fields(table[fg.name+m]); !slices.Equal(other[3:6], cells[3:6]) || !slices.Equal(other[9:12], cells[9:12]) || other[13] != cells[13] {
				t.Errorf("%s%s: SPEC says it is as resigned for upstream's keys and a pin", fg.name, m)
			}
		}
	}
}

// TestThreatsInSpec holds that every test that SPEC section 15 names is there.
func TestThreatsInSpec(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		data, err := os.ReadFile(p)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`).FindAllSubmatch(data, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, row := range specRows(t, "## 15 Threats") {
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(strings.Join(row, " "), -1) {
			named++
			if !known[name] {
				t.Errorf("%s names %s, which is not there", row[0], name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named", named)
	}
}

// specRows are the table rows of SPEC.md behind a heading, by their first cell.
func specRows(t *testing.T, heading string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("SPEC has no %s", heading)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "## ") {
			break
		}
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 3 && cells[0] == "" {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[cells[1]] = cells[2 : len(cells)-1]
		}
	}
	return rows
}

// forgeryTable reads the table: forgery, making, then verify, extract, pull -o
// for each of the readers, then apt.
func forgeryTable(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	name := ""
	for line := range strings.Lines(forgeryText) {
		head, cells, ok := strings.Cut(line, "|")
		words := strings.Fields(head)
		if !ok || len(words) == 0 {
			continue
		}
		if len(words) == 2 {
			name = words[0]
		}
		out[name+" "+words[len(words)-1]] = strings.Join(strings.Fields(strings.ReplaceAll(cells, "|", " ")), " ")
	}
	return out
}

// forgeryText has a line for each forgery in each making: kept (the site's old
// statement), unsigned, foreign (the opponent's key), resigned (the site's key). The
// readers are: the site's key; upstream's keys; both; the forged root pinned.
const forgeryText = `
                       | site                          | upstream                      | both                          | pin                              | apt through serve
                       | verify    extract   pull -o   | verify    extract   pull -o   | verify    extract   pull -o   | verify    extract   pull -o      | site      upstream
good         kept     | ok        ok        ok        | ok        ok        ok        | ok        ok        ok        | ok        ok        ok            | ok        ok
             unsigned | unsigned  unsigned  unsigned  | ok        ok        ok        | unsigned  unsigned  unsigned  | ok        ok        ok            | unsigned  ok
             foreign  | statement statement statement | ok        ok        ok        | statement statement statement | ok        ok        ok            | signature ok
             resigned | ok        ok        ok        | ok        ok        ok        | ok        ok        ok        | ok        ok        ok            | ok        ok
a-rows       kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | table     unmet     table     | unsigned  unsigned  unsigned  | table     ok        table         | unsigned  bytes
             foreign  | statement statement statement | table     unmet     table     | statement statement statement | table     ok        table         | signature bytes
             resigned | table     ok        table     | table     unmet     table     | table     ok        table     | table     ok        table         | bytes     bytes
b-deb        kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | table     unmet     table     | unsigned  unsigned  unsigned  | table     EVIL      EVIL          | unsigned  bytes
             foreign  | statement statement statement | table     unmet     table     | statement statement statement | table     EVIL      EVIL          | signature bytes
             resigned | table     EVIL      EVIL      | table     unmet     table     | table     EVIL      EVIL      | table     EVIL      EVIL          | EVIL      bytes
b-whole      kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | signature signature signature | unsigned  unsigned  unsigned  | ok        EVIL      EVIL          | unsigned  signature
             foreign  | statement statement statement | signature signature signature | statement statement statement | ok        EVIL      EVIL          | signature signature
             resigned | ok        EVIL      EVIL      | signature signature signature | signature EVIL      EVIL      | ok        EVIL      EVIL          | EVIL      signature
b-verbatim   kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | signature signature signature | unsigned  unsigned  unsigned  | ok        EVIL      EVIL          | signature signature
             foreign  | statement statement statement | signature signature signature | statement statement statement | ok        EVIL      EVIL          | signature signature
             resigned | ok        EVIL      EVIL      | signature signature signature | signature signature signature | ok        EVIL      EVIL          | signature signature
b-blob       kept     | bytes     bytes     bytes     | bytes     bytes     bytes     | bytes     bytes     bytes     | bytes     bytes     bytes         | bytes     bytes
             unsigned | unsigned  unsigned  unsigned  | bytes     bytes     bytes     | unsigned  unsigned  unsigned  | bytes     bytes     bytes         | unsigned  bytes
             foreign  | statement statement statement | bytes     bytes     bytes     | statement statement statement | bytes     bytes     bytes         | signature bytes
             resigned | bytes     bytes     bytes     | bytes     bytes     bytes     | bytes     bytes     bytes     | bytes     bytes     bytes         | bytes     bytes
c-curated    kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | ok        other     other     | unsigned  unsigned  unsigned  | ok        other     other         | unsigned  other
             foreign  | statement statement statement | ok        other     other     | statement statement statement | ok        other     other         | signature other
             resigned | ok        other     other     | ok        other     other     | ok        other     other     | ok        other     other         | other     other
c-verbatim   kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | ok        other     other     | unsigned  unsigned  unsigned  | ok        other     other         | unsigned  other
             foreign  | statement statement statement | ok        other     other     | statement statement statement | ok        other     other         | signature other
             resigned | ok        other     other     | ok        other     other     | ok        other     other     | ok        other     other         | other     other
c-expired    kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | expired   expired   expired   | unsigned  unsigned  unsigned  | ok        ok        ok            | expired   expired
             foreign  | statement statement statement | expired   expired   expired   | statement statement statement | ok        ok        ok            | expired   expired
             resigned | ok        ok        ok        | expired   expired   expired   | ok        ok        ok        | ok        ok        ok            | expired   expired
d-other      kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | signature signature signature | unsigned  unsigned  unsigned  | remade    ok        ok            | unsigned  signature
             foreign  | statement statement statement | signature signature signature | statement statement statement | remade    ok        ok            | signature signature
             resigned | remade    ok        ok        | signature signature signature | signature ok        ok        | remade    ok        ok            | ok        signature
e-stanza     kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | unproved  ok        ok        | unsigned  unsigned  unsigned  | unproved  other     ok            | unsigned  ok
             foreign  | statement statement statement | unproved  ok        ok        | statement statement statement | unproved  other     ok            | signature ok
             resigned | unproved  other     ok        | unproved  ok        ok        | unproved  other     ok        | unproved  other     ok            | other     ok
f-indices    kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | unproved  unmet     other     | unsigned  unsigned  unsigned  | unproved  ok        ok            | unsigned  absent
             foreign  | statement statement statement | unproved  unmet     other     | statement statement statement | unproved  ok        ok            | signature absent
             resigned | unproved  ok        ok        | unproved  unmet     other     | unproved  ok        ok        | unproved  ok        ok            | ok        absent
f-all        kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | grammar   grammar   grammar   | unsigned  unsigned  unsigned  | grammar   grammar   grammar       | grammar   grammar
             foreign  | statement statement statement | grammar   grammar   grammar   | statement statement statement | grammar   grammar   grammar       | grammar   grammar
             resigned | grammar   grammar   grammar   | grammar   grammar   grammar   | grammar   grammar   grammar   | grammar   grammar   grammar       | grammar   grammar
g-prefix     kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | signature signature signature | unsigned  unsigned  unsigned  | ok        EVIL      EVIL          | unsigned  signature
             foreign  | statement statement statement | signature signature signature | statement statement statement | ok        EVIL      EVIL          | signature signature
             resigned | ok        EVIL      EVIL      | signature signature signature | signature EVIL      EVIL      | ok        EVIL      EVIL          | EVIL      signature
g-statement  kept     | ok        ok        ok        | ok        ok        ok        | ok        ok        ok        | ok        ok        ok            | ok        ok
             unsigned | unsigned  unsigned  unsigned  | ok        ok        ok        | unsigned  unsigned  unsigned  | ok        ok        ok            | unsigned  ok
             foreign  | statement statement statement | ok        ok        ok        | statement statement statement | ok        ok        ok            | signature ok
             resigned | ok        ok        ok        | ok        ok        ok        | ok        ok        ok        | ok        ok        ok            | ok        ok
h-curated    kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | ok        ok        ok        | unsigned  unsigned  unsigned  | ok        ok        ok            | unsigned  ok
             foreign  | statement statement statement | ok        ok        ok        | statement statement statement | ok        ok        ok            | signature ok
             resigned | signature ok        signature | ok        ok        ok        | signature ok        signature | ok        ok        ok            | ok        ok
h-verbatim   kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | signature signature signature | unsigned  unsigned  unsigned  | ok        ok        ok            | signature signature
             foreign  | statement statement statement | signature signature signature | statement statement statement | ok        ok        ok            | signature signature
             resigned | ok        ok        ok        | signature signature signature | signature signature signature | ok        ok        ok            | signature signature
i-archive    kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | dropped   dropped   dropped   | unsigned  unsigned  unsigned  | ok        unmet     other         | unsigned  absent
             foreign  | statement statement statement | dropped   dropped   dropped   | statement statement statement | ok        unmet     other         | signature absent
             resigned | ok        unmet     other     | dropped   dropped   dropped   | unnamed   unnamed   unnamed   | ok        unmet     other         | absent    absent
j-suites     kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | ok        other     other     | unsigned  unsigned  unsigned  | ok        other     other         | unsigned  absent
             foreign  | statement statement statement | ok        other     other     | statement statement statement | ok        other     other         | signature absent
             resigned | ok        other     other     | ok        other     other     | ok        other     other     | ok        other     other         | other     absent
k-lock       kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | lock      ok        ok        | unsigned  unsigned  unsigned  | lock      ok        ok            | unsigned  ok
             foreign  | statement statement statement | lock      ok        ok        | statement statement statement | lock      ok        ok            | signature ok
             resigned | lock      ok        ok        | lock      ok        ok        | lock      ok        ok        | lock      ok        ok            | ok        ok
k-reason     kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | ok        ok        ok        | unsigned  unsigned  unsigned  | ok        ok        ok            | unsigned  ok
             foreign  | statement statement statement | ok        ok        ok        | statement statement statement | ok        ok        ok            | signature ok
             resigned | ok        ok        ok        | ok        ok        ok        | ok        ok        ok        | ok        ok        ok            | ok        ok
l-class      kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | class     keyless   keyless   | unsigned  unsigned  unsigned  | remade    EVIL      EVIL          | unsigned  absent
             foreign  | statement statement statement | class     keyless   keyless   | statement statement statement | remade    EVIL      EVIL          | signature absent
             resigned | remade    EVIL      EVIL      | class     keyless   keyless   | class     EVIL      EVIL      | remade    EVIL      EVIL          | EVIL      absent
l-mode       kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | absent    ok        absent    | unsigned  unsigned  unsigned  | absent    ok        absent        | signature ok
             foreign  | statement statement statement | absent    ok        absent    | statement statement statement | absent    ok        absent        | signature ok
             resigned | absent    ok        absent    | absent    ok        absent    | absent    ok        absent    | absent    ok        absent        | signature ok
m-component  kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    EVIL      EVIL          | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    EVIL      EVIL          | signature ok
             resigned | remade    EVIL      EVIL      | remade    ok        ok        | remade    EVIL      EVIL      | remade    EVIL      EVIL          | EVIL      ok
m-installer  kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    ok        EVIL          | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    ok        EVIL          | signature ok
             resigned | remade    ok        EVIL      | remade    ok        ok        | remade    ok        EVIL      | remade    ok        EVIL          | EVIL      ok
m-compression kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    unmet     EVIL          | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    unmet     EVIL          | signature ok
             resigned | remade    unmet     EVIL      | remade    ok        ok        | remade    unmet     EVIL      | remade    unmet     EVIL          | EVIL      ok
m-all        kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    ok        EVIL          | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    ok        EVIL          | signature ok
             resigned | remade    ok        EVIL      | remade    ok        ok        | remade    ok        EVIL      | remade    ok        EVIL          | EVIL      ok
m-udeb       kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    ok        EVIL          | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    ok        EVIL          | signature ok
             resigned | remade    ok        EVIL      | remade    ok        ok        | remade    ok        EVIL      | remade    ok        EVIL          | ok        ok
m-translation kept     | binding   binding   binding   | binding   binding   binding   | binding   binding   binding   | binding   binding   binding       | binding   binding
             unsigned | unsigned  unsigned  unsigned  | remade    ok        ok        | unsigned  unsigned  unsigned  | remade    ok        ok            | unsigned  ok
             foreign  | statement statement statement | remade    ok        ok        | statement statement statement | remade    ok        ok            | signature ok
             resigned | remade    ok        ok        | remade    ok        ok        | remade    ok        ok        | remade    ok        ok            | ok        ok
`
