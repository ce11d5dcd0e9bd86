package store

import (
	"context"
	"errors"
	"io"

	"example.org/mmoci/pkg/snapshot"
)

// content is a reader that follows the job; nil if the job has ended. It does
// not set File: nothing is verified yet, its reader does that.
func (j *job) content(ctx context.Context, next snapshot.Blobs) *snapshot.Content {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return nil
	}
	j.users++
	return &snapshot.Content{From: j.from, R: &follower{
		j: j, gone: ctx.Done(),
		direct: func(offset int64) (*snapshot.Content, error) { return next.Open(ctx, j.e.blob, offset) },
	}}
}

// follower reads a file while a job writes it. When the job cannot go on
// writing, it goes on by itself from behind.
type follower struct {
	j      *job
	gone   <-chan struct{}
	direct func(offset int64) (*snapshot.Content, error)
	off    int64
	own    io.ReadCloser // opened by direct
	closed bool
}

func (f *follower) Read(p []byte) (int, error) {
	if f.own != nil {
		return f.own.Read(p)
	}
	for {
		f.j.mu.Lock()
		there, ended, grown := f.j.written-f.off, f.j.ended, f.j.grown
		f.j.mu.Unlock()
		switch {
		case there > 0:
			n, err := f.j.file.ReadAt(p[:min(int64(len(p)), there)], f.off)
			f.off += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		case !ended:
			select {
			case <-grown:
			case <-f.gone:
				return 0, context.Canceled
			}
		case f.j.err == nil:
			return 0, io.EOF
		case !errors.Is(f.j.err, errNotKept):
			return 0, f.j.err
		default:
			if err := f.alone(); err != nil {
				return 0, err
			}
			return f.own.Read(p)
		}
	}
}

// alone opens the blob from behind, after what was read already.
func (f *follower) alone() error {
	c, err := f.direct(f.off)
	if err != nil {
		return err
	}
	f.own = c.R
	return nil
}

func (f *follower) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	f.j.leave()
	if f.own != nil {
		return f.own.Close()
	}
	return nil
}
