package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Pushing is the question to Push.
type Pushing struct {
	Plan   *config.Plan
	Ref    artifact.Reference
	Signer archive.Signer
	// Unsigned must be set to push curated archives without a signer.
	Unsigned bool
	Date     time.Time // date input; zero: newest Date of the upstreams, or the lock's
	DateAuto bool      // as late as the replaced snapshot demands
	Lock     *config.Lock
	Locked   bool // refuse to push anything but the lock
	// AllowOlder names suites ("SUITE" or "PREFIX/SUITE") whose upstream Date may go back.
	AllowOlder []string
	DryRun     bool
	Now        time.Time
	Artifact   artifact.PushOptions
	Log        Log
}

// PushResult is the outcome.
type PushResult struct {
	artifact.Pushed
	Frozen *Frozen
	// Files and Bytes are those of the whole snapshot, each distinct file once.
	Files int
	Bytes int64
}

// Push reads the archives of the plan, chooses, and pushes the snapshot. With
// DryRun it stops before anything is written, the root digest known.
func Push(ctx context.Context, p Pushing) (*PushResult, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	old, err := previous(ctx, p.Ref, p.Artifact.Options)
	if err != nil {
		return nil, err
	}
	f := Freezing{Plan: p.Plan, Signer: p.Signer, Date: p.Date, Lock: p.Lock, Now: p.Now, Log: p.Log}
	if old != nil && p.DateAuto {
		f.NotBefore = old.Date
	}
	frozen, err := Freeze(ctx, f)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := p.notOlder(old, frozen.Snapshot.Statement); err != nil {
			return nil, err
		}
	}
	if p.Locked {
		if err := drift(p.Lock, frozen.Lock); err != nil {
			return nil, err
		}
	}
	res := &PushResult{Frozen: frozen}
	res.Files, res.Bytes = sum(frozen.Snapshot.Table)
	if p.DryRun {
		packed, err := artifact.Pack(frozen.Snapshot)
		if err != nil {
			return nil, err
		}
		res.Root, res.Reference = packed.Root(), p.Ref
		res.Reference.Digest = packed.Root()
		return res, nil
	}
	res.Pushed, err = artifact.Push(ctx, p.Ref, frozen.Snapshot, p.Artifact)
	return res, err
}

// validate refuses what can be refused before the network is asked anything.
func (p Pushing) validate() error {
	if !p.Ref.Digest.IsZero() {
		return fmt.Errorf("%w: %s: a push cannot go to a digest; give a tag", ErrUsage, p.Ref)
	}
	if p.Locked && p.Lock == nil {
		return fmt.Errorf("%w: --locked needs --lock FILE", ErrUsage)
	}
	curated := slices.ContainsFunc(p.Plan.Archives, func(a config.Archive) bool { return !a.Verbatim })
	if curated && p.Signer == nil && !p.Unsigned {
		return fmt.Errorf("%w: curated archives are signed by the site: give --sign-key FILE or sign: in mmoci.yaml (mmoci key new -o FILE makes one), or --insecure-unsigned", ErrUsage)
	}
	return nil
}

// previous reads the statement of the snapshot that a push will replace; nil
// if there is none. It is only asked how old it is, so it need not be believed.
func previous(ctx context.Context, ref artifact.Reference, o artifact.Options) (*snapshot.Statement, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot to be replaced: %w", err)
	}
	s, err := sealed.Unseal(nil)
	if err != nil {
		return nil, fmt.Errorf("snapshot to be replaced: %w", err)
	}
	return s.Statement, nil
}

// notOlder refuses a snapshot that apt would silently ignore where the old one
// was served: an older Date.
func (p Pushing) notOlder(old, now *snapshot.Statement) error {
	if now.Date.Before(old.Date) {
		return fmt.Errorf("%w: date %s is before that of the snapshot to be replaced; the smallest that clients take is %s (--date auto takes it)",
			ErrRefused, stamp(now.Date), stamp(old.Date))
	}
	was := map[string]time.Time{}
	for key, d := range upstreamDates(old) {
		was[key] = d
	}
	for key, d := range upstreamDates(now) {
		suite := key[slices.Index([]byte(key), '/')+1:]
		if d.Before(was[key]) && !slices.Contains(p.AllowOlder, suite) && !slices.Contains(p.AllowOlder, key) {
			return fmt.Errorf("%w: upstream's %s is of %s, in the snapshot to be replaced it is of %s (--allow-older %s insists)",
				ErrRefused, key, stamp(d), stamp(was[key]), suite)
		}
	}
	return nil
}

// upstreamDates maps PREFIX/SUITE to the Date of upstream's Release.
func upstreamDates(st *snapshot.Statement) map[string]time.Time {
	out := map[string]time.Time{}
	for _, a := range st.Archives {
		for _, s := range a.Suites {
			for _, f := range s.Files {
				if a.Mode == snapshot.Verbatim || f.Role == snapshot.UpstreamInRelease || f.Role == snapshot.UpstreamRelease {
					out[a.Prefix+"/"+s.Name] = f.Date
				}
			}
		}
	}
	return out
}

// drift names the first difference between a lock and what came out.
func drift(want, got *config.Lock) error {
	diff := lockDiff(want, got)
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the lock and the upstreams differ in %d lines; first: %s (mmoci lock --update takes them over)", ErrRefused, len(diff), diff[0])
}

// sum counts distinct files of a table.
func sum(t *snapshot.Table) (files int, bytes int64) {
	seen := make(map[snapshot.Digest]struct{}, t.Len())
	for r := range t.Rows() {
		if _, ok := seen[r.Digest]; !ok {
			seen[r.Digest] = struct{}{}
			files, bytes = files+1, bytes+r.Size
		}
	}
	return files, bytes
}
