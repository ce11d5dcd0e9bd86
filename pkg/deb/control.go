package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of control.tar. The largest in Debian hold some megabytes, nearly all
// of it md5sums; apt stops at a control file of 64 MiB, the real ones are
// smaller than 100 thousand bytes.
const (
	MaxControl    = 4 << 20  // bytes of the control file
	MaxControlTar = 64 << 20 // bytes of control.tar, decompressed
)

var (
	errNoControl   = errors.New("no control file")
	errTwoControls = errors.New("second control file")
	errControlLong = fmt.Errorf("control file over %d bytes", MaxControl)
	errTarLong     = fmt.Errorf("over %d bytes decompressed", MaxControlTar)
)

// readControl reads the control file of a tar, which must have exactly one. It
// reads r to its end, so that the checksum of the compression is verified.
func readControl(r io.Reader) (Stanza, error) {
	t := &controlReader{r: r}
	text, err := nextControl(t)
	if err != nil {
		return nil, err
	}
	switch _, err := nextControl(t); {
	case err == nil:
		return nil, errTwoControls
	case err != errNoControl:
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return parseControl(text)
}

// nextControl goes to the next file that is the control file, and reads it;
// errNoControl at the end of the tar.
func nextControl(t *controlReader) ([]byte, error) {
	for {
		name, size, err := t.next()
		switch {
		case err == io.EOF:
			return nil, errNoControl
		case err != nil:
			return nil, err
		case name != "control":
			continue
		case size > MaxControl:
			return nil, errControlLong
		}
		return io.ReadAll(t)
	}
}

// parseControl reads the control file, which is one stanza (deb-control(5)).
func parseControl(text []byte) (Stanza, error) {
	sc := NewScanner(text)
	s, err := sc.Next()
	if err == io.EOF {
		return nil, errors.New("control file: empty")
	}
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	if _, err := sc.Next(); err != io.EOF {
		return nil, fmt.Errorf("control file: line %d: second stanza", sc.Line())
	}
	return s, nil
}

const (
	tarBlock = 512
	// maxRecords bounds the records of one PAX header, bytes. Those of a control.tar are times and names of owners.
	maxRecords = 64 << 10
)

var (
	errTarHeader  = errors.New("tar: no header where one should be")
	errTarRecords = errors.New("tar: PAX records that are none")
)

// controlReader reads the entries of a control.tar one after the other. It takes
// plain files and the directory "./" that they are in: a link, a sparse file, or
// a record that gives an entry another name or size than its header could let
// two programs see two control files. Other PAX records are passed over, as dpkg
// does. Read returns the content of the current file.
type controlReader struct {
	r     io.Reader
	left  int64 // of the current file
	pad   int64 // bytes behind it, up to the next block
	mode  int64 // of the current file
	mtime int64
}

// next goes to the next plain file; io.EOF at the end, which is a block of zeros or the end of r.
func (t *controlReader) next() (name string, size int64, err error) {
	for {
		if err := t.skip(); err != nil {
			return "", 0, err
		}
		kind, name, size, err := t.header()
		if err != nil {
			return "", 0, err
		}
		t.left, t.pad = size, -size&(tarBlock-1)
		directory := name == "." || name == "./"
		switch {
		case size == 0 && (kind == '5' && directory || kind == '0' && name == "./"):
		case kind == 'x' || kind == 'g':
			if err := t.records(); err != nil {
				return "", 0, err
			}
		case kind != '0':
			return "", 0, fmt.Errorf("tar: entry %.100q is no regular file, but of type %q", name, kind)
		default:
			plain := strings.TrimPrefix(name, "./")
			if plain == "" || plain == "." || plain == ".." || strings.Contains(plain, "/") {
				return "", 0, fmt.Errorf("tar: file named %.100q", name)
			}
			return plain, size, nil
		}
	}
}

// header reads one header block. kind is its type, '0' for every spelling of a regular file.
func (t *controlReader) header() (kind byte, name string, size int64, err error) {
	var b [tarBlock]byte
	if n, err := io.ReadFull(t.r, b[:]); err != nil {
		if n == 0 && err == io.EOF {
			return 0, "", 0, io.EOF
		}
		return 0, "", 0, err
	}
	if b == [tarBlock]byte{} {
		return 0, "", 0, io.EOF
	}
	sum, ok := tarNumber(b[148:156])
	if !ok || !tarSumIs(&b, sum) {
		return 0, "", 0, errTarHeader
	}
	if size, ok = tarNumber(b[124:136]); !ok {
		return 0, "", 0, fmt.Errorf("tar: size %.20q", b[124:136])
	}
	name = cString(b[:100])
	t.mode, _ = tarNumber(b[100:108])
	t.mtime, _ = tarNumber(b[136:148])
	// GNU's own format has times where ustar has a prefix of the name.
	if string(b[257:263]) == "ustar\x00" && b[345] != 0 {
		return 0, "", 0, fmt.Errorf("tar: entry %.100q has a prefix %.100q", name, cString(b[345:500]))
	}
	if kind = b[156]; kind == 0 {
		kind = '0'
	}
	return kind, name, size, nil
}

// records reads the PAX records that are the content of the current entry: "LENGTH KEY=VALUE\n".
func (t *controlReader) records() error {
	if t.left > maxRecords {
		return fmt.Errorf("tar: PAX records of %d bytes", t.left)
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return err
	}
	for len(text) > 0 {
		digits, _, ok := bytes.Cut(text, []byte(" "))
		n, err := strconv.ParseUint(string(digits), 10, 31)
		if !ok || err != nil || n > uint64(len(text)) || int(n) <= len(digits)+1 {
			return errTarRecords
		}
		record, ended := bytes.CutSuffix(text[len(digits)+1:n], []byte("\n"))
		key, _, ok := bytes.Cut(record, []byte("="))
		if !ended || !ok || len(key) == 0 {
			return errTarRecords
		}
		if k := string(key); k == "path" || k == "linkpath" || k == "size" || strings.HasPrefix(k, "GNU.") {
			return fmt.Errorf("tar: PAX record %.40q", k)
		}
		text = text[n:]
	}
	return nil
}

// Read reads content of the current file; io.EOF at its end.
func (t *controlReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err == io.EOF && t.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil // the tar ends here; the next call returns io.EOF for the file
	}
	return n, err
}

// skip goes over what is left of the current file and its padding.
func (t *controlReader) skip() error {
	n, err := io.CopyN(io.Discard, t.r, t.left+t.pad)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && n < t.left+t.pad {
		return err
	}
	t.left, t.pad = 0, 0
	return nil
}

// tarNumber reads an octal number between blanks or NULs. No entry of a
// control.tar is so large that it would be written otherwise.
func tarNumber(field []byte) (int64, bool) {
	n, err := strconv.ParseUint(strings.Trim(string(field), " \x00"), 8, 40)
	return int64(n), err == nil
}

// tarSumIs tells whether sum is the checksum of a header, its bytes taken unsigned or, as
// old programs do, signed, those of the checksum itself as blanks.
func tarSumIs(b *[tarBlock]byte, sum int64) bool {
	var unsigned, signed int64
	for i, c := range b {
		if 148 <= i && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return sum == unsigned || sum == signed
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
