package freeze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/merge"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// merged makes the archives of the plan that are made of others: of what was chosen of these, and of all that
// verbatim ones and those of other snapshots have. Their pool files are the same blobs.
func (c *content) merged(f Options, archives []*suites.Archive, ready []ReadyArchive, sel *selection) error {
	for i := range f.Plan.Others {
		o := &f.Plan.Others[i]
		if len(o.Merge) == 0 {
			continue
		}
		if err := c.mergeInto(f, o, archives, ready, sel); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) mergeInto(f Options, o *config.Other, archives []*suites.Archive, ready []ReadyArchive, sel *selection) error {
	var m merge.Merger
	var archs []string
	for _, prefix := range o.Merge {
		var err error
		if i := slices.IndexFunc(archives, func(a *suites.Archive) bool { return a.Prefix == prefix }); i >= 0 {
			archs = append(archs, archives[i].AllArchitectures()...)
			err = feedRead(&m, archives[i], sel)
		} else if i := slices.IndexFunc(ready, func(r ReadyArchive) bool { return r.Archive.Prefix == prefix }); i >= 0 {
			archs = append(archs, ready[i].architectures()...)
			if format := ready[i].Archive.Format; format != snapshot.FormatDeb {
				return document.Errorf(o.Position, "archive %s: merge: archive %s is of format %s; .deb archives alone can be merged, so take it out", o.Prefix, prefix, format)
			}
			err = feedReady(&m, ready[i])
		}
		if err != nil {
			return fmt.Errorf("archive %s: %w", prefix, err)
		}
	}
	out, err := m.Merge(archs)
	if conflict, ok := errors.AsType[*merge.ConflictError](err); ok {
		return document.Errorf(o.Position, "archive %s: %w; a host could get either: take one of the two out, or give one another version", o.Prefix, conflict)
	} else if err != nil {
		return fmt.Errorf("archive %s: %w", o.Prefix, err)
	}
	if err := c.tellEclipsed(o, out.Eclipsed); err != nil {
		return err
	}
	if len(out.Architectures) == 0 {
		out.Architectures = []string{unnamed}
	}
	in := archive.Curated{
		Prefix: o.Prefix, Suite: o.Prefix, Date: undated, Components: out.Components, Architectures: out.Architectures,
		Origin: o.Origin, Label: o.Label, Stanzas: out.Stanzas,
	}
	if f.Plan.ValidFor > 0 {
		in.ValidUntil = undated.Add(f.Plan.ValidFor)
	}
	built, release, err := archive.Build(in)
	if err != nil {
		return fmt.Errorf("archive %s: %w", o.Prefix, err)
	}
	base := snapshot.SuiteDir(o.Prefix, o.Prefix) + "/"
	for _, file := range built {
		c.files.keep(base+file.Path, file.Data)
	}
	for _, row := range out.Rows {
		row.Path = o.Prefix + "/" + row.Path
		c.files.rows = append(c.files.rows, row)
	}
	c.releases = append(c.releases, undatedRelease{len(c.archives), 0, base, release})
	c.archives = append(c.archives, snapshot.Archive{
		Prefix: o.Prefix, Mode: snapshot.Curated, Class: snapshot.Merged, Format: snapshot.FormatDeb, Merge: o.Merge,
		Suites: []snapshot.Suite{{Name: o.Prefix}},
	})
	c.lock.Archives = append(c.lock.Archives, config.LockArchive{
		Prefix: o.Prefix, Mode: string(snapshot.Curated), Class: string(snapshot.Merged), Merge: o.Merge,
	})
	return nil
}

// tellEclipsed notes own packages that no host would get, or refuses them.
func (c *content) tellEclipsed(o *config.Other, eclipsed []merge.Eclipsed) error {
	var lines []string
	for _, e := range eclipsed {
		lines = append(lines, e.String())
	}
	if len(lines) > 0 && o.ForbidEclipse {
		return fmt.Errorf("archive %s: %w: own packages are eclipsed, which forbid-eclipse: yes forbids:\n%s", o.Prefix, outcome.ErrNotFound, strings.Join(lines, "\n"))
	}
	for _, line := range lines {
		c.notes = append(c.notes, fmt.Sprintf("archive %s: eclipsed: %s", o.Prefix, line))
	}
	return nil
}

// feedRead adds what the snapshot has of an archive that was read.
func feedRead(m *merge.Merger, a *suites.Archive, sel *selection) error {
	add := func(component string, source bool, st deb.Stanza) error {
		return m.Add(merge.Stanza{Archive: a.Prefix, Component: component, Source: source, Own: a.Debs != "", Text: st})
	}
	if a.Verbatim {
		for _, s := range a.ReadSuites {
			for _, ix := range s.Indices {
				if ix.Text == nil {
					continue
				}
				if err := feedText(ix.Text, func(st deb.Stanza) error { return add(ix.Component, ix.Arch == "source", st) }); err != nil {
					return fmt.Errorf("index %s: %w", ix.Path, err)
				}
			}
		}
		return nil
	}
	for _, p := range sel.packages[a.Prefix] {
		if err := add(p.Component, false, p.Stanza); err != nil {
			return err
		}
	}
	for _, s := range a.ReadSuites {
		for component, stanzas := range sel.sources[s] {
			for _, st := range stanzas {
				if err := add(component, true, st); err != nil {
					return err
				}
			}
		}
	}
	for _, src := range sel.own[a.Prefix] {
		if err := add(debdir.SiteComponent, true, src.Stanza); err != nil {
			return err
		}
	}
	return nil
}

// feedReady adds all of an archive that another snapshot has.
func feedReady(m *merge.Merger, r ReadyArchive) error {
	for _, ix := range r.Indices {
		for st, err := range deb.Stanzas(ix.Data) {
			if err == nil {
				err = m.Add(merge.Stanza{
					Archive: r.Archive.Prefix, Component: ix.Component, Source: ix.Architecture == "source", Own: r.Archive.Class == snapshot.Site, Text: st,
				})
			}
			if err != nil {
				return fmt.Errorf("index %s: %w: %w", ix.Path, outcome.ErrIntegrity, err)
			}
		}
	}
	return nil
}

func feedText(text resolve.Text, add func(deb.Stanza) error) error {
	in := deb.NewIndexReader(text.Open())
	for {
		st, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = add(bytes.Clone(st))
		}
		if err != nil {
			return err
		}
	}
}

// architectures are those of its packages.
func (r ReadyArchive) architectures() (out []string) {
	for _, ix := range r.Indices {
		if ix.Architecture != "" && !slices.Contains(out, ix.Architecture) {
			out = append(out, ix.Architecture)
		}
	}
	return out
}
