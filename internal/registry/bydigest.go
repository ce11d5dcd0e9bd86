package registry

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"

	"example.org/mmoci/pkg/snapshot"
)

// digestIndex finds the rows of a table by their digests. It takes digestIndexRow bytes a
// row and keeps none of the rows. Immutable; safe for concurrent use.
type digestIndex struct {
	t     *snapshot.Table
	order []digestBegin
}

// digestIndexRow is the memory that a [digestIndex] takes for each row, in bytes.
const digestIndexRow = 16

// digestBegin is the first bytes of a row's digest and the row's number.
type digestBegin struct {
	begin uint64
	row   uint32
}

func beginOf(d snapshot.Digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// indexDigests makes an index of all rows that have bytes. A table of 1.3 million rows takes a second.
func indexDigests(t *snapshot.Table) *digestIndex {
	x := &digestIndex{t: t, order: make([]digestBegin, 0, t.Len())}
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
func (x *digestIndex) Rows(d snapshot.Digest) iter.Seq[snapshot.Row] {
	return func(yield func(snapshot.Row) bool) {
		begin := beginOf(d)
		i, _ := slices.BinarySearchFunc(x.order, begin, func(e digestBegin, begin uint64) int { return cmp.Compare(e.begin, begin) })
		for ; i < len(x.order) && x.order[i].begin == begin; i++ {
			if row := x.t.Row(int(x.order[i].row)); row.Digest == d && !yield(row) {
				return
			}
		}
	}
}
