package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// ReadBlob reads a whole blob of limited size and verifies it; what names it in errors.
func ReadBlob(ctx context.Context, from snapshot.Blobs, what string, b snapshot.Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, Integrity("%s %s of %d bytes, the limit is %d", what, b.Digest, b.Size, limit)
	}
	c, err := from.Open(ctx, b, 0)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	r := c.Reader(b)
	defer r.Close()
	buf := bytes.NewBuffer(make([]byte, 0, min(b.Size, 1<<20)+bytes.MinRead))
	if _, err := buf.ReadFrom(WithContext(ctx, r)); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	return buf.Bytes(), nil
}

// Verified is content whose reading ends in a verified EOF or an error.
type Verified struct {
	io.ReadCloser
	File *os.File // not nil where the bytes are in a file that was verified already
}

// InMemory is content that is at hand.
func InMemory(data []byte) Verified {
	return Verified{ReadCloser: io.NopCloser(bytes.NewReader(data))}
}

// VerifiedFrom makes an opener of a place's blobs.
func VerifiedFrom(from snapshot.Blobs) Opener {
	return func(ctx context.Context, b snapshot.Blob) (Verified, error) {
		c, err := from.Open(ctx, b, 0)
		if err != nil {
			return Verified{}, err
		}
		if c.File != nil {
			return Verified{c.R, c.File}, nil
		}
		return Verified{ReadCloser: snapshot.NewReader(c.R, b)}, nil
	}
}

// Interrupted is why ctx has ended, nil while it lasts. Whoever writes returns it
// instead of nil: a writer that stopped because of ctx has not done its work.
func Interrupted(ctx context.Context) error {
	return context.Cause(ctx)
}

// WithContext returns a reader that reads as long as ctx lasts.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return whileReader{ctx, r} }

type whileReader struct {
	ctx context.Context
	io.Reader
}

func (w whileReader) Read(p []byte) (int, error) {
	if err := Interrupted(w.ctx); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// ReadFile reads a regular file of limited size.
func ReadFile(name string, limit int64) ([]byte, error) {
	f, _, err := OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadLimited(f, limit)
}

// ReadLimited reads all; more than limit is an error.
func ReadLimited(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// OpenRegular opens a regular file and nothing else: a pipe put into a layout must not block a reader.
func OpenRegular(name string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
