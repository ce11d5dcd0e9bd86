// Package spool keeps bytes that are needed again off the heap: in a file that has no name.
//
// The file lies in TMPDIR (/tmp), is gone with the process however that ends, and can be
// opened by nobody else. Where none can be made or written (a read-only file system, a full
// one), the bytes are kept in memory: more of it is used, and nothing fails.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Small is how many bytes are kept in memory all the same.
const Small = 256 << 10

// Writer gathers bytes. The zero value is ready. Not safe for concurrent use.
type Writer struct {
	sum  maphash.Hash // of what was written, under a seed that only this process knows
	mem  []byte       // what is not in the file
	file *os.File     // nil: all is in mem
	size int64
	full bool // no file can be had
}

// Write implements io.Writer. Its error says that what was written cannot be read back.
func (w *Writer) Write(p []byte) (int, error) {
	w.sum.Write(p)
	w.size += int64(len(p))
	if w.file == nil && !w.full && w.size > Small {
		f, err := unnamed()
		w.file, w.full = f, err != nil
		if err == nil {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	if w.file == nil {
		w.mem = append(w.mem, p...)
		return len(p), nil
	}
	if n, err := w.file.Write(p); err != nil {
		return len(p), w.giveUp(w.size-int64(len(p)), p[n:], n)
	}
	return len(p), nil
}

// flush writes what is in memory to the new file.
func (w *Writer) flush() error {
	mem := w.mem
	w.mem = nil
	if n, err := w.file.Write(mem); err != nil {
		return w.giveUp(0, mem[n:], n)
	}
	return nil
}

// giveUp takes what was written back into memory, after a write that failed: before bytes
// and the first n of that write are in the file, rest is not.
func (w *Writer) giveUp(before int64, rest []byte, n int) error {
	mem := make([]byte, before+int64(n), before+int64(n+len(rest)))
	_, err := w.file.ReadAt(mem, 0)
	if err != nil {
		err = fmt.Errorf("temporary file: %w", err)
	}
	w.file.Close()
	w.mem, w.file, w.full = append(mem, rest...), nil, true
	return err
}

// unnamed is a new file that has no name.
func unnamed() (*os.File, error) {
	dir := os.TempDir()
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
	}
	f, err := os.CreateTemp(dir, "mmoci-") // not every file system has the other
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Done ends the writing. w must not be used any more.
func (w *Writer) Done() *Bytes {
	return &Bytes{seed: w.sum.Seed(), sum: w.sum.Sum64(), mem: w.mem, file: w.file, size: w.size}
}

// Keep is what was given, kept.
func Keep(data []byte) (*Bytes, error) {
	var w Writer
	_, err := w.Write(data)
	return w.Done(), err
}

// Bytes are what was written to a Writer. Immutable; safe for concurrent use. Their file is
// closed when nothing refers to them any more.
type Bytes struct {
	seed maphash.Seed
	sum  uint64
	mem  []byte
	file *os.File
	size int64
}

// Size is how many bytes there are.
func (b *Bytes) Size() int64 { return b.size }

// Memory is how many of them are in memory.
func (b *Bytes) Memory() int64 { return int64(cap(b.mem)) }

// ReadAt implements io.ReaderAt. Nothing is verified: see Open.
func (b *Bytes) ReadAt(p []byte, at int64) (int, error) {
	if b.file != nil {
		return b.file.ReadAt(p, at)
	}
	return bytes.NewReader(b.mem).ReadAt(p, at)
}

// errChanged says that a file does not hold what was written to it: a disk that fails, most likely.
var errChanged = errors.New("temporary file: other bytes than were written to it")

// Open reads all bytes from the begin. io.EOF means that they are those that were written.
func (b *Bytes) Open() io.Reader {
	r := &reader{of: b, in: io.NewSectionReader(b, 0, b.size)}
	r.sum.SetSeed(b.seed)
	return r
}

type reader struct {
	of  *Bytes
	in  *io.SectionReader
	sum maphash.Hash
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && r.sum.Sum64() != r.of.sum {
		err = errChanged
	}
	return n, err
}
