package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The library bounds a dictionary, but tells neither how long the data will be nor
// which filters there are. surveyXZ therefore walks over the file first,
// without decoding: LZMA2 chunks carry their lengths. It verifies nothing
// else; checksums and index are the library's (The .xz File Format 1.2.1).

var errXZ = errors.New("malformed xz")

// xzCheckSize is the length of the integrity check by its type (section 2.1.1.2).
var xzCheckSize = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// surveyXZ refuses xz data whose dictionaries or decompressed length are over their limits.
func surveyXZ(data []byte, limit int64) error {
	w := &xzWalk{data: data, left: limit}
	for len(w.data)-w.at > 0 {
		if err := w.stream(); err != nil {
			return err
		}
		for bytes.HasPrefix(w.data[w.at:], []byte{0, 0, 0, 0}) { // stream padding
			w.at += 4
		}
	}
	if w.at == 0 {
		return errXZ
	}
	if w.left < 0 {
		return tooLong(limit)
	}
	return nil
}

// xzWalk is a position in xz data.
type xzWalk struct {
	data []byte
	at   int
	left int64 // decompressed bytes still allowed, negative when used up
}

// take steps over n bytes and returns them.
func (w *xzWalk) take(n int) ([]byte, error) {
	if n < 0 || n > len(w.data)-w.at {
		return nil, errXZ
	}
	b := w.data[w.at : w.at+n]
	w.at += n
	return b, nil
}

// align steps to the next multiple of four from start.
func (w *xzWalk) align(start int) error {
	_, err := w.take((4 - (w.at-start)%4) % 4)
	return err
}

// varint reads a multibyte integer (section 1.2).
func (w *xzWalk) varint() (uint64, error) {
	v, n := binary.Uvarint(w.data[w.at:min(len(w.data), w.at+9)])
	if n <= 0 {
		return 0, errXZ
	}
	w.at += n
	return v, nil
}

// stream walks over one stream: header, blocks, index, footer.
func (w *xzWalk) stream() error {
	head, err := w.take(12)
	if err != nil || !bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")) {
		return errXZ
	}
	check := xzCheckSize[head[7]&0x0f]
	for {
		if w.at >= len(w.data) {
			return errXZ
		}
		if w.data[w.at] == 0 {
			return w.indexAndFooter()
		}
		if err := w.block(check); err != nil {
			return err
		}
	}
}

// block walks over one block.
func (w *xzWalk) block(check int) error {
	start := w.at
	head, err := w.take((int(w.data[w.at]) + 1) * 4)
	if err != nil {
		return err
	}
	if err := checkXZFilters(head); err != nil {
		return err
	}
	if err := w.chunks(); err != nil {
		return err
	}
	if err := w.align(start); err != nil {
		return err
	}
	_, err = w.take(check)
	return err
}

// checkXZFilters wants LZMA2 and nothing before it, with a dictionary in bounds.
func checkXZFilters(head []byte) error {
	h := &xzWalk{data: head[:len(head)-4], at: 2} // without the CRC-32
	flags := head[1]
	if flags&0x3f != 0 {
		return errors.New("xz with filters other than LZMA2 is not supported")
	}
	for _, present := range []byte{flags & 0x40, flags & 0x80} { // compressed, uncompressed size
		if present != 0 {
			if _, err := h.varint(); err != nil {
				return err
			}
		}
	}
	id, err := h.varint()
	if err != nil {
		return err
	}
	size, err := h.varint()
	if err != nil {
		return err
	}
	if id != 0x21 || size != 1 {
		return errors.New("xz with filters other than LZMA2 is not supported")
	}
	props, err := h.take(1)
	if err != nil || props[0] > 40 {
		return errXZ
	}
	bits := props[0]
	if dict := (2 | int64(bits&1)) << (bits/2 + 11); dict > MaxDictionary {
		return fmt.Errorf("xz dictionary of %d bytes, over the limit of %d", dict, int64(MaxDictionary))
	}
	return nil
}

// chunks walks over LZMA2 data (as xz-embedded's lzma2_decode documents it).
func (w *xzWalk) chunks() error {
	for {
		control, err := w.take(1)
		if err != nil {
			return err
		}
		c := control[0]
		switch {
		case c == 0:
			return nil
		case c > 2 && c < 0x80:
			return errXZ
		}
		head := 2 // uncompressed chunk: its size
		if c >= 0x80 {
			head = 4 // uncompressed and compressed size
		}
		if c >= 0xc0 {
			head = 5 // and properties
		}
		b, err := w.take(head)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint16(b)) + 1
		body := size
		if c >= 0x80 {
			size += int(c&0x1f) << 16
			body = int(binary.BigEndian.Uint16(b[2:])) + 1
		}
		w.left -= int64(size)
		if _, err := w.take(body); err != nil {
			return err
		}
	}
}

// indexAndFooter walks over the end of a stream.
func (w *xzWalk) indexAndFooter() error {
	start := w.at
	w.at++ // index indicator
	records, err := w.varint()
	if err != nil {
		return err
	}
	for ; records > 0; records-- {
		for range 2 { // unpadded size, uncompressed size
			if _, err := w.varint(); err != nil {
				return err
			}
		}
	}
	if err := w.align(start); err != nil {
		return err
	}
	_, err = w.take(4 + 12) // CRC-32, footer
	return err
}
