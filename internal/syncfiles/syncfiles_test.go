package syncfiles

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is packed is laid out again; a few bytes that say they are many are not, for they may be anybody's.
func TestUnpack(t *testing.T) {
	packed, err := Pack([]File{{Src: "a/b", Data: []byte("b"), Exec: true}, {Src: "l", Link: "a/b"}}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Unpack(dir, bytes.NewReader(packed)); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "l")); err != nil || string(data) != "b" {
		t.Errorf("%q, %v", data, err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	const size = maxUnpacked + 1
	sparse := map[string]string{"ANU.sparse.major": "1", "ANU.sparse.minor": "0", "ANU.sparse.realsize": fmt.Sprint(size), "ANU.sparse.name": "bomb"}
	if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 512, Format: tar.FormatPAX, PAXRecords: sparse}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(append([]byte("0\n"), make([]byte, 510)...)); err != nil { // no data: one hole
		t.Fatal(err)
	}
	bomb := bytes.ReplaceAll(b.Bytes(), []byte("ANU.sparse"), []byte("GNU.sparse"))
	dir = t.TempDir()
	if err := Unpack(dir, bytes.NewReader(bomb)); err == nil || !strings.Contains(err.Error(), "over 268435456 bytes") {
		t.Errorf("%d bytes for %d: %v", size, len(bomb), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "bomb")); err == nil {
		t.Errorf("%d bytes are written", fi.Size())
	}
}
