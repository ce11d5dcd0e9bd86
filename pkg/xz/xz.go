// Package xz reads .xz files ("The .xz File Format" 1.2) in bounded memory.
package xz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	decoder "github.com/mikelolasagasti/xz" // reads only, and a third faster than the one that writes, too
)

// Options are the limits of a Reader.
type Options struct {
	// MaxDictionary bounds the dictionary that is allocated, in bytes. A later
	// block that declares more is an error.
	MaxDictionary int64
	// Shrink reads a first block that declares a larger dictionary with one of
	// MaxDictionary; a reference further back is corrupt then. Without it such a
	// block is an error.
	Shrink bool
	// Output, if not 0, is how many bytes will be read at most: no dictionary
	// need be larger.
	Output int64
	// Single refuses whatever follows the first stream, as dpkg does. Without it
	// several streams are one file.
	Single bool
}

// Reader decompresses an xz file.
//
// The decoder allocates the dictionary that a block declares, which is 8 MiB or
// more for a file of a few KiB. The header of the first block, mostly the only
// one, is therefore rewritten to declare no more than is of use.
type Reader struct {
	in      *bufio.Reader
	options Options
	out     *decoder.Reader // nil before the headers were read
	tail    tail
	err     error // what Read returns from now on
}

var (
	errHeader = errors.New("xz: corrupt header")
	errFilter = errors.New("xz: filters other than LZMA2 are not supported")
	errBehind = errors.New("xz: bytes behind the stream")
)

const (
	streamHeader = 12
	streamFooter = 12
	footerMagic  = "YZ"
	filterLZMA2  = 0x21
	lookAhead    = 64 << 10 // bytes of the input held in memory: most control.tar.xz are shorter
)

// NewReader decompresses r.
func NewReader(r io.Reader, o Options) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, lookAhead), options: o}
}

// Read returns io.EOF only when the checksums of all blocks, the index and the
// footer are right and the input ends behind them.
func (z *Reader) Read(p []byte) (n int, err error) {
	if z.out == nil && z.err == nil {
		z.err = z.open()
	}
	if len(p) == 0 || z.err != nil {
		return 0, z.err
	}
	n, z.err = z.out.Read(p)
	if z.err == io.EOF && z.options.Single && !z.tail.single() {
		z.err = errBehind
	}
	return n, z.err
}

// open reads the headers of the stream and of its first block.
func (z *Reader) open() error {
	head, err := z.headers()
	if err != nil {
		return err
	}
	whole := io.MultiReader(bytes.NewReader(head), z.in)
	if z.options.Single {
		whole = io.TeeReader(whole, &z.tail)
	}
	z.out, err = decoder.NewReader(whole, uint32(z.options.MaxDictionary))
	return err
}

// headers reads both headers and shrinks the block's dictionary. What is not a
// header is left to the decoder to refuse.
func (z *Reader) headers() ([]byte, error) {
	first, err := z.in.Peek(streamHeader + 1)
	if err != nil {
		return nil, noEOF(err)
	}
	size := streamHeader
	if c := int(first[streamHeader]); c != 0 { // else the index follows, and there is no block
		size += (c + 1) * 4
	}
	head := make([]byte, size) // up to 1,036 bytes
	if _, err := io.ReadFull(z.in, head); err != nil {
		return nil, noEOF(err)
	}
	if size == streamHeader {
		return head, nil
	}
	return head, z.shrink(head[streamHeader:])
}

// shrink rewrites a block header (section 3.1) to declare no larger dictionary
// than is allowed, nor than the data can refer back.
func (z *Reader) shrink(head []byte) error {
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errHeader
	}
	at, err := dictionary(body)
	if err != nil {
		return err
	}
	declared, most := dictionarySize(body[at]), z.options.MaxDictionary
	if declared > most && !z.options.Shrink {
		return fmt.Errorf("xz dictionary of %d bytes, over the limit of %d", declared, most)
	}
	if z.options.Output > 0 {
		most = min(most, z.options.Output)
	}
	if size, known := z.unpackedAhead(); known {
		most = min(most, size)
	}
	for p := range body[at] {
		if dictionarySize(p) >= most {
			body[at] = p
			break
		}
	}
	if dictionarySize(body[at]) > z.options.MaxDictionary {
		body[at]-- // the sizes are steps: no more than is allowed
	}
	binary.LittleEndian.PutUint32(sum, crc32.ChecksumIEEE(body))
	return nil
}

// dictionary finds the byte of a block header that tells the dictionary size
// (section 5.3.1): behind flags and sizes, the only property of the only filter.
func dictionary(body []byte) (int, error) {
	at, flags := 2, body[1]
	if flags&0x3f != 0 { // more than one filter, or reserved bits
		return 0, errFilter
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
			return 0, errHeader
		}
		at += n
		last[0], last[1] = last[1], v
	}
	switch {
	case last[0] != filterLZMA2:
		return 0, errFilter
	case last[1] != 1 || at >= len(body) || body[at] > 40:
		return 0, errHeader
	}
	return at, nil
}

// dictionarySize is the size that the property of LZMA2 stands for, bytes.
func dictionarySize(p byte) int64 {
	return (2 | int64(p&1)) << (p/2 + 11)
}

// unpackedAhead adds up the unpacked sizes that the headers of the next LZMA2
// chunks declare: a control byte, 16 bits of the unpacked size less one, and for
// a compressed chunk its size less one and perhaps properties (xz's
// lzma2_decoder.c). known is false if the last chunk does not end in the buffer.
// Nothing is consumed, and the size serves to shrink the dictionary only.
func (z *Reader) unpackedAhead() (size int64, known bool) {
	ahead, _ := z.in.Peek(lookAhead) // an error comes again with the next Read
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

// maxIndex bounds the index of a single stream, in bytes: some ten thousand
// blocks. dpkg-deb makes one block.
const maxIndex = 64 << 10

// tail keeps the end of what was read. The last stream ends there, and its index
// (section 4) tells where it began.
type tail struct {
	n    int64  // bytes in all
	last []byte // the last of them, enough for an index and a footer
}

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	const keep = maxIndex + streamFooter
	t.n += int64(len(p))
	t.last = append(t.last, p...)
	if len(t.last) > 2*keep {
		t.last = append(t.last[:0], t.last[len(t.last)-keep:]...)
	}
	return len(p), nil
}

// single tells whether all that was read is one stream. The decoder, which has
// verified it, also takes several in a row and zeros behind them.
func (t *tail) single() bool {
	end := len(t.last) - streamFooter
	if end < 0 || string(t.last[len(t.last)-2:]) != footerMagic {
		return false
	}
	size := (int64(binary.LittleEndian.Uint32(t.last[end+4:])) + 1) * 4
	if size > int64(end) || t.last[end-int(size)] != 0 { // else the index indicator
		return false
	}
	index := t.last[end-int(size)+1 : end]
	number := func() int64 {
		v, n := binary.Uvarint(index[:min(9, len(index))])
		if n <= 0 {
			n, v = len(index), 0 // cannot be: the decoder has read it
		}
		index = index[n:]
		return int64(v)
	}
	stream := streamHeader + size + streamFooter
	for blocks := number(); blocks > 0 && len(index) > 0; blocks-- {
		stream += (number() + 3) &^ 3 // padded
		number()                      // unpacked size
	}
	return stream == t.n
}

// noEOF tells the end of input inside a header by its right name.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
