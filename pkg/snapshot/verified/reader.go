// Package verified reads bytes against a digest: whoever reads to the end has the right ones.
package verified

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"

	"example.org/mmoci/pkg/archive"
)

// ErrIntegrity marks bytes that are not what their digest says. It is [archive.ErrIntegrity].
var ErrIntegrity = archive.ErrIntegrity

// errElsewhere marks wrong bytes of a blob that the next try may read rightly.
var errElsewhere = errors.New("to be read at another place")

// Again calls read, which reads what is verified, and calls it anew as long as it fails by wrong bytes of one place and
// there is another place to read from. It ends: each time one place fewer is tried.
func Again(read func() error) error {
	err := read()
	for errors.Is(err, errElsewhere) {
		err = read()
	}
	return err
}

// HoldBack is how much of a blob is withheld until its digest is known to be right, in bytes.
const HoldBack = 64 << 10

// errLost is what a reader says after WriteTo handed bytes to a writer that did not
// take them. It is not the writer's error, which might be io.EOF.
var errLost = errors.New("content lost in a failed copy")

// maxIdleReads bounds how often a source may return nothing and no error.
const maxIdleReads = 100

// Reader ends in a verified EOF or an error, never in wrong bytes and EOF. The
// last [HoldBack] bytes are given out only after everything was verified: whoever has read to
// io.EOF has the right bytes, and whoever reads wrong ones is left without an end.
// Not safe for concurrent use. It holds at most [HoldBack] bytes.
type Reader struct {
	want Options
	src  io.ReadCloser
	hash hash.Hash // nil if the content needs no hashing

	free int64  // bytes that may be given out before the end was seen
	read int64  // bytes read from src
	held []byte // what is left to give out of the tail; nil before it was read
	buf  []byte // memory of held
	end  bool   // the content was found to be right
	err  error  // sticky
}

// Options say what is read. Digest and Size are required.
type Options struct {
	Digest [sha256.Size]byte // the SHA-256
	Size   int64             // bytes
	Hashed bool              // the content was hashed before: only its size is compared
	Name   string            // for errors; "" if only the digest is known
	Of     string            // what it is part of, for errors; "" if nobody said
	Right  func()            // if not nil, called once when the content was found to be right
	// Wrong, if not nil, is called once when the content was found to be another. True: it may be right elsewhere, and
	// [Again] tries that.
	Wrong func(why error) bool
	// Advice is what to do where the content is another, for errors; "" if nobody said.
	Advice string
}

// NewReader verifies r while it is read. Fewer or more bytes than o.Size, or
// other ones, end in an error wrapping [ErrIntegrity]; errors of r are handed on. Close closes r.
func NewReader(r io.ReadCloser, o Options) *Reader {
	v := &Reader{want: o, src: r, hash: sha256.New(), free: max(0, o.Size-HoldBack)}
	if o.Hashed {
		v.hash, v.free = nil, o.Size
	}
	if err := Check(o.Digest, o.Size); err != nil {
		v.err = fmt.Errorf("blob sha256:%x: %w: %w", o.Digest, err, ErrIntegrity)
	}
	return v
}

// Check tells why nothing has this digest and size: an empty string has one digest, and no other string has it.
func Check(digest [sha256.Size]byte, size int64) error {
	switch {
	case size < 0:
		return fmt.Errorf("size %d is negative", size)
	case digest == [sha256.Size]byte{}:
		return errors.New("digest missing")
	case (size == 0) != (digest == emptyDigest):
		return fmt.Errorf("size %d contradicts sha256:%x", size, digest)
	}
	return nil
}

var emptyDigest = sha256.Sum256(nil)

