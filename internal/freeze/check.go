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
	"example.org/mmoci/internal/suites"
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
// gone are the archives that are not in the plan because nothing of them is there any more.
func CheckLock(ctx context.Context, f Options, gone []string) (*Checked, error) {
	lock := f.Lock
	f.Lock = nil // read what is there now
	archives, err := suites.Read(ctx, f.reading(), f.Plan.Archives)
	if err != nil {
		return nil, err
	}
	indices, _ := resolveIndices(archives)
	u, err := universe(f, indices)
	if err != nil {
		return nil, err
	}
	req, err := request(f, archives, nil)
	if err != nil {
		return nil, err
	}
	c := &Checked{Missing: []string{}, Differs: []string{}, Newer: []Newer{}}
	var found []resolve.Chosen // of the lock
	var asked []config.Other   // archives out of other snapshots
	if err := checkFiles(ctx, f, lock, c); err != nil {
		return nil, err
	}
	for _, locked := range lock.Archives {
		if isChecked(locked.Format) {
			continue
		}
		i := slices.IndexFunc(archives, func(a *suites.Archive) bool { return a.Prefix == locked.Prefix })
		if o := f.Plan.Other(locked.Prefix); i < 0 && o != nil {
			if o.From != "" && locked.From != "" {
				if _, pin, ok := strings.Cut(o.From, "@"); ok && pin != locked.From {
					c.Differs = append(c.Differs, fmt.Sprintf("archive %s: taken out of %s in the lock, of %s in the configuration", o.Prefix, locked.From, pin))
					continue
				}
				asked = append(asked, *o)
				continue
			}
			if !slices.Equal(o.Merge, locked.Merge) {
				c.Differs = append(c.Differs, fmt.Sprintf("archive %s: merged of %s in the lock, of %s in the configuration", o.Prefix, inputs(locked.Merge), inputs(o.Merge)))
			}
			continue
		}
		if slices.Contains(gone, locked.Prefix) {
			c.Wanted += len(locked.Packages)
			for _, p := range locked.Packages {
				c.Missing = append(c.Missing, missingPackage(u, locked.Prefix, p))
			}
			continue
		}
		if i < 0 {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the lock, not in the configuration", locked.Prefix))
			continue
		}
		c.Wanted += len(locked.Packages) + len(locked.Files)
		if locked.Mode == "verbatim" {
			c.Wanted += len(locked.Releases)
		}
		have, missing, err := available(ctx, u, archives[i], locked)
		if err != nil {
			return nil, err
		}
		found, c.Missing = append(found, have...), append(c.Missing, missing...)
		c.Differs = append(c.Differs, differences(archives[i], locked)...)
	}
	if err := checkTaken(ctx, f, lock, asked, c); err != nil {
		return nil, err
	}
	for _, a := range archives {
		if !slices.ContainsFunc(lock.Archives, func(locked config.LockArchive) bool { return locked.Prefix == a.Prefix }) {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the configuration, not in the lock", a.Prefix))
		}
	}
	for _, o := range f.Plan.Others {
		if o.Format != snapshot.FormatFiles && !slices.ContainsFunc(lock.Archives, func(locked config.LockArchive) bool { return locked.Prefix == o.Prefix }) {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the configuration, not in the lock", o.Prefix))
		}
	}
	c.Available = c.Wanted - len(c.Missing)
	if req == nil {
		return c, nil
	}
	lacking, err := notInLock(lock, archives, indices, found, len(c.Missing) > 0, *req)
	if err != nil {
		return nil, err
	}
	asking := *req
	asking.AllOf = slices.Concat(req.AllOf, gone)
	c.Differs = append(append(c.Differs, lacking...), leftOver(lock, asking)...)
	c.Newer = append(c.Newer, newer(u, *req, found)...)
	return c, u.Err()
}

// inputs are the archives that one is merged of, for a message.
func inputs(prefixes []string) string {
	if len(prefixes) == 0 {
		return "none"
	}
	return strings.Join(prefixes, ", ")
}

