// Package xz reads .xz files ("The .xz File Format" 1.2) in bounded memory.
package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"
	"sync"
)

// Options are the limits of a Reader.
type Options struct {
	// MaxDictionary bounds the dictionary that is allocated, in bytes. A block
	// that declares more is an error.
	MaxDictionary int64
	// Shrink reads a block that declares a larger dictionary with one of
	// MaxDictionary; a reference further back is corrupt then.
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
// The dictionary that a block declares is 8 MiB or more for a file of a few KiB.
// It is allocated as far as the file fills it, in steps.
type Reader struct {
	in      *bufio.Reader
	options Options
	blocks  *dictionary
	check   sum
	stage   func(*Reader) error // reads the next part of the file that has no data
	block   blockHeader
	out     int64     // bytes of the block so far
	count   int64     // blocks of the stream
	sizes   hash.Hash // of their sizes, as the index has them
	flags   [2]byte   // of the stream
	data    []byte    // decompressed and not yet read
	err     error     // what Read returns behind data
}

// ErrCorrupt is returned, and wrapped, for what is no xz file or has other bytes than its checksums say.
var ErrCorrupt = errors.New("xz: data is corrupt")

var (
	errFilter = errors.New("xz: filters other than LZMA2 are not supported")
	errBehind = errors.New("xz: bytes behind the stream")
)

const (
	streamHeader = 12
	headerMagic  = "\xfd7zXZ\x00"
	footerMagic  = "YZ"
	filterLZMA2  = 0x21
)

// NewReader decompresses r. It reads more of r than it needs.
func NewReader(r io.Reader, o Options) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 32<<10), options: o, stage: (*Reader).header}
}

// Read returns io.EOF only when the checksums of all blocks, the index and the
// footer are right and the input ends behind them.
func (z *Reader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(z.data) == 0 {
		if z.err != nil {
			return 0, z.err
		}
		if z.err = z.more(); z.err != nil {
			z.release()
		}
	}
	n = copy(p, z.data)
	z.data = z.data[n:]
	return n, nil
}

// dictionaries are those of readers that have ended: most files want one of 8 MiB again.
var dictionaries = sync.Pool{New: func() any { return new(dictionary) }}

func (z *Reader) release() {
	const most = 8<<20 + overwrites // of xz's default level
	if z.blocks == nil {
		return
	}
	if z.blocks.in = nil; cap(z.blocks.buf) > most {
		z.blocks.buf = nil
	}
	dictionaries.Put(z.blocks)
	z.blocks = nil
}

// more reads on until there is data or an error.
func (z *Reader) more() error {
	if z.stage != nil {
		return z.stage(z)
	}
	data, err := z.blocks.next()
	if err == io.EOF {
		return z.blockEnd()
	}
	if err != nil {
		return err
	}
	z.check.write(data)
	z.out += int64(len(data))
	if z.block.unpacked >= 0 && z.out > z.block.unpacked {
		return ErrCorrupt
	}
	z.data = data
	return nil
}

// header reads a stream's (section 2.1.1).
func (z *Reader) header() error {
	var b [streamHeader]byte
	if err := z.read(b[:]); err != nil {
		return err
	}
	if string(b[:6]) != headerMagic || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return fmt.Errorf("%w: no xz header", ErrCorrupt)
	}
	z.flags = [2]byte(b[6:8])
	var ok bool
	if z.check, ok = newCheck(b[7]); b[6] != 0 || !ok {
		return fmt.Errorf("xz: stream flags %x are not supported", b[6:8])
	}
	z.count, z.sizes = 0, sha256.New()
	z.stage = (*Reader).next
	return nil
}

// next reads a block's header, or the index and all that is behind it.
func (z *Reader) next() error {
	first, err := z.in.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if first == 0 {
		return z.index()
	}
	b := make([]byte, (int(first)+1)*4)
	b[0] = first
	if err := z.read(b[1:]); err != nil {
		return err
	}
	if z.block, err = parseBlockHeader(b); err != nil {
		return err
	}
	size := z.block.dictionary
	if size > z.options.MaxDictionary && !z.options.Shrink {
		return fmt.Errorf("xz dictionary of %d bytes, over the limit of %d", size, z.options.MaxDictionary)
	}
	size = min(size, z.options.MaxDictionary)
	if z.options.Output > 0 {
		size = min(size, z.options.Output)
	}
	if z.blocks == nil {
		z.blocks = dictionaries.Get().(*dictionary)
	}
	z.blocks.begin(z.in, size)
	z.out = 0
	z.check.reset()
	z.stage = nil
	return nil
}

// blockHeader is that of section 3.1.
type blockHeader struct {
	size             int   // its own
	packed, unpacked int64 // bytes; -1: it does not say
	dictionary       int64 // bytes
}

func parseBlockHeader(b []byte) (blockHeader, error) {
	h := blockHeader{size: len(b), packed: -1, unpacked: -1}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return h, ErrCorrupt
	}
	flags := body[1]
	if flags&0x3f != 0 { // more than one filter, or reserved bits
		return h, errFilter
	}
	r := bytes.NewReader(body[2:])
	number := func() (n int64) {
		n, err := readNumber(r)
		if err != nil {
			return -1
		}
		return n
	}
	if flags&0x40 != 0 {
		if h.packed = number(); h.packed <= 0 {
			return h, ErrCorrupt
		}
	}
	if flags&0x80 != 0 {
		if h.unpacked = number(); h.unpacked < 0 {
			return h, ErrCorrupt
		}
	}
	if number() != filterLZMA2 {
		return h, errFilter
	}
	property := byte(0xff)
	if number() == 1 && r.Len() > 0 { // bytes of properties
		property, _ = r.ReadByte()
	}
	if property > 40 {
		return h, ErrCorrupt
	}
	h.dictionary = dictionarySize(property)
	for r.Len() > 0 {
		if padding, _ := r.ReadByte(); padding != 0 {
			return h, ErrCorrupt
		}
	}
	return h, nil
}

