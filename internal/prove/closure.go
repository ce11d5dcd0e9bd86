package prove

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// Provable parts the archives into those that a given key, or the statement,
// can prove, and those that nothing can.
func (c *Chain) Provable() (proven, foreign []snapshot.Archive) {
	for _, a := range c.Snapshot.Statement.Archives {
		if _, err := c.BestView(a); err != nil {
			foreign = append(foreign, a)
		} else {
			proven = append(proven, a)
		}
	}
	return proven, foreign
}

// Crosses tells, of a closure that the proven indices alone do not meet,
// whether it needs packages of an archive that nothing given can prove, and
// which key is missing; nil if that is not what is wrong. Only now, and within
// maxUnproven, are the indices of such an archive read; nothing is taken from them but a name for the message.
func (c *Chain) Crosses(ctx context.Context, foreign []snapshot.Archive, archs []string, proven []resolve.Index, req resolve.Request) error {
	unproven := map[string]bool{}
	indices := slices.Clone(proven)
	left := int64(maxUnproven)
	for _, a := range foreign {
		size, err := c.declared(ctx, a, archs, left)
		if err != nil || size > left {
			continue // it is not for us to say what is wrong with it
		}
		left -= size
		read, err := c.archive(ctx, a, archs)
		if err != nil {
			continue
		}
		unproven[a.Prefix] = true
		indices = append(indices, read...)
	}
	if len(unproven) == 0 {
		return nil
	}
	u, err := resolve.NewUniverse(indices)
	if err != nil {
		return nil
	}
	res, err := u.Resolve(req)
	if err != nil {
		return nil
	}
	for _, p := range res.Packages {
		if unproven[p.Archive] {
			return outcome.GiveUpstreamKey.For(fmt.Errorf("%w: %s %s is needed (%s) and comes from prefix %s, for which no key is given",
				outcome.ErrIntegrity, p.Name, p.Version, p.Reason, p.Archive), p.Archive)
		}
	}
	return nil
}

// declared is how many bytes the Releases and indices of an archive are said to
// have, stored and unpacked; more than most where it is more, or an unpacked size is not said.
func (c *Chain) declared(ctx context.Context, a snapshot.Archive, archs []string, most int64) (size int64, err error) {
	for _, s := range a.Suites {
		for _, f := range s.Files {
			size += f.Size
		}
	}
	if size > most {
		return size, nil // its Releases are not even read
	}
	ixs, err := c.indicesOf(ctx, a, archs)
	for _, ix := range ixs {
		plain, ok := ix.suite.Release.File(archive.PlainName(ix.path))
		if !ok || ix.blob.Size > most || plain.Size > most {
			return most + 1, nil
		}
		size += ix.blob.Size + plain.Size
	}
	return size, err
}

// Universe reads the indices of architectures in the best view of each archive.
func (c *Chain) Universe(ctx context.Context, of []snapshot.Archive, archs []string) ([]resolve.Index, error) {
	read, err := parallel.InOrder(of, func(a snapshot.Archive) ([]resolve.Index, error) { return c.archive(ctx, a, archs) })
	return slices.Concat(read...), err
}

// archive reads the indices of architectures in the best view of one archive.
func (c *Chain) archive(ctx context.Context, a snapshot.Archive, archs []string) ([]resolve.Index, error) {
	ixs, err := c.indicesOf(ctx, a, archs)
	if err != nil {
		return nil, err
	}
	return parallel.InOrder(ixs, func(ix Index) (resolve.Index, error) { return c.resolveIndex(ctx, ix) })
}

// indicesOf are the indices of architectures in the best view of one archive that name anything.
func (c *Chain) indicesOf(ctx context.Context, a snapshot.Archive, archs []string) ([]Index, error) {
	v, _ := c.BestView(a) // without a key it is looked at all the same, by who knows that
	suites, err := c.Suites(ctx, a, v)
	if err != nil {
		return nil, err
	}
	var ixs []Index
	for _, p := range suites {
		found, err := c.indices(p)
		if err != nil {
			return nil, err
		}
		for _, ix := range found {
			if c.namesNothing(ix) {
				continue // need not be fetched to know that
			}
			if slices.Contains(archs, ix.arch) || ix.arch == "all" || ix.arch == "" {
				ixs = append(ixs, ix)
			}
		}
	}
	return ixs, nil
}

// resolveIndex reads an index for the resolver. Upstream's indices of a curated
// archive name far more than is here: of them, the packages whose files are. Only
// there the table is asked; what it leaves out, a registry could leave out anyway.
func (c *Chain) resolveIndex(ctx context.Context, ix Index) (resolve.Index, error) {
	data, err := c.read(ctx, ix)
	if err != nil {
		return resolve.Index{}, err
	}
	prefix := ix.suite.archive.Prefix
	out := resolve.Index{
		Archive: prefix, Suite: ix.suite.Name, Component: ix.component, Architecture: ix.arch,
		Path: ix.suite.Base + ix.path, Data: data, Pin: ix.suite.Release.Pin(),
	}
	if ix.suite.partial() {
		out.Keep = func(f archive.PackageFile) bool {
			row, ok := c.Snapshot.Table.Find(prefix + "/" + f.Filename)
			return ok && row.Digest.Hex() == f.SHA256
		}
	}
	return out, nil
}

// Lacks says that a snapshot has nothing for an architecture, and what it has;
// nil if there are indices of it: then its absence is not what is wrong.
func (c *Chain) Lacks(ctx context.Context, arch string, read []resolve.Index) error {
	if slices.ContainsFunc(read, func(ix resolve.Index) bool { return ix.Architecture == arch || ix.Architecture == "" }) {
		return nil
	}
	var has []string
	for _, a := range c.Snapshot.Statement.Archives {
		v, _ := c.BestView(a)
		suites, err := c.Suites(ctx, a, v)
		if err != nil {
			return nil // said when they were read
		}
		for _, p := range suites {
			found, err := c.indices(p)
			if err != nil {
				return nil
			}
			for _, ix := range found {
				if ix.arch != "source" && ix.arch != "" && !c.namesNothing(ix) {
					has = append(has, ix.arch)
				}
			}
		}
	}
	slices.Sort(has)
	if has = slices.Compact(has); len(has) == 0 {
		return nil
	}
	return fmt.Errorf("%w: architecture %s: the snapshot has packages for %s", outcome.ErrNotFound, arch, strings.Join(has, ", "))
}

// namesNothing tells an index that is empty when it is decompressed.
func (c *Chain) namesNothing(ix Index) bool {
	plain, ok := ix.suite.Release.File(archive.PlainName(ix.path))
	return ok && plain.Size == 0
}
