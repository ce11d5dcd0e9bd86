package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Freezing is the question to Freeze.
type Freezing struct {
	Plan   *config.Plan
	Signer archive.Signer // nil: unsigned
	Date   time.Time      // the date input; zero: the newest Date of the upstreams
	// NotBefore raises a date input that is not given (push --date auto).
	NotBefore time.Time
	Lock      *config.Lock   // pins versions; nil: none
	Locked    bool           // nothing but the lock
	Add       []config.Query // asked for beside the plan, of any archive
	// Held is a snapshot that may hold what upstream has no more: the signed
	// indices that the lock names, and their pool files. It is believed in nothing
	// but what its files prove. nil: none.
	Held *snapshot.Snapshot
	// Known are the fingerprints that keys from the network had before, by
	// prefix; others must be in AcceptKeys. A prefix without any takes what comes.
	Known      map[string][]string
	AcceptKeys []string
	Now        time.Time
	Log        Log
}

// Frozen is the answer: a snapshot whose blobs come from the upstreams when they are opened.
type Frozen struct {
	Snapshot *snapshot.Snapshot
	Skipped  []string // malformed stanzas, named
	Dropped  []string // optional targets left out, by prefix and name
	Notes    []string // remarks for people
	Newer    []Newer  // what another archive has newer than the one that was asked

	archives []*frozenArchive
	origins  *origins
}

// Freeze reads the archives of a plan, chooses, and freezes what was chosen.
// Everything that becomes part of the root digest is decided here.
func Freeze(ctx context.Context, f Freezing) (*Frozen, error) {
	fas, err := readArchives(ctx, f)
	if err != nil {
		return nil, err
	}
	date, err := dateInput(f, fas)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(ctx, f, fas)
	if err != nil {
		return nil, err
	}
	if chosen == nil {
		chosen = &selection{}
	}
	out := &Frozen{Skipped: chosen.skipped, Newer: chosen.newer, archives: fas, origins: newOrigins(f.Held)}
	b := &builder{f: f, date: date, chosen: chosen, notes: chosen.notes, origins: out.origins, lock: &config.Lock{Date: date}}
	if err := b.collect(fas); err != nil {
		return nil, err
	}
	if err := b.carry(); err != nil {
		return nil, err
	}
	chosen, b.chosen, b.lock = nil, nil, nil // of a whole release more than all the rest
	in := snapshot.Frozen{
		Date: date, Encoder: archive.EncoderGeneration, Archives: b.archives, Files: b.rows,
		Lock: b.lockText, Small: b.small, Blobs: b.origins, Signer: f.Signer,
	}
	if f.Plan.ValidFor > 0 {
		in.ValidUntil = date.Add(f.Plan.ValidFor)
	}
	if out.Snapshot, err = snapshot.Take(in); err != nil {
		return nil, err
	}
	out.Dropped, out.Notes = b.dropped, b.notes
	return out, nil
}

// lock is the lock of the snapshot.
func (f *Frozen) lock(ctx context.Context) (*config.Lock, error) {
	text, err := f.Snapshot.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	return config.ParseLock("lock", text)
}

// forget drops what only the choice needed: of a whole release that is more
// than all the rest, and a push lasts.
func (f *Frozen) forget() {
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
func readArchives(ctx context.Context, f Freezing) ([]*frozenArchive, error) {
	cfgs := slices.Clone(f.Plan.Archives)
	slices.SortStableFunc(cfgs, func(a, b config.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	fas := make([]*frozenArchive, len(cfgs))
	r := &reader{Freezing: f}
	g, ctx := errgroup.WithContext(ctx)
	for i := range cfgs {
		g.Go(func() (err error) {
			if cfgs[i].Debs != "" {
				fas[i], err = readDebs(ctx, &cfgs[i])
			} else {
				fas[i], err = r.archive(ctx, &cfgs[i])
			}
			return err
		})
	}
	return fas, g.Wait()
}

// dateInput is the lock's date, the one asked for, or the newest Date of the
// upstreams; never the clock.
func dateInput(f Freezing, fas []*frozenArchive) (time.Time, error) {
	date := f.Date
	if f.Lock != nil && !f.Lock.Date.IsZero() {
		if !date.IsZero() && !date.Equal(f.Lock.Date) {
			return date, fmt.Errorf("%w: --date %s differs from the lock's %s", ErrUsage, stamp(date), stamp(f.Lock.Date))
		}
		if f.NotBefore.After(f.Lock.Date) {
			return f.NotBefore, nil // a rollback to a lock: clients take no smaller Date
		}
		return f.Lock.Date, nil
	}
	if !date.IsZero() {
		return date, nil
	}
	for _, fa := range fas {
		for _, s := range fa.suites {
			if s.release.Date.After(date) {
				date = s.release.Date
			}
		}
	}
	if f.NotBefore.After(date) {
		date = f.NotBefore
	}
	switch {
	case date.IsZero():
		return date, fmt.Errorf("%w: archives of debs: alone have no date of their own; give one: --date 2026-11-21T00:00:00Z", ErrUsage)
	case f.Plan.ValidFor > 0:
		return date, fmt.Errorf("%w: valid-for needs an explicit date: --date, or a lock", ErrUsage)
	}
	return date, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
