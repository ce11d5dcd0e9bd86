package prove

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// The files of a curated suite are a function of its stanzas, upstream's Release and the
// statement. So Verify makes plain indices and Release again and compares them byte for
// byte. Any other file (an index in another compression, of another component or
// architecture, a translation) has no place in the snapshot: verifier.rows refuses it.

// remakeArchive makes the suites of a curated archive again: of class upstream from
// stanzas that are proved to be upstream's, of class site from its packages.
func (v *verifier) remakeArchive(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	suites, err := v.chain.Suites(ctx, a, Served)
	if err != nil {
		return err
	}
	for _, p := range suites {
		r.Suites = append(r.Suites, SuiteReport{Name: p.Name, Served: v.release(p, v.Trust.Site)})
	}
	ups := make([]*Suite, len(suites))
	if a.Class == snapshot.Upstream {
		if ups, err = v.chain.Suites(ctx, a, Upstreams); err != nil {
			return err
		}
	}
	for i, p := range suites {
		m := &remade{v: v, p: p, up: ups[i], stanzas: map[stanzaID]stanza{}}
		if m.up != nil {
			rel := v.release(m.up, v.Trust.Upstream[a.Prefix])
			r.Suites[i].Upstream, r.Suites[i].Renamed = &rel, renamed(p.Release, m.up.Release)
		}
		err := m.suite(ctx)
		r.Packages += len(m.stanzas)
		if err != nil {
			return fmt.Errorf("suite %s: %w", p.Name, err)
		}
	}
	return nil
}

// remade is a curated suite that is being made again.
type remade struct {
	v       *verifier
	p, up   *Suite // up is upstream's, nil for class site
	stanzas map[stanzaID]stanza
	differs error // the first index that is not the one made again; a stanza that is not upstream's is reported before it
}

// stanza is what is kept of a stanza until it is proved.
type stanza struct {
	title string     // name, version, architecture
	text  deb.Stanza // of class site only
}

// stanzaID is a stanza by its bytes and the kind of index that it stands in: the same bytes
// in another component, or among sources, are another stanza.
type stanzaID struct {
	component string
	source    bool
	sum       snapshot.Digest
}

// suite makes the suite again and adds its files to those that the chain names.
func (m *remade) suite(ctx context.Context) error {
	for _, f := range m.p.files {
		m.v.add(m.p, snapshot.Row{Path: f.Path, Size: f.Size, Digest: f.Digest})
	}
	c, err := m.input()
	var wanted []archive.ComponentArch
	if err == nil {
		wanted, err = c.Indices()
	}
	if err != nil {
		return fmt.Errorf("%w: %sRelease cannot be made again: %w", outcome.ErrIntegrity, m.p.Base, err)
	}
	var listed []archive.ReleaseFile
	every := map[string]snapshot.Digest{} // of each component the packages that are for all architectures
	for _, ca := range wanted {
		plain, packed, all, err := m.index(ctx, ca)
		if err != nil {
			return err
		}
		listed = append(listed, plain, packed)
		if was, ok := every[ca.Component]; ok && was != all && ca.Architecture != "source" {
			m.differs = cmp.Or(m.differs, fmt.Errorf("%w: index %s is not the one made again: its packages for all architectures are not those of the component's other indices",
				outcome.ErrIntegrity, m.p.Base+ca.Path()))
		}
		if ca.Architecture != "source" {
			every[ca.Component] = all
		}
	}
	if m.up != nil {
		err = m.proveStanzas(ctx)
	} else {
		err = m.remakeStanzas(ctx)
	}
	if err = cmp.Or(err, m.differs); err != nil {
		return err
	}
	if text := c.Release(listed); !bytes.Equal(text, m.p.text) {
		return fmt.Errorf("%w: %sRelease is not the one made again: %s", outcome.ErrIntegrity, m.p.Base, firstDifference(m.p.text, text))
	}
	return nil
}

// input is the input from which the Release is made again. From the Release itself it
// takes only what the site may choose: names, and which of upstream's components and
// architectures there are, with or without sources.
func (m *remade) input() (archive.Curated, error) {
	rel, st := m.p.Release, m.v.Snapshot.Statement
	c := archive.Curated{
		Prefix: m.p.archive.Prefix, Suite: m.p.Name, Date: st.Date, ValidUntil: st.ValidUntil, Flat: snapshot.IsFlat(m.p.Name),
		Components: rel.Components, Architectures: slices.Clone(rel.Architectures), Origin: rel.Origin, Label: rel.Label,
	}
	if m.up == nil {
		if m.p.Name != c.Prefix || !slices.Equal(c.Components, []string{debdir.SiteComponent}) {
			return c, fmt.Errorf("an archive of the site's own has one suite, %s, with the component %s", c.Prefix, debdir.SiteComponent)
		}
	} else {
		up := *m.up.Release
		up.Codename = rel.Codename
		c.Upstream = &up
	}
	if m.hasSources(c) {
		c.Architectures = append(c.Architectures, "source")
	}
	if c.Flat && len(c.Components) > 0 {
		return c, fmt.Errorf("a flat archive has no components, this one has %s", strings.Join(c.Components, " "))
	}
	if m.up == nil {
		return c, nil
	}
	return c, m.subset(c)
}