// Read implements io.Reader. After an error every call returns that error.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.free > 0 {
		n, err := r.pull(p[:min(int64(len(p)), r.free)])
		r.free -= int64(n)
		if n > 0 {
			return n, nil // err, if any, is sticky
		}
		return 0, err
	}
	if err := r.finish(); err != nil {
		return 0, err
	}
	n := copy(p, r.held)
	r.held = r.held[n:]
	if n == 0 {
		r.err = io.EOF
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo, with the memory of the held back tail as its only buffer.
func (r *Reader) WriteTo(w io.Writer) (written int64, err error) {
	for r.err == nil && r.free > 0 {
		n, _ := r.pull(r.buffer()[:min(HoldBack, r.free)])
		r.free -= int64(n)
		if err := r.write(w, r.buf[:n], &written); err != nil {
			return written, err
		}
	}
	if r.err == nil && r.finish() == nil {
		err := r.write(w, r.held, &written)
		r.held = nil
		if err != nil {
			return written, err
		}
		r.err = io.EOF
	}
	if r.err == io.EOF {
		return written, nil
	}
	return written, r.err
}

// write fails the reader if w does not take everything: what w lost cannot be read again.
func (r *Reader) write(w io.Writer, p []byte, written *int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := w.Write(p)
	*written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil && r.err == nil {
		r.err = errLost
	}
	return err
}

// Close closes the source; reading afterwards is an error. Further calls do nothing.
func (r *Reader) Close() error {
	if r.src == nil {
		return nil
	}
	src := r.src
	if cap(r.buf) == HoldBack {
		tails.Put((*[HoldBack]byte)(r.buf[:HoldBack]))
	}
	r.src, r.held, r.buf = nil, nil, nil
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	return src.Close()
}

// tails keeps the buffers of closed readers: a push opens tens of thousands.
var tails = sync.Pool{New: func() any { return new([HoldBack]byte) }}

// buffer is where the tail is held back, and what WriteTo copies through.
// A closed reader gives it back, so nobody else may keep a view of it.
func (r *Reader) buffer() []byte {
	if r.buf == nil {
		r.buf = tails.Get().(*[HoldBack]byte)[:min(HoldBack, r.want.Size)]
	}
	return r.buf
}

// pull reads once from the source, at least one byte if it returns no error.
// An early end is an error.
func (r *Reader) pull(p []byte) (int, error) {
	for range maxIdleReads {
		n, err := r.src.Read(p)
		if n > 0 {
			r.read += int64(n)
			if r.hash != nil {
				r.hash.Write(p[:n])
			}
		}
		if err == io.EOF {
			if r.read == r.want.Size {
				return n, nil // finish sees the end once more
			}
			return n, r.wrong(fmt.Errorf("%d bytes instead of %d: %w", r.read, r.want.Size, ErrIntegrity))
		}
		if err != nil {
			return n, r.fail(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.fail(io.ErrNoProgress)
}

// finish reads the tail and the end, and verifies, once.
func (r *Reader) finish() error {
	if r.end {
		return nil
	}
	tail := r.want.Size - r.read
	for held := int64(0); held < tail; {
		n, err := r.pull(r.buffer()[held:tail])
		if err != nil {
			return err
		}
		held += int64(n)
	}
	if err := r.expectEnd(); err != nil {
		return err
	}
	if r.hash != nil {
		if got := [sha256.Size]byte(r.hash.Sum(nil)); got != r.want.Digest {
			return r.wrong(fmt.Errorf("%d bytes are sha256:%x: %w", r.read, got, ErrIntegrity))
		}
	}
	r.end, r.held = true, r.buf[:tail]
	if r.want.Right != nil {
		r.want.Right()
	}
	return nil
}

// expectEnd refuses a source that goes on.
func (r *Reader) expectEnd() error {
	var more [1]byte
	for range maxIdleReads {
		n, err := r.src.Read(more[:])
		switch {
		case n > 0:
			return r.wrong(fmt.Errorf("more than %d bytes instead of %d: %w", r.read, r.want.Size, ErrIntegrity))
		case err == io.EOF:
			return nil
		case err != nil:
			return r.fail(err)
		}
	}
	return r.fail(io.ErrNoProgress)
}

// wrong fails the reader by content that is not the blob's.
func (r *Reader) wrong(err error) error {
	if r.want.Advice != "" {
		err = fmt.Errorf("%w; %s", err, r.want.Advice)
	}
	if r.want.Wrong != nil && r.want.Wrong(err) {
		err = fmt.Errorf("%w: %w", errElsewhere, err)
	}
	return r.fail(err)
}

// fail makes err sticky, with name and digest. A source's error that wraps
// io.EOF must not look like the end.
func (r *Reader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%v: %w", err, io.ErrUnexpectedEOF)
	}
	if r.want.Of != "" {
		err = fmt.Errorf("%s: %w", r.want.Of, err)
	}
	if r.want.Name == "" {
		r.err = fmt.Errorf("blob sha256:%x: %w", r.want.Digest, err)
	} else {
		r.err = fmt.Errorf("%s: blob sha256:%x: %w", r.want.Name, r.want.Digest, err)
	}
	return r.err
}
