package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
)

// Blobs opens content by digest: an artifact's blobs, an upstream, a store.
type Blobs interface {
	// Open starts reading the blob. What it yields is not verified: the
	// snapshot does that. Safe for concurrent use. An unknown blob: an error wrapping ErrNotExist.
	Open(ctx context.Context, b Blob) (*Content, error)
}

// Content is an opened blob.
type Content struct {
	// R yields the bytes from the start. Close releases it.
	R io.ReadCloser
	// File is set when the bytes are in a file whose content was already
	// hashed in full and has not changed since (same device, inode, size,
	// mtime, ctime): then they may be read at any offset, without hashing.
	// It is the whole file, at offset 0; R may be the same *os.File.
	File *os.File
	// Verified, if not nil, is called once when the bytes read from R were
	// found to be right, so that the next Open can set File.
	Verified func()
	// From is where the bytes come from, for logs: a store, a place, an upstream. "" if nobody said.
	From string
}

// BlobsFunc makes a function a Blobs.
type BlobsFunc func(ctx context.Context, b Blob) (*Content, error)

// Open calls f.
func (f BlobsFunc) Open(ctx context.Context, b Blob) (*Content, error) { return f(ctx, b) }

// OpenAt opens a blob of which the first offset bytes are had from elsewhere: R
// yields the others, and says nothing of File and Verified. A Blobs with a method
// OpenAt of its own asks for no more than that; of any other they are skipped.
func OpenAt(ctx context.Context, blobs Blobs, b Blob, offset int64) (*Content, error) {
	if at, ok := blobs.(interface {
		OpenAt(ctx context.Context, b Blob, offset int64) (*Content, error)
	}); ok {
		return at.OpenAt(ctx, b, offset)
	}
	c, err := blobs.Open(ctx, b)
	if err != nil {
		return nil, err
	}
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
	return &Content{R: c.R, From: c.From}, nil
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

func (l layered) Open(ctx context.Context, b Blob) (*Content, error) { return l.OpenAt(ctx, b, 0) }

// OpenAt is [OpenAt].
func (l layered) OpenAt(ctx context.Context, b Blob, offset int64) (*Content, error) {
	if data, ok := l.memory[b.Digest]; ok {
		return &Content{R: io.NopCloser(bytes.NewReader(data[min(offset, int64(len(data))):]))}, nil
	}
	if l.rest == nil {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrNotExist)
	}
	if offset == 0 {
		return l.rest.Open(ctx, b)
	}
	return OpenAt(ctx, l.rest, b, offset)
}
