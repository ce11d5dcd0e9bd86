package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/resolve"
)

// Lock resolves the plan to exact versions and digests. f.Lock's versions are
// kept, if it is set (which is how something is added to a lock: f.Add).
func Lock(ctx context.Context, f Freezing) (*config.Lock, error) {
	if err := checkPlan(f.Plan, f.Add); err != nil {
		return nil, err
	}
	if f.Known == nil {
		f.Known = KnownKeys(f.Lock)
	}
	if f.Lock != nil {
		// Its versions, not its day: the new lock's indices may be newer.
		l := *f.Lock
		l.Date = f.Date
		f.Lock = &l
	}
	frozen, err := Freeze(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, n := range frozen.Notes {
		f.Log.printf("%s", n)
	}
	for _, n := range frozen.Newer {
		f.Log.printf("%s", n.Say(f.Plan.CommonList))
	}
	return frozen.lock(ctx)
}

// Checked says how much of a lock the upstreams still have.
type Checked struct {
	Wanted, Available int
	// Missing names what is not available, with the versions there are; sorted by archive and name.
	Missing []string
	// Newer are packages of which another archive has a newer version than the one that was asked.
	Newer []Newer
}

// CheckLock asks the upstreams for everything that a lock names, without
// downloading any package: Releases of verbatim archives, stanzas and pool files of curated ones.
func CheckLock(ctx context.Context, f Freezing) (*Checked, error) {
	f.Known = KnownKeys(f.Lock)
	lock := f.Lock
	f.Lock = nil // read what is there now
	fas, err := readArchives(ctx, f)
	if err != nil {
		return nil, err
	}
	u, err := universe(f, resolveIndices(fas))
	if err != nil {
		return nil, err
	}
	c := &checker{u: u, archives: map[string]*frozenArchive{}}
	for _, fa := range fas {
		c.archives[fa.Prefix] = fa
	}
	for _, a := range lock.Archives {
		if err := c.archive(ctx, a); err != nil {
			return nil, err
		}
	}
	req, err := question(f, fas)
	if req == nil || err != nil {
		return &c.Checked, err
	}
	c.Newer = newer(u, *req, c.found)
	return &c.Checked, nil
}

type checker struct {
	u        *resolve.Universe
	archives map[string]*frozenArchive
	found    []resolve.Chosen // of the lock
	mu       sync.Mutex
	Checked
}

func (c *checker) miss(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Missing = append(c.Missing, fmt.Sprintf(format, args...))
}

func (c *checker) archive(ctx context.Context, a config.LockArchive) error {
	fa := c.archives[a.Prefix]
	if fa == nil {
		return fmt.Errorf("%w: the lock has an archive %s, the configuration has not", ErrUsage, a.Prefix)
	}
	before := len(c.Missing)
	if a.Mode == "verbatim" {
		for _, r := range a.Releases {
			c.Wanted++
			c.release(fa, r)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, p := range a.Packages {
		c.Wanted++
		found := find(c.u, a.Prefix, p, nil)
		if found == nil {
			c.miss("%s", missingPackage(c.u, a.Prefix, p, nil))
			continue
		}
		c.found = append(c.found, resolve.Chosen{Package: found})
		g.Go(func() error { return c.file(gctx, fa, found) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(c.Missing[before:])
	c.Available = c.Wanted - len(c.Missing)
	return nil
}

func (c *checker) release(fa *frozenArchive, want config.LockRelease) {
	for _, s := range fa.suites {
		if s.name != want.Suite {
			continue
		}
		if got := digestOf(s); got != want.Digest {
			c.miss("%s %s: Release of %s: there is that of %s", fa.Prefix, want.Suite, stamp(want.Date), stamp(s.release.Date))
		}
		return
	}
	c.miss("%s %s: the configuration does not have this suite", fa.Prefix, want.Suite)
}

// file asks whether a listed pool file is there in its size.
func (c *checker) file(ctx context.Context, fa *frozenArchive, p *resolve.Package) error {
	if fa.up == nil {
		return nil // own .debs were read
	}
	r, err := fa.up.Open(ctx, p.Filename, p.Size)
	switch {
	case err == nil:
		return r.Close()
	case errors.Is(err, upstream.ErrNotFound), errors.Is(err, upstream.ErrChanged):
		c.miss("%s %s %s %s: listed, but %s", fa.Prefix, p.Name, p.Version, p.Architecture, err)
		return nil
	}
	return err
}

// LockChanges says for people what differs between two locks, a line each:
// a version that changed, what came (+), what went (-).
func LockChanges(old, now *config.Lock) []string {
	type place struct{ prefix, name, arch string }
	was, is := map[place][]string{}, map[place][]string{}
	fill := func(l *config.Lock, m map[place][]string) {
		for _, a := range l.Archives {
			for _, p := range a.Packages {
				k := place{a.Prefix, p.Name, p.Architecture}
				m[k] = append(m[k], p.Version)
			}
			for _, r := range a.Releases {
				if a.Mode == "verbatim" {
					k := place{a.Prefix, "Release of " + r.Suite, "all"}
					m[k] = append(m[k], stamp(r.Date))
				}
			}
		}
	}
	fill(old, was)
	fill(now, is)
	var out []string
	for k, versions := range is {
		slices.Sort(versions)
		before := was[k]
		slices.Sort(before)
		switch {
		case before == nil:
			out = append(out, fmt.Sprintf("+ %s %s %s %s", k.prefix, k.name, k.arch, strings.Join(versions, " ")))
		case !slices.Equal(before, versions):
			out = append(out, fmt.Sprintf("  %s %s %s %s -> %s", k.prefix, k.name, k.arch, strings.Join(before, " "), strings.Join(versions, " ")))
		}
	}
	for k, versions := range was {
		if is[k] == nil {
			out = append(out, fmt.Sprintf("- %s %s %s %s", k.prefix, k.name, k.arch, strings.Join(versions, " ")))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:]+a[:2], b[2:]+b[:2]) })
	return out
}
