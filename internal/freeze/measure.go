package freeze

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// sums are the SHA256 of pool files whose stanzas have SHA512 alone, by that.
// A blob is named by SHA256: such a file has to be read, and held against its
// SHA512, before the snapshot can be known. Safe for concurrent use.
type sums struct {
	f        Options
	archives map[string]*upstreamArchive

	mu    sync.Mutex
	known map[string]string // hexadecimal
}

func newSums(f Options, fas []*upstreamArchive) *sums {
	m := &sums{f: f, archives: map[string]*upstreamArchive{}, known: map[string]string{}}
	for _, fa := range fas {
		fa.sums = m
		m.archives[fa.Prefix] = fa
	}
	return m
}

// sha256 is a pool file's, "" if its stanza has none and it was not read.
func (m *sums) sha256(f archive.PackageFile) string {
	if f.SHA256 != "" || m == nil {
		return f.SHA256
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[f.SHA512]
}

// unread is a pool file of an archive.
type unread struct {
	prefix string
	archive.PackageFile
}

// read reads those of the files whose SHA256 is not known.
func (m *sums) read(ctx context.Context, files []unread) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	asked := map[string]bool{}
	for _, f := range files {
		if m.sha256(f.PackageFile) != "" || asked[f.SHA512] {
			continue
		}
		asked[f.SHA512] = true
		g.Go(func() error {
			got, err := m.sum(ctx, f)
			if err != nil {
				return fmt.Errorf("archive %s: %s, whose stanza has SHA512 alone: %w", f.prefix, f.Filename, err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.known[f.SHA512] = got
			return nil
		})
	}
	if len(asked) > 0 {
		m.f.Log.Printf("%d files are read for their digests: their stanzas have SHA512 alone", len(asked))
	}
	return g.Wait()
}

// sum reads one file, at each URL until one gives the right bytes.
func (m *sums) sum(ctx context.Context, f unread) (got string, err error) {
	err = place.Again(func() error {
		got, err = m.sumOnce(ctx, f)
		return err
	})
	return got, err
}

// sumOnce reads a file, from the snapshot to be replaced if upstream has it no more.
func (m *sums) sumOnce(ctx context.Context, f unread) (string, error) {
	var r io.ReadCloser
	r, err := m.archives[f.prefix].up.Open(ctx, f.Filename, f.Size)
	if errors.Is(err, upstream.ErrNotFound) && m.f.Held != nil {
		if row, ok := m.f.Held.Table.Find(f.prefix + "/" + f.Filename); ok && row.Size == f.Size {
			c, heldErr := m.f.Held.OpenBlob(ctx, row.Blob())
			if heldErr == nil {
				r, err = heldReader{c.Reader, c}, nil
			}
		}
	}
	if err != nil {
		return "", mark(err)
	}
	defer r.Close()
	weak, strong := sha256.New(), sha512.New()
	n, err := io.Copy(io.MultiWriter(weak, strong), io.LimitReader(r, f.Size+1))
	switch {
	case err != nil:
		return "", mark(err)
	case n != f.Size:
		return "", fmt.Errorf("%w: %d bytes or more, its stanza says %d", outcome.ErrIntegrity, n, f.Size)
	case hex.EncodeToString(strong.Sum(nil)) != f.SHA512:
		err = fmt.Errorf("%w: SHA512 is %x, its stanza says %s", outcome.ErrIntegrity, strong.Sum(nil), f.SHA512)
		if d, ok := r.(distrustable); ok && d.Elsewhere() && d.Distrust(err) {
			err = fmt.Errorf("%w: %w", place.ErrElsewhere, err)
		}
		return "", err
	}
	return hex.EncodeToString(weak.Sum(nil)), nil
}

// heldReader reads a file of a snapshot and closes it.
type heldReader struct {
	io.Reader
	io.Closer
}

// chosen reads what is needed of the chosen packages and fills it in. The
// stanzas stay as they are.
func (m *sums) chosen(ctx context.Context, picked []resolve.Chosen) error {
	var files []unread
	for _, c := range picked {
		if c.SHA256 == "" {
			files = append(files, unread{c.Archive, c.PackageFile})
		}
	}
	if err := m.read(ctx, files); err != nil || len(files) == 0 {
		return err
	}
	for i := range picked {
		if p := picked[i].Package; p.SHA256 == "" {
			filled := *p
			filled.SHA256 = m.sha256(p.PackageFile)
			picked[i].Package = &filled
		}
	}
	return nil
}

// locked reads what could be a package of the lock.
func (m *sums) locked(ctx context.Context, u *resolve.Universe) error {
	var files []unread
	for _, a := range m.f.Lock.Archives {
		for _, p := range a.Packages {
			for _, c := range u.Versions(p.Name) {
				if c.SHA256 == "" && c.Archive == a.Prefix && c.Version == p.Version && c.Architecture == p.Architecture {
					files = append(files, unread{a.Prefix, c.PackageFile})
				}
			}
		}
	}
	return m.read(ctx, files)
}

// verbatim reads what is needed of the archives that are taken whole.
func (m *sums) verbatim(ctx context.Context, fas []*upstreamArchive) error {
	var files []unread
	for _, fa := range fas {
		if !fa.Verbatim {
			continue
		}
		for _, s := range fa.suites {
			for _, ix := range s.indices {
				if ix.arch != "source" && bytes.Count(ix.data, []byte("\nSHA256:")) < bytes.Count(ix.data, []byte("\nFilename:")) {
					files = append(files, strongOnly(fa.Prefix, ix.data)...)
				}
			}
		}
	}
	return m.read(ctx, files)
}

// strongOnly are the files of an index whose stanzas have SHA512 alone. What is
// malformed is refused by whoever takes the index.
func strongOnly(prefix string, index []byte) (files []unread) {
	for st, err := range deb.Stanzas(index) {
		if err != nil {
			continue
		}
		if f, err := archive.ParsePackageFile(st); err == nil && f.SHA256 == "" {
			files = append(files, unread{prefix, f})
		}
	}
	return files
}
