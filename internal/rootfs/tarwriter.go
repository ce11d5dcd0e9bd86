package rootfs

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// TarWriter writes the one form of tar that layers have (SPEC.md, "The image"):
// ustar headers, and before an entry whose path, link target or owner does not fit
// one PAX header with that alone. Names of owners are empty. It hashes what it writes.
type TarWriter struct {
	w    io.Writer
	sum  hash.Hash
	n    int64
	left int64 // of the current entry's content
	pad  int64
}

// NewTarWriter returns a TarWriter that writes to w.
func NewTarWriter(w io.Writer) *TarWriter { return &TarWriter{w: w, sum: sha256.New()} }

var zeros [2 * tarBlock]byte

// raw writes bytes of the tar.
func (t *TarWriter) raw(p []byte) error {
	t.sum.Write(p)
	t.n += int64(len(p))
	_, err := t.w.Write(p)
	return err
}

// Entry writes the header of an entry; Size bytes of content must follow for a regular file.
func (t *TarWriter) Entry(e *Entry) error {
	if err := t.finish(); err != nil {
		return err
	}
	name := e.Path
	if e.Type == tar.TypeDir {
		name += "/"
	}
	prefix, name, fits := split(name)
	var records string
	if !fits {
		records = record("path", name)
		name = name[:100]
	}
	link := e.Link
	if len(link) > 100 {
		records = record("linkpath", link) + records
		link = link[:100]
	}
	owned := *e
	owned.UID, records = ownerRecord(records, "uid", e.UID)
	owned.GID, records = ownerRecord(records, "gid", e.GID)
	if records != "" {
		h := &Entry{Type: tar.TypeXHeader, Mode: 0o644, Size: int64(len(records)), ModTime: e.ModTime}
		if err := t.block(h, "", "paxheader", ""); err != nil {
			return err
		}
		if err := t.raw([]byte(records)); err != nil {
			return err
		}
		if err := t.raw(zeros[:-len(records)&(tarBlock-1)]); err != nil {
			return err
		}
	}
	if err := t.block(&owned, prefix, name, link); err != nil {
		return fmt.Errorf("tar: %.200q: %w", e.Path, err)
	}
	if e.Type == tar.TypeReg {
		t.left, t.pad = e.Size, -e.Size&(tarBlock-1)
	}
	return nil
}

// split divides a name over the two fields of a ustar header: no prefix if the
// name fits without, else the longest prefix that does.
func split(name string) (prefix, rest string, fits bool) {
	if len(name) <= 100 {
		return "", name, true
	}
	i := strings.LastIndexByte(name[:min(156, len(name)-1)], '/')
	if i < 0 || len(name)-i-1 > 100 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// record is one PAX record, whose length counts itself.
func record(key, value string) string {
	n := len(key) + len(value) + 3 // blank, equals sign, newline
	size := n + len(strconv.Itoa(n))
	if len(strconv.Itoa(size)) > len(strconv.Itoa(n)) {
		size++
	}
	return strconv.Itoa(size) + " " + key + "=" + value + "\n"
}

// maxOctalID is the largest owner that the field of a ustar header has room for.
const maxOctalID = 1<<21 - 1

// ownerRecord gives the number for the header's field, and a PAX record before the others if it does not fit. Who
// does not read PAX then sees an owner that nobody is, and not root.
func ownerRecord(records, key string, id int) (field int, all string) {
	if id <= maxOctalID {
		return id, records
	}
	return maxOctalID, record(key, strconv.Itoa(id)) + records
}

// block writes a ustar header.
func (t *TarWriter) block(e *Entry, prefix, name, link string) error {
	var b [tarBlock]byte
	copy(b[:100], name)
	size := int64(0)
	if e.Type == tar.TypeReg || e.Type == tar.TypeXHeader {
		size = e.Size
	}
	for _, f := range []struct {
		name  string
		field []byte
		n     int64
	}{{"mode", b[100:108], e.Mode}, {"owner", b[108:116], int64(e.UID)}, {"group", b[116:124], int64(e.GID)}, {"size", b[124:136], size}, {"time", b[136:148], e.ModTime}} {
		if f.n < 0 || f.n>>(3*(len(f.field)-1)) != 0 {
			return fmt.Errorf("a tar header has no room for the %s %d", f.name, f.n)
		}
		octal(f.field, f.n)
	}
	b[156] = e.Type
	copy(b[157:257], link)
	copy(b[257:], "ustar\x0000")
	octal(b[329:337], 0)
	octal(b[337:345], 0)
	copy(b[345:500], prefix)
	sum := int64(8 * ' ')
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:155], sum)
	b[155] = ' '
	return t.raw(b[:])
}

// octal fills a field with digits and a NUL; n fits.
func octal(field []byte, n int64) {
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = byte('0' + n&7)
		n >>= 3
	}
}

// Write writes content of the current entry.
func (t *TarWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > t.left {
		return 0, errors.New("tar: more content than was declared")
	}
	t.left -= int64(len(p))
	return len(p), t.raw(p)
}

// finish pads the current entry.
func (t *TarWriter) finish() error {
	if t.left > 0 {
		return fmt.Errorf("tar: %d bytes of content are missing", t.left)
	}
	pad := t.pad
	t.pad = 0
	return t.raw(zeros[:pad])
}

// Close ends the tar and tells its digest and size.
func (t *TarWriter) Close() (snapshot.Blob, error) {
	if err := t.finish(); err != nil {
		return snapshot.Blob{}, err
	}
	if err := t.raw(zeros[:]); err != nil {
		return snapshot.Blob{}, err
	}
	return snapshot.Blob{Digest: snapshot.Digest(t.sum.Sum(nil)), Size: t.n}, nil
}
