package mirror

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// visitor takes what a walk down the chain proves. Both may be nil.
type visitor struct {
	// file is a file with its digest as signed, under its name in the snapshot.
	file func(p *provenSuite, name string, b snapshot.Blob)
	// stanza is one of an index that was read.
	stanza func(p *provenSuite, st deb.Stanza)
}

// proveArchive collects every file of an archive that the chain proves: path
// in the snapshot, and digest as signed.
func (c *chain) proveArchive(ctx context.Context, a snapshot.Archive, v view, want map[string]snapshot.Blob) error {
	return c.walk(ctx, a, v, visitor{file: func(_ *provenSuite, name string, b snapshot.Blob) { want[name] = b }})
}

// walk goes down the chain of one archive in one view: signature files, files
// that a Release lists, stanzas, pool files.
func (c *chain) walk(ctx context.Context, a snapshot.Archive, v view, visit visitor) error {
	suites, err := c.suites(ctx, a, v)
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

func (c *chain) walkSuite(ctx context.Context, p *provenSuite, visit visitor) error {
	for _, f := range p.files {
		visit.add(p, f.Path, f.Blob)
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

func (v visitor) add(p *provenSuite, name string, b snapshot.Blob) {
	if v.file != nil {
		v.file(p, name, b)
	}
}

// listedFiles adds every file that a Release lists and the snapshot carries.
func (c *chain) listedFiles(ctx context.Context, p *provenSuite, visit visitor) error {
	for _, f := range p.release.Files {
		row, ok := c.s.Table.Find(p.base + f.Path)
		if !ok {
			continue
		}
		blob, err := blobOf(f, row)
		if err != nil {
			return err
		}
		if row.Digest != blob.Digest || row.Size != blob.Size {
			return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				ErrIntegrity, row.Path, row.Digest, row.Size, blob.Digest, blob.Size)
		}
		if err := c.strong(ctx, f, row.Path, blob); err != nil {
			return err
		}
		visit.add(p, row.Path, blob)
		c.alias(p, f, row, visit)
	}
	return nil
}

// strong holds a file that its Release lists by SHA512 only against it: the
// digest it was found by is the table's, which upstream did not sign.
func (c *chain) strong(ctx context.Context, f archive.ReleaseFile, name string, b snapshot.Blob) error {
	if _, _, read := indexName(f.Path); f.SHA256 != "" || read { // an index is held against it when it is read
		return nil
	}
	file, err := c.s.OpenBlob(ctx, b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	h := sha512.New()
	if _, err := io.Copy(h, file.Reader); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA512 {
		return fmt.Errorf("%w: %s: SHA512 is %s, its Release lists %s", ErrIntegrity, name, got, f.SHA512)
	}
	return nil
}

// alias adds the by-hash name that apt asks for where SHA512 alone is listed.
func (c *chain) alias(p *provenSuite, f archive.ReleaseFile, row snapshot.Row, visit visitor) {
	if f.SHA512 == "" || f.SHA256 != "" {
		return
	}
	name := path.Dir(row.Path) + "/by-hash/SHA512/" + f.SHA512
	if found, ok := c.s.Table.Find(name); ok && found.Digest == row.Digest {
		visit.add(p, name, row.Blob())
	}
}

// poolFiles visits the stanzas of an index and the pool files that it names.
// In upstream's view of a curated archive, whose indices name far more than is
// here, those that are here: a stanza that cannot be read names none of them.
func (c *chain) poolFiles(ctx context.Context, ix provenIndex, visit visitor) error {
	data, err := c.read(ctx, ix)
	if err != nil {
		return err
	}
	name := ix.suite.base + ix.path
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
			return fmt.Errorf("%w: index %s: %w", ErrIntegrity, name, err)
		}
		if visit.stanza != nil {
			visit.stanza(ix.suite, st)
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
func (p *provenSuite) partial() bool { return strings.HasPrefix(p.base, "upstream/") }

func (c *chain) poolFile(p *provenSuite, r snapshot.Row, visit visitor) error {
	name := p.archive.Prefix + "/" + r.Path
	row, ok := c.s.Table.Find(name)
	switch {
	case !ok && p.partial():
		return nil
	case !ok:
		return fmt.Errorf("%w: %s is in the index, but not in the snapshot", ErrIntegrity, name)
	case row.Digest != r.Digest || row.Size != r.Size:
		return fmt.Errorf("%w: %s is %s (%d bytes) in the table, its stanza says %s (%d bytes)",
			ErrIntegrity, name, row.Digest, row.Size, r.Digest, r.Size)
	}
	if p.partial() {
		name = "upstream/" + name
	}
	visit.add(p, name, r.Blob())
	return nil
}

// stanzaFiles lists the pool files of a stanza, paths relative to the archive.
func stanzaFiles(st deb.Stanza, source bool) ([]snapshot.Row, error) {
	if source {
		return sourceRows(st)
	}
	f, err := archive.ParsePackageFile(st)
	if err != nil {
		return nil, err
	}
	d, err := snapshot.ParseDigest("sha256:" + f.SHA256)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: %w", f.Name, f.Version, err)
	}
	r := snapshot.Row{Path: f.Filename, Size: f.Size, Digest: d}
	r.Package = snapshot.Package{Name: f.Name, Version: f.Version, Architecture: f.Architecture, Source: f.Source}
	return []snapshot.Row{r}, nil
}
