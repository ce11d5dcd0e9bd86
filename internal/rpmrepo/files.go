package rpmrepo

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"sync"

	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/rpmrows"
	"example.org/mmoci/internal/spool"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// files are those of a repository at its upstream, or in a snapshot that holds it.
type files struct {
	*repository
	head    *snapshot.Snapshot // has the repomd.xml, so it is asked first; nil: upstream alone
	primary *spool.Bytes

	mu   sync.Mutex
	held map[string]bool // paths that a snapshot gave
}

// Open makes files an [rpmrows.Files].
func (f *files) Open(ctx context.Context, p string, size int64) (io.ReadCloser, error) {
	if f.head != nil {
		if row, ok := f.head.Table.Find(path.Join(f.cfg.Prefix, p)); ok {
			if file, err := f.head.OpenBlob(ctx, row.Blob()); err == nil {
				f.gaveHeld(p)
				return file.Reader, nil
			}
		}
	}
	return f.openUpstream(ctx, p, size)
}

// openUpstream opens a file that repomd.xml leads to. Another size than that says is a mismatch, as other bytes are.
func (f *files) openUpstream(ctx context.Context, p string, size int64) (io.ReadCloser, error) {
	r, err := f.up.Open(ctx, p, size)
	if err != nil {
		return nil, freeze.Mismatch(err)
	}
	return freeze.UpstreamReader{ReadCloser: r}, nil
}

// open opens a file whose digest is known. What upstream has no more may be in the snapshot that is replaced.
func (f *files) open(ctx context.Context, p string, b snapshot.Blob) (io.ReadCloser, error) {
	r, err := f.openUpstream(ctx, p, b.Size)
	if err == nil || f.Previous == nil || !errors.Is(err, upstream.ErrNotFound) {
		return r, err
	}
	c, err2 := f.Previous.Blobs().Open(ctx, b, 0)
	if err2 != nil {
		return nil, err
	}
	f.gaveHeld(p)
	return c.R, nil
}

func (f *files) gaveHeld(p string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = map[string]bool{}
	}
	f.held[p] = true
}

// Primary makes files an [rpmrows.Files]: the list of packages is verified before it is read, and kept for the push.
func (f *files) Primary(ctx context.Context, d rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error) {
	for try := 1; ; try++ {
		in, err := f.Open(ctx, d.Path, d.Size)
		if err != nil {
			return snapshot.Blob{}, err
		}
		var w spool.Writer
		b, err := rpmrows.HashReader(in, &w, d.Checksum, d.Size)
		again := err != nil && rpmrows.Distrust(in, err) && try < maxPlaces
		_ = in.Close() // it was read to its end, or what is wrong is known
		if again {
			continue
		}
		if err != nil {
			return b, err
		}
		f.primary = w.Done()
		return b, parse(f.primary.Open())
	}
}

// fetched tells of each file, distinct ones once, where it came from so far. The list of packages, which is read before it is
// known which files there are, is not among them, as no index is.
func (f *files) fetched(rows []snapshot.Row, list string) []fetchreport.File {
	origins := map[string]upstream.Origin{}
	for _, o := range f.up.Origins() {
		origins[o.Path] = o
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []fetchreport.File
	seen := map[snapshot.Digest]bool{}
	for _, row := range rows {
		p := row.Path[len(f.cfg.Prefix)+1:]
		if seen[row.Digest] || p == list {
			continue
		}
		seen[row.Digest] = true
		o := origins[p]
		e := fetchreport.File{Archive: f.cfg.Prefix, Path: p, Digest: row.Digest.String(), Size: row.Size, From: o.URL, Tries: o.Tries, Failures: o.Failures}
		switch {
		case f.held[p]:
			e.Kind, e.From = fetchreport.Held, ""
		case o.Tries == 0:
			e.Kind = fetchreport.There
		case o.URL == "":
			e.Kind = fetchreport.Missing
		case slices.Contains(f.ofMetalink, o.URL):
			e.Kind = fetchreport.Mirror
		default:
			e.Kind = fetchreport.Upstream
		}
		out = append(out, e)
	}
	return out
}