// hasSources tells whether the Release lists sources.
func (m *remade) hasSources(c archive.Curated) bool {
	for _, component := range append([]string{""}, c.Components...) {
		if _, ok := m.p.Release.File(archive.ComponentArch{Component: component, Architecture: "source"}.Path()); ok {
			return true
		}
	}
	return false
}

// subset requires that upstream's Release has the components, architectures and sources. A
// flat archive has one index for all architectures, so that they are not compared.
func (m *remade) subset(c archive.Curated) error {
	up := m.up.Release
	sources := slices.Contains(c.Architectures, "source")
	if c.Flat {
		if sources && len(up.Compressions("Sources")) == 0 {
			return errors.New("it has sources, upstream's Release lists none")
		}
		return nil
	}
	components, archs := slices.Clone(up.Components), slices.Clone(up.Architectures)
	for _, f := range up.Files {
		if component, arch, ok := archive.IndexName(f.Path); ok { // the fields may spell them otherwise
			components, archs = append(components, component), append(archs, arch)
		}
	}
	for _, component := range c.Components {
		if !slices.Contains(components, component) {
			return fmt.Errorf("component %s is none of upstream's (%s)", component, strings.Join(up.Components, " "))
		}
		if sources && len(up.Compressions(component+"/source/Sources")) == 0 {
			return fmt.Errorf("component %s has sources, upstream's Release lists none", component)
		}
	}
	for _, arch := range c.Architectures {
		if arch != "source" && !slices.Contains(archs, arch) {
			return fmt.Errorf("architecture %s is none of upstream's (%s)", arch, strings.Join(up.Architectures, " "))
		}
	}
	return nil
}

// index makes one plain index again from its stanzas, which it notes to be proved. It returns
// what the Release must list of the index, and a digest of its packages for all
// architectures, which must be the same in all indices of a component.
func (m *remade) index(ctx context.Context, ca archive.ComponentArch) (plain, packed archive.ReleaseFile, all snapshot.Digest, err error) {
	name := m.p.Base + ca.Path()
	wrong := func(err error) error {
		return fmt.Errorf("%w: index %s cannot be made again: %w", outcome.ErrIntegrity, name, err)
	}
	f, ok := m.p.Release.File(ca.Path() + ".gz")
	row, here := m.v.Snapshot.Table.Find(name + ".gz")
	if !ok || !here {
		return plain, packed, all, fmt.Errorf("%w: index %s is listed, but not in the snapshot", outcome.ErrIntegrity, name)
	}
	blob, err := snapshot.ListedBlob(f)
	if err != nil {
		return plain, packed, all, wrong(err)
	}
	if row.Blob() != blob {
		return plain, packed, all, fmt.Errorf("%w: %s is %s in the table, its Release lists %s", outcome.ErrIntegrity, row.Path, row.Blob(), blob)
	}
	stored, err := m.v.Snapshot.ReadBlob(ctx, blob, blob.Size)
	if err != nil {
		return plain, packed, all, fmt.Errorf("index %s: %w", name, err)
	}
	limit := int64(archive.MaxIndex)
	if p, ok := m.p.Release.File(ca.Path()); ok {
		limit = min(limit, p.Size)
	}
	data, err := archive.GunzipMember(stored, limit)
	if err != nil {
		return plain, packed, all, wrong(err)
	}
	ix := suiteIndex{suite: m.p, component: ca.Component, arch: ca.Architecture, path: f.Path, blob: blob}
	var stanzas, forAll []deb.Stanza
	err = m.v.chain.poolFilesIn(ctx, ix, data, Visitor{File: m.v.add, stanza: func(_ suiteIndex, st deb.Stanza) {
		stanzas = append(stanzas, st)
	}})
	if err != nil {
		return plain, packed, all, err
	}
	source := ca.Architecture == "source"
	for _, st := range stanzas {
		id := stanzaID{ca.Component, source, stanzaSum(st)}
		if _, ok := m.stanzas[id]; !ok {
			kept := stanza{title: st.Get("Package") + " " + st.Get("Version") + " " + st.Get("Architecture")}
			if m.up == nil {
				kept.text = bytes.Clone(st)
			}
			m.stanzas[id] = kept
		}
		switch arch := st.Get("Architecture"); {
		case source, snapshot.IsFlat(m.p.Name):
		case arch == "all":
			forAll = append(forAll, st)
		case arch != ca.Architecture:
			return plain, packed, all, wrong(fmt.Errorf("%s %s is for %s", st.Get("Package"), st.Get("Version"), arch))
		}
	}
	if again := archive.PlainIndex(stanzas, source); !bytes.Equal(again, data) {
		m.differs = cmp.Or(m.differs, fmt.Errorf("%w: index %s is not the one made again: %s", outcome.ErrIntegrity, name, firstDifference(data, again)))
	}
	m.v.add(m.p, snapshot.Row{Path: name + ".gz", Size: blob.Size, Digest: blob.Digest})
	return archive.Describe(ca.Path(), data), archive.Describe(f.Path, stored), snapshot.Sum(archive.PlainIndex(forAll, false)), nil
}

