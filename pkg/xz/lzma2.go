package xz

import (
	"bufio"
	"encoding/binary"
	"io"
)

// Control bytes of LZMA2 chunks; see liblzma's lzma2_decoder.c.
const (
	controlEnd       = 0x00
	controlCopyReset = 0x01 // uncompressed, the dictionary is forgotten
	controlCopy      = 0x02 // uncompressed
	controlLZMA      = 0x80 // compressed; the lowest five bits belong to the size
	controlState     = 0xa0 // and the model is forgotten
	controlModel     = 0xc0 // and its properties follow
	controlReset     = 0xe0 // and the dictionary is forgotten
)

const (
	rangeInit  = 5        // bytes that a range decoder begins with
	step       = 64 << 10 // bytes that are decoded at once: they are read while they are in the cache
	firstSize  = 64 << 10 // of the buffer; it grows with what is written
	growth     = 4
	overwrites = 16 // bytes behind the position that copying may spoil; the buffer has them to spare
)

// dictionary decodes LZMA2 into a ring of the last bytes.
type dictionary struct {
	in   *bufio.Reader
	size int    // what may be referred to, bytes
	buf  []byte // up to size and overwrites, a multiple of 16
	pos  int    // where the next byte goes
	full bool   // the ring has been filled since it was reset
	last byte   // of the ring, when pos is 0
	used int64  // packed bytes so far

	reset, known bool // a chunk has reset the dictionary; has told properties

	copies bool // the chunk is uncompressed
	chunk  int  // bytes that the chunk is still to give
	left   int  // bytes of a match that did not end before the limit

	model  model
	coder  coder
	end    uint32 // of the chunk in packed
	packed packed
}

// begin makes a dictionary ready for a block.
func (z *dictionary) begin(in *bufio.Reader, size int64) {
	z.in, z.size = in, int(max(size, 4096)+15)&^15
	z.buf = z.buf[:min(cap(z.buf), z.size+overwrites)]
	z.reset, z.known, z.used = false, false, 0
	z.chunk, z.left = 0, 0
	z.forget()
}

// forget empties the ring.
func (z *dictionary) forget() { z.pos, z.full, z.last = 0, false, 0 }

// next returns bytes that are valid until the next call. It is io.EOF behind the last chunk.
func (z *dictionary) next() ([]byte, error) {
	for z.chunk == 0 {
		if err := z.header(); err != nil {
			return nil, err
		}
	}
	if z.pos == len(z.buf) {
		z.turn()
	}
	from := z.pos
	limit := from + min(z.chunk, step, len(z.buf)-from)
	if z.copies {
		n, err := io.ReadFull(z.in, z.buf[from:limit])
		z.used += int64(n)
		if err != nil {
			return nil, noEOF(err)
		}
		z.pos = limit
	} else {
		if z.left > 0 {
			z.pos = z.repeat(z.pos, limit, int(z.model.distances[0]))
		}
		if !z.decode(limit) {
			return nil, ErrCorrupt
		}
	}
	if z.chunk -= limit - from; z.chunk == 0 && !z.copies {
		if c := z.coder.fill(&z.packed); c.at != z.end || c.code != 0 || z.left > 0 {
			return nil, ErrCorrupt
		}
	}
	return z.buf[from:limit], nil
}

// turn makes room behind the end of the buffer: more, or again the beginning.
func (z *dictionary) turn() {
	most := z.size + overwrites
	if len(z.buf) < most {
		larger := make([]byte, min(most, max(firstSize, growth*len(z.buf))))
		copy(larger, z.buf)
		z.buf = larger
		return
	}
	z.pos, z.full, z.last = 0, true, z.buf[len(z.buf)-1]
}

// header reads that of a chunk, and the packed bytes of a compressed one.
func (z *dictionary) header() error {
	var b [6]byte
	if err := z.read(b[:1]); err != nil {
		return err
	}
	control := b[0]
	switch {
	case control == controlEnd:
		return io.EOF
	case control >= controlReset, control == controlCopyReset:
		z.forget()
		z.reset, z.known = true, false
	case !z.reset, control > controlCopy && control < controlLZMA:
		return ErrCorrupt
	}
	if z.copies = control < controlLZMA; z.copies {
		err := z.read(b[1:3])
		z.chunk = int(binary.BigEndian.Uint16(b[1:])) + 1
		return err
	}
	if err := z.read(b[1:5]); err != nil {
		return err
	}
	unpacked := int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(b[1:])) + 1
	packed := int(binary.BigEndian.Uint16(b[3:])) + 1
	switch {
	case control >= controlModel:
		if err := z.read(b[5:]); err != nil {
			return err
		}
		if z.model.properties, z.known = parseProperties(b[5]); !z.known {
			return ErrCorrupt
		}
		z.model.reset()
	case !z.known:
		return ErrCorrupt
	case control >= controlState:
		z.model.reset()
	}
	if err := z.read(z.packed[:packed]); err != nil {
		return err
	}
	if packed < rangeInit || z.packed[0] != 0 {
		return ErrCorrupt
	}
	z.end = uint32(packed)
	z.coder = coder{rng: 1<<32 - 1, code: binary.BigEndian.Uint32(z.packed[1:]), at: rangeInit}
	z.chunk = unpacked
	return nil
}

func (z *dictionary) read(p []byte) error {
	n, err := io.ReadFull(z.in, p)
	z.used += int64(n)
	return noEOF(err)
}

// reaches tells whether the ring has a byte at a distance, which is one less than said.
func (z *dictionary) reaches(distance, pos int) bool {
	return distance < z.size && (distance < pos || z.full)
}

// repeat copies a match, or as much of it as fits below limit, and returns the position behind it.
func (z *dictionary) repeat(pos, limit, distance int) int {
	n := min(z.left, limit-pos)
	z.left -= n
	buf, from, to := z.buf, pos-distance-1, pos+n
	switch {
	case from < 0 || to+overwrites > len(buf): // at an end of the ring
		if from < 0 {
			from += len(buf)
		}
		for ; pos < to; pos++ {
			buf[pos] = buf[from]
			if from++; from == len(buf) {
				from = 0
			}
		}
	case n <= 16 && distance >= 15: // most matches: some bytes too many
		*(*[16]byte)(buf[pos:]) = *(*[16]byte)(buf[from:])
	case n <= 16:
		for ; pos < to; pos++ {
			buf[pos] = buf[from]
			from++
		}
	default:
		for pos < to { // what was copied is there to be copied again
			pos += copy(buf[pos:to], buf[from:pos])
		}
	}
	return to
}
