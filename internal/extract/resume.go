package extract

import (
	"context"
	"io"

	"example.org/mmoci/pkg/snapshot"
)

// resumedBlobs reads the first bytes of a blob from a file that an earlier run
// left, and asks elsewhere for the rest only. Like every Blobs it verifies nothing.
type resumedBlobs struct {
	rest snapshot.Blobs
	part io.ReaderAt
	size int64 // of the part, at most the blob's
}

// Open implements snapshot.Blobs, for the one blob that the part is of.
func (p resumedBlobs) Open(ctx context.Context, b snapshot.Blob, _ int64) (*snapshot.Content, error) {
	had := io.NewSectionReader(p.part, 0, p.size)
	if p.size == b.Size {
		return &snapshot.Content{R: io.NopCloser(had)}, nil
	}
	c, err := p.rest.Open(ctx, b, p.size)
	if err != nil {
		return nil, err
	}
	return &snapshot.Content{R: joined{io.MultiReader(had, c.R), c.R}, From: c.From}, nil
}

// joined is two readers in turn, the second of which is to be closed.
type joined struct {
	io.Reader
	io.Closer
}
