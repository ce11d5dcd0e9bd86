package places

import (
	"context"
	"io"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Watched is blobs whose bytes are told of as they come (Moved, by digest);
// those of files that were hashed before need not be read, and are not told of.
func Watched(blobs snapshot.Blobs, tell func(oci.Event)) snapshot.Blobs {
	return watchedBlobs{blobs, tell}
}

type watchedBlobs struct {
	rest snapshot.Blobs
	tell func(oci.Event)
}

// Open implements snapshot.Blobs.
func (w watchedBlobs) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := w.rest.Open(ctx, b, offset)
	if err != nil || c.File != nil {
		return c, err
	}
	watched := *c
	watched.R = watchedReader{c.R, b.Digest, w.tell}
	return &watched, nil
}

type watchedReader struct {
	io.ReadCloser
	digest snapshot.Digest
	tell   func(oci.Event)
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.tell(oci.Event{Kind: oci.Moved, Digest: r.digest, Bytes: int64(n)})
	}
	return n, err
}
