package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// The table's framing (SPEC section 5).
const (
	tableMagic  = "mmoci-table-v1\n\x00"
	tableEnd    = "mmot"
	blockRows   = 16
	tableFooter = 4 + 4 + 4 + len(tableEnd)
	guessedRow  = 104 // bytes that a row of a Debian release takes
)

// MaxTable is the size limit of an encoded table, in bytes (SPEC section 11).
const MaxTable = 256 << 20

// NewTable sorts and encodes rows; equal rows are taken once, one path with two
// digests or sizes is an error naming both. rows is not changed.
func NewTable(rows []Row) (*Table, error) {
	for _, r := range rows {
		if err := r.check(); err != nil {
			return nil, err
		}
		if IsCarried(r.Path) {
			if err := validCarried(r.Path); err != nil {
				return nil, fmt.Errorf("file %.200q: %w", r.Path, err)
			}
		}
		if IsImageBlob(r.Path) {
			if err := validImageBlob(r.Path, r.Digest); err != nil {
				return nil, fmt.Errorf("file %.200q: %w", r.Path, err)
			}
		}
	}
	rows, err := sortRows(rows)
	if err != nil {
		return nil, err
	}
	t := &Table{rows: len(rows), blocks: (len(rows) + blockRows - 1) / blockRows}
	e := encoder{data: append(make([]byte, 0, len(tableMagic)+len(rows)*guessedRow), tableMagic...)}
	for i, r := range rows {
		e.row(r, i%blockRows == 0)
	}
	t.indexAt = len(e.data)
	e.footer(t.rows)
	if len(e.data) > MaxTable {
		return nil, fmt.Errorf("table of %d rows: %d bytes, more than %d", len(rows), len(e.data), MaxTable)
	}
	t.data = e.data
	return t, nil
}

// sortRows returns rows in order of path, each once; a copy, unless they are so already.
func sortRows(rows []Row) ([]Row, error) {
	again := 0
	if !slices.IsSortedFunc(rows, func(a, b Row) int { return cmp.Compare(a.Path, b.Path) }) {
		order := make([]int32, len(rows)) // a row is fifteen times as long
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(rows[a].Path, rows[b].Path) })
		sorted := make([]Row, len(rows))
		for i, at := range order {
			sorted[i] = rows[at]
		}
		rows = sorted
	}
	for i := 1; i < len(rows); i++ {
		a, b := &rows[i-1], &rows[i]
		if a.Path != b.Path {
			continue
		}
		if *a != *b {
			return nil, fmt.Errorf("path %s: twice, as %s %v and as %s %v", a.Path, a.Blob(), a.Package, b.Blob(), b.Package)
		}
		again++
	}
	if again > 0 {
		rows = slices.Compact(slices.Clone(rows))
	}
	return rows, nil
}

// encoder appends rows in order.
type encoder struct {
	data    []byte
	path    string // of the previous row
	offsets []uint32
}

func (e *encoder) row(r Row, startsBlock bool) {
	shared := 0
	if startsBlock {
		e.offsets = append(e.offsets, uint32(len(e.data)))
	} else {
		shared = commonPrefix(e.path, r.Path)
	}
	e.path = r.Path
	e.data = binary.AppendUvarint(e.data, uint64(shared))
	e.bytes(r.Path[shared:])
	e.data = binary.AppendUvarint(e.data, uint64(r.Size))
	if r.Size > 0 {
		e.data = append(e.data, r.Digest[:]...)
	}
	kind := kindOf(r)
	e.data = append(e.data, kind)
	for i, field := range [...]string{r.Name, r.Version, r.Architecture, r.Source} {
		if hasField(kind, i) {
			e.bytes(field)
		}
	}
}

// hasField tells whether a row of this kind spells out its field i of name, version, architecture, source.
func hasField(kind byte, i int) bool {
	if i == 3 {
		return kind&(kindPackage|kindFromSource) == kindPackage
	}
	return kind&(kindPackage|kindName<<i) == kindPackage
}

func (e *encoder) bytes(s string) {
	e.data = binary.AppendUvarint(e.data, uint64(len(s)))
	e.data = append(e.data, s...)
}

func (e *encoder) footer(rows int) {
	index := uint32(len(e.data))
	for _, o := range e.offsets {
		e.data = binary.LittleEndian.AppendUint32(e.data, o)
	}
	for _, n := range [...]uint32{uint32(rows), uint32(len(e.offsets)), index} {
		e.data = binary.LittleEndian.AppendUint32(e.data, n)
	}
	e.data = append(e.data, tableEnd...)
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// OpenTable validates an encoded table: framing, order, paths, the names of what
// is carried, and that it is exactly what [NewTable] makes of its rows. All rows are read once. Errors wrap
// [ErrIntegrity]. The table keeps data, which must not change any more.
func OpenTable(data []byte) (*Table, error) {
	t, err := openFraming(data)
	if err != nil {
		return nil, fmt.Errorf("table: %w: %w", err, ErrIntegrity)
	}
	if err := t.validate(); err != nil {
		return nil, fmt.Errorf("table: %w: %w", err, ErrIntegrity)
	}
	return t, nil
}

func openFraming(data []byte) (*Table, error) {
	if len(data) > MaxTable {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxTable)
	}
	if len(data) < len(tableMagic)+tableFooter ||
		!bytes.HasPrefix(data, []byte(tableMagic)) || !bytes.HasSuffix(data, []byte(tableEnd)) {
		return nil, fmt.Errorf("first or last bytes of %d are not a table's", len(data))
	}
	foot := data[len(data)-tableFooter:]
	rows := int64(binary.LittleEndian.Uint32(foot))
	blocks := int64(binary.LittleEndian.Uint32(foot[4:]))
	index := int64(binary.LittleEndian.Uint32(foot[8:]))
	if blocks != (rows+blockRows-1)/blockRows || index < int64(len(tableMagic)) ||
		index+4*blocks+int64(tableFooter) != int64(len(data)) {
		return nil, fmt.Errorf("footer of %d rows, %d blocks, index at %d does not fit %d bytes", rows, blocks, index, len(data))
	}
	return &Table{data: data, rows: int(rows), blocks: int(blocks), indexAt: int(index)}, nil
}

// validate walks all rows.
func (t *Table) validate() error {
	c := cursor{t: t, off: len(tableMagic)}
	for c.next < t.rows {
		if c.next%blockRows == 0 && t.blockAt(c.next/blockRows) != c.off {
			return fmt.Errorf("row %d: block begins at %d, index says %d", c.next, c.off, t.blockAt(c.next/blockRows))
		}
		if err := c.validateRow(); err != nil {
			return fmt.Errorf("row %d after %.200q: %w", c.next, c.path(), err)
		}
	}
	if c.off != t.indexAt {
		return fmt.Errorf("%d bytes after the last row", t.indexAt-c.off)
	}
	for row := range t.Under(CarriedDir) {
		if err := validCarried(row.Path); err != nil {
			return fmt.Errorf("file %.200q: %w", row.Path, err)
		}
	}
	for row := range t.Under(ImageDir) {
		if err := validImageBlob(row.Path, row.Digest); err != nil {
			return fmt.Errorf("file %.200q: %w", row.Path, err)
		}
	}
	return nil
}
