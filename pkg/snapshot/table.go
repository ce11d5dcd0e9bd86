package snapshot

import (
	"encoding/binary"
	"iter"
)

// Table is the sorted list of a snapshot's files: derived, a hint. It searches
// its encoded bytes in place. Immutable; safe for concurrent use.
type Table struct {
	data    []byte
	rows    int
	blocks  int
	indexAt int // offset of the index, which ends the blocks
}

// Bytes is the encoded table. It must not be changed.
func (t *Table) Bytes() []byte { return t.data }

// Len is the number of rows.
func (t *Table) Len() int { return t.rows }

// blockAt is the offset of a block.
func (t *Table) blockAt(block int) int {
	return int(binary.LittleEndian.Uint32(t.data[t.indexAt+4*block:]))
}

// Find finds a listed path; see [Table.Resolve] for those that are derived.
func (t *Table) Find(path string) (Row, bool) {
	var c cursor
	if !t.seek(&c, path) || string(c.path()) != path {
		return Row{}, false
	}
	return c.row(path), true
}

// Row is the i-th row in order of path, from 0; i must be less than [Table.Len].
func (t *Table) Row(i int) Row {
	block := i / blockRows
	c := cursor{t: t, off: t.blockAt(block), next: block * blockRows}
	for c.next <= i && c.advance() {
	}
	return c.row("")
}

// Rows yields all rows in order of path.
func (t *Table) Rows() iter.Seq[Row] { return t.Under("") }

// Blobs yields the blob of each row, in order of path, without the cost of its names.
func (t *Table) Blobs() iter.Seq[Blob] {
	return func(yield func(Blob) bool) {
		var c cursor
		for ok := t.seek(&c, ""); ok; ok = c.advance() {
			if !yield(c.blob()) {
				return
			}
		}
	}
}

// Under yields the rows whose path begins with prefix (any text, not only whole parts), in order of path.
func (t *Table) Under(prefix string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		var c cursor
		for ok := t.seek(&c, prefix); ok && c.under(prefix); ok = c.advance() {
			if !yield(c.row("")) {
				return
			}
		}
	}
}
