package freeze

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// sourceFiles adds every file that a Sources index names (.dsc, tarballs).
func (b *builder) sourceFiles(fa *upstreamArchive, data []byte) error {
	for st, err := range deb.Stanzas(data) {
		if err != nil {
			return fmt.Errorf("index Sources: %w", err)
		}
		if err := b.sourcePool(fa, st); err != nil {
			return err
		}
	}
	return nil
}

// sourcePool adds the files of one source package of upstream's.
func (b *builder) sourcePool(fa *upstreamArchive, st deb.Stanza) error {
	rows, err := snapshot.SourceRows(st)
	if err != nil {
		return fmt.Errorf("source %s: %w", st.Get("Package"), err)
	}
	for _, r := range rows {
		name, size := r.Path, r.Size
		r.Path = fa.Prefix + "/" + r.Path
		b.rows = append(b.rows, r)
		b.origins.add(r.Digest, origin{r.Path, func(ctx context.Context) (io.ReadCloser, error) { return fa.up.Open(ctx, name, size) }})
	}
	return nil
}

// sourceID names a source package.
type sourceID struct{ name, version string }

// chooseSources finds the sources of the chosen packages in the archive's own
// Sources indices. One that is not there is said, not refused: archives do not have all of theirs.
func (b *builder) chooseSources(fa *upstreamArchive, picked []resolve.Chosen) {
	if !fa.WithSources {
		return
	}
	wanted := map[sourceID]string{} // to a package that wants it
	for _, c := range picked {
		name, version := c.Stanza.Source()
		id := sourceID{name, version}
		if _, ok := wanted[id]; !ok {
			wanted[id] = c.Name
		}
	}
	fa.sources = map[string]map[string][]deb.Stanza{}
	for _, s := range fa.suites {
		for _, ix := range s.indices {
			if ix.arch == "source" {
				takeSources(fa, s, ix, wanted)
			}
		}
	}
	for id, of := range wanted {
		b.notes = append(b.notes, fmt.Sprintf("archive %s: source %s %s (of %s) is not in its Sources indices", fa.Prefix, id.name, id.version, of))
	}
	slices.Sort(b.notes)
}

// takeSources moves what is wanted and there from wanted to the archive.
func takeSources(fa *upstreamArchive, s *upstreamSuite, ix *upstreamIndex, wanted map[sourceID]string) {
	for st, err := range deb.Stanzas(ix.data) {
		if err != nil {
			continue
		}
		id := sourceID{st.Get("Package"), st.Get("Version")}
		if _, ok := wanted[id]; !ok {
			continue
		}
		delete(wanted, id)
		ix.used = true
		if fa.sources[s.name] == nil {
			fa.sources[s.name] = map[string][]deb.Stanza{}
		}
		fa.sources[s.name][ix.component] = append(fa.sources[s.name][ix.component], st)
	}
}

// addSources adds the chosen sources of a suite to what it is built from.
func (b *builder) addSources(fa *upstreamArchive, s *upstreamSuite, in *archive.Curated) {
	for _, src := range fa.own.Sources {
		key := archive.ComponentArch{Component: "main", Architecture: "source"}
		in.Stanzas[key] = append(in.Stanzas[key], src.Stanza)
	}
	for component, stanzas := range fa.sources[s.name] {
		slices.SortFunc(stanzas, func(x, y deb.Stanza) int {
			return cmp.Or(cmp.Compare(x.Get("Package"), y.Get("Package")), deb.Compare(x.Get("Version"), y.Get("Version")), cmp.Compare(string(x), string(y)))
		})
		in.Stanzas[archive.ComponentArch{Component: component, Architecture: "source"}] = stanzas
	}
}

// sourcePools adds the files of a curated archive's sources.
func (b *builder) sourcePools(fa *upstreamArchive) error {
	for _, suite := range fa.sources {
		for _, stanzas := range suite {
			for _, st := range stanzas {
				if err := b.sourcePool(fa, st); err != nil {
					return err
				}
			}
		}
	}
	for _, src := range fa.own.Sources {
		for i, r := range src.Rows {
			r.Path = fa.Prefix + "/" + r.Path
			b.rows = append(b.rows, r)
			b.origins.add(r.Digest, origin{r.Path, openLocal(src.Files[i])})
		}
	}
	return nil
}
