package deb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/mikelolasagasti/xz"
)

// xzReader decompresses one xz stream ("The .xz File Format" 1.2). Like dpkg it
// takes a single stream, and nothing may be behind it.
//
// The library allocates the dictionary that a block declares, which is 8 MiB or
// more for a control.tar of a few KiB. The header of the first block, mostly the
// only one, is therefore made to declare what is of use.
type xzReader struct {
	in      *bufio.Reader
	maxDict int64
	out     *xz.Reader // nil before the headers were read
	tail    xzTail
	err     error // what Read gives from now on
}

var (
	errXZHeader = errors.New("xz: corrupt header")
	errXZFilter = errors.New("xz: filter other than LZMA2")
	errXZBehind = errors.New("xz: bytes behind the stream")
)

const (
	xzStreamHeader = 12
	xzStreamFooter = 12
	xzFooterMagic  = "YZ"
	xzFilterLZMA2  = 0x21
	xzAhead        = 64 << 10 // of the input held in memory: most control.tar.xz are shorter
)

// newXZReader decompresses r with dictionaries of at most maxDict bytes: a first
// block that refers further back is corrupt to it, a later one that declares more an error.
func newXZReader(r io.Reader, maxDict int64) *xzReader {
	return &xzReader{in: bufio.NewReaderSize(r, xzAhead), maxDict: maxDict}
}

// Read gives io.EOF only when the checks of all blocks, the index and the
// footer were right and the input ends behind them.
func (z *xzReader) Read(p []byte) (n int, err error) {
	if z.out == nil && z.err == nil {
		z.err = z.open()
	}
	if len(p) == 0 || z.err != nil {
		return 0, z.err
	}
	n, z.err = z.out.Read(p)
	if z.err == io.EOF && !z.tail.single() {
		z.err = errXZBehind
	}
	return n, z.err
}

// open reads the headers of the stream and of its first block.
func (z *xzReader) open() error {
	head, err := z.headers()
	if err != nil {
		return err
	}
	z.out, err = xz.NewReader(io.TeeReader(io.MultiReader(bytes.NewReader(head), z.in), &z.tail), uint32(z.maxDict))
	return err
}

// headers takes both headers from the input, the block's with a dictionary that
// is of use. What is no header is left to the library to refuse.
func (z *xzReader) headers() ([]byte, error) {
	first, err := z.in.Peek(xzStreamHeader + 1)
	if err != nil {
		return nil, truncated(err)
	}
	size := xzStreamHeader
	if c := int(first[xzStreamHeader]); c != 0 { // else the index follows, and there is no block
		size += (c + 1) * 4
	}
	head := make([]byte, size) // up to 1,036 bytes
	if _, err := io.ReadFull(z.in, head); err != nil {
		return nil, truncated(err)
	}
	if size == xzStreamHeader {
		return head, nil
	}
	return head, z.shrink(head[xzStreamHeader:])
}

// shrink declares in a block header (section 3.1) no larger dictionary than the data
// can refer back and no larger one than is allowed.
func (z *xzReader) shrink(head []byte) error {
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errXZHeader
	}
	at, err := xzDictionary(body)
	if err != nil {
		return err
	}
	most := z.maxDict
	if size, known := z.unpackedAhead(); known {
		most = min(most, size)
	}
	for p := range body[at] {
		if xzDictionarySize(p) >= most {
			body[at] = p
			break
		}
	}
	if xzDictionarySize(body[at]) > z.maxDict {
		body[at]-- // the sizes are steps: no more than is allowed
	}
	binary.LittleEndian.PutUint32(sum, crc32.ChecksumIEEE(body))
	return nil
}

// xzDictionary finds the byte of a block header that tells the dictionary size
// (section 5.3.1): behind flags and sizes, the only property of the only filter.
func xzDictionary(body []byte) (int, error) {
	at, flags := 2, body[1]
	if flags&0x3f != 0 { // more than one filter, or reserved bits
		return 0, errXZFilter
	}
	numbers := 2 // kind of the filter, and how many bytes of properties it has
	for _, present := range []byte{flags & 0x40, flags & 0x80} {
		if present != 0 {
			numbers++
		}
	}
	var last [2]uint64
	for range numbers {
		v, n := binary.Uvarint(body[at:min(len(body), at+9)])
		if n <= 0 {
			return 0, errXZHeader
		}
		at += n
		last[0], last[1] = last[1], v
	}
	switch {
	case last[0] != xzFilterLZMA2:
		return 0, errXZFilter
	case last[1] != 1 || at >= len(body) || body[at] > 40:
		return 0, errXZHeader
	}
	return at, nil
}

// xzDictionarySize is the size that the property of LZMA2 stands for, bytes.
func xzDictionarySize(p byte) int64 {
	if p >= 40 {
		return 1<<32 - 1
	}
	return (2 | int64(p&1)) << (p/2 + 11)
}

// unpackedAhead adds up how long the LZMA2 chunks before us are unpacked, as far
// as their headers say so (section 5.3.1, LZMA2 by xz's lzma2_decoder.c: a control byte, 16 bits of
// the unpacked size less one, and for a compressed chunk its size less one and perhaps
// properties). known is false if their end is not in the buffer. Nothing is consumed and nothing is
// believed of it but how large a dictionary is of use.
func (z *xzReader) unpackedAhead() (size int64, known bool) {
	ahead, _ := z.in.Peek(xzAhead) // what there is; an error is told by the next Read
	for len(ahead) > 0 && ahead[0] != 0 {
		header, body := 3, 0
		if len(ahead) < 6 {
			return 0, false
		}
		control, unpacked := ahead[0], int64(ahead[1])<<8|int64(ahead[2])
		switch {
		case control >= 0x80:
			unpacked |= int64(control&0x1f) << 16
			header, body = 5, (int(ahead[3])<<8|int(ahead[4]))+1
			if control >= 0xc0 {
				header++
			}
		case control <= 2:
			body = int(unpacked) + 1
		default:
			return 0, false // no LZMA2; the decoder says so
		}
		size += unpacked + 1
		if header+body > len(ahead) {
			return 0, false
		}
		ahead = ahead[header+body:]
	}
	return size, len(ahead) > 0
}
