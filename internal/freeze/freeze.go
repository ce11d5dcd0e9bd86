// Package freeze makes a snapshot of what a plan asks of its upstreams.
//
// Data goes one way. Each stage takes immutable values and returns the next:
//
//	suites.Read  plan and upstreams -> verified archives  internal/suites
//	choose       archives           -> selection          choose.go, locked.go
//	collect      selection          -> Draft              collect.go, origins.go
//	Draft.At     a date             -> Frozen             draft.go
package freeze

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Options say what is frozen. Plan and Now are required.
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
	// Previous is a snapshot that may hold what upstream no longer has: the signed
	// indices that the lock names, and their pool files. It is not trusted: what
	// is taken from it must verify under upstream's key. nil: none.
	Previous *snapshot.Snapshot
	// Images are container images that travel with the snapshot; nil: none.
	Images *Images
	// Others reads the archives of the plan that other rooms read; nil: there are none.
	Others func(context.Context, Options) ([]ReadyArchive, error)
	Keys   *signer.NetworkKeys // pins of keys that come from the network; nil: none is known, nor kept
	// KeepGoing leaves out what cannot be had, and says it in [Draft.Missing].
	KeepGoing bool
	// Check is to ask for all that Lock names whether it is there, and to take nothing.
	Check bool
	// Record remembers where each file came from, for [Frozen.Fetched].
	Record bool
	Now    time.Time
	Log    outcome.Log
}

// reading are the options that concern the archives with an upstream.
func (f Options) reading() suites.Options {
	return suites.Options{Lock: f.Lock, Previous: f.Previous, Keys: f.Keys, Record: f.Record, Now: f.Now, Log: f.Log}
}

// Images are container images that travel with a snapshot, read by whoever gives them.
type Images struct {
	Locked []config.LockImage // in order of name
	Rows   []snapshot.Row     // every document, config and layer, once
	Blobs  snapshot.Blobs     // what opens these
}

// Run freezes what the plan asks for under the date that is wanted. Everything
// that becomes part of the root digest is decided by f.
func Run(ctx context.Context, f Options) (*Frozen, error) {
	d, err := Gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := NotAhead(d.Wanted, f.Now); err != nil {
		return nil, err
	}
	return d.At(d.Wanted)
}

// Gather reads the archives of the plan, chooses, and collects what was chosen.
// The snapshot's date comes last: see [Draft].
func Gather(ctx context.Context, f Options) (*Draft, error) {
	f.Log = f.Log.During(ctx)
	return parallel.Until(ctx, func() (*Draft, error) {
		f.Log.Printf("reading %s: Releases and indices", prefixesOf(f.Plan))
		start := time.Now()
		archives, err := suites.Read(ctx, f.reading(), f.Plan.Archives)
		if err != nil {
			return nil, err
		}
		ready, err := readOthers(ctx, f)
		if err != nil {
			return nil, err
		}
		f.Log.Printf("read in %.1f s; choosing packages", time.Since(start).Seconds())
		absent, err := checkExact(archives, f.KeepGoing)
		if err != nil {
			return nil, err
		}
		wanted, given, err := wantedDate(f, archives, ready)
		if err != nil {
			return nil, err
		}
		sel, err := choose(f, archives, ready, absent)
		if err != nil {
			return nil, err
		}
		c, err := collect(f, archives, ready, sel)
		if err != nil {
			return nil, err
		}
		d := &Draft{
			Wanted: wanted, Given: given, Notes: append(slices.Clip(sel.notes), c.notes...), Newer: sel.newer, Missing: append(absent.texts(), sel.missing...), versions: sel.versions,
			content: c, signer: f.Signer, validFor: f.Plan.ValidFor, others: ready,
		}
		for _, r := range ready {
			d.Notes, d.Missing = append(slices.Clip(d.Notes), r.Notes...), append(d.Missing, r.Missing...)
		}
		for _, a := range archives {
			for _, s := range a.ReadSuites {
				if rel := s.Head; a.Up != nil {
					// Without the indices, which only the choice needs: of a whole
					// release they are more than all the rest, and a push lasts.
					d.read = append(d.read, &rel)
				}
			}
		}
		return d, nil
	})
}

// prefixesOf names the archives of a plan.
func prefixesOf(plan *config.Plan) string {
	var names []string
	for _, a := range plan.Archives {
		names = append(names, a.Prefix)
	}
	for _, o := range plan.Others {
		names = append(names, o.Prefix)
	}
	return strings.Join(names, ", ")
}

// wantedDate is the date input that was given, by --date or a lock, else now
// where the snapshot is valid for a time, else the newest Date of the
// upstreams; zero if nothing has one.
func wantedDate(f Options, archives []*suites.Archive, ready []ReadyArchive) (date time.Time, given bool, err error) {
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
	date = newestOf(ready)
	for _, a := range archives {
		for _, s := range a.ReadSuites {
			if s.Release != nil && s.Release.Date.After(date) {
				date = s.Release.Date
			}
		}
	}
	if date.IsZero() && f.Replaces.IsZero() {
		return date, false, outcome.GiveDate.For(fmt.Errorf("%w: own packages and files alone have no date of their own; give one", outcome.ErrUsage))
	}
	return date, false, nil
}
