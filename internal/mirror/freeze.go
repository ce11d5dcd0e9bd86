package mirror

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// Freezing is the question to Freeze.
type Freezing struct {
	Plan   *config.Plan
	Signer archive.Signer // nil: unsigned
	Date   time.Time      // the date input; zero: the newest Date of the upstreams
	// NotBefore raises a date input that is not given (push --date auto).
	NotBefore time.Time
	Lock      *config.Lock // pins versions; nil: none
	Now    time.Time
	Log    Log
}

// Frozen is the answer: a snapshot whose blobs come from the upstreams when they are opened.
type Frozen struct {
	Snapshot *snapshot.Snapshot
	Lock     *config.Lock
	Chosen   *resolve.Result // nil if all archives are verbatim
	Skipped  []string        // malformed stanzas, named
	Dropped  []string        // optional targets left out, by prefix and name
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
	universe, chosen, err := choose(f, fas)
	if err != nil {
		return nil, err
	}
	b := &builder{f: f, date: date, origins: newOrigins(), lock: &config.Lock{Date: date}}
	for _, fa := range fas {
		if err := b.archive(fa, universe, chosen); err != nil {
			return nil, fmt.Errorf("archive %s: %w", fa.Prefix, err)
		}
	}
	in := snapshot.Frozen{
		Date: date, Encoder: archive.EncoderGeneration, Archives: b.archives, Files: b.rows,
		Lock: b.lock.Encode(), Small: b.small, Blobs: b.origins, Signer: f.Signer,
	}
	if f.Plan.ValidFor > 0 {
		in.ValidUntil = date.Add(f.Plan.ValidFor)
	}
	s, err := snapshot.Take(in)
	if err != nil {
		return nil, err
	}
	out := &Frozen{Snapshot: s, Lock: b.lock, Chosen: chosen, Dropped: b.dropped}
	if universe != nil {
		out.Skipped = universe.Skipped()
	}
	return out, nil
}

// readArchives reads all archives of the plan side by side, in order of
// prefix: the order in which they are written down must not matter.
func readArchives(ctx context.Context, f Freezing) ([]*frozenArchive, error) {
	cfgs := slices.Clone(f.Plan.Archives)
	slices.SortStableFunc(cfgs, func(a, b config.Archive) int { return strings.Compare(a.Prefix, b.Prefix) })
	fas := make([]*frozenArchive, len(cfgs))
	r := &reader{now: f.Now, log: f.Log}
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

// choose computes the closure of what the curated archives ask for, over all archives.
func choose(f Freezing, fas []*frozenArchive) (*resolve.Universe, *resolve.Result, error) {
	req := resolve.Request{Recommends: f.Plan.Recommends}
	curated := false
	for _, fa := range fas {
		curated = curated || !fa.Verbatim
		addArchitectures(&req, fa)
		if err := addRoots(&req, fa); err != nil {
			return nil, nil, err
		}
	}
	if !curated {
		return nil, nil, nil
	}
	if f.Lock != nil {
		req.Pins = pins(f.Lock)
	}
	u, err := resolve.NewUniverse(resolveIndices(fas))
	if err != nil {
		return nil, nil, err
	}
	res, err := u.Resolve(req)
	return u, res, err
}

// addArchitectures collects the architectures over all archives; the first
// named one is native.
func addArchitectures(req *resolve.Request, fa *frozenArchive) {
	archs := fa.Architectures
	for _, sf := range fa.site {
		if sf.Architecture != "all" {
			archs = append(slices.Clone(archs), sf.Architecture)
		}
	}
	for _, a := range archs {
		if !slices.Contains(req.Architectures, a) {
			req.Architectures = append(req.Architectures, a)
		}
	}
}

func addRoots(req *resolve.Request, fa *frozenArchive) error {
	switch {
	case fa.Verbatim, fa.None:
	case fa.All, fa.Debs != "" && len(fa.Packages) == 0:
		req.Whole = append(req.Whole, fa.Prefix)
	}
	for _, q := range fa.Packages {
		parsed, err := resolve.ParseQuery(q.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", q.Position, err)
		}
		req.Roots = append(req.Roots, resolve.Root{Query: parsed, Archive: fa.Prefix, Origin: q.Position.String()})
	}
	return nil
}

func pins(l *config.Lock) map[string]string {
	m := map[string]string{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			m[p.Name+":"+p.Architecture] = p.Version
		}
	}
	return m
}

// resolveIndices hands the Packages indices to the resolver.
func resolveIndices(fas []*frozenArchive) []resolve.Index {
	var out []resolve.Index
	for _, fa := range fas {
		for _, s := range fa.suites {
			for _, ix := range s.indices {
				if ix.number = -1; ix.arch == "source" {
					continue
				}
				ix.number = len(out)
				out = append(out, resolve.Index{
					Archive: fa.Prefix, Suite: s.name, Component: ix.component, Architecture: ix.arch,
					Path: s.dir + "/" + ix.path, Data: ix.data, Pin: pin(s.release),
				})
			}
		}
		if len(fa.site) > 0 {
			out = append(out, resolve.Index{
				Archive: fa.Prefix, Suite: fa.Prefix, Component: "main", Path: fa.Debs, Data: joinStanzas(fa.site), Pin: 500,
			})
		}
	}
	return out
}

// pin is apt's default priority of a suite (apt_preferences(5)).
func pin(r *archive.Release) int {
	switch {
	case r.NotAutomatic && r.ButAutomaticUpgrades:
		return 100
	case r.NotAutomatic:
		return 1
	}
	return 500
}

func joinStanzas(files []siteFile) []byte {
	var b bytes.Buffer
	for _, f := range files {
		b.Write(bytes.TrimRight(f.stanza, "\n"))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// stanzasOf collects the chosen stanzas of one suite by component and
// architecture, in the order of a curated index.
func stanzasOf(fa *frozenArchive, suite string, chosen []*resolve.Package) map[archive.ComponentArch][]deb.Stanza {
	out := map[archive.ComponentArch][]deb.Stanza{}
	for _, p := range chosen {
		if p.Archive != fa.Prefix || p.Suite != suite {
			continue
		}
		archs := []string{p.Architecture}
		if p.Architecture == "all" {
			archs = curatedArchitectures(fa)
		}
		for _, a := range archs {
			key := archive.ComponentArch{Component: curatedComponent(p.Component), Architecture: a}
			out[key] = append(out[key], p.Stanza)
		}
	}
	return out
}

// curatedComponent names the component of a flat archive's packages: dists/
// has no place for none.
func curatedComponent(c string) string {
	if c == "" {
		return "main"
	}
	return c
}

func curatedArchitectures(fa *frozenArchive) []string {
	if len(fa.site) == 0 {
		return slices.Sorted(slices.Values(fa.Architectures))
	}
	var out []string
	for _, sf := range fa.site {
		if sf.Architecture != "all" {
			out = append(out, sf.Architecture)
		}
	}
	out = append(out, fa.Architectures...)
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		out = []string{"amd64"}
	}
	return out
}
