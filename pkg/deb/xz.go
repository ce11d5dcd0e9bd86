package deb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader decompresses one xz stream ("The .xz File Format" 1.2). The
// container is read here and only LZMA2 is left to the library, because that
// allocates whatever dictionary a block declares, up to 4 GiB.
//
// Like dpkg it takes a single stream; as a filter, LZMA2 alone.
type xzReader struct {
	in      xzInput
	maxDict int
	check   byte          // kind of the blocks' checks
	started bool          // the stream header was read
	block   *lzma.Reader2 // nil between blocks
	head    xzBlockHeader // of block
	sum     hash.Hash     // of what block gave; nil for no check
	out     int64         // bytes that block gave
	start   int64         // input read before the block's data
	blocks  int64         // blocks that ended
	sizes   hash.Hash     // over their sizes, to compare with the index
	err     error         // what Read gives from now on
}

// xzBlockHeader is a block's header; sizes are -1 where they are not given.
type xzBlockHeader struct {
	size             int64 // of the header itself
	packed, unpacked int64
	dict             int64
}

var (
	errXZMagic   = errors.New("xz: no xz stream")
	errXZCorrupt = errors.New("xz: corrupt stream")
	errXZFilter  = errors.New("xz: filter other than LZMA2")
	errXZCheck   = errors.New("xz: unknown check")
	errXZBehind  = errors.New("xz: bytes behind the stream")
)

const (
	xzHeaderMagic = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzFilterLZMA2 = 0x21
	xzMinDict     = 4096     // the library takes no less
	xzAhead       = 64 << 10 // of the input held in memory: most control.tar.xz are shorter
)

// newXZReader decompresses r with a dictionary of at most maxDict bytes: a
// block that refers further back is corrupt to it.
func newXZReader(r io.Reader, maxDict int64) *xzReader {
	return &xzReader{in: xzInput{r: bufio.NewReaderSize(r, xzAhead)}, maxDict: int(maxDict), sizes: sha256.New()}
}

// Read gives io.EOF only when the checks of all blocks, the index and the
// footer were right and the input ends behind them.
func (z *xzReader) Read(p []byte) (int, error) {
	for z.err == nil && len(p) > 0 {
		if z.block == nil {
			end, err := z.nextBlock()
			z.err = truncated(err)
			if end && err == nil {
				z.err = io.EOF
			}
			continue
		}
		n, err := z.block.Read(p)
		if z.sum != nil {
			z.sum.Write(p[:n])
		}
		z.out += int64(n)
		if err == io.EOF {
			z.block = nil
			err = truncated(z.endBlock())
		}
		z.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, z.err
}

// nextBlock opens the next block; at the index it reads the rest of the stream
// and tells that this is the end.
func (z *xzReader) nextBlock() (end bool, err error) {
	if !z.started {
		if err := z.streamHeader(); err != nil {
			return false, err
		}
		z.started = true
	}
	z.in.sum = 0
	c, err := z.in.ReadByte()
	if err != nil {
		return false, err
	}
	if c == 0 {
		return true, z.index()
	}
	if z.head, err = z.blockHeader(c); err != nil {
		return false, err
	}
	z.sum, z.out, z.start = newXZCheck(z.check), 0, z.in.n
	dict := min(z.head.dict, int64(z.maxDict))
	if size, known := z.in.unpackedAhead(); known {
		dict = min(dict, size) // no reference goes further back than the block is long
	}
	z.block, err = lzma.Reader2Config{DictCap: int(max(dict, xzMinDict))}.NewReader2(&z.in)
	return false, err
}

// streamHeader reads the 12 bytes that a stream begins with.
func (z *xzReader) streamHeader() error {
	var h [12]byte
	if _, err := io.ReadFull(&z.in, h[:]); err != nil {
		return truncated(err)
	}
	if string(h[:6]) != xzHeaderMagic {
		return errXZMagic
	}
	if crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errXZCorrupt
	}
	if h[6] != 0 || xzCheckSize(h[7]) < 0 {
		return errXZCheck
	}
	z.check = h[7]
	return nil
}

