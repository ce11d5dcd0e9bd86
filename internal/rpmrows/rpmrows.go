// Package rpmrows says which files an RPM repository consists of: from its repomd.xml over its list of packages to the
// digest of each. Who pushes and who verifies ask the same question, and have the files from different places.
package rpmrows

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/rpm"
	"example.org/mmoci/pkg/snapshot"
)

// Suite is the only suite of a repository: the directory that has repodata/ in it.
const Suite = "./"

// Files gives the files of a repository by their path in it.
type Files interface {
	// Open starts reading a file; size is what the metadata says of it, -1 if that says nothing. What comes need not be verified.
	// Safe for concurrent use.
	Open(ctx context.Context, path string, size int64) (io.ReadCloser, error)
	// Primary reads the list of packages once: it calls parse with the bytes of the file, as they are stored, and may call it again
	// where they turned out to be others than d says. It returns the file's blob. If it returns nil, what parse has read last are the right bytes.
	Primary(ctx context.Context, d rpm.Data, parse func(io.Reader) error) (snapshot.Blob, error)
}

// Content is what a repository consists of, but for repomd.xml and its signature.
type Content struct {
	Rows     []snapshot.Row // paths begin with the directory that was given; each once
	Packages int
	// Hashed are those whose metadata has no SHA-256, so that they were read to know it.
	Hashed []snapshot.Digest
}

// Lacks is asked of a file that must be read to know its digest, and cannot be: whether the rest is of use without it. It is
// called by one at a time.
type Lacks func(path string, p snapshot.Package, err error) bool

