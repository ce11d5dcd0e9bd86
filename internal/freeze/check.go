package freeze

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// Checked says how much of a lock the upstreams still have, and whether it is
// the lock of the configuration.
type Checked struct {
	Wanted    int `json:"wanted"`
	Available int `json:"available"`
	// Missing names what is not available, with the versions there are; sorted by archive and name.
	Missing []string `json:"missing"`
	// Differs names what the configuration asks for and the lock has not, and what only the lock has.
	Differs []string `json:"differs"`
	// Newer are packages of which another archive has a newer version than the one that was asked.
	Newer []Newer `json:"newer"`
}

// CheckLock asks the upstreams for everything that a lock names, without
// downloading any package: Releases of verbatim archives, stanzas and pool files of curated ones.
// It compares the lock with the configuration, too: archives, suites, components, architectures, and what is asked for.
func CheckLock(ctx context.Context, f Options) (*Checked, error) {
	lock := f.Lock
	f.Lock = nil // read what is there now
	archives, err := readArchives(ctx, f)
	if err != nil {
		return nil, err
	}
	indices, _ := resolveIndices(archives)
	u, err := universe(f, indices)
	if err != nil {
		return nil, err
	}
	c := &checker{u: u, lock: lock, archives: map[string]*upstreamArchive{}, Checked: Checked{Missing: []string{}, Differs: []string{}, Newer: []Newer{}}}
	for _, fa := range archives {
		c.archives[fa.Prefix] = fa
	}
	for _, a := range lock.Archives {
		if c.archives[a.Prefix] == nil {
			continue // differs, see configuration
		}
		if err := c.archive(ctx, a); err != nil {
			return nil, err
		}
	}
	c.Available = c.Wanted - len(c.Missing)
	req, err := request(f, archives)
	if err != nil {
		return nil, err
	}
	if err := c.configuration(archives, indices, req); err != nil {
		return nil, err
	}
	if req != nil {
		c.Newer = append(c.Newer, newer(u, *req, c.found)...)
	}
	return &c.Checked, nil
}

type checker struct {
	u        *resolve.Universe
	lock     *config.Lock
	archives map[string]*upstreamArchive
	found    []resolve.Chosen // of the lock
	mu       sync.Mutex
	Checked
}

func (c *checker) miss(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Missing = append(c.Missing, fmt.Sprintf(format, args...))
}

func (c *checker) differ(format string, args ...any) {
	c.Differs = append(c.Differs, fmt.Sprintf(format, args...))
}

