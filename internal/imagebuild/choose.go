package imagebuild

import (
	"context"
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
	sel, err := extract.Choose(ctx, extract.Options{Snapshot: o.Snapshot, Trust: o.Trust, Queries: asked, Architecture: arch, Log: o.Log})
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
	if locked != nil {
		if err := locked.matches(c); err != nil {
			return chosen{}, err
		}
	}
	return c, nil
}

// blobOf is the .deb that a stanza names.
func blobOf(p *resolve.Package) (snapshot.Blob, error) {
	d, err := snapshot.ListedDigest(p.SHA256)
	if err != nil {
		return snapshot.Blob{}, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return snapshot.Blob{Digest: d, Size: p.Size}, nil
}
