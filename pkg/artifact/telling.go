package artifact

import (
	"context"
	"io"

	"example.org/mmoci/pkg/snapshot"
)

// Watched is blobs whose bytes are told of as they come (Moved, by digest);
// those of files that were hashed before need not be read, and are not told of.
func Watched(blobs snapshot.Blobs, tell func(Event)) snapshot.Blobs {
	return watchedBlobs{blobs, tell}
}

type watchedBlobs struct {
	rest snapshot.Blobs
	tell func(Event)
}

// Open implements snapshot.Blobs.
func (w watchedBlobs) Open(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	c, err := w.rest.Open(ctx, b)
	return w.watch(c, b), err
}

// OpenAt is for [snapshot.OpenAt]: what is had from elsewhere does not move.
func (w watchedBlobs) OpenAt(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := snapshot.OpenAt(ctx, w.rest, b, offset)
	return w.watch(c, b), err
}

func (w watchedBlobs) watch(c *snapshot.Content, b snapshot.Blob) *snapshot.Content {
	if c == nil || c.File != nil {
		return c
	}
	watched := *c
	watched.R = watchedReader{c.R, b.Digest, w.tell}
	return &watched
}

type watchedReader struct {
	io.ReadCloser
	digest snapshot.Digest
	tell   func(Event)
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.tell(Event{Kind: Moved, Digest: r.digest, Bytes: int64(n)})
	}
	return n, err
}

// tellingPlace is a place whose blobs are [Watched].
type tellingPlace struct {
	place
	blobs snapshot.Blobs
}

func (t tellingPlace) Open(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
	return t.blobs.Open(ctx, b)
}

// telling is the place that a copy reads from, telling of its bytes where the
// target does not: registries tell of what they are sent.
func telling(from place, src, dst Reference, o *Options) place {
	if o.Progress == nil || src.Kind != Registry || dst.Kind == Registry {
		return from
	}
	return tellingPlace{from, Watched(from, o.Progress)}
}
