// Package inventory makes the bill of materials of a snapshot: every binary package of it, as the proved indices name them.
package inventory

import (
	"context"
	"fmt"

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

// Bill is the bill of materials of a snapshot, packages in order of name. No package file is read, so no licences are told. All
// that can fail to verify is verified here; what the document yields later is kept in a file without a name.
//
// Errors: outcome.ErrIntegrity for a signature or index that contradicts another, and for an archive that no key which is given
// proves.
func Bill(ctx context.Context, o Options) (*sbom.Document, error) {
	if err := proved(ctx, o); err != nil {
		return nil, err
	}
	book, err := chain.Read(ctx, chain.Options{Snapshot: o.Snapshot, Upstream: o.Trust.Upstream, Site: o.Trust.Site})
	if err != nil {
		return nil, err
	}
	if len(book.Lost) > 0 {
		return nil, book.Lost[0]
	}
	names := map[[2]string]distribution.Name{}
	for _, a := range o.Snapshot.Statement.Archives {
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
	}
	return d, nil
}

// proved verifies the Releases of all archives, by the statement or by upstream's keys.
func proved(ctx context.Context, o Options) error {
	c := &prove.Chain{Snapshot: o.Snapshot, Trust: o.Trust, AsApt: true}
	proven, foreign := c.Provable()
	if len(foreign) > 0 {
		return outcome.GiveUpstreamKey.For(fmt.Errorf("%w: archive %s: no key that is given proves it", outcome.ErrIntegrity, foreign[0].Prefix), foreign[0].Prefix)
	}
	for _, a := range proven {
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
