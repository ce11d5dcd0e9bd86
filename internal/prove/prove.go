package prove

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Visitor takes what a walk down the chain proves. Both may be nil.
type Visitor struct {
	// file is a file as the table should have it: under its name in the snapshot, with its
	// digest as signed, and the package that its stanza says it is.
	File func(p *Suite, row snapshot.Row)
	// stanza is one of an index that was read.
	stanza func(ix Index, st deb.Stanza)
}

// Walk goes down the chain of one archive in one view: signature files, files
// that a Release lists, stanzas, pool files.
func (c *Chain) Walk(ctx context.Context, a snapshot.Archive, v view, visit Visitor) error {
	suites, err := c.Suites(ctx, a, v)
	if err != nil {
		return err
	}
	for _, p := range suites {
		if err := c.walkSuite(ctx, p, visit); err != nil {
			return err
		}
	}
	return nil
}

func (c *Chain) walkSuite(ctx context.Context, p *Suite, visit Visitor) error {
	for _, f := range p.files {
		visit.add(p, f.Path, f.Blob, snapshot.Package{})
	}
	if err := c.listedFiles(ctx, p, visit); err != nil {
		return err
	}
	ixs, err := c.indices(p)
	if err != nil {
		return err
	}
	for _, ix := range ixs {
		if err := c.poolFiles(ctx, ix, visit); err != nil {
			return err
		}
	}
	return nil
}

func (v Visitor) add(p *Suite, name string, b snapshot.Blob, pkg snapshot.Package) {
	if v.File != nil {
		v.File(p, snapshot.Row{Path: name, Size: b.Size, Digest: b.Digest, Package: pkg})
	}
}

// listedFiles adds every file that a Release lists and the snapshot carries.
func (c *Chain) listedFiles(ctx context.Context, p *Suite, visit Visitor) error {
	for _, f := range p.Release.Files {
		row, ok := c.Snapshot.Table.Find(p.Base + f.Path)
		if !ok {
			continue
		}
		blob, err := snapshot.ListedBlob(f)
		if err != nil {
			return err
		}
		if row.Digest != blob.Digest || row.Size != blob.Size {
			return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				outcome.ErrIntegrity, row.Path, row.Digest, row.Size, blob.Digest, blob.Size)
		}
		visit.add(p, row.Path, blob, snapshot.Package{})
	}
	return nil
}

// poolFiles visits the stanzas of an index and the pool files that it names.
// In upstream's view of a curated archive, whose indices name far more than is
// here, those that are here: a stanza that cannot be read names none of them.
func (c *Chain) poolFiles(ctx context.Context, ix Index, visit Visitor) error {
	data, err := c.read(ctx, ix)
	if err != nil {
		return err
	}
	return c.poolFilesIn(ctx, ix, data, visit)
}

// poolFilesIn is poolFiles of an index that was read.
func (c *Chain) poolFilesIn(ctx context.Context, ix Index, data []byte, visit Visitor) error {
	name := ix.suite.Base + ix.path
	partial := ix.suite.partial()
	for st, err := range deb.Stanzas(data) {
		var rows []snapshot.Row
		if err == nil {
			rows, err = stanzaFiles(st, ix.arch == "source")
		}
		if err != nil && partial {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, name, err)
		}
		if visit.stanza != nil {
			visit.stanza(ix, st)
		}
		for _, r := range rows {
			if err := c.poolFile(ix.suite, r, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// partial tells that the indices of a suite name more than the snapshot holds.
func (p *Suite) partial() bool { return strings.HasPrefix(p.Base, "upstream/") }

func (c *Chain) poolFile(p *Suite, r snapshot.Row, visit Visitor) error {
	name := p.archive.Prefix + "/" + r.Path
	row, ok := c.Snapshot.Table.Find(name)
	switch {
	case !ok && p.partial():
		return nil
	case !ok:
		return fmt.Errorf("%w: %s is in the index, but not in the snapshot", outcome.ErrIntegrity, name)
	}
	switch {
	case row.Digest != r.Digest || row.Size != r.Size:
		return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its stanza says %s (%d bytes)",
			outcome.ErrIntegrity, name, row.Digest, row.Size, r.Digest, r.Size)
	}
	if p.partial() {
		name = "upstream/" + name
	}
	visit.add(p, name, r.Blob(), r.Package)
	return nil
}

// stanzaFiles lists the pool files of a stanza, their paths relative to the archive.
func stanzaFiles(st deb.Stanza, source bool) ([]snapshot.Row, error) {
	if source {
		return snapshot.SourceRows(st)
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return nil, err
	}
	d, err := snapshot.ListedDigest(f.SHA256)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	pkg := snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	return []snapshot.Row{{Path: f.Filename, Size: f.Size, Digest: d, Package: pkg}}, nil
}
