package xz

// Sizes and names of LZMA follow "LZMA specification" (Igor Pavlov, 2015); the
// numbers of symbols in brackets are what a tree of bits decodes.

const (
	probBits = 11 // a probability is a share of 2048
	half     = 1 << probBits / 2
	moveBits = 5
	rangeTop = 1 << 24 // a range below it takes another byte

	literalStates = 7  // states below it follow a literal
	slotsModelled = 14 // distance slots below it have all their bits modelled
	alignBits     = 4  // of a larger distance these are modelled, the lowest

	correction = 1<<32 + 1<<moveBits - 1 - 1<<probBits // of a probability whose bit is 0, modulo 1<<32
)

// model is what the bits of a chunk are decoded with: each probability is of a 0,
// by what went before. Arrays are as large as the masks that they are indexed by,
// which spares the hot loop its bounds checks.
type model struct {
	match      [16][16]uint16   // by state and position: a match follows, not a literal
	rep        [16]uint16       // by state: of one of the last four distances
	rep0       [16]uint16       // not of the last one
	rep1       [16]uint16       // not of the one before
	rep2       [16]uint16       // not of the third
	rep0Long   [16][16]uint16   // more than one byte
	slot       [4][64]uint16    // of a distance, by length [64]
	special    [128]uint16      // low bits of a short distance
	align      [16]uint16       // lowest bits of a long distance [16], from the lowest
	matchLen   lengths          // of a match
	repLen     lengths          // of one with a known distance
	literal    [16][1024]uint16 // by context: [256], then twice that for the bit that a match would have had
	properties                  // which bits are context
	state      uint32           // what the last symbols were
	distances  [4]uint32        // the last ones, less one
}

// properties are lc, lp and pb as masks and shifts.
type properties struct {
	contextBits  uint32 // lc: high bits of the byte before
	literalMask  uint32 // lp: low bits of the position
	positionMask uint32 // pb: likewise
}

// lengths decode a length less two.
type lengths struct {
	choice, choice2 uint16
	low, mid        [16][8]uint16 // by position [8]
	high            [256]uint16   // [256]
}

// parseProperties reads the byte lc + 9 * (lp + 5 * pb); LZMA2 has lc + lp <= 4.
func parseProperties(b byte) (properties, bool) {
	lc, lp, pb := b%9, b/9%5, b/45
	if pb > 4 || lc+lp > 4 {
		return properties{}, false
	}
	return properties{uint32(lc), 1<<lp - 1, 1<<pb - 1}, true
}

func (l *lengths) reset() {
	l.choice, l.choice2 = half, half
	for i := range l.low {
		even(l.low[i][:])
		even(l.mid[i][:])
	}
	even(l.high[:])
}

func even(p []uint16) {
	for i := range p {
		p[i] = half
	}
}

// reset forgets what the model has learned, and keeps the properties.
func (m *model) reset() {
	for i := range m.match {
		even(m.match[i][:])
		even(m.rep0Long[i][:])
	}
	for _, p := range [][]uint16{m.rep[:], m.rep0[:], m.rep1[:], m.rep2[:], m.special[:], m.align[:]} {
		even(p)
	}
	for i := range m.slot {
		even(m.slot[i][:])
	}
	m.matchLen.reset()
	m.repLen.reset()
	for i := range m.literal {
		even(m.literal[i][:])
	}
	m.state, m.distances = 0, [4]uint32{}
}

// packed is a chunk's input. It is longer than any chunk, and read under a mask:
// no symbol needs to ask how much is left.
type packed [1 << 17]byte

// coder is a range decoder. It is a value, so that the hot loop has it in registers.
type coder struct {
	rng, code uint32
	at        uint32 // next byte of the input
}

// fill takes another byte if the range has become small.
func (c coder) fill(in *packed) coder {
	if c.rng < rangeTop {
		return coder{c.rng << 8, c.code<<8 | uint32(in[c.at&(1<<17-1)]), c.at + 1}
	}
	return c
}