func (c *checker) archive(ctx context.Context, a config.LockArchive) error {
	fa := c.archives[a.Prefix]
	before := len(c.Missing)
	if a.Mode == "verbatim" {
		for _, r := range a.Releases {
			c.Wanted++
			c.release(fa, r)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, p := range a.Packages {
		c.Wanted++
		found := find(c.u, a.Prefix, p)
		if found == nil {
			c.miss("%s", missingPackage(c.u, a.Prefix, p))
			continue
		}
		c.found = append(c.found, resolve.Chosen{Package: found})
		g.Go(func() error { return c.file(gctx, fa, found) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(c.Missing[before:])
	return nil
}

func (c *checker) release(fa *upstreamArchive, want config.LockRelease) {
	for _, s := range fa.suites {
		if s.name != want.Suite {
			continue
		}
		if got := s.digest(); got != want.Digest {
			c.miss("%s %s: Release of %s: there is that of %s", fa.Prefix, want.Suite, snapshot.FormatDate(want.Date), snapshot.FormatDate(s.release.Date))
		}
		return
	}
	c.miss("%s %s: the configuration does not have this suite", fa.Prefix, want.Suite)
}

// file asks whether a listed pool file is there in its size.
func (c *checker) file(ctx context.Context, fa *upstreamArchive, p *resolve.Package) error {
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

// configuration compares the lock with what is configured.
func (c *checker) configuration(archives []*upstreamArchive, indices []resolve.Index, req *resolve.Request) error {
	locked := map[string]bool{}
	for _, a := range c.lock.Archives {
		locked[a.Prefix] = true
		fa := c.archives[a.Prefix]
		if fa == nil {
			c.differ("archive %s: in the lock, not in the configuration", a.Prefix)
			continue
		}
		if mode, class := fa.modeAndClass(); a.Mode != string(mode) || a.Class != string(class) {
			c.differ("archive %s: %s, class %s in the lock; %s, class %s in the configuration", a.Prefix, a.Mode, a.Class, mode, class)
			continue
		}
		c.parts(fa, a)
	}
	for _, fa := range archives {
		if !locked[fa.Prefix] {
			c.differ("archive %s: in the configuration, not in the lock", fa.Prefix)
		}
	}
	if req == nil {
		return nil
	}
	if err := c.askedFor(archives, indices, *req); err != nil {
		return err
	}
	c.leftOver(*req)
	return nil
}

// parts compares suites, components and architectures by the indices that the
// lock names and those that were read now. Which of them upstream has is not the configuration's affair.
func (c *checker) parts(fa *upstreamArchive, a config.LockArchive) {
	was, is := map[string]bool{}, map[string]bool{}
	add := func(to map[string]bool, suite, component, arch string) {
		to["suite "+suite] = true
		if component != "" {
			to["component "+component] = true
		}
		switch arch {
		case "", "all":
		case "source":
			to["sources"] = true
		default:
			to["architecture "+arch] = true
		}
	}
	for _, ix := range a.Indices {
		component, arch, _ := archive.IndexName(ix.Path)
		add(was, ix.Suite, component, arch)
	}
	for _, r := range a.Releases {
		add(was, r.Suite, "", "")
	}
	for _, s := range fa.suites {
		if s.release == nil {
			continue
		}
		add(is, s.name, "", "")
		for _, ix := range s.indices {
			add(is, s.name, ix.component, ix.arch)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(is)) {
		if !was[part] {
			c.differ("archive %s: %s: in the configuration, not in the lock", a.Prefix, part)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(was)) {
		if !is[part] {
			c.differ("archive %s: %s: in the lock, not in the configuration", a.Prefix, part)
		}
	}
	have := map[string]bool{}
	for _, p := range a.Packages {
		have[p.Name+" "+p.Version+" "+p.Architecture] = true
	}
	for _, f := range fa.own.Packages {
		if name := f.Name + " " + f.Version + " " + f.Architecture; fa.All && !have[name] {
			c.differ("archive %s: %s: among its .debs, not in the lock", a.Prefix, name)
		}
	}
}

// askedFor names what is asked for and cannot be had of the lock alone. Where
// the lock names it, and upstream has it no more, that is said already.
func (c *checker) askedFor(archives []*upstreamArchive, indices []resolve.Index, req resolve.Request) error {
	key := func(prefix string, p archive.PackageFile) string {
		return lockKey(prefix, p.Name, p.Version, p.Architecture, "")
	}
	kept := map[string]bool{}
	for _, p := range c.found {
		kept[key(p.Archive, p.PackageFile)] = true
	}
	u, err := resolve.NewUniverse(onlyLocked(indices, archives, func(prefix string, p archive.PackageFile) bool { return kept[key(prefix, p)] }))
	if err != nil {
		return err
	}
	_, err = u.Resolve(req)
	var un *resolve.Unsatisfied
	if !errors.As(err, &un) {
		return err
	}
	named := map[string]bool{}
	for _, a := range c.lock.Archives {
		for _, p := range a.Packages {
			named[p.Reason] = true
		}
	}
	for _, f := range un.Roots {
		if f.Root == nil || len(c.Missing) > 0 && named[reasonLine(resolve.Reason{Root: f.Root})] {
			continue
		}
		c.differ("asked for, not to be had of the lock: %s", strings.Join(f.Chain, "; "))
	}
	return nil
}

// leftOver names what the lock has because it was asked for, and is not any more.
func (c *checker) leftOver(req resolve.Request) {
	asked := map[string]bool{}
	for i := range req.Roots {
		asked[reasonLine(resolve.Reason{Root: &req.Roots[i]})] = true
	}
	for _, prefix := range req.AllOf {
		asked[reasonLine(resolve.Reason{AllOf: prefix})] = true
	}
	for _, a := range c.lock.Archives {
		for _, p := range a.Packages {
			if strings.HasPrefix(p.Reason, "asked for: ") && !asked[p.Reason] {
				c.differ("in the lock, not asked for any more: %s %s %s %s (%s)", a.Prefix, p.Name, p.Version, p.Architecture, p.Reason)
			}
		}
	}
}

// reasonLine is a reason as it stands in a lock: one line, one blank between words.
func reasonLine(r resolve.Reason) string { return strings.Join(strings.Fields(r.String()), " ") }