// available tells which packages of a lock an archive has, and names what it lacks.
func available(ctx context.Context, u *resolve.Universe, a *suites.Archive, locked config.LockArchive) (found []resolve.Chosen, missing []string, err error) {
	var mu sync.Mutex
	miss := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		missing = append(missing, fmt.Sprintf(format, args...))
	}
	for _, want := range locked.Releases {
		i := slices.IndexFunc(a.ReadSuites, func(s *suites.Suite) bool { return s.Name == want.Suite })
		switch {
		case locked.Mode != "verbatim":
		case i < 0:
			miss("%s %s: the configuration does not have this suite", a.Prefix, want.Suite)
		case a.ReadSuites[i].Digest() != want.Digest:
			miss("%s %s: Release of %s: there is that of %s", a.Prefix, want.Suite, snapshot.FormatDate(want.Date), snapshot.FormatDate(a.ReadSuites[i].Release.Date))
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, want := range locked.Packages {
		p := find(u, a.Prefix, want)
		if p == nil {
			miss("%s", missingPackage(u, a.Prefix, want))
			continue
		}
		found = append(found, resolve.Chosen{Package: p})
		if a.Up == nil {
			continue // own .debs were read
		}
		g.Go(func() error { // is it there, in the size that is listed?
			r, err := a.Up.Open(ctx, p.Filename, p.Size)
			switch {
			case err == nil:
				return r.Close()
			case errors.Is(err, upstream.ErrNotFound), errors.Is(err, upstream.ErrChanged):
				miss("%s %s %s %s: listed, but %s", a.Prefix, p.Name, p.Version, p.Architecture, err)
				return nil
			}
			return err
		})
	}
	for _, want := range locked.Files {
		if text := missingSource(a, want); text != "" {
			miss("%s", text)
		}
	}
	err = g.Wait()
	slices.Sort(missing)
	return found, missing, err
}

// differences compares suites, components and architectures by the indices that
// the lock names and those that were read now. Which of them upstream has is not the configuration's affair.
func differences(a *suites.Archive, locked config.LockArchive) (out []string) {
	differ := func(format string, args ...any) {
		out = append(out, "archive "+a.Prefix+": "+fmt.Sprintf(format, args...))
	}
	if mode, class := a.ModeAndClass(); locked.Mode != string(mode) || locked.Class != string(class) {
		differ("%s, class %s in the lock; %s, class %s in the configuration", locked.Mode, locked.Class, mode, class)
		return out
	}
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
	for _, ix := range locked.Indices {
		component, arch, _ := archive.IndexName(ix.Path)
		add(was, ix.Suite, component, arch)
	}
	for _, r := range locked.Releases {
		add(was, r.Suite, "", "")
	}
	for _, s := range a.ReadSuites {
		if s.Release == nil {
			continue
		}
		add(is, s.Name, "", "")
		for _, ix := range s.Indices {
			add(is, s.Name, ix.Component, ix.Arch)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(is)) {
		if !was[part] {
			differ("%s: in the configuration, not in the lock", part)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(was)) {
		if !is[part] {
			differ("%s: in the lock, not in the configuration", part)
		}
	}
	have := map[string]bool{}
	for _, p := range locked.Packages {
		have[p.Name+" "+p.Version+" "+p.Architecture] = true
	}
	for _, own := range a.Own.Packages {
		if name := own.Name + " " + own.Version + " " + own.Architecture; a.All && !have[name] {
			differ("%s: among its .debs, not in the lock", name)
		}
	}
	for _, src := range a.Own.Sources {
		if dsc := lockDsc(src); !slices.ContainsFunc(locked.Files, func(x config.LockFile) bool { return x.Path == dsc.Path }) {
			differ("%s: among its .dscs, not in the lock", dsc.Path)
		}
	}
	return out
}

// notInLock names what is asked for and cannot be had of the lock alone. Where
// the lock names it, and upstream has it no more, that is said already.
func notInLock(lock *config.Lock, archives []*suites.Archive, indices []resolve.Index, found []resolve.Chosen, missing bool, req resolve.Request) (out []string, err error) {
	key := func(prefix string, p archive.PackageFile) string {
		return lockKey(prefix, p.Name, p.Version, p.Architecture, "")
	}
	kept := map[string]bool{}
	for _, p := range found {
		kept[key(p.Archive, p.PackageFile)] = true
	}
	u, err := resolve.NewUniverse(onlyLocked(indices, archives, func(prefix string, p archive.PackageFile) bool { return kept[key(prefix, p)] }))
	if err != nil {
		return nil, err
	}
	_, err = u.Resolve(req)
	var un *resolve.Unsatisfied
	if !errors.As(err, &un) {
		return nil, err
	}
	named := map[string]bool{}
	for _, a := range lock.Archives {
		for _, p := range a.Packages {
			named[p.Reason] = true
		}
	}
	for _, f := range un.Roots {
		if f.Root != nil && !(missing && named[reasonLine(resolve.Reason{Root: f.Root})]) {
			out = append(out, "asked for, not to be had of the lock: "+strings.Join(f.Chain, "; "))
		}
	}
	return out, nil
}

// leftOver names what the lock has because it was asked for, and is not any more.
func leftOver(lock *config.Lock, req resolve.Request) (out []string) {
	asked := map[string]bool{}
	for i := range req.Roots {
		asked[reasonLine(resolve.Reason{Root: &req.Roots[i]})] = true
	}
	for _, prefix := range req.AllOf {
		asked[reasonLine(resolve.Reason{AllOf: prefix})] = true
	}
	for _, a := range lock.Archives {
		if a.From != "" {
			continue // asked for where it was taken out of
		}
		for _, p := range a.Packages {
			if strings.HasPrefix(p.Reason, "asked for: ") && !asked[p.Reason] {
				out = append(out, fmt.Sprintf("in the lock, not asked for any more: %s %s %s %s (%s)", a.Prefix, p.Name, p.Version, p.Architecture, p.Reason))
			}
		}
	}
	return out
}

// reasonLine is a reason as it stands in a lock: one line, one blank between words.
func reasonLine(r resolve.Reason) string { return strings.Join(strings.Fields(r.String()), " ") }
