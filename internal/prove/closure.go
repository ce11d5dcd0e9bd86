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

// Provable splits the .deb archives into those that a given key or the statement can prove,
// and the others.
func (c *Chain) Provable() (proven, foreign []snapshot.Archive) {
	for _, a := range c.Snapshot.Statement.Archives {
		if a.Format != snapshot.FormatDeb {
			continue
		}
		if _, err := c.BestView(a); err != nil {
			foreign = append(foreign, a)
		} else {
			proven = append(proven, a)
		}
	}
	return proven, foreign
}

// Crosses explains a request that the proven indices do not meet: it returns an error
// that names the missing key if the request needs packages of an archive that no given key
// can prove, else nil. It reads the indices of those archives, within maxUnproven bytes, and
// takes nothing from them but names for the message.
func (c *Chain) Crosses(ctx context.Context, foreign []snapshot.Archive, archs []string, proven []resolve.Index, req resolve.Request) error {
	unproven := map[string]bool{}
	indices := slices.Clone(proven)
	left := int64(maxUnproven)
	for _, a := range foreign {
		size, err := c.declared(ctx, a, archs, left)
		if err != nil || size > left {
			continue // not the error that the caller asks about
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

// declared is the listed size in bytes of an archive's Releases and indices, stored and
// unpacked. It is more than most if an unpacked size is not listed.
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
	return parallel.InOrder(ixs, func(ix suiteIndex) (resolve.Index, error) { return c.resolveIndex(ctx, ix) })
}

// AllIndices reads all indices of an archive as it is served, sources too (of the architecture "source").
func (c *Chain) AllIndices(ctx context.Context, a snapshot.Archive) ([]resolve.Index, error) {
	ixs, err := c.allIndices(ctx, a, Served)
	if err != nil {
		return nil, err
	}
	return parallel.InOrder(ixs, func(ix suiteIndex) (resolve.Index, error) { return c.resolveIndex(ctx, ix) })
}

// indicesOf are the indices of architectures in the best view of one archive, without those whose listed size says that they
// are empty.
func (c *Chain) indicesOf(ctx context.Context, a snapshot.Archive, archs []string) ([]suiteIndex, error) {
	v, _ := c.BestView(a) // Crosses reads archives without a key, too
	ixs, err := c.allIndices(ctx, a, v)
	return slices.DeleteFunc(ixs, func(ix suiteIndex) bool {
		return c.namesNothing(ix) || !slices.Contains(archs, ix.arch) && ix.arch != "all" && ix.arch != ""
	}), err
}

// allIndices are those of one archive in a view.
func (c *Chain) allIndices(ctx context.Context, a snapshot.Archive, v view) (ixs []suiteIndex, err error) {
	suites, err := c.Suites(ctx, a, v)
	if err != nil {
		return nil, err
	}
	for _, p := range suites {
		found, err := c.indices(p)
		if err != nil {
			return nil, err
		}
		ixs = append(ixs, found...)
	}
	return ixs, nil
}

// resolveIndex reads an index for the resolver. Of upstream's indices of a curated
// archive it keeps the packages whose files the table lists. A registry could leave files
// out of the table, as it could leave out the files.
func (c *Chain) resolveIndex(ctx context.Context, ix suiteIndex) (resolve.Index, error) {
	data, err := c.read(ctx, ix)
	if err != nil {
		return resolve.Index{}, err
	}
	prefix := ix.suite.archive.Prefix
	out := resolve.Index{
		Archive: prefix, Suite: ix.suite.Name, Names: []string{ix.suite.Release.Suite, ix.suite.Release.Codename}, Component: ix.component, Architecture: ix.arch,
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

// Lacks explains a request that could not be met: it returns an error that names the
// snapshot's architectures if it has no index for arch, else nil.
func (c *Chain) Lacks(ctx context.Context, arch string, read []resolve.Index) error {
	if slices.ContainsFunc(read, func(ix resolve.Index) bool { return ix.Architecture == arch || ix.Architecture == "" }) {
		return nil
	}
	var has []string
	for _, a := range c.Snapshot.Statement.Archives {
		if a.Format != snapshot.FormatDeb {
			continue
		}
		v, _ := c.BestView(a)
		suites, err := c.Suites(ctx, a, v)
		if err != nil {
			return nil // reported when they were read
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

// namesNothing tells whether an index is listed as empty.
func (c *Chain) namesNothing(ix suiteIndex) bool {
	plain, ok := ix.suite.Release.File(archive.PlainName(ix.path))
	return ok && plain.Size == 0
}
