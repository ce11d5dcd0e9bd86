package snapshot

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
)

// Row is the i-th row in order of path, from 0; i must be less than [Table.Len].
func (t *Table) Row(i int) Row {
	block := i / blockRows
	c := cursor{t: t, off: t.blockAt(block), next: block * blockRows}
	for c.next <= i && c.advance() {
	}
	return c.row("")
}

// DigestIndex finds the rows of a table by their digests. It takes [DigestIndexRow] bytes a
// row and keeps none of the rows. Immutable; safe for concurrent use.
type DigestIndex struct {
	t     *Table
	order []digestBegin
}

// DigestIndexRow is the memory that a [DigestIndex] takes for each row, in bytes.
const DigestIndexRow = 16

// digestBegin is the first bytes of a row's digest and the row's number.
type digestBegin struct {
	begin uint64
	row   uint32
}

func beginOf(d Digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// IndexDigests makes an index of all rows that have bytes. A table of 1.3 million rows takes a second.
func (t *Table) IndexDigests() *DigestIndex {
	x := &DigestIndex{t: t, order: make([]digestBegin, 0, t.rows)}
	row := uint32(0)
	for b := range t.Blobs() {
		if b.Size > 0 {
			x.order = append(x.order, digestBegin{beginOf(b.Digest), row})
		}
		row++
	}
	slices.SortFunc(x.order, func(a, b digestBegin) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.row, b.row))
	})
	return x
}

// Rows yields the rows with a digest, in order of path; none for the empty string's.
func (x *DigestIndex) Rows(d Digest) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		begin := beginOf(d)
		i, _ := slices.BinarySearchFunc(x.order, begin, func(e digestBegin, begin uint64) int { return cmp.Compare(e.begin, begin) })
		for ; i < len(x.order) && x.order[i].begin == begin; i++ {
			if row := x.t.Row(int(x.order[i].row)); row.Digest == d && !yield(row) {
				return
			}
		}
	}
}
