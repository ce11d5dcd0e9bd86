package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"example.org/mmoci/pkg/snapshot/verified"
)

// Snapshot is archives frozen at one instant. Immutable; safe for concurrent
// use. It comes from [Take] or [Sealed.Unseal].
type Snapshot struct {
	// Root is the digest of the artifact's root, zero before it is packed.
	Root      Digest
	Statement *Statement
	// StatementBytes is the statement as stored: clear-signed if Signed, else the text.
	StatementBytes []byte
	Signed         bool
	Table          *Table

	small memory // looked into before blobs
	blobs Blobs  // nil: everything is in small
}

// File is an opened file of a snapshot. Read it through Reader or through
// Seeker, not both: they may share one offset. Close releases both.
type File struct {
	Row // Path is the listed one; only Size and Digest if it was opened by digest
	*Reader
	// Seeker is set when the content is verified already; it may be an
	// *os.File, so that it can be sent by sendfile.
	Seeker io.ReadSeeker
	// From is where the bytes come from, for logs ([Content]).
	From string
}

// Open opens a file by its served path ([Table.Resolve]). ErrNotExist if there
// is none, or if its blob was lost. Errors, while reading too, name the path.
func (s *Snapshot) Open(ctx context.Context, path string) (*File, error) {
	row, ok := s.Table.Resolve(s.Statement, path)
	if !ok {
		return nil, fmt.Errorf("%.300s: %w", path, ErrNotExist)
	}
	f, err := s.open(ctx, row)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", row.Path, err)
	}
	return f, nil
}

// OpenBlob opens content whose digest is known from elsewhere: a Release, a
// stanza. It asks no table: the blob may be one that the snapshot does not list.
func (s *Snapshot) OpenBlob(ctx context.Context, b Blob) (*File, error) {
	return s.open(ctx, Row{Size: b.Size, Digest: b.Digest})
}

func (s *Snapshot) open(ctx context.Context, row Row) (*File, error) {
	b := row.Blob()
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("blob %s: %w: %w", b.Digest, err, ErrIntegrity)
	}
	if b.Size == 0 {
		return inMemory(row, nil), nil // no place holds an empty blob
	}
	if data, ok := s.small[b.Digest]; ok {
		if int64(len(data)) != b.Size {
			return nil, fmt.Errorf("blob %s: %d bytes instead of %d: %w", b.Digest, len(data), b.Size, ErrIntegrity)
		}
		return inMemory(row, data), nil
	}
	if s.blobs == nil {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrNotExist)
	}
	c, err := s.blobs.Open(ctx, b, 0)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	return fromContent(row, c)
}

func inMemory(row Row, data []byte) *File {
	r := bytes.NewReader(data)
	return &File{Row: row, Reader: hashed(io.NopCloser(r), row), Seeker: r}
}

// fromContent believes a hashed file if it has the right size, and verifies everything else.
func fromContent(row Row, c *Content) (*File, error) {
	if c.File == nil {
		return &File{Row: row, Reader: c.reader(row), From: c.From}, nil
	}
	var src io.ReadCloser = c.File
	if c.R != nil {
		src = c.R
	}
	info, err := c.File.Stat()
	if err == nil && info.Size() != row.Size {
		err = fmt.Errorf("%d bytes instead of %d: %w", info.Size(), row.Size, ErrIntegrity)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob %s: %w", row.Digest, err), src.Close())
	}
	return &File{Row: row, Reader: hashed(src, row), Seeker: c.File, From: c.From}, nil
}

// firstRead is how much memory ReadBlob takes before a byte has come; the
// declared size is not believed.
const firstRead = 256 << 10

// ReadBlob reads a whole, small blob, verified, and again where a place gave wrong
// bytes and there is another; more than limit bytes is an error.
func (s *Snapshot) ReadBlob(ctx context.Context, b Blob, limit int64) (data []byte, err error) {
	if b.Size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, more than %d", b.Digest, b.Size, limit)
	}
	err = verified.Again(func() error {
		f, err := s.OpenBlob(ctx, b)
		if err != nil {
			return err
		}
		defer f.Close()
		var buf bytes.Buffer
		buf.Grow(int(min(b.Size, firstRead)))
		if _, err := f.WriteTo(&buf); err != nil {
			return err
		}
		data = buf.Bytes()
		return nil
	})
	return data, err
}

// ReadLock reads the lock, verified by the statement's digest. A lock of a
// whole release is as large as its index, and only those who explain a snapshot read it.
func (s *Snapshot) ReadLock(ctx context.Context) ([]byte, error) {
	data, err := s.ReadBlob(ctx, s.Statement.Lock, MaxLock)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return data, nil
}

// Blobs is where the snapshot's content comes from, unverified; for a packer
// that verifies by itself. Everything else uses [Snapshot.OpenBlob].
func (s *Snapshot) Blobs() Blobs { return layered{memory: s.small, rest: s.blobs} }

// WithBlobs is the same snapshot reading its content through wrap's Blobs, which
// gets the present one: a cache before it, a counter, a liar in tests.
func (s *Snapshot) WithBlobs(wrap func(Blobs) Blobs) *Snapshot {
	c := *s
	c.blobs, c.small = wrap(s.Blobs()), nil
	return &c
}
