// Package inventory makes the bill of materials of a snapshot: every binary package of it, as the proved indices name them, and every
// plain file by the site's signed list.
package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/distribution"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/sbom"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Options say of which snapshot, and who is trusted.
type Options struct {
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
}

// Bill is the bill of materials of a snapshot, packages in order of name, then plain files in order of path. No package file is read, so no licences are told. All
// that can fail to verify is verified here; what the document yields later is kept in a file without a name.
//
// Errors: outcome.ErrIntegrity for a signature or index that contradicts another, and for an archive that no key which is given
// proves.
func Bill(ctx context.Context, o Options) (*sbom.Document, error) {
	c := &prove.Chain{Snapshot: o.Snapshot, Trust: o.Trust, AsApt: true}
	if err := proved(ctx, c); err != nil {
		return nil, err
	}
	book, err := chain.Read(ctx, chain.Options{Snapshot: o.Snapshot, Upstream: o.Trust.Upstream, Site: o.Trust.Site})
	if err != nil {
		return nil, err
	}
	if len(book.Lost) > 0 {
		return nil, book.Lost[0]
	}
	var files []sbom.Package
	names := map[[2]string]distribution.Name{}
	for _, a := range o.Snapshot.Statement.Archives {
		if a.Format == snapshot.FormatFiles {
			if files, err = plainFiles(ctx, c, a, files); err != nil {
				return nil, err
			}
			continue
		}
		for _, s := range a.Suites {
			if names[[2]string{a.Prefix, s.Name}], err = distribution.Of(ctx, o.Snapshot, a.Prefix, s.Name); err != nil {
				return nil, err
			}
		}
	}
	d := &sbom.Document{Mirror: true, Date: o.Snapshot.Statement.Date, Version: snapshot.FormatDate(o.Snapshot.Statement.Date), Root: o.Snapshot.Root}
	d.Packages = func(yield func(*sbom.Package, error) bool) {
		for i := range book.Len() {
			p, err := book.Get(i)
			if err != nil {
				yield(nil, err)
				return
			}
			name := names[[2]string{p.Archive(), book.Suite(p)}]
			out := &sbom.Package{Stanza: p.Stanza, Deb: p.Digest, Path: p.Path, Vendor: name.Vendor, Distro: name.Release}
			if p.Stanza == nil { // that no index names
				out.Stanza = deb.Stanza(fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nSource: %s\n", p.Name, p.Version, p.Architecture, p.Source))
			}
			if !yield(out, nil) {
				return
			}
		}
		for i := range files {
			if !yield(&files[i], nil) {
				return
			}
		}
	}
	return d, nil
}

// plainFiles adds the files of an archive that its signed lists name.
func plainFiles(ctx context.Context, c *prove.Chain, a snapshot.Archive, to []sbom.Package) ([]sbom.Package, error) {
	view, err := c.BestView(a)
	if err != nil {
		return nil, err
	}
	err = c.Walk(ctx, a, view, prove.Visitor{File: func(_ *prove.Suite, r snapshot.Row) {
		if _, plain := a.PlainFile(r); plain {
			to = append(to, sbom.Package{Deb: r.Digest, Path: r.Path})
		}
	}})
	slices.SortFunc(to, func(x, y sbom.Package) int { return strings.Compare(x.Path, y.Path) })
	return to, err
}

// proved verifies the Releases of all archives, by the statement or by upstream's keys.
func proved(ctx context.Context, c *prove.Chain) error {
	proven, foreign := c.Provable()
	if len(foreign) > 0 {
		return outcome.GiveUpstreamKey.For(fmt.Errorf("%w: archive %s: no key that is given proves it", outcome.ErrIntegrity, foreign[0].Prefix), foreign[0].Prefix)
	}
	for _, a := range proven {
		if a.Format == snapshot.FormatFiles {
			continue // plainFiles proves it
		}
		view, err := c.BestView(a)
		if err != nil {
			return err
		}
		if _, err := c.Suites(ctx, a, view); err != nil {
			return err
		}
	}
	return nil
}
