package fileset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// blobs opens the files of an archive: what is kept of them, then what their places have.
type blobs struct {
	keep     *keep
	previous *snapshot.Snapshot
	prefix   string
	files    map[snapshot.Digest]*file
	log      outcome.Log

	mu   sync.Mutex
	held map[snapshot.Digest]bool // those that the snapshot before gave
}

// Open implements snapshot.Blobs.
func (b *blobs) Open(ctx context.Context, want snapshot.Blob, offset int64) (*snapshot.Content, error) {
	f := b.files[want.Digest]
	if f == nil {
		return nil, fmt.Errorf("blob %s: %w", want.Digest, snapshot.ErrNotExist)
	}
	name := path.Base(f.path)
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		return f.up.OpenFrom(ctx, name, want.Size, offset)
	}
	if offset > 0 { // nobody hashes it, so nothing is learned of it
		r, err := open(ctx, offset)
		if err != nil {
			return nil, freeze.Mismatch(err)
		}
		return &snapshot.Content{R: freeze.UpstreamReader{ReadCloser: r}}, nil
	}
	if whole := b.keep.whole(want); whole != nil {
		return &snapshot.Content{R: whole, File: whole}, nil
	}
	part := b.keep.existing(want.Digest)
	if part == nil && want.Size >= keepFrom {
		part = b.keep.part(partOf(want.Digest))
	}
	s, err := newStream(ctx, part, want.Size, b.log, open)
	if errors.Is(err, upstream.ErrNotFound) && b.previous != nil {
		if c, err := b.previous.Blobs().Open(ctx, want, 0); err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.held[want.Digest] = true
			return c, nil
		}
	}
	if err != nil {
		return nil, freeze.Mismatch(err)
	}
	return &snapshot.Content{R: freeze.UpstreamReader{ReadCloser: s}, Wrong: s.distrust}, nil
}

// done removes what is kept of the files: they are where they should be.
func (b *blobs) done() {
	for d := range b.files {
		b.keep.sweep(d)
	}
}

// fetched tells of each file where it came from so far.
func (b *blobs) fetched() []fetchreport.File {
	var out []fetchreport.File
	for d, f := range b.files {
		e := fetchreport.File{Archive: b.prefix, Path: f.path, Digest: d.String(), Size: f.blob.Size, Kind: fetchreport.There}
		for _, o := range f.up.Origins() {
			e.Tries, e.Failures, e.From = o.Tries, o.Failures, o.URL
		}
		b.mu.Lock()
		held := b.held[d]
		b.mu.Unlock()
		switch {
		case held:
			e.Kind, e.From = fetchreport.Held, ""
		case e.Tries == 0:
		case e.From == "":
			e.Kind = fetchreport.Missing
		case f.Mirrored(e.From):
			e.Kind = fetchreport.Mirror
		default:
			e.Kind = fetchreport.Upstream
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(x, y fetchreport.File) int { return strings.Compare(x.Path, y.Path) })
	return out
}
