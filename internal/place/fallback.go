package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// fallbackAfter is how long a place may take to open a pool file before upstream is asked.
	fallbackAfter = 8 * time.Second
	// distrustedFor is how long a file that came wrong or broke off is read from upstream only.
	distrustedFor = time.Minute
	// maxDistrusted bounds how many are remembered.
	maxDistrusted = 1024
)

// Fallback reads pool files that the snapshot lists and its place cannot give from the
// upstreams of the site's archives. Path and digest are the table's, so a file
// that upstream has replaced meanwhile does not verify. Safe for concurrent use.
type Fallback struct {
	upstreams map[string]*upstream.Upstream // by prefix
	log       outcome.Log

	mu         sync.Mutex
	distrusted map[snapshot.Digest]time.Time // until when the place is not asked
}

// UpstreamOptions are the options by which the upstream of an archive is opened.
func UpstreamOptions(a *config.Archive, log outcome.Log) upstream.Options {
	return upstream.Options{URLs: a.URLs, CAFile: a.CAFile, ClientCert: a.ClientCert, AuthFile: a.AuthFile, Log: log}
}

// NewFallback opens the upstreams of the archives that have one. ErrUsage if none has.
func NewFallback(archives []config.Archive, log outcome.Log) (*Fallback, error) {
	f := &Fallback{upstreams: map[string]*upstream.Upstream{}, log: log, distrusted: map[snapshot.Digest]time.Time{}}
	for i := range archives {
		if len(archives[i].URLs) == 0 {
			continue
		}
		up, err := upstream.New(UpstreamOptions(&archives[i], log))
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", archives[i].Prefix, err)
		}
		f.upstreams[archives[i].Prefix] = up
	}
	if len(f.upstreams) == 0 {
		return nil, fmt.Errorf("%w: no archive of the configuration has an upstream to fall back to (archives: with url:)", outcome.ErrUsage)
	}
	return f, nil
}

// fallenBack reads a snapshot's blobs from its place, and pool files from upstream where that fails.
type fallenBack struct {
	*Fallback
	place snapshot.Blobs
	s     *snapshot.Snapshot
}

// Open implements snapshot.Blobs.
func (f fallenBack) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	var placeErr error
	if !f.isDistrusted(b.Digest) {
		c, release, err := openWithin(ctx, fallbackAfter, f.place, b, offset)
		if err == nil {
			return f.watched(ctx, c, b, offset, release), nil
		}
		placeErr = err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := f.open(ctx, f.s, b)
	switch {
	case err == nil:
		return c.At(offset)
	case placeErr == nil: // the place is distrusted, but the only one left
		return f.place.Open(ctx, b, offset)
	case errors.Is(err, errNoUpstream):
		return nil, placeErr
	}
	return nil, fmt.Errorf("%w; upstream: %w", placeErr, err)
}

// errNoUpstream marks a blob that no upstream has.
var errNoUpstream = errors.New("not a pool file of an archive with an upstream")

// open opens a pool file at its archive's upstream.
func (f *Fallback) open(ctx context.Context, s *snapshot.Snapshot, b snapshot.Blob) (*snapshot.Content, error) {
	prefix, name, ok := poolFile(s, b)
	up := f.upstreams[prefix]
	if !ok || up == nil {
		return nil, errNoUpstream
	}
	r, err := up.Open(ctx, name, b.Size)
	if err != nil {
		return nil, err
	}
	f.log.Printf("%s/%s comes from %s", prefix, name, up)
	return &snapshot.Content{R: r, From: up.String()}, nil
}

// poolFile finds the pool file of class upstream that is this blob. It searches the
// whole table: it is called only after the place failed.
func poolFile(s *snapshot.Snapshot, b snapshot.Blob) (prefix, name string, ok bool) {
	for row := range s.Table.Rows() {
		if row.Digest != b.Digest {
			continue
		}
		prefix, name, _ := strings.Cut(row.Path, "/")
		if !row.IsPackage() && !strings.HasPrefix(name, "pool/") { // sources are in no table
			continue
		}
		if a := s.Statement.Archive(prefix); a != nil && a.Class == snapshot.Upstream && row.Size == b.Size {
			return prefix, name, true
		}
	}
	return "", "", false
}

// openWithin opens a blob, and fails if the place does not answer in time. The caller
// calls release when it has closed the content.
func openWithin(ctx context.Context, limit time.Duration, place snapshot.Blobs, b snapshot.Blob, offset int64) (c *snapshot.Content, release func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w: no answer in %s", errSlow, limit)) })
	c, err = place.Open(ctx, b, offset)
	t.Stop()
	if err != nil {
		err = patienceError(ctx, err)
		cancel(nil)
		return nil, nil, err
	}
	return c, func() { cancel(nil) }, nil
}

// timedOpen reads from a place and calls failed if that breaks off. A reader that is
// closed early has not failed.
type timedOpen struct {
	io.ReadCloser
	ctx     context.Context
	left    int64
	release func()
	failed  func()
}

// Read implements io.Reader.
func (t *timedOpen) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.left -= int64(n)
	if err != nil && (err != io.EOF || t.left > 0) && t.ctx.Err() == nil {
		t.failed()
	}
	return n, err
}

// Close implements io.Closer.
func (t *timedOpen) Close() error {
	defer t.release()
	return t.ReadCloser.Close()
}

// watched distrusts the place for this blob if its bytes are wrong or break off.
func (f *Fallback) watched(ctx context.Context, c *snapshot.Content, b snapshot.Blob, offset int64, release func()) *snapshot.Content {
	if c.File != nil { // hashed before
		context.AfterFunc(ctx, release)
		return c
	}
	t := &timedOpen{ReadCloser: c.R, ctx: ctx, left: b.Size - offset, release: release, failed: func() { f.distrust(b.Digest) }}
	out := *c
	out.R, out.Wrong = t, func(why error) bool {
		t.failed()
		return c.Wrong != nil && c.Wrong(why)
	}
	return &out
}

func (f *Fallback) isDistrusted(d snapshot.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.distrusted[d])
}

func (f *Fallback) distrust(d snapshot.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.distrusted) >= maxDistrusted {
		clear(f.distrusted)
	}
	f.distrusted[d] = time.Now().Add(distrustedFor)
}
