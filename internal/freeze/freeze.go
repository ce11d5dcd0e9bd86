package freeze

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Options is the question to Freeze.
type Options struct {
	Plan   *config.Plan
	Signer pgp.Signer // nil: unsigned
	Date   time.Time  // the date input; zero: the lock's, else as wantedDate says
	// Replaces is the date of the snapshot that will be replaced; zero: there is none.
	// Where nothing else has a date, the new one's follows from it.
	Replaces time.Time
	Lock     *config.Lock   // pins versions; nil: none
	Locked   bool           // nothing but the lock
	Add      []config.Query // asked for beside the plan, of any archive
	// Held is a snapshot that may hold what upstream has no more: the signed
	// indices that the lock names, and their pool files. It is believed in nothing
	// but what its files prove. nil: none.
	Held *snapshot.Snapshot
	Keys *signer.NetworkKeys // pins of keys that come from the network; nil: none is known, nor kept
	Now  time.Time
	Log  outcome.Log
}

// Frozen is the answer: a snapshot whose blobs come from the upstreams when they are opened.
type Frozen struct {
	Snapshot *snapshot.Snapshot
	Skipped  []string // malformed stanzas, named
	Dropped  []string // optional targets left out, by prefix and name
	Notes    []string // remarks for people
	Newer    []Newer  // what another archive has newer than the one that was asked

	archives []*upstreamArchive
	origins  *origins
}

// Run reads the archives of a plan, chooses, and freezes what was chosen
// under the date that is wanted. Everything that becomes part of the root digest is
// decided by f.
func Run(ctx context.Context, f Options) (*Frozen, error) {
	u, err := Gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := NotAhead(u.Wanted, f.Now); err != nil {
		return nil, err
	}
	return u.At(u.Wanted)
}

// Lock is the lock of the snapshot.
func (f *Frozen) Lock(ctx context.Context) (*config.Lock, error) {
	text, err := f.Snapshot.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	return config.ParseLock("lock", text)
}

// Forget drops what only the choice needed: of a whole release that is more
// than all the rest, and a push lasts.
func (f *Frozen) Forget() {
	for _, fa := range f.archives {
		for _, s := range fa.suites {
			for _, ix := range s.indices {
				ix.data = nil
			}
		}
	}
}

// readArchives reads all archives of the plan side by side, in order of
// prefix: the order in which they are written down must not matter.
func readArchives(ctx context.Context, f Options) ([]*upstreamArchive, error) {
	cfgs := slices.Clone(f.Plan.Archives)
	slices.SortStableFunc(cfgs, func(a, b config.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	fas := make([]*upstreamArchive, len(cfgs))
	r := &reader{Options: f}
	g, ctx := errgroup.WithContext(ctx)
	for i := range cfgs {
		g.Go(func() (err error) {
			if cfgs[i].Debs != "" {
				fas[i], err = ownArchive(ctx, &cfgs[i])
			} else {
				fas[i], err = r.archive(ctx, &cfgs[i])
			}
			return err
		})
	}
	return fas, g.Wait()
}

// wantedDate is the date input that was given, by the configuration's user or
// by a lock, else now where the snapshot is valid for a time, else the newest Date
// of the upstreams; zero if nothing has one.
func wantedDate(f Options, fas []*upstreamArchive) (date time.Time, given bool, err error) {
	if f.Lock != nil && !f.Lock.Date.IsZero() {
		if !f.Date.IsZero() && !f.Date.Equal(f.Lock.Date) {
			return date, true, fmt.Errorf("%w: the date %s differs from the lock's %s", outcome.ErrUsage, snapshot.FormatDate(f.Date), snapshot.FormatDate(f.Lock.Date))
		}
		return f.Lock.Date, true, nil
	}
	if !f.Date.IsZero() {
		return f.Date, true, nil
	}
	if f.Plan.ValidFor > 0 {
		return f.Now.UTC().Truncate(time.Second), false, nil
	}
	for _, fa := range fas {
		for _, s := range fa.suites {
			if s.release.Date.After(date) {
				date = s.release.Date
			}
		}
	}
	if date.IsZero() && f.Replaces.IsZero() {
		return date, false, outcome.GiveDate.For(fmt.Errorf("%w: archives of debs: alone have no date of their own; give one", outcome.ErrUsage))
	}
	return date, false, nil
}

// ownArchive is the archive of a directory of own packages.
func ownArchive(ctx context.Context, cfg *config.Archive) (*upstreamArchive, error) {
	own, err := debdir.ReadDir(ctx, cfg.Debs)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", cfg.Prefix, err)
	}
	return &upstreamArchive{Archive: cfg, own: *own}, nil
}
