package prove

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"example.org/mmoci/internal/debdir"
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
		blob, err := BlobOf(f, row)
		if err != nil {
			return err
		}
		if row.Digest != blob.Digest || row.Size != blob.Size {
			return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				outcome.ErrIntegrity, row.Path, row.Digest, row.Size, blob.Digest, blob.Size)
		}
		if _, _, read := IndexName(f.Path); f.SHA256 == "" && !read { // an index is held against it when it is read
			if err := c.strong(ctx, "its Release lists", f.SHA512, row.Path, blob); err != nil {
				return err
			}
		}
		visit.add(p, row.Path, blob, snapshot.Package{})
		c.alias(p, f, row, visit)
	}
	return nil
}

// strong holds a file that is signed by SHA512 only against it: the digest it
// was found by is the table's, which upstream did not sign. says tells where the SHA512 stands.
func (c *Chain) strong(ctx context.Context, says, want, name string, b snapshot.Blob) error {
	if was, ok := c.strongly.Load(b.Digest); ok && was == want {
		return nil // both views name the same pool files
	}
	file, err := c.Snapshot.OpenBlob(ctx, b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	h := sha512.New()
	if _, err := io.Copy(h, file.Reader); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%w: %s: SHA512 is %s, %s %s", outcome.ErrIntegrity, name, got, says, want)
	}
	c.strongly.Store(b.Digest, want)
	return nil
}

// alias adds the by-hash name that apt asks for where SHA512 alone is listed.
func (c *Chain) alias(p *Suite, f archive.ReleaseFile, row snapshot.Row, visit Visitor) {
	if f.SHA512 == "" || f.SHA256 != "" {
		return
	}
	name := path.Dir(row.Path) + "/by-hash/SHA512/" + f.SHA512
	if found, ok := c.Snapshot.Table.Find(name); ok && found.Digest == row.Digest {
		visit.add(p, name, row.Blob(), snapshot.Package{})
	}
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
		var rows []listedFile
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
			if err := c.poolFile(ctx, ix.suite, r, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// partial tells that the indices of a suite name more than the snapshot holds.
func (p *Suite) partial() bool { return strings.HasPrefix(p.Base, "upstream/") }

func (c *Chain) poolFile(ctx context.Context, p *Suite, r listedFile, visit Visitor) error {
	name := p.archive.Prefix + "/" + r.Path
	row, ok := c.Snapshot.Table.Find(name)
	switch {
	case !ok && p.partial():
		return nil
	case !ok:
		return fmt.Errorf("%w: %s is in the index, but not in the snapshot", outcome.ErrIntegrity, name)
	}
	if r.sha512 != "" {
		r.Digest = row.Digest // finds the bytes, which must be those of the stanza
		if err := c.strong(ctx, "its stanza says", r.sha512, name, row.Blob()); err != nil {
			return err
		}
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

// listedFile is a pool file as a stanza has it, its path relative to the archive.
type listedFile struct {
	snapshot.Row
	sha512 string // set if the stanza has no SHA256, so that Row has no Digest
}

// stanzaFiles lists the pool files of a stanza.
func stanzaFiles(st deb.Stanza, source bool) ([]listedFile, error) {
	if source {
		rows, err := debdir.SourceRows(st)
		out := make([]listedFile, len(rows))
		for i, r := range rows {
			out[i].Row = r
		}
		return out, err
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return nil, err
	}
	r := listedFile{Row: snapshot.Row{Path: f.Filename, Size: f.Size}}
	if f.SHA256 == "" {
		r.sha512 = f.SHA512
	} else if r.Digest, err = ListedDigest(f.SHA256); err != nil {
		return nil, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	r.Package = snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	return []listedFile{r}, nil
}
