package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
)

// Reasons why a row is refused.
var (
	errTruncated = errors.New("ends early")
	errVarint    = errors.New("varint not in its shortest form or too large")
	errShared    = errors.New("shared prefix not as long as possible, or too long")
	errOrder     = errors.New("path not in ascending order")
	errDerivable = errors.New("field given although the path says it")
	errEmpty     = errors.New("digest of the empty string, or none, with a size")
)

// cursor walks the rows of a table. It stands before row next; path, size,
// digest, kind and fields are those of the row before that. The path's memory is
// an array, so that a cursor can stay on the stack.
type cursor struct {
	t       *Table
	off     int // of row next
	next    int
	pathLen int
	pathBuf [MaxPath]byte
	raw
}

// path is a view, valid until the next move.
func (c *cursor) path() []byte { return c.pathBuf[:c.pathLen] }

// setPath keeps the first shared bytes and appends suffix; head has seen that they fit.
func (c *cursor) setPath(shared int, suffix []byte) {
	c.pathLen = shared + copy(c.pathBuf[shared:], suffix)
}

// raw is a row but for its path, as views of the table.
type raw struct {
	size   int64
	digest []byte // nil if size is 0
	kind   byte
	fields [4][]byte // those that are spelled out
}

// advance decodes the next row of a validated table. False at the end.
func (c *cursor) advance() bool {
	if c.next >= c.t.rows {
		return false
	}
	shared, suffix, err := c.head()
	if err != nil {
		return false // impossible: the table was validated
	}
	c.setPath(shared, suffix)
	return c.tail() == nil
}

// head decodes a row up to its path.
func (c *cursor) head() (shared int, suffix []byte, err error) {
	n, err := c.uvarint(MaxPath)
	if err != nil {
		return 0, nil, err
	}
	shared = int(n)
	if shared > c.pathLen || shared > 0 && c.next%blockRows == 0 {
		return 0, nil, errShared
	}
	suffix, err = c.bytes(MaxPath)
	if err == nil && shared+len(suffix) > MaxPath {
		err = errPathLong
	}
	return shared, suffix, err
}

// tail decodes the rest of a row and moves to the next.
func (c *cursor) tail() error {
	n, err := c.uvarint(math.MaxInt64)
	if err != nil {
		return err
	}
	c.raw = raw{size: int64(n)}
	if c.size > 0 {
		if c.digest, err = c.take(len(Digest{})); err != nil {
			return err
		}
	}
	kind, err := c.take(1)
	if err != nil {
		return err
	}
	c.kind = kind[0]
	for i := range c.fields {
		if !hasField(c.kind, i) {
			continue
		}
		if c.fields[i], err = c.bytes(maxField); err != nil {
			return err
		}
	}
	c.next++
	return nil
}

// validateRow decodes the next row and refuses one that NewTable would not write there.
func (c *cursor) validateRow() error {
	shared, suffix, err := c.head()
	if err != nil {
		return err
	}
	if err := c.checkOrder(shared, suffix); err != nil {
		return err
	}
	// What comes before the part that differs was valid in the previous row.
	from := bytes.LastIndexByte(c.pathBuf[:shared], '/') + 1
	c.setPath(shared, suffix)
	if err := checkPath(c.path(), from); err != nil {
		return err
	}
	if bytes.Contains(c.path(), []byte(bySHA512)) {
		return errSHA512
	}
	if err := c.tail(); err != nil {
		return err
	}
	if c.size > 0 && (Digest(c.digest) == emptyDigest || Digest(c.digest).IsZero()) {
		return errEmpty
	}
	if c.kind == 0 {
		return nil
	}
	return c.checkPackage()
}

// checkOrder compares with the previous path.
func (c *cursor) checkOrder(shared int, suffix []byte) error {
	if c.next == 0 {
		return nil
	}
	if c.next%blockRows == 0 {
		if bytes.Compare(suffix, c.path()) <= 0 {
			return errOrder
		}
		return nil
	}
	switch {
	case len(suffix) == 0:
		return errOrder
	case shared == c.pathLen:
		return nil
	case suffix[0] == c.pathBuf[shared]:
		return errShared
	case suffix[0] < c.pathBuf[shared]:
		return errOrder
	}
	return nil
}

// checkPackage refuses impossible derivations, and fields where one is right.
func (c *cursor) checkPackage() error {
	n := splitName(c.path())
	if err := checkKind(c.kind, n); err != nil {
		return err
	}
	for i, f := range c.fields {
		if hasField(c.kind, i) && !validField(f) {
			return errField
		}
	}
	if c.derivable(n) {
		return errDerivable
	}
	return nil
}

