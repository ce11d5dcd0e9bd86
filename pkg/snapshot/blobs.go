package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"example.org/mmoci/pkg/snapshot/verified"
)

// Blobs opens content by digest: an artifact's blobs, an upstream, a store.
type Blobs interface {
	// Open starts reading the blob at an offset, which is at most its size. What it yields is not
	// verified: the snapshot does that. Safe for concurrent use. An unknown blob: an error wrapping ErrNotExist.
	Open(ctx context.Context, b Blob, offset int64) (*Content, error)
}

// Content is an opened blob.
type Content struct {
	// R yields the bytes from the offset on. Close releases it.
	R io.ReadCloser
	// File is set when the bytes are in a file whose content was already
	// hashed in full and has not changed since (same device, inode, size,
	// mtime, ctime): then they may be read at any offset, without hashing.
	// It is the whole file, at offset 0; R may be the same *os.File. Nil where an offset was asked for.
	File *os.File
	// Verified, if not nil, is called once when the bytes read from R were
	// found to be right, so that the next Open can set File. Nil where an offset was asked for.
	Verified func()
	// Wrong, if not nil, is called once when the bytes read from R were found to be
	// other ones than the blob's. It reports whether the next Open may give the right ones.
	Wrong func(why error) bool
	// From is where the bytes come from, for logs: a store, a place, an upstream. "" if nobody said.
	From string
	// Of is what the blob is part of, for errors: a container image. "" if nobody said.
	Of     string
	Advice string // what to do where the bytes are other ones than the blob's, for errors; "" if nobody said
}

// HoldBack is how much of a blob a reader withholds until its digest is known to be right, in bytes.
const HoldBack = verified.HoldBack

// Reader verifies content while it is read.
type Reader = verified.Reader

// NewReader verifies r against b while it is read: see [verified.NewReader].
func NewReader(r io.ReadCloser, b Blob) *Reader {
	return verified.NewReader(r, verified.Options{Digest: b.Digest, Size: b.Size})
}

// Reader verifies the content while it is read, and tells Verified or Wrong what it found. Where that may be had rightly
// at another place its error makes [verified.Again] try once more; [Snapshot.ReadBlob] does so by itself.
func (c *Content) Reader(b Blob) *Reader { return c.reader(Row{Size: b.Size, Digest: b.Digest}) }

// reader is Reader of a file whose path, if it has one, errors name.
func (c *Content) reader(row Row) *Reader {
	return verified.NewReader(c.R, verified.Options{Digest: row.Digest, Size: row.Size, Name: row.Path, Of: c.Of, Right: c.Verified, Wrong: c.Wrong, Advice: c.Advice})
}

// hashed reads a file whose content was hashed before.
func hashed(r io.ReadCloser, row Row) *Reader {
	return verified.NewReader(r, verified.Options{Digest: row.Digest, Size: row.Size, Name: row.Path, Hashed: true})
}

// At is content that was opened at its beginning, from an offset on. Where R
// cannot seek, the bytes before it are read away.
func (c *Content) At(offset int64) (*Content, error) {
	if offset == 0 {
		return c, nil
	}
	var err error
	if s, ok := c.R.(io.Seeker); ok {
		_, err = s.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, c.R, offset)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		c.R.Close()
		return nil, err
	}
	return &Content{R: c.R, From: c.From, Of: c.Of}, nil
}

// BlobsFunc is a Blobs that opens each blob at its beginning.
type BlobsFunc func(ctx context.Context, b Blob) (*Content, error)

// Open calls f and skips the bytes before the offset.
func (f BlobsFunc) Open(ctx context.Context, b Blob, offset int64) (*Content, error) {
	c, err := f(ctx, b)
	if err != nil {
		return nil, err
	}
	return c.At(offset)
}

// memory holds generated and small files by digest. Its keys were computed from
// the bytes, so they need no verification.
type memory map[Digest][]byte

func newMemory(files [][]byte) memory {
	m := make(memory, len(files))
	for _, f := range files {
		m[Sum(f)] = f
	}
	return m
}

// layered looks into memory first. It makes memory a Blobs like any other, for [Snapshot.WithBlobs].
type layered struct {
	memory memory
	rest   Blobs
}

// Open implements Blobs.
func (l layered) Open(ctx context.Context, b Blob, offset int64) (*Content, error) {
	if data, ok := l.memory[b.Digest]; ok {
		return &Content{R: io.NopCloser(bytes.NewReader(data[min(offset, int64(len(data))):]))}, nil
	}
	if l.rest == nil {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrNotExist)
	}
	return l.rest.Open(ctx, b, offset)
}
