package freeze

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// upstreamArchive is an archive as it was read, verified, before anything is chosen from it.
type upstreamArchive struct {
	*config.Archive
	up      *upstream.Upstream // nil for debs
	Keyring *pgp.Keyring
	urlKeys []config.LockKey // of a key that came from the network
	suites  []*upstreamSuite
	own     debdir.Dir                         // class site; else empty
	sources map[string]map[string][]deb.Stanza // chosen ones, by suite and component
}

// upstreamSuite is a suite of it.
type upstreamSuite struct {
	name    string // as configured; flat ones end in "/"
	dir     string // relative to the archive root: dists/NAME, or the flat path
	release *archive.Release
	signed  []signedFile
	indices []*upstreamIndex
	extra   []extraFile        // verbatim: optional targets that upstream has
	dropped []string           // verbatim: what was left out, by name
	held    *snapshot.Snapshot // where it is read from in place of upstream; nil: upstream
}

// signedFile is InRelease, Release or Release.gpg, byte for byte.
type signedFile struct {
	name string
	role snapshot.Role // of the served file
	data []byte
}

// upstreamIndex is a Packages or Sources index that was read.
type upstreamIndex struct {
	component, arch string
	path            string // as taken, with the ending of its compression, relative to the suite
	stored          []byte // as upstream has it
	digest          snapshot.Digest
	data            []byte // decompressed
	used            bool   // something was chosen from it that is no package: sources
	number          int    // among the resolver's indices; -1: not one of them
}

// extraFile is a listed file that is carried unread.
type extraFile struct {
	path string
	blob snapshot.Blob
}

// base is the suite's directory in the snapshot, with a final slash.
func (s *upstreamSuite) base(prefix string) string {
	return strings.TrimSuffix(path.Join(prefix, s.dir), "/") + "/"
}

// canonicalSuite spells a flat suite as the statement does: "./" for the root.
func canonicalSuite(name string) string {
	if !snapshot.IsFlat(name) {
		return name
	}
	if dir := suiteDir(name); dir != "" {
		return dir + "/"
	}
	return "./"
}

// suiteDir maps a configured suite to its directory in the archive.
func suiteDir(name string) string {
	if flat, ok := strings.CutSuffix(name, "/"); ok {
		return strings.TrimPrefix(path.Clean("/"+flat), "/")
	}
	return "dists/" + name
}

// origins knows from where each blob of a snapshot under construction can be
// read. It is the left end of the stream that Push drains; nothing is copied.
type origins struct {
	held *snapshot.Snapshot // asked for what upstream has no more; nil: nothing
	mu   sync.RWMutex
	m    map[snapshot.Digest]origin
}

type origin struct {
	name string // for messages: prefix and path
	open func(ctx context.Context) (io.ReadCloser, error)
}

func newOrigins(held *snapshot.Snapshot) *origins {
	return &origins{held: held, m: map[snapshot.Digest]origin{}}
}

func (o *origins) add(d snapshot.Digest, from origin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.m[d]; !ok {
		o.m[d] = from
	}
}

// Open makes origins a [snapshot.Blobs].
func (o *origins) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	o.mu.RLock()
	from, ok := o.m[b.Digest]
	o.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	r, err := from.open(ctx)
	if errors.Is(err, upstream.ErrNotFound) && o.held != nil {
		if c, err := o.held.Blobs().Open(ctx, b, offset); err == nil {
			return c, nil
		}
	}
	if err != nil {
		return nil, mark(err)
	}
	c := &snapshot.Content{R: originReader{r}}
	if d, ok := r.(distrustable); ok && offset == 0 {
		c.Wrong = d.Distrust
	}
	return c.At(offset)
}

// distrustable is a file of an upstream that may have it at several URLs.
type distrustable interface {
	Distrust(why error) bool
}

// originReader marks the errors of an upstream while it is read.
type originReader struct{ io.ReadCloser }

func (r originReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = mark(err)
	}
	return n, err
}

// mark makes another size than is listed a mismatch like other bytes. The
// snapshot's reader names the file.
func mark(err error) error {
	if errors.Is(err, upstream.ErrChanged) {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	return err
}
