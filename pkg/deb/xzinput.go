package deb

import (
	"bufio"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"
)

// xzInput is the compressed side of an xzReader: it counts, and sums up what
// is read for the CRC of the index.
type xzInput struct {
	r   *bufio.Reader
	n   int64
	sum uint32
	one [1]byte
}

func (in *xzInput) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n += int64(n)
	in.sum = crc32.Update(in.sum, crc32.IEEETable, p[:n])
	return n, err
}

func (in *xzInput) ReadByte() (byte, error) {
	c, err := in.r.ReadByte()
	if err == nil {
		in.n++
		in.one[0] = c
		in.sum = crc32.Update(in.sum, crc32.IEEETable, in.one[:])
	}
	return c, err
}

// unpackedAhead adds up how long the LZMA2 chunks before us are unpacked, as far
// as their headers say so ("The .xz File Format" 5.3.1, LZMA2 by xz's
// lzma2_decoder.c: a control byte, 16 bits of the unpacked size less one, and for
// a compressed chunk its size less one and perhaps properties). known is false
// if their end is not in the buffer. Nothing is consumed and nothing is believed
// of it but how large a dictionary is of use.
func (in *xzInput) unpackedAhead() (size int64, known bool) {
	ahead, _ := in.r.Peek(xzAhead) // what there is; an error is told by the next Read
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

// padding reads the zero bytes that bring n to a multiple of four.
func (in *xzInput) padding(n int64) error {
	for ; n%4 != 0; n++ {
		c, err := in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		if c != 0 {
			return errXZCorrupt
		}
	}
	return nil
}

// xzNumber reads a number of variable length, seven bits a byte, at most 63.
func xzNumber(in io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		c, err := in.ReadByte()
		if err != nil {
			return 0, truncated(err)
		}
		n |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c == 0 && shift > 0 { // not the shortest form
				return 0, errXZCorrupt
			}
			return n, nil
		}
	}
	return 0, errXZCorrupt
}

// xzCheckSize is the size of a check, bytes; -1 for a kind that is not read.
func xzCheckSize(kind byte) int {
	switch kind {
	case 0x00:
		return 0
	case 0x01:
		return crc32.Size
	case 0x04:
		return crc64.Size
	case 0x0a:
		return sha256.Size
	}
	return -1
}

// newXZCheck is the hash of a kind of check, nil for none.
func newXZCheck(kind byte) hash.Hash {
	switch kind {
	case 0x01:
		return crc32.NewIEEE()
	case 0x04:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case 0x0a:
		return sha256.New()
	}
	return nil
}

// xzSum is the sum in the byte order of xz: CRCs in little endian.
func xzSum(h hash.Hash) []byte {
	sum := h.Sum(nil)
	if len(sum) < sha256.Size {
		slices.Reverse(sum)
	}
	return sum
}