// blockHeader reads the header whose first byte, its encoded size, is c.
func (z *xzReader) blockHeader(c byte) (xzBlockHeader, error) {
	h := xzBlockHeader{size: (int64(c) + 1) * 4, packed: -1, unpacked: -1}
	buf := make([]byte, h.size) // 8 to 1,024 bytes
	buf[0] = c
	if _, err := io.ReadFull(&z.in, buf[1:]); err != nil {
		return h, truncated(err)
	}
	body := buf[:h.size-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(buf[h.size-4:]) {
		return h, errXZCorrupt
	}
	flags, in := body[1], bytes.NewReader(body[2:])
	if flags&0x3f != 0 { // more than one filter, or reserved bits
		return h, errXZFilter
	}
	var err error
	if flags&0x40 != 0 {
		if h.packed, err = xzNumber(in); err != nil {
			return h, err
		}
	}
	if flags&0x80 != 0 {
		if h.unpacked, err = xzNumber(in); err != nil {
			return h, err
		}
	}
	if h.dict, err = xzFilter(in); err != nil {
		return h, err
	}
	for in.Len() > 0 {
		if b, _ := in.ReadByte(); b != 0 {
			return h, errXZCorrupt
		}
	}
	return h, nil
}

// xzFilter reads the flags of the LZMA2 filter and gives its dictionary size.
func xzFilter(in io.ByteReader) (int64, error) {
	id, err := xzNumber(in)
	if err != nil {
		return 0, err
	}
	if id != xzFilterLZMA2 {
		return 0, errXZFilter
	}
	if size, err := xzNumber(in); err != nil || size != 1 {
		return 0, errXZCorrupt
	}
	prop, err := in.ReadByte()
	if err != nil {
		return 0, errXZCorrupt
	}
	dict, err := lzma.DecodeDictCap(prop)
	if err != nil {
		return 0, errXZCorrupt
	}
	return dict, nil
}

// endBlock reads padding and check of the block whose data have ended.
func (z *xzReader) endBlock() error {
	packed := z.in.n - z.start
	if z.head.packed >= 0 && z.head.packed != packed || z.head.unpacked >= 0 && z.head.unpacked != z.out {
		return errXZCorrupt
	}
	if err := z.in.padding(packed); err != nil {
		return err
	}
	want := make([]byte, xzCheckSize(z.check))
	if _, err := io.ReadFull(&z.in, want); err != nil {
		return truncated(err)
	}
	if z.sum != nil && !bytes.Equal(want, xzSum(z.sum)) {
		return errXZCorrupt
	}
	z.blocks++
	addSizes(z.sizes, z.head.size+packed+int64(len(want)), z.out)
	return nil
}

// addSizes adds what the index records of a block to h.
func addSizes(h hash.Hash, unpadded, unpacked int64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(unpadded))
	binary.LittleEndian.PutUint64(b[8:], uint64(unpacked))
	h.Write(b[:])
}

// index reads the index, whose first byte was read, and the footer. The sizes
// in it have to be those of the blocks; they are compared by their hash, so
// that a stream of many blocks takes no memory.
func (z *xzReader) index() error {
	start := z.in.n - 1
	n, err := xzNumber(&z.in)
	if err != nil {
		return err
	}
	if n != z.blocks {
		return errXZCorrupt
	}
	sizes := sha256.New()
	for range z.blocks {
		unpadded, err := xzNumber(&z.in)
		if err != nil {
			return err
		}
		unpacked, err := xzNumber(&z.in)
		if err != nil {
			return err
		}
		addSizes(sizes, unpadded, unpacked)
	}
	if err := z.in.padding(z.in.n - start); err != nil {
		return err
	}
	sum := z.in.sum
	var tail [16]byte // CRC32 of the index and the footer
	if _, err := io.ReadFull(&z.in, tail[:]); err != nil {
		return truncated(err)
	}
	le := binary.LittleEndian
	switch {
	case !bytes.Equal(sizes.Sum(nil), z.sizes.Sum(nil)),
		le.Uint32(tail[:4]) != sum,
		le.Uint32(tail[4:8]) != crc32.ChecksumIEEE(tail[8:14]),
		(int64(le.Uint32(tail[8:12]))+1)*4 != z.in.n-12-start,
		tail[12] != 0 || tail[13] != z.check,
		string(tail[14:]) != xzFooterMagic:
		return errXZCorrupt
	}
	switch _, err := z.in.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return errXZBehind
	default:
		return err
	}
}
