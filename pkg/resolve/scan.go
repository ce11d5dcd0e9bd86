package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// scanChunk is how much of an index one goroutine scans at a time, in bytes.
const scanChunk = 2 << 20

// maxSkipped bounds the malformed stanzas that are described one by one; the
// rest of an index is counted.
const maxSkipped = 100

// chunk is a part of an index that begins and ends between stanzas.
type chunk struct {
	index      int
	start, end int // in the data of the index

	records []record
	blocks  []mentionBlock
	arches  []string // of the records, by their arch
	faults  []fault
	bad     int // stanzas left out, those beyond faults included
}

// fault is a malformed stanza.
type fault struct {
	line int // in the chunk, from 1
	err  error
}

// scan reads all indices into records, in order.
func (u *Universe) scan() error {
	chunks, err := cutChunks(u.indices)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chunks)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(chunks); i = int(next.Add(1)) - 1 {
				chunks[i].scan(&u.indices[chunks[i].index])
			}
		})
	}
	wg.Wait()
	return u.collect(chunks)
}

// cutChunks divides the indices at empty lines.
func cutChunks(indices []Index) ([]chunk, error) {
	var chunks []chunk
	for i := range indices {
		data := indices[i].Data
		if int64(len(data)) > MaxIndex { // an int of 32 bits does not hold it
			return nil, fmt.Errorf("index %s of archive %s: %d bytes, over the limit of %d",
				indices[i].Path, indices[i].Archive, len(data), int64(MaxIndex))
		}
		for start := 0; start < len(data); {
			end := len(data)
			if start+scanChunk < end {
				if n := bytes.Index(data[start+scanChunk:], []byte("\n\n")); n >= 0 {
					end = start + scanChunk + n + 2
				}
			}
			chunks = append(chunks, chunk{index: i, start: start, end: end})
			start = end
		}
	}
	return chunks, nil
}

// scan reads one chunk.
func (c *chunk) scan(in *Index) {
	data := in.Data[c.start:c.end]
	c.records = make([]record, 0, len(data)/600)
	sc := deb.NewScanner(data)
	for {
		s, err := sc.Next()
		if err == io.EOF {
			return
		}
		if err == nil {
			err = c.add(in, s, sc.Offset())
		}
		if err != nil {
			c.fail(sc.Line(), err)
		}
	}
}

func (c *chunk) fail(line int, err error) {
	c.bad++
	if len(c.faults) < maxSkipped {
		if e, ok := errors.AsType[*deb.StanzaError](err); ok {
			line, err = e.Line, withoutLine(e)
		}
		c.faults = append(c.faults, fault{line, err})
	}
}

// withoutLine is the error without its line, which is the chunk's.
func withoutLine(e *deb.StanzaError) error {
	if e.Package != "" {
		return fmt.Errorf("package %q: %w", e.Package, e.Err)
	}
	return e.Err
}

// add makes a record of a stanza, or tells why not. A stanza of an
// architecture that the index is not for is passed over, as apt does.
func (c *chunk) add(in *Index, s deb.Stanza, offset int) error {
	f := pickFields(s)
	plain := f.plain()
	if !plain || in.Keep != nil {
		file, err := archive.ParsePackageFile(s)
		if err != nil {
			return err
		}
		if in.Keep != nil && !in.Keep(file) {
			return nil
		}
	}
	if in.Architecture != "" && f.arch != in.Architecture && f.arch != "all" {
		return nil
	}
	arch, err := c.intern(f.arch)
	if err != nil {
		return err
	}
	r := record{
		offset:        uint32(c.start + offset),
		length:        uint32(len(s)),
		nameOffset:    offsetIn(s, f.name),
		nameLength:    uint8(len(f.name)),
		version:       offsetIn(s, f.version),
		versionLength: uint8(len(f.version)),
		provides:      offsetIn(s, f.provides),
		provideLength: uint32(len(f.provides)),
		index:         uint16(c.index),
		arch:          arch,
		multi:         readMultiArch(f.multi),
		plain:         plain,
	}
	if f.last != "" {
		r.relations = offsetIn(s, f.first)
		r.relationsLength = offsetIn(s, f.last) + uint32(len(f.last)) - r.relations
	}
	c.mention(f.name, view(s[r.relations:r.relations+r.relationsLength]))
	c.records = append(c.records, r)
	return nil
}

// intern numbers the few architectures of a chunk.
func (c *chunk) intern(arch string) (uint16, error) {
	for i, a := range c.arches {
		if a == arch {
			return uint16(i), nil
		}
	}
	if len(c.arches) == maxArchitectures {
		return 0, fmt.Errorf("architecture %q is one of more than %d", arch, maxArchitectures)
	}
	c.arches = append(c.arches, strings.Clone(arch))
	return uint16(len(c.arches) - 1), nil
}

// maxArchitectures bounds the architectures in one chunk of an index.
const maxArchitectures = 64

// offsetIn is where a field's value, a view of the stanza, begins in it.
func offsetIn(s deb.Stanza, value string) uint32 {
	if value == "" {
		return 0
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.StringData(value))) - uintptr(unsafe.Pointer(unsafe.SliceData(s))))
}

// collect joins the chunks' records and names what was left out.
func (u *Universe) collect(chunks []chunk) error {
	total := 0
	for i := range chunks {
		total += len(chunks[i].records)
	}
	u.records = make([]record, 0, total)
	archID := map[string]uint16{}
	var errs []error
	for i := 0; i < len(chunks); {
		index, good, bad, described := chunks[i].index, 0, 0, 0
		var first error
		for ; i < len(chunks) && chunks[i].index == index; i++ {
			c := &chunks[i]
			u.adopt(c, archID)
			good, bad = good+len(c.records), bad+c.bad
			for _, f := range c.faults {
				if first == nil {
					first = f.err
				}
				if described++; described <= maxSkipped {
					u.skipped = append(u.skipped, u.describe(c, f))
				}
			}
			c.records, c.faults = nil, nil
		}
		in := &u.indices[index]
		if bad > maxSkipped {
			u.skipped = append(u.skipped, fmt.Sprintf("archive %s: %s: %d malformed stanzas in all", in.Archive, in.Path, bad))
		}
		if good == 0 && bad > 0 {
			errs = append(errs, fmt.Errorf("index %s of archive %s: no good stanza: %w", in.Path, in.Archive, first))
		}
	}
	return errors.Join(errs...)
}

// adopt takes over the records of a chunk with the universe's numbers for architectures.
func (u *Universe) adopt(c *chunk, archID map[string]uint16) {
	for _, b := range c.blocks {
		b.first += int32(len(u.records))
		u.mentions.blocks = append(u.mentions.blocks, b)
	}
	c.blocks = nil
	for _, r := range c.records {
		arch := c.arches[r.arch]
		id, ok := archID[arch]
		if !ok {
			id = uint16(len(u.arches))
			archID[arch] = id
			u.arches = append(u.arches, arch)
		}
		r.arch = id
		u.records = append(u.records, r)
	}
}

func (u *Universe) describe(c *chunk, f fault) string {
	in := &u.indices[c.index]
	line := f.line + bytes.Count(in.Data[:c.start], []byte{'\n'})
	return fmt.Sprintf("archive %s: %s line %d: %v", in.Archive, in.Path, line, f.err)
}
