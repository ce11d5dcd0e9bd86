package prove

import (
	"context"
	"fmt"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove/byformat"
	"example.org/mmoci/internal/prove/fileproof"
	"example.org/mmoci/internal/prove/rpmproof"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// prover is what proves archives of a format that is not deb; nil: nothing here does.
func prover(format string) byformat.Prover {
	switch format {
	case snapshot.FormatFiles:
		return fileproof.Prove
	case snapshot.FormatRPM:
		return rpmproof.Prove
	}
	return nil
}

// proveFormat proves an archive of a format that is not deb, as far as the chain's trust reaches.
func (c *Chain) proveFormat(ctx context.Context, a snapshot.Archive) (byformat.Result, error) {
	prove := prover(a.Format)
	if prove == nil {
		return byformat.Result{}, snapshot.Newer(fmt.Sprintf("archive %s of format %s", a.Prefix, a.Format), c.Snapshot.Statement.Needs)
	}
	in := byformat.Input{
		Snapshot: c.Snapshot, Archive: a, Believed: c.Trust.Believed(c.Snapshot), Upstream: c.Trust.Upstream[a.Prefix], Now: c.Trust.Now,
	}
	if c.Snapshot.Statement.How.Kind == pgp.Signed {
		in.Site = c.Trust.Site
	}
	if a.Class != snapshot.Upstream && in.Upstream != nil {
		return byformat.Result{}, fmt.Errorf("%w: archive %s: a key of upstream's is given for it, but the statement calls it the site's own", outcome.ErrIntegrity, a.Prefix)
	}
	res, err := prove(ctx, in)
	if err != nil {
		return res, fmt.Errorf("archive %s: %w", a.Prefix, err)
	}
	if err := c.freshFormat(a, res); err != nil {
		return res, err
	}
	return res, c.agrees(a, res)
}

// freshFormat holds the age of an archive against what is allowed, where only upstream's key is relied on: the newest of its
// signed dates is its age, as it is of a Debian archive.
func (c *Chain) freshFormat(a snapshot.Archive, res byformat.Result) error {
	if c.Trust.Believed(c.Snapshot) {
		return nil
	}
	var newest time.Time
	for _, s := range res.Signed {
		if s.Upstream && s.How.Kind == pgp.Signed && s.Date.After(newest) {
			newest = s.Date
		}
	}
	if newest.IsZero() {
		return nil
	}
	if err := c.Trust.fresh(newest); err != nil {
		return fmt.Errorf("archive %s: %w", a.Prefix, err)
	}
	return nil
}

// agrees holds the files that an archive's signed texts name against the table, for those who read no table. It says
// nothing of rows that no text names: Verify does.
func (c *Chain) agrees(a snapshot.Archive, res byformat.Result) error {
	for _, row := range res.Files {
		switch was, ok := c.Snapshot.Table.Find(row.Path); {
		case row.Archive() != a.Prefix:
			return fmt.Errorf("%w: archive %s names %s, which is not below it", outcome.ErrIntegrity, a.Prefix, row.Path)
		case !ok:
			return fmt.Errorf("%w: %s is named by archive %s, but not in the snapshot", outcome.ErrIntegrity, row.Path, a.Prefix)
		case was.Blob() != row.Blob():
			return fmt.Errorf("%w: %s is %s in the table, its archive says %s", outcome.ErrIntegrity, row.Path, was.Blob(), row.Blob())
		}
	}
	return nil
}

// walkFormat is [Chain.Walk] for such an archive. All of it changes with its lists: its files have the snapshot's date.
func (c *Chain) walkFormat(ctx context.Context, a snapshot.Archive, visit Visitor) error {
	res, err := c.proveFormat(ctx, a)
	if err != nil {
		return err
	}
	p := &Suite{archive: a, Name: "./", Base: a.Prefix + "/", Release: &archive.Release{Date: c.Snapshot.Statement.Date}}
	for _, row := range res.Files {
		visit.add(p, row.Path, row.Blob(), row.Package)
	}
	return nil
}

// format verifies an archive of a format that is not deb, for the report.
func (v *verifier) format(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	res, err := v.chain.proveFormat(ctx, a)
	if err != nil {
		return err
	}
	r.Packages = res.Packages
	for _, s := range res.Signed {
		ring := v.Trust.Site
		if s.Upstream {
			ring = v.Trust.Upstream[a.Prefix]
		}
		rel := ReleaseReport{Path: s.Path, Date: s.Date, Signature: signature(s.How, ring, v.Trust.Now)}
		i := len(r.Suites) - 1
		if i < 0 || r.Suites[i].Name != s.Suite {
			r.Suites = append(r.Suites, SuiteReport{Name: s.Suite})
			i++
		}
		if s.Upstream && a.Mode == snapshot.Curated {
			r.Suites[i].Upstream = &rel
		} else {
			r.Suites[i].Served = rel
		}
	}
	for _, row := range res.Files {
		if was := v.want[row.Path]; was != nil && was.Blob != row.Blob() {
			return fmt.Errorf("%w: %s is named twice, as %s and as %s", outcome.ErrIntegrity, row.Path, was.Blob, row.Blob())
		}
		v.want[row.Path] = &wanted{Blob: row.Blob(), pkg: row.Package}
	}
	for _, d := range res.Read {
		v.read(d)
	}
	return nil
}
