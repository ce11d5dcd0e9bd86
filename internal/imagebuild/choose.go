package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"

	"example.org/mmoci/internal/rootfs"
)

// essentialQuery selects what every Debian system has.
const essentialQuery = "Essential (= yes)"

// chosen are the packages of one architecture, in the order in which dpkg takes them.
type chosen struct {
	architecture string
	packages     []*resolve.Package
	helper       *resolve.Package // [helperPackage], if it is not among packages and the snapshot has it
	merged       bool
}

// choose resolves the plan's packages for each architecture, or takes the lock's. It fetches no package.
func choose(ctx context.Context, o *Options) (*Lock, []chosen, error) {
	archs := o.Architectures
	if len(archs) == 0 {
		archs = o.Plan.Architectures
	}
	if len(archs) == 0 {
		return nil, nil, fmt.Errorf("%w: for which architecture? arch: in the plan says it", outcome.ErrUsage)
	}
	lock := &Lock{Snapshot: o.Snapshot.Root, Date: o.date(), Queries: queries(o)}
	if o.Lock != nil {
		if err := o.Lock.answers(lock.Queries, archs); err != nil {
			return nil, nil, err
		}
		lock.Snapshot = o.Lock.Snapshot
	}
	var all []chosen
	for _, arch := range archs {
		c, err := chooseFor(ctx, o, arch)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", arch, err)
		}
		lock.Architectures = append(lock.Architectures, lockedOf(c))
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
	if o.Plan.Essential {
		out = append(out, essentialQuery)
	}
	slices.Sort(out)
	return out
}

func chooseFor(ctx context.Context, o *Options, arch string) (chosen, error) {
	asked := queries(o)
	var locked *LockedArchitecture
	if o.Lock != nil {
		locked = o.Lock.of(arch)
		asked = locked.queries()
	}
	from, err := extract.NewChooser(ctx, extract.Options{Snapshot: o.Snapshot, Trust: o.Trust, Architecture: arch, Log: o.Log})
	if err != nil {
		return chosen{}, err
	}
	sel, err := from.Choose(ctx, asked)
	if err != nil {
		return chosen{}, err
	}
	c := chosen{architecture: arch}
	var stanzas []deb.Stanza
	for _, group := range sel.Groups() {
		for _, p := range group {
			c.packages = append(c.packages, p)
			stanzas = append(stanzas, p.Stanza)
		}
	}
	c.merged, _ = rootfs.MergedUsr(stanzas)
	if c.helper, err = chooseHelper(ctx, from, locked, c.packages); err != nil {
		return chosen{}, err
	}
	if locked != nil {
		if err := locked.matches(c); err != nil {
			return chosen{}, err
		}
	}
	return c, nil
}

// chooseHelper finds the helper: the locked one, or the one that apt would choose; nil where it is needed by nobody or not there.
func chooseHelper(ctx context.Context, from *extract.Chooser, locked *LockedArchitecture, packages []*resolve.Package) (*resolve.Package, error) {
	isHelper := func(p *resolve.Package) bool { return p.Name == helperPackage }
	if slices.ContainsFunc(packages, isHelper) || locked != nil && locked.Helper == (LockedPackage{}) {
		return nil, nil
	}
	query := helperPackage
	if locked != nil {
		query = locked.Helper.query()
	}
	sel, err := from.Choose(ctx, []string{query})
	switch {
	case errors.Is(err, resolve.ErrUnsatisfied) && locked == nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	for _, group := range sel.Groups() {
		if i := slices.IndexFunc(group, isHelper); i >= 0 {
			return group[i], nil
		}
	}
	return nil, nil
}

// blobOf is the .deb that a stanza names.
func blobOf(p *resolve.Package) (snapshot.Blob, error) {
	d, err := snapshot.ListedDigest(p.SHA256)
	if err != nil {
		return snapshot.Blob{}, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return snapshot.Blob{Digest: d, Size: p.Size}, nil
}
