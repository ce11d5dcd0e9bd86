package imagebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// essentialQuery selects what every Debian system has.
const essentialQuery = "Essential (= yes)"

// chosen are the packages of one architecture, in the order in which dpkg takes them.
type chosen struct {
	architecture string
	packages     []*resolve.Package
	scripts      string             // what is done with maintainer scripts
	helpers      []*resolve.Package // that it is made with, in dpkg's order; where scripts are run some may be among packages, too
	merged       bool
	sources      []imagelock.Source // that packages of it were built of
}

// choose resolves the plan's packages for each architecture, or takes the lock's. It fetches no package.
func choose(ctx context.Context, o *Options) (*imagelock.Lock, []chosen, error) {
	archs := o.Architectures
	if len(archs) == 0 {
		archs = o.Plan.Architectures
	}
	if len(archs) == 0 {
		return nil, nil, fmt.Errorf("%w: for which architecture? arch: in the plan says it", outcome.ErrUsage)
	}
	o.built = map[snapshot.Digest]*Built{}
	lock := &imagelock.Lock{Snapshot: o.Snapshot.Root, Date: o.date(), Queries: queries(o)}
	if o.Lock != nil {
		if err := o.Lock.Answers(lock.Queries, archs); err != nil {
			return nil, nil, err
		}
		lock.Snapshot = o.Lock.Snapshot
	}
	var all []chosen
	for i, arch := range archs {
		if slices.Contains(archs[:i], arch) {
			return nil, nil, fmt.Errorf("%w: architecture %s is asked for twice", outcome.ErrUsage, arch)
		}
		c, err := chooseFor(ctx, o, arch)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", arch, err)
		}
		lock.Architectures = append(lock.Architectures, o.lockedOf(c))
		all = append(all, c)
	}
	return lock, all, nil
}

// queries are what is asked for, sorted.
func queries(o *Options) []string {
	var out []string
	for _, q := range o.Plan.Packages {
		out = append(out, q.Text)
	}
	for i := range o.Plan.Embedded {
		out = append(out, o.Plan.Embedded[i].String())
	}
	if o.Plan.Essential {
		out = append(out, essentialQuery)
	}
	slices.Sort(out)
	return out
}

func chooseFor(ctx context.Context, o *Options, arch string) (chosen, error) {
	var locked *imagelock.Architecture
	if o.Lock != nil {
		locked = o.Lock.Of(arch)
	}
	built, err := o.embed(ctx, arch, locked)
	if err != nil {
		return chosen{}, err
	}
	asked := built.asked
	if locked != nil {
		asked = imagelock.Queries(locked.Packages)
	} else {
		for _, q := range queries(o) {
			if !strings.HasPrefix(q, "{") { // what is built is asked for by version
				asked = append(asked, q)
			}
		}
	}
	scripts, err := o.scriptsOf(arch, locked)
	if err != nil {
		return chosen{}, err
	}
	from, err := extract.NewChooser(ctx, extract.Options{Snapshot: o.Snapshot, Trust: o.Trust, Architecture: arch, Own: built.own, Log: o.Log})
	if err != nil {
		return chosen{}, err
	}
	sel, err := from.Choose(ctx, asked)
	if err != nil {
		return chosen{}, err
	}
	c := chosen{architecture: arch, scripts: scripts, sources: built.sources}
	var stanzas []deb.Stanza
	for _, group := range sel.Groups() {
		for _, p := range group {
			c.packages = append(c.packages, p)
			stanzas = append(stanzas, p.Stanza)
		}
	}
	c.merged, _ = stack.MergedUsr(stanzas)
	if c.helpers, err = chooseHelpers(ctx, from, locked, c); err != nil {
		return chosen{}, err
	}
	if locked != nil {
		if err := locked.Same(o.lockedOf(c)); err != nil {
			return chosen{}, err
		}
	}
	return c, nil
}

