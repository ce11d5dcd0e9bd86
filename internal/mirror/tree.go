package mirror

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Pulling is the question to Pull.
type Pulling struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	Dir      string
	Log      Log
}

// Pulled is the answer.
type Pulled struct {
	Files  int
	Bytes  int64
	Reused int64
}

// Pull writes the apt tree of a snapshot (PREFIX/dists, PREFIX/pool) as files,
// every one of them proved through the chain.
func Pull(ctx context.Context, p Pulling) (*Pulled, error) {
	c := &chain{s: p.Snapshot, trust: p.Trust}
	want := map[string]snapshot.Blob{}
	for _, a := range p.Snapshot.Statement.Archives {
		v, err := c.bestView(a)
		if err != nil {
			return nil, fmt.Errorf("%w: archive %s: %w: --keyring %s=FILE", ErrIntegrity, a.Prefix, err, a.Prefix)
		}
		if err := c.proveArchive(ctx, a, v, want); err != nil {
			return nil, err
		}
	}
	out, err := openDir(p.Dir, want)
	if err != nil {
		return nil, err
	}
	defer out.close()
	if err := out.fetch(ctx, p.Snapshot, nil); err != nil {
		return nil, err
	}
	return &Pulled{Files: len(want), Bytes: out.total, Reused: out.reused}, nil
}

// proveArchive collects every file of an archive that the chain proves: path
// in the snapshot, and digest as signed.
func (c *chain) proveArchive(ctx context.Context, a snapshot.Archive, v view, want map[string]snapshot.Blob) error {
	suites, err := c.suites(ctx, a, v)
	if err != nil {
		return err
	}
	for _, p := range suites {
		for _, f := range p.files {
			want[f.Path] = f.Blob
		}
		if err := c.listedFiles(p, want); err != nil {
			return err
		}
		ixs, err := c.indices(p)
		if err != nil {
			return err
		}
		for _, ix := range ixs {
			if err := c.poolFiles(ctx, ix, want); err != nil {
				return fmt.Errorf("archive %s: %w", a.Prefix, err)
			}
		}
	}
	return nil
}

// listedFiles adds every file that a Release lists and the snapshot carries.
func (c *chain) listedFiles(p *provenSuite, want map[string]snapshot.Blob) error {
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
			return fmt.Errorf("%w: %s is %s in the table, its Release lists %s", ErrIntegrity, row.Path, row.Digest, blob.Digest)
		}
		want[row.Path] = blob
	}
	return nil
}

// poolFiles adds the pool files that an index names. In a view that carries
// more indices than files (upstream's own), those that are here.
func (c *chain) poolFiles(ctx context.Context, ix provenIndex, want map[string]snapshot.Blob) error {
	data, err := c.read(ctx, ix)
	if err != nil {
		return err
	}
	partial := strings.HasPrefix(ix.suite.base, "upstream/")
	for st, err := range deb.Stanzas(data) {
		if err != nil {
			return fmt.Errorf("%w: index %s: %w", ErrIntegrity, ix.suite.base+ix.path, err)
		}
		rows, err := stanzaFiles(st, ix.arch == "source")
		if err != nil {
			return fmt.Errorf("%w: index %s: %w", ErrIntegrity, ix.suite.base+ix.path, err)
		}
		for _, r := range rows {
			name := ix.suite.archive.Prefix + "/" + r.Path
			row, ok := c.s.Table.Find(name)
			switch {
			case !ok && partial:
				continue
			case !ok:
				return fmt.Errorf("%w: %s is in the index, but not in the snapshot", ErrIntegrity, name)
			case row.Digest != r.Digest || row.Size != r.Size:
				return fmt.Errorf("%w: %s is %s in the table, its stanza says %s", ErrIntegrity, name, row.Digest, r.Digest)
			}
			if partial {
				name = "upstream/" + name
			}
			want[name] = snapshot.Blob{Digest: r.Digest, Size: r.Size}
		}
	}
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
