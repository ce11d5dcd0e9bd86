package archive

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"example.org/mmoci/pkg/deb"
	"github.com/klauspost/compress/gzip"
)

// An index of several pieces has the bytes of one that is compressed at once.
func TestPackIndexInPieces(t *testing.T) {
	var stanzas []deb.Stanza
	var plain []byte
	for i := 0; len(plain) < 5*pieceSize/2; i++ {
		s := deb.Stanza(fmt.Sprintf("Package: p%d\nVersion: %x", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)})))
		if i == 100 {
			s = append(s, "\nDescription: "...)
			s = append(s, bytes.Repeat([]byte("x"), 3*pieceSize/2)...)
		}
		stanzas = append(stanzas, s)
		plain = append(append(plain, s...), "\n\n"...)
	}
	var want bytes.Buffer
	z, err := gzip.NewWriterLevel(&want, encoderLevel)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{len(stanzas), 100, 1, 0} {
		got, err := packIndex(stanzas[:n])
		if err != nil {
			t.Fatal(err)
		}
		text, err := Decompress("x.gz", got.packed, int64(len(plain)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(plain, text) || int64(len(text)) != got.size || got.sha256 != fmt.Sprintf("%x", sha256.Sum256(text)) {
			t.Errorf("%d stanzas: %d bytes of %d, %s", n, len(text), got.size, got.sha256)
		}
		if n == len(stanzas) && !bytes.Equal(got.packed, want.Bytes()) {
			t.Errorf("%d bytes in pieces, %d at once, or others", len(got.packed), want.Len())
		}
	}
	if _, err := packIndex(append(stanzas, deb.Stanza("Package: a\n\nPackage: b"))); err == nil {
		t.Error("two stanzas pass as one")
	}
}