// bit decodes a bit and corrects its probability. It has no branch on the bit,
// which nobody can predict where compression is good. zero has all bits set for a 0.
func (c coder) bit(p *uint16) (_ coder, zero uint32) {
	prob := uint32(*p)
	bound := (c.rng >> probBits) * prob
	zero = uint32((int64(c.code) - int64(bound)) >> 63)
	*p = uint16(prob - uint32(int32(prob+zero&correction)>>moveBits))
	return coder{bound&zero | (c.rng-bound)&^zero, c.code - bound&^zero, c.at}, zero
}

// is0 decodes a bit that decides what comes next.
func (c coder) is0(p *uint16) (coder, bool) {
	prob := uint32(*p)
	bound := (c.rng >> probBits) * prob
	if c.code < bound {
		*p = uint16(prob + (1<<probBits-prob)>>moveBits)
		return coder{bound, c.code, c.at}, true
	}
	*p = uint16(prob - prob>>moveBits)
	return coder{c.rng - bound, c.code - bound, c.at}, false
}

// step decodes the next bit of a symbol: a tree of bits, the highest first, is read
// from symbol 1 on, and its value follows the leading 1.
func (c coder) step(in *packed, p *uint16, symbol uint32) (coder, uint32) {
	c, zero := c.fill(in).bit(p)
	return c, symbol<<1 + 1 + zero
}

// literal decodes a byte by the bytes before it.
func literal(c coder, in *packed, p *[1024]uint16) (coder, uint32) {
	c, s := c.step(in, &p[1], 1)
	c, s = c.step(in, &p[s&0xff], s)
	c, s = c.step(in, &p[s&0xff], s)
	c, s = c.step(in, &p[s&0xff], s)
	c, s = c.step(in, &p[s&0xff], s)
	c, s = c.step(in, &p[s&0xff], s)
	c, s = c.step(in, &p[s&0xff], s)
	return c.step(in, &p[s&0xff], s)
}

// unlike decodes a byte behind a match, which would have gone on with like: as long
// as its bits are those of like, they have probabilities of their own.
func unlike(c coder, in *packed, p *[1024]uint16, like uint32) (coder, uint32) {
	symbol, same, zero := uint32(1), uint32(0x100), uint32(0)
	for symbol < 0x100 {
		like <<= 1
		of := like & same
		c, zero = c.fill(in).bit(&p[(same+of+symbol)&0x3ff])
		symbol = symbol<<1 + 1 + zero
		same &= of ^ zero
	}
	return c, symbol
}

// tree8 decodes 3 bits.
func tree8(c coder, in *packed, p *[8]uint16) (coder, uint32) {
	c, s := c.step(in, &p[1], 1)
	c, s = c.step(in, &p[s&7], s)
	c, s = c.step(in, &p[s&7], s)
	return c, s - 8
}

// decode decodes a length.
func (l *lengths) decode(c coder, in *packed, at uint32) (_ coder, n uint32) {
	var is bool
	if c, is = c.fill(in).is0(&l.choice); is {
		c, n = tree8(c, in, &l.low[at&15])
		return c, n + 2
	}
	if c, is = c.fill(in).is0(&l.choice2); is {
		c, n = tree8(c, in, &l.mid[at&15])
		return c, n + 10
	}
	n = 1
	for n < 256 {
		c, n = c.step(in, &l.high[n&255], n)
	}
	return c, n - 256 + 18
}

