package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func mustTable(t testing.TB, rows ...Row) *Table {
	t.Helper()
	table, err := NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// packageRows have every way in which a field can and cannot be derived.
func packageRows() []Row {
	pkg := func(path, name, version, arch, source string) Row {
		r := file(path, path)
		r.Package = Package{name, version, arch, source}
		return r
	}
	return []Row{
		pkg("d/pool/a/abc/abc_1.0_amd64.deb", "abc", "1.0", "amd64", "abc"),
		pkg("d/pool/a/abc/libabc1_1.0_amd64.deb", "libabc1", "1.0", "amd64", "abc"),
		pkg("d/pool/a/abc/libabc2_1.0_amd64.deb", "libabc2", "7:1.0", "amd64", "abc"),
		pkg("d/pool/a/abc/x_1%3a2_all.deb", "x", "1:2", "all", "other"),
		pkg("d/pool/a/abc/x_1%3a3_all.deb", "x", "1%3a3", "all", "x"),
		pkg("d/pool/a/abc/x_1%3A4_all.deb", "x", "1:4", "all", "x"),
		pkg("d/pool/a/abc/y_1_amd64.udeb", "y", "1", "amd64", "abc"),
		pkg("d/pool/a/abc/y.deb", "y", "1", "amd64", "abc"),
		pkg("d/pool/a/abc/y_1.deb", "y", "1", "amd64", "y"),
		pkg("d/pool/a/abc/y_1_2_amd64.deb", "y", "1", "amd64", "y"),
		pkg("d/pool/a/abc/y_1_amd64.rpm", "y", "1", "amd64", "y"),
		pkg("d/pool/a/abc/z_1_amd64.deb", "other", "other", "other", "other"),
		pkg("d/pool/a/abc/__.deb", "e", "1", "all", "abc"),
		pkg("d/pool/a/e/e_1_amd64.deb", "e", "1", "amd64", "e"),
		pkg("d/q_1_amd64.deb", "q", "1", "amd64", "d"),
		pkg("top_1_amd64.deb", "top", "1", "amd64", "src"),
		file("d/empty", ""),
		file("d/dists/s/Release", "release"),
		file("d/empty\u00e9", ""),
		file("d/empty\u00ea", "x"), // shares the first byte of a letter with the row before
	}
}

func TestTableRoundTrip(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string][]Row{
		"empty": nil, "one": {file("a", "")}, "packages": packageRows(), "release": releaseRows(1000),
		"full blocks": releaseRows(2 * blockRows),
	} {
		shuffled := slices.Clone(rows)
		rand.New(rand.NewPCG(3, 4)).Shuffle(len(rows), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		made := mustTable(t, append(shuffled, rows...)...)
		table, err := OpenTable(made.Bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := slices.SortedFunc(slices.Values(rows), func(a, b Row) int { return strings.Compare(a.Path, b.Path) })
		if got := slices.Collect(table.Rows()); !slices.Equal(got, want) {
			t.Errorf("%s: rows\n%v\nwant\n%v", name, got, want)
		}
		if table.Len() != len(want) {
			t.Errorf("%s: Len %d, want %d", name, table.Len(), len(want))
		}
		for _, r := range want {
			if got, ok := table.Find(r.Path); !ok || got != r {
				t.Errorf("%s: Find(%s) = %v, %t", name, r.Path, got, ok)
			}
			for _, absent := range []string{r.Path + "x", r.Path[:len(r.Path)-1] + "\x00", r.Path + "/"} {
				if got, ok := table.Find(absent); ok {
					t.Errorf("%s: Find(%q) = %v", name, absent, got)
				}
			}
		}
		for _, absent := range []string{"", "\xff", strings.Repeat("z", 5000)} {
			if got, ok := table.Find(absent); ok {
				t.Errorf("%s: Find(%.20q) = %v", name, absent, got)
			}
		}
	}
}

func TestTableKinds(t *testing.T) {
	t.Parallel()
	kinds := map[string]byte{
		"d/pool/a/abc/abc_1.0_amd64.deb":     0b011111,
		"d/pool/a/abc/libabc1_1.0_amd64.deb": 0b101111,
		"d/pool/a/abc/libabc2_1.0_amd64.deb": 0b101011,
		"d/pool/a/abc/x_1%3a2_all.deb":       0b001111,
		"d/pool/a/abc/x_1%3a3_all.deb":       0b011011,
		"d/pool/a/abc/x_1%3A4_all.deb":       0b011011,
		"d/pool/a/abc/y_1_amd64.udeb":        0b101111,
		"d/pool/a/abc/y.deb":                 0b100001,
		"d/pool/a/abc/y_1.deb":               0b010001,
		"d/pool/a/abc/y_1_2_amd64.deb":       0b010001,
		"d/pool/a/abc/y_1_amd64.rpm":         0b010001,
		"d/pool/a/abc/z_1_amd64.deb":         0b010001,
		"d/pool/a/abc/__.deb":                0b100001,
		"d/q_1_amd64.deb":                    0b101111,
		"top_1_amd64.deb":                    0b001111,
		"d/empty":                            0,
	}
	for _, r := range packageRows() {
		if want, ok := kinds[r.Path]; ok && kindOf(r) != want {
			t.Errorf("kind of %s: %06b, want %06b", r.Path, kindOf(r), want)
		}
	}
}

func TestTableUnder(t *testing.T) {
	t.Parallel()
	rows := releaseRows(500)
	table := mustTable(t, rows...)
	for _, prefix := range []string{"", "d", "debian/pool/main/l", "debian/pool/main/l/", "debian/pool/main/z", "e", "a", rows[40].Path, rows[499].Path, rows[499].Path + "x"} {
		var want []Row
		for _, r := range rows {
			if strings.HasPrefix(r.Path, prefix) {
				want = append(want, r)
			}
		}
		if got := slices.Collect(table.Under(prefix)); !slices.Equal(got, want) {
			t.Errorf("Under(%s): %d rows, want %d", prefix, len(got), len(want))
		}
	}
	n := 0
	for range table.Rows() {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("stopped after %d rows", n)
	}
}

func TestNewTableRefuses(t *testing.T) {
	t.Parallel()
	a := file("a", "x")
	other := file("a", "y")
	sameDigest := a
	sameDigest.Size = 2
	named := a
	named.Package = Package{"n", "1", "all", "n"}
	half := named
	half.Version = ""
	control := named
	control.Source = "a\nb"
	for name, rows := range map[string][]Row{
		"two digests": {a, other}, "two sizes": {a, sameDigest}, "two packages": {a, named},
		"path": {file("a/../b", "x")}, "no digest": {{Path: "a", Size: 1}}, "digest with size 0": {{Path: "a", Digest: Sum([]byte("x"))}},
		"digest of nothing": {{Path: "a", Size: 1, Digest: Sum(nil)}}, "negative": {{Path: "a", Size: -1, Digest: a.Digest}},
		"no version": {half}, "control": {control},
	} {
		_, err := NewTable(rows)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if name == "two digests" && (!strings.Contains(err.Error(), a.Digest.Hex()) || !strings.Contains(err.Error(), other.Digest.Hex())) {
			t.Errorf("%s: %v does not name both", name, err)
		}
	}
}

// tableOf frames blocks that are given as bytes.
func tableOf(rows int, blocks ...string) []byte {
	e := encoder{data: []byte(tableMagic)}
	for _, b := range blocks {
		e.offsets = append(e.offsets, uint32(len(e.data)))
		e.data = append(e.data, b...)
	}
	e.footer(rows)
	return e.data
}

// TestOpenTableRefuses has one table for each rule of SPEC section 5.
func TestOpenTableRefuses(t *testing.T) {
	t.Parallel()
	d := strings.Repeat("\x01", 32)
	good := tableOf(3, "\x00\x01a\x00\x00"+"\x01\x01b\x01"+d+"\x00"+"\x02\x01c\x00\x00")
	if _, err := OpenTable(good); err != nil {
		t.Fatal(err)
	}
	full := func() string {
		b := "\x00\x01a\x00\x00"
		for i := range blockRows - 1 {
			b += fmt.Sprintf("\x01%s\x00\x00", "\x01"+string(rune('a'+i)))
		}
		return b
	}()
	deb := "\x00\x0bd/n_1_a.deb\x00"
	for name, data := range map[string][]byte{
		"nothing":                nil,
		"magic":                  append([]byte("M"), good[1:]...),
		"end":                    append(slices.Clone(good[:len(good)-1]), 'T'),
		"cut":                    good[:len(good)-20],
		"byte before the index":  tableOf(3, "\x00\x01a\x00\x00"+"\x01\x01b\x01"+d+"\x00"+"\x02\x01c\x00\x00"+"\x00"),
		"rows too many":          tableOf(4, "\x00\x01a\x00\x00"+"\x01\x01b\x00\x00"+"\x02\x01c\x00\x00"),
		"rows too few":           tableOf(2, "\x00\x01a\x00\x00"+"\x01\x01b\x00\x00"+"\x02\x01c\x00\x00"),
		"blocks too many":        tableOf(1, "\x00\x01a\x00\x00", ""),
		"short block":            tableOf(2, "\x00\x01a\x00\x00", "\x00\x01b\x00\x00"),
		"shared in first":        tableOf(17, full, "\x01\x01x\x00\x00"),
		"block order":            tableOf(17, full, "\x00\x01a\x00\x00"),
		"block order by prefix":  tableOf(17, full, "\x00\x02ab\x00\x00"),
		"shared too long":        tableOf(2, "\x00\x01a\x00\x00"+"\x02\x01b\x00\x00"),
		"shared not maximal":     tableOf(2, "\x00\x02aa\x00\x00"+"\x00\x02ab\x00\x00"),
		"descending":             tableOf(2, "\x00\x01b\x00\x00"+"\x00\x01a\x00\x00"),
		"same path":              tableOf(2, "\x00\x01b\x00\x00"+"\x01\x00\x00\x00"),
		"same path again":        tableOf(2, "\x00\x01b\x00\x00"+"\x00\x01b\x00\x00"),
		"prefix of last":         tableOf(2, "\x00\x02ab\x00\x00"+"\x01\x00\x00\x00"),
		"empty path":             tableOf(1, "\x00\x00\x00\x00"),
		"absolute":               tableOf(1, "\x00\x02/a\x00\x00"),
		"dotdot":                 tableOf(1, "\x00\x04a/..\x00\x00"),
		"dotdot over two rows":   tableOf(2, "\x00\x03a/-\x00\x00"+"\x02\x02..\x00\x00"),
		"dotdot from shared dot": tableOf(2, "\x00\x04a/.-\x00\x00"+"\x03\x03./b\x00\x00"),
		"slash after shared":     tableOf(2, "\x00\x03a/-\x00\x00"+"\x02\x01/\x00\x00"),
		"NUL":                    tableOf(1, "\x00\x02a\x00\x00\x00"),
		"not UTF-8":              tableOf(1, "\x00\x01\xff\x00\x00"),
		"half a letter shared":   tableOf(2, "\x00\x02\xc3\xa9\x00\x00"+"\x01\x01\xf0\x00\x00"),
		"long path":              tableOf(1, "\x00\x81\x08"+strings.Repeat("a", 1025)+"\x00\x00"),
		"long by sharing":        tableOf(2, "\x00\x80\x08"+strings.Repeat("a", 1024)+"\x00\x00"+"\x80\x08\x01b\x00\x00"),
		"long varint":            tableOf(1, "\x00\x81\x00a\x00\x00"),
		"zero in two bytes":      tableOf(1, "\x80\x00\x01a\x00\x00"),
		"endless varint":         tableOf(1, "\x00\x01a"+strings.Repeat("\xff", 11)),
		"size over 63 bits":      tableOf(1, "\x00\x01a"+strings.Repeat("\xff", 9)+"\x01"+d+"\x00"),
		"suffix past the end":    tableOf(1, "\x00\x7fa\x00\x00"),
		"no kind":                tableOf(1, "\x00\x01a\x00"),
		"half a digest":          tableOf(1, "\x00\x01a\x01"+d[1:]),
		"digest of nothing":      tableOf(1, "\x00\x01a\x01"+string(emptyDigest[:])+"\x00"),
		"digest of zeros":        tableOf(1, "\x00\x01a\x01"+strings.Repeat("\x00", 32)+"\x00"),
		"bit 6":                  tableOf(1, "\x00\x01a\x00\x40"),
		"bit 7":                  tableOf(1, deb+"\x9f"),
		"bits without package":   tableOf(1, deb+"\x02"),
		"bits 4 and 5":           tableOf(1, deb+"\x3f"),
		"name bit, no underline": tableOf(1, "\x00\x05n.deb\x00\x13\x01\x31\x01a"),
		"directory bit, none":    tableOf(1, "\x00\x09n_1_a.deb\x00\x2f"),
		"name bit, empty name":   tableOf(1, "\x00\x08_1_a.deb\x00\x1f"),
		"version bit, empty":     tableOf(1, "\x00\x08n__a.deb\x00\x1f"),
		"arch bit, empty":        tableOf(1, "\x00\x08n_1_.deb\x00\x1f"),
		"name derivable":         tableOf(1, deb+"\x1d\x01n"),
		"version derivable":      tableOf(1, deb+"\x1b\x011"),
		"arch derivable":         tableOf(1, deb+"\x17\x01a"),
		"source is name":         tableOf(1, deb+"\x0f\x01n"),
		"source is directory":    tableOf(1, deb+"\x0f\x01d"),
		"directory is name":      tableOf(1, "\x00\x0bn/n_1_a.deb\x00\x2f"),
		"empty field":            tableOf(1, deb+"\x0f\x00"),
		"control in field":       tableOf(1, deb+"\x0f\x01\n"),
		"field not UTF-8":        tableOf(1, deb+"\x0f\x01\xff"),
		"by-hash of SHA512":      tableOf(1, "\x00\x12d/by-hash/SHA512/a\x00\x00"),
		"escaped version":        tableOf(1, "\x00\x0fd/n_1%3a2_a.deb\x00\x1b\x031:2"),
	} {
		if _, err := OpenTable(data); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenTable(tableOf(1, deb+"\x0f\x01s")); err != nil {
		t.Errorf("another source: %v", err)
	}
	if _, err := OpenTable(make([]byte, MaxTable+1)); err == nil || !strings.Contains(err.Error(), "more than") { // of pages that nobody touches
		t.Errorf("too long: %v", err)
	}
	moved := slices.Clone(good)
	binary.LittleEndian.PutUint32(moved[len(moved)-20:], 17)
	if _, err := OpenTable(moved); !errors.Is(err, ErrIntegrity) {
		t.Errorf("moved block: %v", err)
	}
}

func TestTableSize(t *testing.T) {
	t.Parallel()
	table := mustTable(t, releaseRows(63_440)...)
	if n := len(table.Bytes()); n < 3_500_000 || n > 5_000_000 {
		t.Errorf("table of 63,440 rows: %d bytes", n)
	}
}

func TestFindAllocates(t *testing.T) {
	rows := releaseRows(5000)
	table := mustTable(t, rows...)
	i := 0
	n := testing.AllocsPerRun(1000, func() {
		table.Find(rows[i%len(rows)].Path)
		i++
	})
	if n > 1 { // the epoch of one in fifteen
		t.Errorf("Find: %v allocations", n)
	}
}

// FuzzOpenTable holds that what is accepted is exactly what NewTable makes of the rows.
func FuzzOpenTable(f *testing.F) {
	for _, rows := range [][]Row{nil, packageRows(), releaseRows(40), {file("a", ""), file("b", "x")}} {
		f.Add(mustTable(f, rows...).Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := OpenTable(data)
		if err != nil {
			if !errors.Is(err, ErrIntegrity) {
				t.Error(err)
			}
			return
		}
		rows := slices.Collect(table.Rows())
		again, err := NewTable(rows)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), data) {
			t.Errorf("encoded again: %q, was %q", again.Bytes(), data)
		}
		for _, r := range rows {
			if got, ok := table.Find(r.Path); !ok || got != r {
				t.Errorf("Find(%q) = %v, %t", r.Path, got, ok)
			}
		}
	})
}

// FuzzTableRows gives one row of any fields, and a neighbour.
func FuzzTableRows(f *testing.F) {
	for _, r := range packageRows() {
		f.Add(r.Path, r.Size, r.Name, r.Version, r.Architecture, r.Source, "d/pool/a/abc")
	}
	f.Fuzz(func(t *testing.T, path string, size int64, name, version, arch, source, neighbour string) {
		r := Row{Path: path, Size: size, Digest: Sum([]byte(path)), Package: Package{name, version, arch, source}}
		if size == 0 {
			r.Digest = Sum(nil)
		}
		table, err := NewTable([]Row{r, file(neighbour, "n")})
		if err != nil {
			return
		}
		opened, err := OpenTable(table.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := opened.Find(path); !ok || got != r {
			t.Errorf("Find(%q) = %#v, %t, want %#v", path, got, ok, r)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	rows := releaseRows(63_440)
	table := mustTable(b, rows...)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := table.Find(rows[i*7919%len(rows)].Path); !ok {
			b.Fatal("not found")
		}
		i++
	}
}

func BenchmarkOpenTable(b *testing.B) {
	data := mustTable(b, releaseRows(63_440)...).Bytes()
	b.ReportAllocs()
	b.ReportMetric(float64(len(data)), "bytes")
	for b.Loop() {
		if _, err := OpenTable(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewTable(b *testing.B) {
	rows := releaseRows(63_440)
	for b.Loop() {
		if _, err := NewTable(rows); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	table := mustTable(b, releaseRows(63_440)...)
	b.ReportAllocs()
	for b.Loop() {
		for range table.Rows() {
		}
	}
}

func TestTableBlobs(t *testing.T) {
	t.Parallel()
	table := mustTable(t, append(packageRows(), releaseRows(100)...)...)
	var want []Blob
	for r := range table.Rows() {
		want = append(want, r.Blob())
	}
	if got := slices.Collect(table.Blobs()); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%d blobs of %d rows, or others", len(got), len(want))
	}
	for range table.Blobs() {
		break
	}
}
