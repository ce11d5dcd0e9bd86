// Package rpmrepo reads RPM repositories for a snapshot: one of an upstream's as it is, or one that createrepo_c makes of own RPMs.
// Nothing is chosen and nothing rewritten: what dnf is given later are upstream's bytes.
package rpmrepo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/snapshot"
)

// Options say how a repository is read. The zero value but for Now works.
type Options struct {
	Lock   *config.Lock // nil: none
	Locked bool         // nothing but the lock
	// Previous is a snapshot that may hold the repomd.xml that the lock names, and what upstream has lost. It is not trusted. nil: none.
	Previous *snapshot.Snapshot
	Keys     *signer.NetworkKeys // pins of keys that come from the network; nil: none is known, nor kept
	// KeepGoing leaves out what is listed and not there where its digest is not known either, and says it. The rest of what is
	// missing shows when it is opened.
	KeepGoing bool
	Record    bool // remember where each file came from
	Now       time.Time
	Log       outcome.Log
	// Sleep waits before an upstream that was caught between two days is read again; nil waits really.
	Sleep func(context.Context, time.Duration) error
}

// Read reads one repository. The error names the archive.
func Read(ctx context.Context, a *rpmplan.Archive, o Options) (*freeze.ReadyArchive, error) {
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	read := o.upstream
	if a.RPMs != "" {
		read = o.own
	}
	out, err := read(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
	}
	return out, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// blobs opens the files of a repository by their digest.
type blobs map[snapshot.Digest]func(ctx context.Context) (io.ReadCloser, error)

// Open makes blobs a [snapshot.Blobs].
func (m blobs) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	open, ok := m[b.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	r, err := open(ctx)
	if err != nil {
		return nil, err
	}
	c := &snapshot.Content{R: r}
	if d, ok := r.(interface{ Distrust(why error) bool }); ok && offset == 0 {
		c.Wrong = d.Distrust
	}
	if own, ok := r.(*ownReader); ok {
		c.Advice = own.file.Name() + " is another file than it was when its metadata was made; push again when nobody writes there"
	}
	return c.At(offset)
}

// lockOf is the share of a lock that an archive has; nil if it has none.
func lockOf(l *config.Lock, prefix string) *config.LockArchive {
	if l == nil {
		return nil
	}
	i := slices.IndexFunc(l.Archives, func(a config.LockArchive) bool { return a.Prefix == prefix })
	if i < 0 {
		return nil
	}
	return &l.Archives[i]
}