// dictionarySize is the size that the property of LZMA2 stands for, bytes
// (section 5.3.1). The last one is less by a byte than this says.
func dictionarySize(p byte) int64 {
	return (2 | int64(p&1)) << (p/2 + 11)
}

// readNumber reads a multibyte integer (section 1.2).
func readNumber(r io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		n |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 { // not the shortest form
				return 0, ErrCorrupt
			}
			return n, nil
		}
	}
	return 0, ErrCorrupt
}

// blockEnd reads what follows a block's data: padding and checksum.
func (z *Reader) blockEnd() error {
	used := z.blocks.used
	if z.block.packed >= 0 && z.block.packed != used || z.block.unpacked >= 0 && z.block.unpacked != z.out {
		return ErrCorrupt
	}
	if err := z.zeros(used); err != nil {
		return err
	}
	want := z.check.value()
	sum := make([]byte, len(want))
	if err := z.read(sum); err != nil {
		return err
	}
	if !bytes.Equal(sum, want) {
		return fmt.Errorf("%w: checksum of a block", ErrCorrupt)
	}
	z.note(int64(z.block.size)+used+int64(len(sum)), z.out)
	z.count++
	z.stage = (*Reader).next
	return nil
}

// note adds the sizes of a block to what the index has to say.
func (z *Reader) note(unpadded, unpacked int64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(unpadded))
	binary.LittleEndian.PutUint64(b[8:], uint64(unpacked))
	z.sizes.Write(b[:])
}

// zeros reads the padding behind n bytes, up to a multiple of four.
func (z *Reader) zeros(n int64) error {
	var b [3]byte
	padding := b[:-n&3]
	err := z.read(padding)
	if err == nil && !bytes.Equal(padding, make([]byte, len(padding))) {
		err = ErrCorrupt
	}
	return err
}

// summed counts and sums bytes that are read one by one.
type summed struct {
	r   io.ByteReader
	n   int64
	crc uint32
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.n++
		s.crc = crc32.Update(s.crc, crc32.IEEETable, []byte{b})
	}
	return b, err
}

// index reads the index behind its first byte, the footer, and what is between
// that and the next stream (sections 4, 2.1.2 and 2.2).
func (z *Reader) index() error {
	s := &summed{r: z.in, n: 1, crc: crc32.ChecksumIEEE([]byte{0})}
	count, err := readNumber(s)
	if err != nil {
		return err
	}
	want := z.sizes.Sum(nil)
	z.sizes.Reset()
	if count != z.count {
		return fmt.Errorf("%w: index", ErrCorrupt)
	}
	for range count {
		unpadded, err := readNumber(s)
		if err != nil {
			return err
		}
		unpacked, err := readNumber(s)
		if err != nil {
			return err
		}
		z.note(unpadded, unpacked)
	}
	for s.n%4 != 0 {
		switch b, err := s.ReadByte(); {
		case err != nil:
			return noEOF(err)
		case b != 0:
			return fmt.Errorf("%w: index", ErrCorrupt)
		}
	}
	var b [4 + 12]byte // the sum of the index, and the footer
	if err := z.read(b[:]); err != nil {
		return err
	}
	footer := b[4:]
	size := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	switch {
	case !bytes.Equal(want, z.sizes.Sum(nil)), s.crc != binary.LittleEndian.Uint32(b[:]), size != s.n+4:
		return fmt.Errorf("%w: index", ErrCorrupt)
	case crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer), string(footer[10:]) != footerMagic, [2]byte(footer[8:]) != z.flags:
		return fmt.Errorf("%w: footer", ErrCorrupt)
	}
	return z.behind()
}

// behind reads what follows a stream: nothing, or zeros and another stream.
func (z *Reader) behind() error {
	for zeros := int64(0); ; zeros++ {
		b, err := z.in.ReadByte()
		if err == nil && z.options.Single {
			return errBehind
		}
		if err == nil && b == 0 {
			continue
		}
		if (err == nil || err == io.EOF) && zeros%4 != 0 {
			return fmt.Errorf("%w: padding behind a stream", ErrCorrupt)
		}
		if err != nil {
			return err
		}
		z.stage = (*Reader).header
		return z.in.UnreadByte()
	}
}

func (z *Reader) read(p []byte) error {
	_, err := io.ReadFull(z.in, p)
	return noEOF(err)
}

// noEOF tells the end of input inside of something by its right name.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// check is the checksum of a block; nil of one that has none.
type sum struct{ hash.Hash }

const maxCheck = sha256.Size // the only one that is no CRC

var crc64Table = crc64.MakeTable(crc64.ECMA)

// newCheck is the check with an identifier (section 2.1.1.2). Those that no
// program writes are not known.
func newCheck(id byte) (sum, bool) {
	switch id {
	case 0:
		return sum{}, true
	case 1:
		return sum{crc32.NewIEEE()}, true
	case 4:
		return sum{crc64.New(crc64Table)}, true
	case 10:
		return sum{sha256.New()}, true
	}
	return sum{}, false
}

func (c sum) write(p []byte) {
	if c.Hash != nil {
		c.Write(p)
	}
}

func (c sum) reset() {
	if c.Hash != nil {
		c.Reset()
	}
}

// sum is the checksum as it is written: a CRC's lowest byte first.
func (c sum) value() []byte {
	if c.Hash == nil {
		return nil
	}
	s := c.Sum(nil)
	if len(s) < maxCheck {
		slices.Reverse(s)
	}
	return s
}