// Read finds the rows of the repository at dir, which ends in a slash. A nil lacks says no to every file.
func Read(ctx context.Context, dir string, x *rpm.Index, files Files, lacks Lacks) (*Content, error) {
	c := &collector{dir: dir, files: files, at: map[string]int{}}
	for _, d := range x.Data {
		if d.Type == "primary" {
			continue
		}
		if err := c.add(d.Path, d.Checksum, d.Size, snapshot.Package{}); err != nil {
			return nil, err
		}
	}
	primary := *x.Primary()
	metadata := len(c.rows)
	b, err := files.Primary(ctx, primary, func(r io.Reader) error {
		c.forget(metadata)
		return readPrimary(primary, r, func(p rpm.Package) error {
			c.packages++
			return c.add(p.Path, p.Checksum, p.Size, ownPackage(p))
		})
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", primary.Path, err)
	}
	sum := rpm.Checksum{Type: rpm.SHA256, Hex: b.Digest.Hex()}
	if err := c.add(primary.Path, sum, b.Size, snapshot.Package{}); err != nil {
		return nil, err
	}
	if err := c.tree(); err != nil {
		return nil, err
	}
	hashed, err := c.readUnknown(ctx, lacks)
	if err != nil {
		return nil, err
	}
	return &Content{Rows: c.rows, Packages: c.packages, Hashed: hashed}, nil
}

// readPrimary parses the list of packages, and holds what is compressed in it against the checksum that repomd.xml has of it.
func readPrimary(d rpm.Data, r io.Reader, f func(rpm.Package) error) error {
	limit := int64(rpm.MaxPrimary)
	if d.OpenSize >= 0 {
		limit = min(limit, d.OpenSize)
	}
	plain, err := rpm.Decompress(d.Path, r, limit)
	if err != nil {
		return integrity(err)
	}
	defer plain.Close()
	var h hash.Hash
	text := io.Reader(plain)
	if d.Open.Type != "" && d.Open != d.Checksum {
		h = d.Open.New()
		text = io.TeeReader(plain, h)
	}
	if err := rpm.ReadPrimary(text, f); err != nil {
		return integrity(err)
	}
	if _, err := io.Copy(io.Discard, text); err != nil {
		return integrity(err)
	}
	if h != nil && !d.Open.Is(h) {
		return fmt.Errorf("%w: decompressed, it is not %s, as repomd.xml says", pgp.ErrIntegrity, d.Open)
	}
	_, err = io.Copy(io.Discard, r) // a compressed file may have something behind its end
	return err
}

// integrity marks what a signed text leads to and cannot be read.
func integrity(err error) error {
	if errors.Is(err, rpm.ErrMalformed) && !errors.Is(err, pgp.ErrIntegrity) {
		return fmt.Errorf("%w: %w", pgp.ErrIntegrity, err)
	}
	return err
}

// collector gathers rows; those without a known SHA-256 or size are read at the end.
type collector struct {
	dir      string
	files    Files
	rows     []snapshot.Row
	packages int
	at       map[string]int // of paths, their row
	unknown  []unknown
}

type unknown struct {
	row  int
	path string
	sum  rpm.Checksum
	size int64
}

// forget drops all but the first n rows.
func (c *collector) forget(n int) {
	for _, row := range c.rows[n:] {
		delete(c.at, row.Path)
	}
	c.rows, c.packages = c.rows[:n], 0
	for i, u := range c.unknown {
		if u.row >= n {
			c.unknown = c.unknown[:i]
			break
		}
	}
}

// add adds a file. One that stands twice is fine if it is the same.
func (c *collector) add(path string, sum rpm.Checksum, size int64, p snapshot.Package) error {
	row := snapshot.Row{Path: c.dir + path, Size: size, Package: p}
	if err := snapshot.ValidPath(row.Path); err != nil {
		return fmt.Errorf("%w: %w", pgp.ErrIntegrity, err)
	}
	if in := path + "/"; strings.HasPrefix(in, rpm.Repomd+"/") || strings.HasPrefix(in, rpm.RepomdAsc+"/") {
		return fmt.Errorf("%w: %s is listed, which is repomd.xml itself or below it", pgp.ErrIntegrity, path)
	}
	known := sum.Type == rpm.SHA256 && size >= 0
	if sum.Type == rpm.SHA256 {
		d, err := snapshot.ListedDigest(sum.Hex)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		row.Digest = d
	}
	if i, twice := c.at[row.Path]; twice {
		if was := c.rows[i]; known && was == row {
			if p.IsPackage() {
				c.packages--
			}
			return nil
		}
		return fmt.Errorf("%w: %s stands twice in the metadata, with two checksums, sizes or names", pgp.ErrIntegrity, path)
	}
	if !known {
		c.unknown = append(c.unknown, unknown{len(c.rows), path, sum, size})
	}
	c.at[row.Path] = len(c.rows)
	c.rows = append(c.rows, row)
	return nil
}

// tree refuses files below files, which no directory can hold.
func (c *collector) tree() error {
	seen := map[string]bool{}
	for _, row := range c.rows {
		for dir := path.Dir(row.Path); len(dir) >= len(c.dir) && !seen[dir]; dir = path.Dir(dir) {
			if _, file := c.at[dir]; file {
				return fmt.Errorf("%w: %s lies below %s, which is a file", pgp.ErrIntegrity, row.Path, dir)
			}
			seen[dir] = true
		}
	}
	return nil
}

// readUnknown reads the files whose SHA-256 or size nobody says, and holds them against what is said of them. The rows of
// those that lacks says yes to are dropped.
func (c *collector) readUnknown(ctx context.Context, lacks Lacks) ([]snapshot.Digest, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	var mu sync.Mutex
	lost := map[int]bool{}
	for _, u := range c.unknown {
		g.Go(func() error {
			b, err := Hash(gctx, c.files, u.path, u.sum, u.size)
			c.rows[u.row].Digest, c.rows[u.row].Size = b.Digest, b.Size
			if err == nil || lacks == nil || gctx.Err() != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if !lacks(u.path, c.rows[u.row].Package, err) {
				return err
			}
			lost[u.row] = true
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []snapshot.Digest
	for _, u := range c.unknown {
		if !lost[u.row] {
			out = append(out, c.rows[u.row].Digest)
		}
	}
	if len(lost) == 0 {
		return out, nil
	}
	rows := make([]snapshot.Row, 0, len(c.rows))
	for i, row := range c.rows {
		switch {
		case !lost[i]:
			rows = append(rows, row)
		case row.IsPackage():
			c.packages--
		}
	}
	c.rows = rows
	return out, nil
}

// maxTries bounds from how many places a file is read that turned out to be another.
const maxTries = 20

// Hash reads a file to its end, holds it against its checksum and, unless that is -1, its size, and says which blob it is.
func Hash(ctx context.Context, files Files, path string, sum rpm.Checksum, size int64) (snapshot.Blob, error) {
	for try := 1; ; try++ {
		r, err := files.Open(ctx, path, size)
		if err != nil {
			return snapshot.Blob{}, fmt.Errorf("%s: %w", path, err)
		}
		b, err := HashReader(r, io.Discard, sum, size)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		again := err != nil && Distrust(r, err) && try < maxTries
		_ = r.Close() // it was read to its end, or what is wrong is known
		if !again {
			return b, err
		}
	}
}

// Distrust tells the place that r comes of that its bytes are wrong. It reports whether another place may have the right ones.
func Distrust(r io.Reader, err error) bool {
	d, ok := r.(interface{ Distrust(why error) bool })
	return ok && errors.Is(err, pgp.ErrIntegrity) && d.Distrust(err)
}

// HashReader copies r to w and says which blob it is; an error wrapping ErrIntegrity if it is not of this checksum and,
// unless that is -1, size.
func HashReader(r io.Reader, w io.Writer, sum rpm.Checksum, size int64) (snapshot.Blob, error) {
	known := rpm.Checksum{Type: rpm.SHA256}
	sha := known.New()
	h := sha
	to := io.MultiWriter(w, sha)
	if sum.Type != rpm.SHA256 {
		h = sum.New()
		to = io.MultiWriter(w, sha, h)
	}
	n, err := io.Copy(to, r)
	switch {
	case err != nil:
		return snapshot.Blob{}, err
	case size >= 0 && n != size:
		return snapshot.Blob{}, fmt.Errorf("%w: it has %d bytes, the metadata says %d", pgp.ErrIntegrity, n, size)
	case !sum.Is(h):
		return snapshot.Blob{}, fmt.Errorf("%w: it is not %s, as the metadata says", pgp.ErrIntegrity, sum)
	}
	return snapshot.Blob{Digest: snapshot.Digest(sha.Sum(nil)), Size: n}, nil
}

// ownPackage is the package of a row, in one string of its own.
func ownPackage(p rpm.Package) (out snapshot.Package) {
	all := p.Name + p.Version + p.Arch
	out.Name, all = all[:len(p.Name)], all[len(p.Name):]
	out.Version, out.Architecture = all[:len(p.Version)], all[len(p.Version):]
	out.Source = out.Name
	if p.Source != p.Name {
		out.Source = p.Source
	}
	return out
}