// derivable tells whether the path says one of the fields that are spelled out,
// or the source is the name but taken from the directory.
func (c *cursor) derivable(n fileName) bool {
	name := c.fields[0]
	if n.ok {
		derived := c.pathBuf[n.base:n.first]
		if name == nil {
			name = derived
		} else if bytes.Equal(name, derived) {
			return true
		}
		if f := c.fields[1]; f != nil && isUnescaped(f, c.pathBuf[n.first+1:n.last]) {
			return true
		}
		if f := c.fields[2]; f != nil && bytes.Equal(f, c.pathBuf[n.last+1:n.end]) {
			return true
		}
	}
	var dir []byte
	if n.dir >= 0 {
		dir = c.pathBuf[n.dir : n.base-1]
	}
	if c.kind&kindSourceDir != 0 {
		return bytes.Equal(dir, name)
	}
	f := c.fields[3]
	return f != nil && (bytes.Equal(f, name) || bytes.Equal(f, dir))
}

// isUnescaped tells whether escaped, with %3a read as a colon, is version.
func isUnescaped(version, escaped []byte) bool {
	if bytes.IndexByte(escaped, '%') >= 0 {
		escaped = bytes.ReplaceAll(escaped, []byte("%3a"), []byte(":"))
	}
	return bytes.Equal(version, escaped)
}

// row is the row before next, with the given path if it is not "".
func (c *cursor) row(path string) Row {
	if path == "" {
		path = string(c.path())
	}
	b := c.blob()
	return Row{Path: path, Size: b.Size, Digest: b.Digest, Package: packageOf(path, c.kind, &c.fields)}
}

func (c *cursor) blob() Blob {
	if c.size == 0 {
		return Blob{Digest: emptyDigest}
	}
	return Blob{Digest: Digest(c.digest), Size: c.size}
}

// hasDigest tells whether the row before next has this digest.
func (c *cursor) hasDigest(d *Digest) bool {
	if c.size == 0 {
		return *d == emptyDigest
	}
	return bytes.Equal(c.digest, d[:])
}

func (c *cursor) take(n int) ([]byte, error) {
	if n > c.t.indexAt-c.off {
		return nil, errTruncated
	}
	b := c.t.data[c.off : c.off+n : c.off+n]
	c.off += n
	return b, nil
}

func (c *cursor) bytes(limit uint64) ([]byte, error) {
	n, err := c.uvarint(limit)
	if err != nil {
		return nil, err
	}
	return c.take(int(n))
}

// uvarint reads a shortest-form varint of at most limit.
func (c *cursor) uvarint(limit uint64) (uint64, error) {
	b := c.t.data[c.off:c.t.indexAt]
	if len(b) == 0 {
		return 0, errTruncated
	}
	n, width := uint64(b[0]), 1
	if n >= 0x80 {
		n, width = binary.Uvarint(b)
		switch {
		case width == 0:
			return 0, errTruncated
		case width < 0 || b[width-1] == 0:
			return 0, errVarint
		}
	}
	if n > limit {
		return 0, errVarint
	}
	c.off += width
	return n, nil
}

// firstPath is the path of the first row of a block of a validated table, as a view.
func (t *Table) firstPath(block int) []byte {
	rest := t.data[t.blockAt(block)+1:] // after the length that it shares, which is 0
	length, n := binary.Uvarint(rest)   // cannot fail: the table was validated
	return rest[n : n+int(length)]
}

// seek places c so that advance decodes the first row whose path is at least path.
// It returns whether there is one; c then has been advanced to it.
func (t *Table) seek(c *cursor, path string) bool {
	low, high := 0, t.blocks // the first block that begins after path
	for low < high {
		mid := int(uint(low+high) / 2)
		if string(t.firstPath(mid)) <= path {
			low = mid + 1
		} else {
			high = mid
		}
	}
	block := max(low-1, 0)
	c.t, c.next, c.pathLen = t, block*blockRows, 0
	if block < t.blocks {
		c.off = t.blockAt(block)
	}
	for c.advance() {
		if string(c.path()) >= path {
			return true
		}
	}
	return false
}

// under tells whether the row before next has a path that begins with prefix.
func (c *cursor) under(prefix string) bool {
	return c.pathLen >= len(prefix) && string(c.pathBuf[:len(prefix)]) == prefix
}

// after is the least string that is greater than every path below the directory at path[:slash+1].
func after(path []byte, slash int) string {
	var b strings.Builder
	b.Write(path[:slash])
	b.WriteByte('/' + 1)
	return b.String()
}