// proveStanzas requires that every stanza stands, byte for byte, in an index of the same suite
// and component under upstream's signature.
func (m *remade) proveStanzas(ctx context.Context) error {
	left := make(map[stanzaID]bool, len(m.stanzas))
	for id := range m.stanzas {
		left[id] = true
	}
	err := m.v.chain.walkSuite(ctx, m.up, Visitor{
		File: func(p *Suite, row snapshot.Row) {
			if _, own := m.v.Snapshot.Table.Find(row.Path); !own {
				row.Path = strings.TrimPrefix(row.Path, "upstream/") // a pool file of both views has one row
			}
			m.v.add(p, row)
		},
		stanza: func(ix suiteIndex, st deb.Stanza) {
			delete(left, stanzaID{ix.component, ix.arch == "source", stanzaSum(st)})
		},
	})
	if err != nil || len(left) == 0 {
		return err
	}
	names := make([]string, 0, len(left))
	for id := range left {
		names = append(names, m.stanzas[id].title)
	}
	slices.Sort(names)
	return fmt.Errorf("%w: %d stanzas are in no index of upstream's; first: %s", outcome.ErrIntegrity, len(left), names[0])
}

// remakeStanzas makes the stanzas of the site's own packages again from the packages, each
// of which is read once. Without Hash it reads nothing, which the report says.
func (m *remade) remakeStanzas(ctx context.Context) error {
	if !m.v.Hash {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for id, st := range m.stanzas {
		g.Go(func() error {
			again, err := m.siteStanza(gctx, st.text, id.source)
			if err == nil && !bytes.Equal(again.Append(nil), st.text.Append(nil)) {
				err = fmt.Errorf("%w: its stanza is not the one made again: %s", outcome.ErrIntegrity, firstDifference(st.text, again))
			}
			if err != nil {
				return fmt.Errorf("package %s: %w", st.title, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// siteStanza makes a stanza of class site again from the file that it names: a .deb, or a .dsc.
func (m *remade) siteStanza(ctx context.Context, st deb.Stanza, source bool) (deb.Stanza, error) {
	files, err := stanzaFiles(st, source)
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%w: its stanza names no file: %w", outcome.ErrIntegrity, err)
	}
	of := files[0]
	if source {
		data, err := m.v.Snapshot.ReadBlob(ctx, of.Blob(), min(of.Size, debdir.MaxDsc))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.Path, err)
		}
		src, err := debdir.ParseDsc(path.Base(of.Path), data)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", outcome.ErrIntegrity, of.Path, err)
		}
		return src.Stanza, nil
	}
	f, err := m.v.Snapshot.OpenBlob(ctx, of.Blob())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of.Path, err)
	}
	defer f.Close()
	d, err := deb.ReadDeb(onlyReader{f.Reader})
	if errors.Is(err, deb.ErrMalformed) {
		err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, f.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of.Path, err)
	}
	again, err := debdir.SiteStanza(d, of.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", outcome.ErrIntegrity, of.Path, err)
	}
	m.v.read(of.Digest)
	return again, nil
}

// onlyReader hides every other method of a reader.
type onlyReader struct{ io.Reader }

// renamed are the names that a curated Release has otherwise than upstream's.
func renamed(rel, up *archive.Release) []string {
	var out []string
	for _, n := range []struct{ field, is, was string }{
		{"Origin", rel.Origin, up.Origin}, {"Label", rel.Label, up.Label}, {"Codename", rel.Codename, up.Codename},
	} {
		if one := strings.Join(strings.Fields(n.was), " "); n.is != one {
			out = append(out, fmt.Sprintf("%s %q (upstream's: %q)", n.field, n.is, one))
		}
	}
	return out
}

// firstDifference shows the first line in which a text is not the one made again.
func firstDifference(is, again []byte) string {
	for n := 1; ; n++ {
		x, restIs, moreIs := bytes.Cut(is, []byte("\n"))
		y, restAgain, moreAgain := bytes.Cut(again, []byte("\n"))
		if !bytes.Equal(x, y) || moreIs != moreAgain || !moreIs {
			return fmt.Sprintf("line %d is %.100q, made again %.100q", n, x, y)
		}
		is, again = restIs, restAgain
	}
}
