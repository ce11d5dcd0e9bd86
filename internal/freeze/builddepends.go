package freeze

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/builddeps"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// buildWishes is what build-depends: asks for.
type buildWishes struct {
	indices []resolve.Index                       // with one package for each source and architecture
	sources map[*suites.Archive][]suites.SourceID // of that archive
}

// wishBuildDepends adds to a request what the builds of sources need.
func wishBuildDepends(archives []*suites.Archive, req *resolve.Request) (buildWishes, error) {
	w := buildWishes{sources: map[*suites.Archive][]suites.SourceID{}}
	for _, a := range archives {
		found, err := builtSources(a)
		if err != nil {
			return w, fmt.Errorf("archive %s: %w", a.Prefix, err)
		}
		for i, st := range found {
			at := a.BuildDepends[i].Position.String()
			w.sources[a] = append(w.sources[a], suites.SourceID{Name: st.Get("Package"), Version: st.Get("Version")})
			for _, arch := range a.AllArchitectures() {
				ix, root, err := (builddeps.Needs{}).Wish(st, arch, at)
				if err != nil {
					return w, fmt.Errorf("%s: %w", at, err)
				}
				if !slices.ContainsFunc(w.indices, func(o resolve.Index) bool { return o.Archive == ix.Archive }) {
					w.indices = append(w.indices, ix)
					req.Roots = append(req.Roots, root)
				}
			}
		}
	}
	if len(w.indices) == 0 {
		return w, nil
	}
	for _, text := range builddeps.Base() {
		q, err := query.Parse(text)
		if err != nil {
			return w, err
		}
		if !slices.ContainsFunc(req.Roots, func(r resolve.Root) bool { return r.Archive == "" && r.Query.String() == q.String() }) {
			req.Roots = append(req.Roots, resolve.Root{Query: q, Origin: "build-depends"})
		}
	}
	return w, nil
}

// builtSources are the stanzas of the sources that build-depends: names, in its order: of each the
// newest one, or the version that is asked for.
func builtSources(a *suites.Archive) ([]deb.Stanza, error) {
	out := make([]deb.Stanza, len(a.BuildDepends))
	for _, s := range a.ReadSuites {
		for _, ix := range s.Indices {
			if ix.Arch != "source" || ix.Text == nil || len(out) == 0 {
				continue
			}
			if err := newestSources(ix, a.BuildDepends, out); err != nil {
				return nil, fmt.Errorf("suite %s: index %s: %w", s.Name, ix.Path, err)
			}
		}
	}
	for i, q := range a.BuildDepends {
		if out[i] == nil {
			return nil, fmt.Errorf("%w: %s: build-depends: source %s is in none of its Sources indices", outcome.ErrNotFound, q.Position, q.Text)
		}
	}
	return out, nil
}

// newestSources puts what is asked for into its place, unless a newer one is there.
func newestSources(ix *suites.Index, asked []config.Query, into []deb.Stanza) error {
	type want struct {
		at      int
		version string
	}
	wanted := map[string][]want{}
	for i, q := range asked {
		name, version, err := config.ParseSourceName(q.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", q.Position, err)
		}
		wanted[name] = append(wanted[name], want{i, version})
	}
	for in := deb.NewIndexReader(ix.Text.Open()); ; {
		st, err := in.Next()
		if _, malformed := err.(*deb.StanzaError); malformed {
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		version := st.Get("Version")
		for _, w := range wanted[st.Get("Package")] {
			if w.version != "" && w.version != version || isExtraOnly(st) {
				continue
			}
			if had := into[w.at]; had == nil || deb.Compare(version, had.Get("Version")) > 0 {
				into[w.at] = bytes.Clone(st)
			}
		}
	}
}

// isExtraOnly tells a source that is kept for what was built of it, such as for Built-Using, and is
// no candidate of the suite any more (dak; apt passes over it, too).
func isExtraOnly(st deb.Stanza) bool { return strings.EqualFold(st.Get("Extra-Source-Only"), "yes") }

// withoutWishes leaves out the packages that stand for builds.
func withoutWishes(of []resolve.Chosen) []resolve.Chosen {
	return slices.DeleteFunc(slices.Clone(of), func(c resolve.Chosen) bool { return builddeps.IsWish(c.Package) })
}
