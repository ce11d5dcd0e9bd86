package rootfs

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const tarBlock = 512

var (
	errTarSum  = errors.New("tar: header with a wrong checksum")
	errTarCut  = errors.New("tar: ends in the middle of an entry")
	errTarName = errors.New("tar: long name that belongs to no entry")
)

// header is what an entry of data.tar declares.
type header struct {
	name, link string
	kind       byte // tar.TypeReg for all spellings of a regular file
	mode       int64
	uid, gid   int64
	size       int64
	mtime      int64
}

// dataReader reads data.tar as dpkg's own reader does (dpkg, lib/dpkg/tarfn.c):
// v7, ustar, GNU long names and GNU numbers. PAX headers, sparse files, volumes
// and Solaris' headers are errors there and here, so no record can give an entry
// another name or size than dpkg sees. Read returns the content of the current entry.
type dataReader struct {
	r    io.Reader
	left int64 // of the current entry's content
	pad  int64 // bytes behind it, up to the next block
	buf  [tarBlock]byte
}

// next goes to the next entry; io.EOF at the end, which is a block of zeros or
// the end of r.
func (t *dataReader) next() (*header, error) {
	var name, link string
	for {
		h, err := t.header()
		if err == io.EOF && (name != "" || link != "") {
			return nil, errTarName
		}
		if err != nil {
			return nil, err
		}
		switch h.kind {
		case tar.TypeGNULongName:
			name, err = t.long(h.size)
		case tar.TypeGNULongLink:
			link, err = t.long(h.size)
		default:
			if name != "" {
				h.name = name
			}
			if link != "" {
				h.link = link
			}
			return h, h.check()
		}
		if err != nil {
			return nil, err
		}
	}
}

// check settles the kind of an entry.
func (h *header) check() error {
	switch h.kind {
	case 0, tar.TypeReg:
		// To dpkg it is a file, to other readers of tar a directory.
		if strings.HasSuffix(h.name, "/") {
			return fmt.Errorf("tar: file with the name of a directory, %.200q", h.name)
		}
		h.kind = tar.TypeReg
	case tar.TypeLink, tar.TypeSymlink, tar.TypeDir, tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
	default:
		return fmt.Errorf("tar: entry %.200q of type %q, which dpkg does not read", h.name, h.kind)
	}
	if h.kind != tar.TypeReg && h.size != 0 {
		return fmt.Errorf("tar: entry %.200q of type %q with content", h.name, h.kind)
	}
	return nil
}

// header reads one header block.
func (t *dataReader) header() (*header, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	b := t.buf[:]
	if n, err := io.ReadFull(t.r, b); err != nil {
		if err == io.EOF && n == 0 {
			return nil, io.EOF
		}
		return nil, cut(err)
	}
	if t.buf == [tarBlock]byte{} {
		return nil, io.EOF
	}
	if !sumIs(b) {
		return nil, errTarSum
	}
	h := &header{name: cString(b[:100]), link: cString(b[157:257]), kind: b[156]}
	if string(b[257:263]) == "ustar\x00" && b[345] != 0 {
		h.name = cString(b[345:500]) + "/" + h.name
	}
	for _, f := range []struct {
		what string
		at   []byte
		into *int64
		most int64
	}{
		{"mode", b[100:108], &h.mode, 1<<31 - 1},
		{"owner", b[108:116], &h.uid, maxID},
		{"group", b[116:124], &h.gid, maxID},
		{"size", b[124:136], &h.size, maxNumber},
		{"time", b[136:148], &h.mtime, maxNumber},
	} {
		n, ok := number(f.at)
		if !ok || n > f.most {
			return nil, fmt.Errorf("tar: entry %.200q: %s %q", h.name, f.what, f.at)
		}
		*f.into = n
	}
	h.mode &= 0o7777
	t.left, t.pad = h.size, -h.size&(tarBlock-1)
	return h, nil
}

// The largest numbers that the fields of a ustar header hold.
const (
	maxID     = 1<<21 - 1
	maxNumber = 1<<33 - 1
)

// long reads the content of a GNU long name.
func (t *dataReader) long(size int64) (string, error) {
	if size > MaxPath+1 {
		return "", fmt.Errorf("tar: name of %d bytes", size)
	}
	b, err := io.ReadAll(t)
	if err != nil {
		return "", err
	}
	if s := cString(b); s != "" {
		return s, nil
	}
	return "", errors.New("tar: long name that is empty")
}

// Read reads content of the current entry; io.EOF at its end.
func (t *dataReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err == io.EOF && t.left == 0 {
		err = nil // the next call returns it
	}
	return n, cut(err)
}

// skip goes over what is left of the current entry and its padding.
func (t *dataReader) skip() error {
	n, err := io.CopyN(io.Discard, t.r, t.left+t.pad)
	if err != nil && n < t.left+t.pad {
		return cut(err)
	}
	t.left, t.pad = 0, 0
	return nil
}

// cut tells the end of the file by what it means inside an entry.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTarCut
	}
	return err
}

// number reads a field: octal digits between blanks or NULs, or GNU's binary
// form. Negative numbers are refused.
func number(field []byte) (int64, bool) {
	if field[0]&0x80 != 0 {
		var b [16]byte
		copy(b[16-len(field):], field)
		b[16-len(field)] &= 0x7f
		high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		return int64(low), high == 0 && low < 1<<62 // 0xff is negative, and far above
	}
	digits := bytes.Trim(field, " \x00")
	var n int64
	for _, c := range digits {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true // no digit: zero, as in headers of links
}

// sumIs verifies the checksum of a header, its bytes taken unsigned, those of
// the checksum itself as blanks.
func sumIs(b []byte) bool {
	want, ok := number(b[148:156])
	if !ok {
		return false
	}
	sum := int64(8 * ' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
