package deb

import (
	"bytes"
	"io"
)

// readerWindow is how much of an index an [IndexReader] holds, in bytes, unless a
// stanza is longer.
const readerWindow = 256 << 10

// IndexReader reads the stanzas of an index that is not held in memory. What is a
// stanza, and what is wrong with one, is as [Scanner] has it; of a stanza over
// [MaxStanza] the part behind that is not looked at.
//
// Its memory is bounded by the longest stanza, whatever the length of the index.
type IndexReader struct {
	in  io.Reader
	buf []byte // n bytes are read, of which the scanner has whole stanzas
	n   int
	sc  Scanner
	at  int   // offset of buf in the index
	row int   // lines before buf
	end error // what in ended with
	// Behind a stanza that is too long: lines are passed over up to the next empty one.
	passing bool
	inLine  bool // buf begins within a line that was counted
}

// NewIndexReader reads the stanzas of r.
func NewIndexReader(r io.Reader) *IndexReader { return newIndexReader(r, readerWindow) }

func newIndexReader(r io.Reader, window int) *IndexReader {
	return &IndexReader{in: r, buf: make([]byte, window), sc: Scanner{nul: -1}}
}

// Next returns the next stanza, a *StanzaError for a malformed one (the next call
// goes on with the stanza after it), io.EOF at the end, or the error of the
// underlying reader, which every later call returns too. The stanza, and every
// string that its methods give, is valid until the next call of Next.
func (r *IndexReader) Next() (Stanza, error) {
	for {
		s, err := r.sc.Next()
		if err != io.EOF {
			if fault, ok := err.(*StanzaError); ok {
				fault.Line += r.row
				fault.Offset += r.at
			}
			return s, err
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// Offset is the byte offset of the stanza that Next returned or refused last.
func (r *IndexReader) Offset() int { return r.at + r.sc.offset }

// Line is the number, from 1, of that stanza's first line.
func (r *IndexReader) Line() int { return r.row + r.sc.first }

// fill gives the scanner the next whole stanzas.
func (r *IndexReader) fill() error {
	r.drop(len(r.sc.data), r.sc.line)
	for {
		r.read()
		if r.passing && r.pass() {
			continue
		}
		whole := r.n
		switch {
		case r.end == io.EOF && r.n == 0:
			return io.EOF
		case r.end == io.EOF:
		case r.end != nil:
			return r.end
		default:
			whole = lastSeparator(r.buf[:r.n])
		}
		if whole == 0 && len(r.buf) > MaxStanza { // the scanner refuses it as it stands
			whole, r.passing, r.inLine = r.n, true, r.buf[r.n-1] != '\n'
		}
		if whole > 0 {
			r.sc = Scanner{data: r.buf[:whole], nul: -1, fields: r.sc.fields}
			return nil
		}
		r.buf = append(r.buf, make([]byte, min(len(r.buf), MaxStanza+readerWindow-len(r.buf)))...)
	}
}

// read fills the buffer, or comes to the end.
func (r *IndexReader) read() {
	if r.end != nil || r.n == len(r.buf) {
		return
	}
	n, err := io.ReadFull(r.in, r.buf[r.n:])
	r.n += n
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	r.end = err
}

// drop forgets the begin of the buffer.
func (r *IndexReader) drop(bytes, lines int) {
	r.n = copy(r.buf, r.buf[bytes:r.n])
	r.at += bytes
	r.row += lines
	r.sc = Scanner{nul: -1, fields: r.sc.fields}
}

// pass drops lines up to the next that separates stanzas. True: it needs more.
func (r *IndexReader) pass() bool {
	dropped, lines := 0, 0
	for r.passing && dropped < r.n {
		line := r.buf[dropped:r.n]
		i := bytes.IndexByte(line, '\n')
		switch {
		case i < 0 && dropped > 0 && r.end == nil: // the rest of it comes
			r.drop(dropped, lines)
			return true
		case i < 0:
			i = len(line) - 1 // of a line that fills the buffer, or the last
			if !r.inLine {
				lines++
			}
			r.inLine = r.end == nil
		case r.inLine:
			r.inLine = false
		case blankLine(line[:i]):
			r.passing = false
			i = -1
		default:
			lines++
		}
		dropped += i + 1
	}
	r.drop(dropped, lines)
	return r.passing && r.end == nil
}

// lastSeparator is where the last whole line ends that separates stanzas, 0 if there is none.
func lastSeparator(b []byte) int {
	for end := bytes.LastIndexByte(b, '\n') + 1; end > 0; {
		begin := bytes.LastIndexByte(b[:end-1], '\n') + 1
		if blankLine(b[begin : end-1]) {
			return end
		}
		end = begin
	}
	return 0
}
