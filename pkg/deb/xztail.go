package deb

import "encoding/binary"

// maxXZIndex bounds the index of a stream, bytes: some ten thousand blocks. dpkg-deb makes one.
const maxXZIndex = 64 << 10

// xzTail is the end of what was read of an xz file: its last stream ends there, and
// from its index (section 4) it is known where it began.
type xzTail struct {
	n    int64  // bytes in all
	last []byte // the last of them, enough for an index and a footer
}

// Write implements io.Writer; it never fails.
func (t *xzTail) Write(p []byte) (int, error) {
	const keep = maxXZIndex + xzStreamFooter
	t.n += int64(len(p))
	t.last = append(t.last, p...)
	if len(t.last) > 2*keep {
		t.last = append(t.last[:0], t.last[len(t.last)-keep:]...)
	}
	return len(p), nil
}

// single tells whether all that was read is one stream, whose checks were right: the
// library reads several in a row, and zeros behind them.
func (t *xzTail) single() bool {
	end := len(t.last) - xzStreamFooter
	if end < 0 || string(t.last[len(t.last)-2:]) != xzFooterMagic {
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
			n, v = len(index), 0 // cannot be: the library has read it
		}
		index = index[n:]
		return int64(v)
	}
	stream := xzStreamHeader + size + xzStreamFooter
	for blocks := number(); blocks > 0 && len(index) > 0; blocks-- {
		stream += (number() + 3) &^ 3 // padded
		number()                      // unpacked size
	}
	return stream == t.n
}
