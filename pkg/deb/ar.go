package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	arMagic     = "!<arch>\n"
	arHeaderLen = 60
	arHeaderEnd = "`\n"
	minSeek     = 64 << 10 // less is read in one call as well
)

// Member is a member of the ar archive that a .deb is.
type Member struct {
	Name   string // without padding and closing "/"
	Offset int64  // of its content in the file
	Size   int64  // of its content, bytes
}

// arReader reads the members of an ar archive one after the other, by the
// rules of deb(5): names up to 16 characters, no long-name extensions, sizes
// of at most ten decimal digits, contents padded to an even offset. As an
// io.Reader it gives the content of the current member.
type arReader struct {
	r    io.Reader
	off  int64 // bytes read
	left int64 // of the current member's content
	pad  int64 // 0 or 1 bytes behind it
}

// magic reads what an ar archive begins with.
func (a *arReader) magic() error {
	var buf [len(arMagic)]byte
	if err := a.full(buf[:]); err != nil {
		return fmt.Errorf("ar magic: %w", err)
	}
	if string(buf[:]) != arMagic {
		return errors.New("no ar archive")
	}
	return nil
}

// next goes past the current member and reads the header of the next one;
// io.EOF if the archive ends with the current one.
func (a *arReader) next() (Member, error) {
	if err := a.skip(); err != nil {
		return Member{}, err
	}
	var h [arHeaderLen]byte
	start := a.off
	if err := a.full(h[:]); err != nil {
		if err == io.ErrUnexpectedEOF && a.off == start {
			return Member{}, io.EOF
		}
		return Member{}, fmt.Errorf("member header at offset %d: %w", start, err)
	}
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	if string(h[58:]) != arHeaderEnd {
		return Member{}, fmt.Errorf("member header at offset %d: no end mark", start)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return Member{}, fmt.Errorf("member header at offset %d: name %q", start, name)
	}
	size, ok := arSize(h[48:58])
	if !ok {
		return Member{}, fmt.Errorf("member %s: size %q", name, h[48:58])
	}
	a.left, a.pad = size, size&1
	return Member{Name: name, Offset: a.off, Size: size}, nil
}

// arSize reads decimal digits with blanks around them. Ten digits cannot
// overflow.
func arSize(field []byte) (int64, bool) {
	digits := strings.Trim(string(field), " ")
	var n int64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return 0, false
		}
		n = n*10 + int64(digits[i]-'0')
	}
	return n, digits != ""
}

// Read reads content of the current member; io.EOF at its end.
func (a *arReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	a.off += int64(n)
	a.left -= int64(n)
	switch {
	case err == io.EOF && a.left > 0:
		err = io.ErrUnexpectedEOF
	case err == io.EOF:
		err = nil // the file ends here; the next call returns io.EOF for the member
	}
	return n, err
}

// skip goes to the end of the current member and its padding, which may have
// any value.
func (a *arReader) skip() error {
	a.seek()
	if _, err := io.Copy(io.Discard, a); err != nil {
		return fmt.Errorf("member content: %w", err)
	}
	var buf [1]byte
	if err := a.full(buf[:a.pad]); err != nil {
		return fmt.Errorf("member padding: %w", err)
	}
	a.pad = 0
	return nil
}

// seek goes to the last byte of the current member if the underlying reader can
// seek. Reading that byte proves that the file is long enough.
func (a *arReader) seek() {
	s, ok := a.r.(io.Seeker)
	if !ok || a.left <= minSeek {
		return
	}
	n := a.left - 1
	if _, err := s.Seek(n, io.SeekCurrent); err != nil {
		return // a pipe; it is where it was
	}
	a.off += n
	a.left -= n
}

// full fills buf, or gives io.ErrUnexpectedEOF.
func (a *arReader) full(buf []byte) error {
	n, err := io.ReadFull(a.r, buf)
	a.off += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
