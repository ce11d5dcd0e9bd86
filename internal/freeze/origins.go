package freeze

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// origins knows from where each blob of a snapshot can be read. It is the left
// end of the stream that a push drains; nothing is copied, and no index is held.
type origins struct {
	previous *snapshot.Snapshot                 // asked for what upstream has no more; nil: nothing
	images   snapshot.Blobs                     // those of container images; nil: none
	others   map[snapshot.Digest]snapshot.Blobs // those of archives that other rooms have read; nil: none
	m        map[snapshot.Digest]origin

	mu   sync.Mutex
	held map[snapshot.Digest]bool // those that previous gave
}

type origin struct {
	name string // for messages: prefix and path
	open func(ctx context.Context) (io.ReadCloser, error)
	src  *suites.Source // the archive; nil: not known
	at   []string       // paths below its URLs that are asked for; empty: a file of this host
}

// add keeps the first origin of a blob.
func (o *origins) add(d snapshot.Digest, name string, open func(ctx context.Context) (io.ReadCloser, error)) {
	o.addOf(d, origin{name: name, open: open})
}

// addOf is add for a file of an archive.
func (o *origins) addOf(d snapshot.Digest, from origin) {
	if _, ok := o.m[d]; !ok {
		o.m[d] = from
	}
}

// Open makes origins a [snapshot.Blobs].
func (o *origins) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	from, ok := o.m[b.Digest]
	if other := o.others[b.Digest]; !ok && other != nil {
		return other.Open(ctx, b, offset)
	}
	if !ok && o.images != nil {
		return o.images.Open(ctx, b, offset)
	}
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	r, err := from.open(ctx)
	if errors.Is(err, upstream.ErrNotFound) && o.previous != nil {
		if c, err := o.previous.Blobs().Open(ctx, b, offset); err == nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.held == nil {
				o.held = map[snapshot.Digest]bool{}
			}
			o.held[b.Digest] = true
			return c, nil
		}
	}
	if err != nil {
		return nil, Mismatch(err)
	}
	in := UpstreamReader{r}
	c := &snapshot.Content{R: in}
	if offset == 0 {
		c.Wrong = in.Distrust
	}
	if f, ok := r.(*os.File); ok && len(from.at) == 0 {
		c.Advice = f.Name() + " is another file than it was when the push began; push again when nobody writes there"
	}
	return c.At(offset)
}

// UpstreamReader is a file of an upstream whose errors are as [Mismatch] makes them.
type UpstreamReader struct{ io.ReadCloser }

func (r UpstreamReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = Mismatch(err)
	}
	return n, err
}

// Distrust hands on that the bytes were wrong. It reports whether another place of the upstream may have the right ones.
func (r UpstreamReader) Distrust(why error) bool {
	d, ok := r.ReadCloser.(interface{ Distrust(why error) bool })
	return ok && d.Distrust(why)
}

// Mismatch makes another size than is known a mismatch like other bytes. Whoever reads names the file.
func Mismatch(err error) error {
	if errors.Is(err, upstream.ErrChanged) {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	return err
}

// upstreamFile is a pool file at an upstream; name is its path in the snapshot.
func upstreamFile(src *suites.Source, name string, size int64) origin {
	at := name[len(src.Prefix)+1:]
	return origin{name: name, open: func(ctx context.Context) (io.ReadCloser, error) { return src.Up.Open(ctx, at, size) }, src: src, at: []string{at}}
}

// localFile opens a file on disk when it is pushed. If it is another by then,
// its digest tells.
func localFile(file string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s went away while it was pushed: %w", file, err)
		}
		return f, err
	}
}

// maxProbes bounds how many files are asked for to name all that are gone.
const maxProbes = 10_000

// gone asks for the beginning of every file of a table and names those that are not there.
func (o *origins) gone(ctx context.Context, t *snapshot.Table) []string {
	if len(o.m)+len(o.others) > maxProbes {
		return nil
	}
	var mu sync.Mutex
	var names []string
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, from := range o.m {
		g.Go(func() error {
			r, err := from.open(ctx)
			if err == nil {
				return r.Close()
			}
			if errors.Is(err, upstream.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				names = append(names, from.name)
			}
			return nil
		})
	}
	seen := map[snapshot.Digest]bool{}
	for row := range t.Rows() {
		from := o.others[row.Digest]
		if from == nil || seen[row.Digest] {
			continue
		}
		seen[row.Digest] = true
		g.Go(func() error {
			c, err := from.Open(ctx, row.Blob(), 0)
			if err == nil {
				return c.R.Close()
			}
			if errors.Is(err, upstream.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				names = append(names, row.Path)
			}
			return nil
		})
	}
	if g.Wait() != nil {
		return nil
	}
	slices.Sort(names)
	return names
}
