package imageproof

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

// A layer of anybody's, in which a few bytes stand for more than a machine reads in its life, is refused for that.
func TestSparseLayer(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	sparse := map[string]string{"ANU.sparse.major": "1", "ANU.sparse.minor": "0", "ANU.sparse.realsize": "4611686018427387904", "ANU.sparse.name": "bomb"}
	if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 512, Format: tar.FormatPAX, PAXRecords: sparse}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(append([]byte("0\n"), make([]byte, 510)...)); err != nil { // no data: one hole
		t.Fatal(err)
	}
	bomb := bytes.ReplaceAll(b.Bytes(), []byte("ANU.sparse"), []byte("GNU.sparse"))
	err := eachEntry(bytes.NewReader(bomb), maxNames, func(string, seen) { t.Error("it is read") })
	if err == nil || !strings.Contains(err.Error(), "/bomb: a sparse file") {
		t.Errorf("got %v", err)
	}
}

// Names that compress to nothing do not fill the memory.
func TestLongNames(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"a/", strings.Repeat("b/", 50_000)} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	if err := eachEntry(&b, 100_000, func(string, seen) { n++ }); err == nil || !strings.Contains(err.Error(), "paths of over 100000 bytes") || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
}