// distance decodes the distance of a match, less one.
func (m *model) distance(c coder, in *packed, length uint32) (coder, uint32) {
	p := &m.slot[min(length-2, 3)&3]
	c, slot := c.step(in, &p[1], 1)
	c, slot = c.step(in, &p[slot&63], slot)
	c, slot = c.step(in, &p[slot&63], slot)
	c, slot = c.step(in, &p[slot&63], slot)
	c, slot = c.step(in, &p[slot&63], slot)
	c, slot = c.step(in, &p[slot&63], slot)
	if slot -= 64; slot < 4 {
		return c, slot
	}
	bits, zero := slot>>1-1, uint32(0)
	d := 2 | slot&1
	low, symbol := uint32(0), uint32(1)
	if slot < slotsModelled {
		d <<= bits
		for i := range bits {
			c = c.fill(in)
			c, zero = c.bit(&m.special[(d-slot+symbol)&127])
			symbol = symbol<<1 + 1 + zero
			low += (1 + zero) << i
		}
		return c, d + low
	}
	for range bits - alignBits {
		c = c.fill(in)
		c.rng >>= 1
		c.code -= c.rng
		zero = uint32(int32(c.code) >> 31)
		c.code += c.rng & zero
		d = d<<1 + 1 + zero
	}
	for i := range uint32(alignBits) {
		c = c.fill(in)
		c, zero = c.bit(&m.align[symbol&15])
		symbol = symbol<<1 + 1 + zero
		low += (1 + zero) << i
	}
	return c, d<<alignBits + low
}

// afterLiteral is the state that follows a literal.
var afterLiteral = [16]uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// The states that follow other symbols, behind a literal and behind another.
const (
	afterMatch, afterMatch2       = 7, 10
	afterRep, afterRep2           = 8, 11
	afterShortRep, afterShortRep2 = 9, 11
)

func next(state, behindLiteral, behindOther uint32) uint32 {
	if state < literalStates {
		return behindLiteral
	}
	return behindOther
}

// decode decodes symbols until the dictionary is filled up to limit, or more than
// the chunk's packed bytes are used up, which is corrupt. A match that does not end
// before limit leaves the rest of its length.
func (z *dictionary) decode(limit int) bool {
	m, in, buf := &z.model, &z.packed, z.buf
	c, end := z.coder, z.end
	state, pos := m.state, z.pos
	d0, d1, d2, d3 := m.distances[0], m.distances[1], m.distances[2], m.distances[3]
	ok := true
	for pos < limit && c.at <= end {
		var is bool
		at := uint32(pos) & m.positionMask & 15
		if c, is = c.fill(in).is0(&m.match[state&15][at]); is {
			before := z.last
			if pos > 0 {
				before = buf[pos-1]
			}
			p := &m.literal[(uint32(before)>>(8-m.contextBits)|(uint32(pos)&m.literalMask)<<m.contextBits)&15]
			var symbol uint32
			if state < literalStates {
				c, symbol = literal(c, in, p)
			} else {
				from := pos - int(d0) - 1
				if from < 0 {
					from += len(buf)
				}
				c, symbol = unlike(c, in, p, uint32(buf[from]))
			}
			buf[pos] = byte(symbol)
			pos++
			state = uint32(afterLiteral[state&15])
			continue
		}
		n := uint32(1)
		if c, is = c.fill(in).is0(&m.rep[state&15]); is {
			d1, d2, d3 = d0, d1, d2
			c, n = m.matchLen.decode(c, in, at)
			c, d0 = m.distance(c, in, n)
			state = next(state, afterMatch, afterMatch2)
		} else if c, is = c.fill(in).is0(&m.rep0[state&15]); is {
			if c, is = c.fill(in).is0(&m.rep0Long[state&15][at]); is {
				state = next(state, afterShortRep, afterShortRep2)
			} else {
				c, n = m.repLen.decode(c, in, at)
				state = next(state, afterRep, afterRep2)
			}
		} else {
			if c, is = c.fill(in).is0(&m.rep1[state&15]); is {
				d0, d1 = d1, d0
			} else if c, is = c.fill(in).is0(&m.rep2[state&15]); is {
				d0, d1, d2 = d2, d0, d1
			} else {
				d0, d1, d2, d3 = d3, d0, d1, d2
			}
			c, n = m.repLen.decode(c, in, at)
			state = next(state, afterRep, afterRep2)
		}
		if !z.reaches(int(d0), pos) {
			ok = false
			break
		}
		z.left = int(n)
		pos = z.repeat(pos, limit, int(d0))
	}
	z.coder, z.pos = c, pos
	m.state, m.distances = state, [4]uint32{d0, d1, d2, d3}
	return ok && c.at <= end
}
