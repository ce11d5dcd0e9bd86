package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// readBlob reads a whole blob of limited size and verifies it; what names it in errors.
func readBlob(ctx context.Context, from snapshot.Blobs, what string, b snapshot.Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, integrity("%s %s of %d bytes, the limit is %d", what, b.Digest, b.Size, limit)
	}
	c, err := from.Open(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	r := snapshot.NewReader(c.R, b)
	defer r.Close()
	buf := bytes.NewBuffer(make([]byte, 0, min(b.Size, 1<<20)+bytes.MinRead))
	if _, err := buf.ReadFrom(while(ctx, r)); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, b.Digest, err)
	}
	if c.Verified != nil {
		c.Verified()
	}
	return buf.Bytes(), nil
}

// verified is content whose reading ends in a verified EOF or an error.
type verified struct {
	io.ReadCloser
	file *os.File // not nil where the bytes are in a file that was verified already
}

// inMemory is content that is at hand.
func inMemory(data []byte) verified {
	return verified{ReadCloser: io.NopCloser(bytes.NewReader(data))}
}

// verifiedFrom makes an opener of a place's blobs.
func verifiedFrom(from snapshot.Blobs) opener {
	return func(ctx context.Context, b snapshot.Blob) (verified, error) {
		c, err := from.Open(ctx, b)
		if err != nil {
			return verified{}, err
		}
		if c.File != nil {
			return verified{c.R, c.File}, nil
		}
		return verified{ReadCloser: snapshot.NewReader(c.R, b)}, nil
	}
}

// interrupted is why ctx has ended, nil while it lasts. Whoever writes returns it
// instead of nil: a writer that stopped because of ctx has not done its work.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// while returns a reader that reads as long as ctx lasts.
func while(ctx context.Context, r io.Reader) io.Reader { return whileReader{ctx, r} }

type whileReader struct {
	ctx context.Context
	io.Reader
}

func (w whileReader) Read(p []byte) (int, error) {
	if err := interrupted(w.ctx); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// readSmall reads a regular file of limited size.
func readSmall(name string, limit int64) ([]byte, error) {
	f, _, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}

// readLimited reads all; more than limit is an error.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// openRegular opens a regular file and nothing else: a pipe put into a layout must not block a reader.
func openRegular(name string) (*os.File, os.FileInfo, error) {
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
