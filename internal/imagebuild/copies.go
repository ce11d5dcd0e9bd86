package imagebuild

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"

	"example.org/mmoci/pkg/snapshot"
)

// copies are the copies of .debs, not compressed, that a scratch root has while scripts are run there: their layers are made of
// these, so that each package is decompressed once. The zero value has none. Safe for concurrent use.
type copies struct {
	mu sync.Mutex
	of map[snapshot.Digest]*debCopy
}

type debCopy struct {
	there chan struct{} // closed when it is known whether there will be one
	open  func() (io.ReadCloser, error)
}

// expect says that there will be copies: who opens one of these before it is there waits for it.
func (c *copies) expect(debs []snapshot.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = make(map[snapshot.Digest]*debCopy, len(debs))
	for _, b := range debs {
		c.of[b.Digest] = &debCopy{there: make(chan struct{})}
	}
}

// add says how a copy is opened.
func (c *copies) add(b snapshot.Blob, open func() (io.ReadCloser, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.of[b.Digest]; d != nil && d.open == nil {
		d.open = open
		close(d.there)
	}
}

// drop says that there are no copies any more.
func (c *copies) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.of {
		if d.open == nil {
			close(d.there)
		}
	}
	c.of = nil
}

// opened opens a copy. The error is fs.ErrNotExist if there is none.
func (c *copies) opened(ctx context.Context, b snapshot.Blob) (io.ReadCloser, error) {
	c.mu.Lock()
	d := c.of[b.Digest]
	c.mu.Unlock()
	if d == nil {
		return nil, fs.ErrNotExist
	}
	select {
	case <-d.there:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	open := d.open
	c.mu.Unlock()
	if open == nil {
		return nil, fs.ErrNotExist
	}
	return open()
}

// openDeb opens a .deb, or its copy, verified.
func (m *maker) openDeb(ctx context.Context, b snapshot.Blob) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if r, err := m.copies.opened(ctx, b); !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		return m.openSigned(ctx, b)()
	}
}

// openSigned opens a .deb of the snapshot, or of a build that the plan names, verified.
func (m *maker) openSigned(ctx context.Context, b snapshot.Blob) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if built := m.o.built[b.Digest]; built != nil {
			c, err := built.Blobs.Open(ctx, b, 0)
			if err != nil {
				return nil, err
			}
			return c.Reader(b), nil
		}
		f, err := m.o.Snapshot.OpenBlob(ctx, b)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
}
