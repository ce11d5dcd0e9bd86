package archive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"

	"example.org/mmoci/pkg/deb"
)

// PlainIndex is the text of a curated index: its stanzas in the order of curated
// indices, an empty line after each. Stanzas that are the same in that order stay in the order given.
func PlainIndex(stanzas []deb.Stanza, source bool) []byte {
	type keyed struct {
		name, version, arch string
		stanza              deb.Stanza
	}
	size := 0
	keys := make([]keyed, len(stanzas))
	for i, s := range stanzas {
		var v [3]string
		s.Values(v[:], "Package", "Version", "Architecture")
		if source {
			v[2] = "" // a Sources index has no such order: the field lists what can be built
		}
		keys[i] = keyed{v[0], v[1], v[2], s}
		size += len(s) + 2
	}
	slices.SortStableFunc(keys, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.name, b.name), deb.Compare(a.version, b.version), cmp.Compare(a.arch, b.arch))
	})
	text := make([]byte, 0, size)
	for _, k := range keys {
		text = k.stanza.Append(text)
	}
	return text
}

// errMember marks a file that is not one gzip member and nothing else.
var errMember = errors.New("not exactly one gzip member")

// GunzipMember decompresses data, which must be one gzip member and nothing behind
// it. More than limit bytes is an error, found before they are held in memory.
func GunzipMember(data []byte, limit int64) ([]byte, error) {
	rest := bytes.NewReader(data) // an io.ByteReader: nothing behind the member is consumed
	z, err := gzip.NewReader(rest)
	if err == nil {
		z.Multistream(false)
		data, err = readBounded(z, int64(len(data))*expansion, limit)
	}
	switch {
	case errors.Is(err, io.EOF): // never to be taken for the end of anything
		return nil, fmt.Errorf("%w: %w", errMember, io.ErrUnexpectedEOF)
	case err != nil:
		return nil, err
	case rest.Len() > 0:
		return nil, fmt.Errorf("%w: %d bytes behind it", errMember, rest.Len())
	}
	return data, nil
}
