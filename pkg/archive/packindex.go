package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"example.org/mmoci/pkg/deb"
	"github.com/klauspost/compress/gzip"
)

// EncoderGeneration numbers how the files of curated suites are made: the text of the
// Release and of the plain indices, and which encoder at which level packs them. It rises
// whenever their bytes would change. Who makes a text again to compare it must know every
// number since 1.
//
//	1: klauspost/compress v1.20.3, gzip, level 6
const EncoderGeneration = 1

// encoderLevel belongs to EncoderGeneration.
const encoderLevel = 6

// packedIndex is an index as it is carried, with what its Release says of its plain form.
type packedIndex struct {
	size   int64  // plain
	sha256 string // plain
	packed []byte
}

// Of the plain text, which for a release is tens of megabytes, only a few pieces are in memory.
const (
	pieceSize = 256 << 10
	pieces    = 4
)

// packIndex writes stanzas one after another, an empty line after each, and
// compresses them meanwhile.
func packIndex(stanzas []deb.Stanza) (ix packedIndex, err error) {
	full, free := make(chan []byte, pieces), make(chan []byte, pieces)
	for range pieces {
		free <- nil
	}
	written := make(chan error, 1)
	go func() {
		defer close(full)
		written <- ix.write(stanzas, full, free)
	}()
	ix.packed, err = compressIndex(full, free)
	if e := <-written; e != nil {
		return packedIndex{}, e
	}
	return ix, err
}

// write gives out the text in pieces, which come back when they are done with.
func (ix *packedIndex) write(stanzas []deb.Stanza, full chan<- []byte, free <-chan []byte) error {
	sum := sha256.New()
	b := <-free
	give := func() {
		sum.Write(b)
		ix.size += int64(len(b))
		full <- b
		b = (<-free)[:0]
	}
	for _, s := range stanzas {
		if len(s) == 0 || bytes.HasPrefix(s, []byte("\n")) || bytes.Contains(s, []byte("\n\n")) {
			return fmt.Errorf("stanza %.60q: empty, or more than one", s)
		}
		if b = s.Append(b); len(b) >= pieceSize {
			give()
		}
	}
	if len(b) > 0 {
		give()
	}
	ix.sha256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// compressIndex is what EncoderGeneration is the number of; how the text is cut into pieces does not
// change its bytes. The header carries no name, no time and "unknown" for the system.
func compressIndex(full <-chan []byte, free chan<- []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, encoderLevel)
	for piece := range full { // to the end, whatever happens: somebody is writing
		if err == nil {
			_, err = z.Write(piece)
		}
		free <- piece
	}
	if err == nil {
		err = z.Close()
	}
	return b.Bytes(), err
}