// scriptsOf decides what is done with maintainer scripts.
func (o *Options) scriptsOf(arch string, locked *imagelock.Architecture) (string, error) {
	asked := cmp.Or(o.ScriptsOf[arch], o.Scripts, o.Plan.Scripts)
	switch {
	case locked != nil && o.Scripts != "" && o.Scripts != locked.Scripts:
		return "", fmt.Errorf("%w: the lock is for scripts: %s; \"mmoci image lock\" makes it anew", outcome.ErrUsage, locked.Scripts)
	case locked != nil:
		return locked.Scripts, nil
	case asked == "" && arch == o.Native:
		return imageplan.Run, nil
	case asked == "":
		return imageplan.None, nil
	}
	return asked, nil
}

// chooseHelpers finds the helpers: the locked ones, or those that apt would choose.
func chooseHelpers(ctx context.Context, from *extract.Chooser, locked *imagelock.Architecture, c chosen) ([]*resolve.Package, error) {
	ours := map[string]bool{}
	for _, p := range c.packages {
		ours[p.Name] = true
	}
	if c.scripts == imageplan.None {
		return chooseBase(ctx, from, locked, ours)
	}
	asked := []string{essentialQuery}
	if locked != nil {
		asked = imagelock.Queries(locked.Helpers)
	}
	if len(asked) == 0 {
		return nil, nil
	}
	sel, err := from.Choose(ctx, asked)
	switch {
	case errors.Is(err, resolve.ErrUnsatisfied) && locked == nil:
		return nil, fmt.Errorf("scripts are run beside what is Essential, which is %w in the snapshot: take it into its packages (%s), or do not run them (scripts: none)", outcome.ErrNotFound, essentialQuery)
	case err != nil:
		return nil, err
	}
	var out []*resolve.Package
	for _, group := range sel.Groups() {
		out = append(out, group...)
	}
	return out, nil
}

// chooseBase finds the packages that fix-ups read, or the locked ones of them. One that the snapshot does not have is done without.
func chooseBase(ctx context.Context, from *extract.Chooser, locked *imagelock.Architecture, ours map[string]bool) ([]*resolve.Package, error) {
	asked := []string{releasePackage, usersPackage}
	if locked != nil {
		asked = imagelock.Queries(locked.Helpers)
	}
	var out []*resolve.Package
	for _, q := range asked {
		name, _, _ := strings.Cut(q, " ")
		if ours[name] {
			continue
		}
		sel, err := from.Choose(ctx, []string{q})
		if errors.Is(err, resolve.ErrUnsatisfied) && locked == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, group := range sel.Groups() {
			for _, p := range group {
				if p.Name == name {
					out = append(out, p)
				}
			}
		}
	}
	return out, nil
}

// blobOf is the .deb that a stanza names.
func blobOf(p *resolve.Package) (snapshot.Blob, error) {
	d, err := snapshot.ListedDigest(p.SHA256)
	if err != nil {
		return snapshot.Blob{}, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return snapshot.Blob{Digest: d, Size: p.Size}, nil
}

// lockedOf is what was chosen, as a lock has it.
func (o *Options) lockedOf(c chosen) imagelock.Architecture {
	return imagelock.Architecture{Name: c.architecture, Scripts: c.scripts, Sources: c.sources, Packages: o.lockedPackages(c.packages), Helpers: o.lockedPackages(c.helpers)}
}

func (o *Options) lockedPackages(packages []*resolve.Package) []imagelock.Package {
	var out []imagelock.Package
	for _, p := range packages {
		l := lockedPackage(p)
		if b := o.builtOf(p); b != nil {
			l.Identity = b.Identity
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(x, y imagelock.Package) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Architecture, y.Architecture))
	})
	return out
}

func lockedPackage(p *resolve.Package) imagelock.Package {
	d, _ := snapshot.ListedDigest(p.SHA256) // was read when it was chosen
	return imagelock.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Deb: snapshot.Blob{Digest: d, Size: p.Size}}
}

// MakeLock resolves a plan to the packages that an image would have.
func MakeLock(ctx context.Context, o Options) (*imagelock.Lock, error) {
	lock, _, err := choose(ctx, &o)
	return lock, err
}
