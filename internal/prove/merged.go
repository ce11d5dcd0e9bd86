package prove

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/merge"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// mergeAgain makes a merged archive again of the archives that it is made of, which are proved before it, and compares:
// each of its stanzas must be the highest version of its package in their indices, byte for byte.
func (v *verifier) mergeAgain(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	var m merge.Merger
	known := map[snapshot.Digest]bool{} // stanzas of the archives, by their texts
	for _, prefix := range a.Merge {
		if of := v.reported(prefix); of == nil || of.State == Failed {
			return fmt.Errorf("%w: it is made of archive %s, which is not right", outcome.ErrIntegrity, prefix)
		}
		if err := v.feed(ctx, &m, *v.Snapshot.Statement.Archive(prefix), known); err != nil {
			return err
		}
	}
	suites, err := v.chain.Suites(ctx, a, Served)
	if err != nil {
		return err
	}
	if len(suites) != 1 || suites[0].Name != a.Prefix {
		return fmt.Errorf("%w: a merged archive has one suite, %s", outcome.ErrIntegrity, a.Prefix)
	}
	p := suites[0]
	r.Suites = append(r.Suites, SuiteReport{Name: p.Name, Served: v.release(p, v.Trust.Site)})
	want, err := m.Merge(p.Release.Architectures)
	if err != nil {
		return fmt.Errorf("%w: cannot be made again: %w", outcome.ErrIntegrity, err)
	}
	rm := &remade{v: v, p: p, stanzas: map[stanzaID]stanza{}}
	err = rm.compareMerged(ctx, want, known)
	r.Packages = len(rm.stanzas)
	return err
}

// reported is what was found of an archive so far.
func (v *verifier) reported(prefix string) *ArchiveReport {
	for i := range v.report.Archives {
		if v.report.Archives[i].Prefix == prefix {
			return &v.report.Archives[i]
		}
	}
	return nil
}

// feed adds all stanzas of an archive, as it is served.
func (v *verifier) feed(ctx context.Context, m *merge.Merger, a snapshot.Archive, known map[snapshot.Digest]bool) error {
	suites, err := v.chain.Suites(ctx, a, Served)
	if err != nil {
		return err
	}
	for _, p := range suites {
		var bad error
		err := v.chain.walkSuite(ctx, p, Visitor{stanza: func(ix suiteIndex, st deb.Stanza) {
			known[stanzaSum(st)] = true
			err := m.Add(merge.Stanza{
				Archive: a.Prefix, Component: ix.component, Source: ix.arch == "source", Own: a.Class == snapshot.Site, Text: bytes.Clone(st),
			})
			if bad == nil && err != nil {
				bad = fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, p.Base+ix.path, err)
			}
		}})
		if err == nil {
			err = bad
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareMerged compares a merged suite with the one made again, and adds its files to those that the chain names.
func (m *remade) compareMerged(ctx context.Context, want *merge.Merged, known map[snapshot.Digest]bool) error {
	for _, f := range m.p.files {
		m.v.add(m.p, snapshot.Row{Path: f.Path, Size: f.Size, Digest: f.Digest})
	}
	rel, st := m.p.Release, m.v.Snapshot.Statement
	c := archive.Curated{
		Prefix: m.p.archive.Prefix, Suite: m.p.Name, Date: st.Date, ValidUntil: st.ValidUntil, Components: want.Components,
		Architectures: want.Architectures, Origin: rel.Origin, Label: rel.Label,
	}
	wanted, err := c.Indices()
	if err != nil {
		return fmt.Errorf("%w: %sRelease cannot be made again: %w", outcome.ErrIntegrity, m.p.Base, err)
	}
	var listed []archive.ReleaseFile
	var differs error
	for _, ca := range wanted {
		plain, packed, _, err := m.index(ctx, ca)
		if err != nil {
			return err
		}
		listed = append(listed, plain, packed)
		again := archive.PlainIndex(want.Stanzas[ca], ca.Architecture == "source")
		if differs == nil && plain != archive.Describe(ca.Path(), again) {
			differs = fmt.Errorf("%w: index %s is not the one made again: the highest versions of %s are others", outcome.ErrIntegrity, m.p.Base+ca.Path(), strings.Join(m.p.archive.Merge, ", "))
		}
	}
	var foreign []string
	for id, kept := range m.stanzas {
		if !known[id.sum] {
			foreign = append(foreign, kept.title)
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return fmt.Errorf("%w: %d stanzas are in no index of %s; first: %s", outcome.ErrIntegrity, len(foreign), strings.Join(m.p.archive.Merge, ", "), foreign[0])
	}
	if differs != nil || m.differs != nil {
		if m.differs != nil {
			return m.differs
		}
		return differs
	}
	if text := c.Release(listed); !bytes.Equal(text, m.p.text) {
		return fmt.Errorf("%w: %sRelease is not the one made again: %s", outcome.ErrIntegrity, m.p.Base, firstDifference(m.p.text, text))
	}
	return nil
}

// mergedState is how far a merged archive is proved: as far as each of the archives that it is made of.
func (v *verifier) mergedState(a snapshot.Archive) (State, string) {
	if !v.Trust.Believed(v.Snapshot) {
		return NotProved, "made by the site, and the statement is not verified"
	}
	state := Proved
	var of []string
	for _, prefix := range a.Merge {
		r := v.reported(prefix)
		of = append(of, fmt.Sprintf("%s (%s)", prefix, r.State))
		if r.State == NotProved || r.State == SiteOwn && state == Proved {
			state = r.State
		}
	}
	return state, "of " + strings.Join(of, " and ") + ": the highest version of each package"
}
