// Package buildenv finds in a snapshot what the build of a source package needs, and lays it out
// as a root to build in.
//
// What goes in, the snapshot's packages and the source's relations, decides the packages of the
// environment; these and a date decide its bytes.
package buildenv

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

	"example.org/mmoci/internal/builddeps"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/order"
	"example.org/mmoci/pkg/resolve/query"
	"example.org/mmoci/pkg/snapshot"
)

// Options say of which snapshot, and for which architecture. All but Log are required.
type Options struct {
	Snapshot     *snapshot.Snapshot
	Trust        prove.Trust
	Architecture string // that is built on and for
	Log          outcome.Log
}

// Archive is what a snapshot has of packages and sources, proved by a key or by the statement. Its
// indices are read once. Safe for concurrent use.
type Archive struct {
	o        Options
	packages []resolve.Index
	sources  []resolve.Index
	foreign  []string // archives that no key proves
}

// Open reads the indices of packages and sources that can be proved.
func Open(ctx context.Context, o Options) (*Archive, error) {
	o.Log = o.Log.During(ctx)
	return parallel.Until(ctx, func() (*Archive, error) {
		chain := &prove.Chain{Snapshot: o.Snapshot, Trust: o.Trust, AsApt: true}
		proven, foreign := chain.Provable()
		a := &Archive{o: o}
		for _, f := range foreign {
			a.foreign = append(a.foreign, f.Prefix)
		}
		indices, err := chain.Universe(ctx, proven, []string{o.Architecture, "source"})
		if err != nil {
			return nil, err
		}
		for _, ix := range indices {
			if ix.Architecture == "source" {
				a.sources = append(a.sources, ix)
			} else {
				a.packages = append(a.packages, ix)
			}
		}
		return a, nil
	})
}

// Source is a source package of a snapshot.
type Source struct {
	Name, Version string
	Stanza        deb.Stanza // of the Sources index
	// Files are the .dsc, then the others by name.
	Files []File
}

// File is a file of a source package.
type File struct {
	Name string
	snapshot.Blob
}

// Profiles are the build profiles that the source declares, sorted.
func (s *Source) Profiles() []string { return builddeps.Declared(s.Stanza) }

// Source finds a source package, the newest one if version is "". The error wraps
// [outcome.ErrNotFound] and names the versions that there are.
func (a *Archive) Source(name, version string) (*Source, error) {
	return a.SourceWithout(name, version, "")
}

// SourceWithout is Source where the newest one is not of the versions that end with suffix, if that is not "": what was changed already.
func (a *Archive) SourceWithout(name, version, suffix string) (*Source, error) {
	var best *Source
	var there []string
	for _, ix := range a.sources {
		if !bytes.Contains(ix.Data, []byte("Package: "+name+"\n")) {
			continue
		}
		for st, err := range deb.Stanzas(ix.Data) {
			if err != nil || st.Get("Package") != name {
				continue
			}
			v := st.Get("Version")
			if there = append(there, v); version != "" && v != version || version == "" && suffix != "" && strings.HasSuffix(v, suffix) || best != nil && deb.Compare(v, best.Version) <= 0 {
				continue
			}
			s, err := a.source(ix, st)
			switch {
			case errors.Is(err, snapshot.ErrNotExist): // upstream's index names more than is here
				there = there[:len(there)-1]
			case err != nil:
				return nil, err
			default:
				best = s
			}
		}
	}
	if best != nil {
		return best, nil
	}
	wanted := strings.TrimSpace(name + " " + version)
	if len(there) > 0 {
		slices.SortFunc(there, func(x, y string) int { return deb.Compare(y, x) })
		return nil, fmt.Errorf("%w: source %s is not in the snapshot, which has %s", outcome.ErrNotFound, wanted, strings.Join(slices.Compact(there), ", "))
	}
	err := fmt.Errorf("%w: source %s is not in the snapshot: build-depends: [%s] and with-sources: built in mmoci.yaml take it", outcome.ErrNotFound, wanted, name)
	if len(a.foreign) > 0 {
		err = outcome.GiveUpstreamKey.For(fmt.Errorf("%w (no key is given for prefix %s: what it has was left out)", err, strings.Join(a.foreign, ", ")), "PREFIX")
	}
	return nil, err
}

// source reads a stanza. The error wraps [snapshot.ErrNotExist] if the snapshot does not have all files.
func (a *Archive) source(ix resolve.Index, st deb.Stanza) (*Source, error) {
	s := &Source{Name: strings.Clone(st.Get("Package")), Version: strings.Clone(st.Get("Version")), Stanza: bytes.Clone(st)}
	if !deb.ValidName(s.Name) || deb.ValidVersion(s.Version) != nil {
		return nil, fmt.Errorf("%w: %s: source %.80q, version %.80q", outcome.ErrIntegrity, ix.Path, s.Name, s.Version)
	}
	rows, err := snapshot.SourceRows(st)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: source %s %s: %w", outcome.ErrIntegrity, ix.Path, s.Name, s.Version, err)
	}
	for _, r := range rows {
		if row, ok := a.o.Snapshot.Table.Find(ix.Archive + "/" + r.Path); !ok || row.Digest != r.Digest || row.Size != r.Size {
			return nil, fmt.Errorf("source %s %s: %s: %w", s.Name, s.Version, r.Path, snapshot.ErrNotExist)
		}
		s.Files = append(s.Files, File{Name: path.Base(r.Path), Blob: r.Blob()})
	}
	isDsc := func(f File) int {
		if strings.HasSuffix(f.Name, ".dsc") {
			return 0
		}
		return 1
	}
	slices.SortFunc(s.Files, func(x, y File) int { return cmp.Or(isDsc(x)-isDsc(y), cmp.Compare(x.Name, y.Name)) })
	if len(s.Files) == 0 || isDsc(s.Files[0]) != 0 || len(s.Files) > 1 && isDsc(s.Files[1]) == 0 {
		return nil, fmt.Errorf("%w: %s: source %s %s has not one .dsc", outcome.ErrIntegrity, ix.Path, s.Name, s.Version)
	}
	return s, nil
}

// Open opens a file of the snapshot, verified: its last byte comes only if all are those of its digest.
func (a *Archive) Open(ctx context.Context, f File) (io.ReadCloser, error) {
	return a.o.Snapshot.OpenBlob(ctx, f.Blob)
}

// Environment is the packages that a build has around it.
type Environment struct {
	a        *Archive
	packages [][]*resolve.Package // in the order in which dpkg takes them
	base     []*resolve.Package   // the Essential ones with what they depend on, in that order
}

// Environment resolves what the build of a source needs, as on a machine that has nothing.
//
// Errors: [outcome.ErrUsage] for a profile that the source does not declare, [outcome.ErrNotFound]
// for a dependency that the snapshot does not have or that contradicts another.
func (a *Archive) Environment(ctx context.Context, s *Source, n builddeps.Needs) (*Environment, error) {
	if err := builddeps.CheckProfiles(s.Stanza, n.Profiles); err != nil {
		return nil, err
	}
	wish, root, err := n.Wish(s.Stanza, a.o.Architecture, "the build of "+s.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	u, err := resolve.NewUniverse(append(slices.Clip(a.packages), wish))
	if err != nil {
		return nil, err
	}
	essential, err := a.roots(builddeps.Base()[:1])
	if err != nil {
		return nil, err
	}
	base, err := a.roots(builddeps.Base())
	if err != nil {
		return nil, err
	}
	all, err := a.resolve(ctx, u, s, append(base, root))
	if err != nil {
		return nil, err
	}
	first, err := a.resolve(ctx, u, s, essential)
	if err != nil {
		return nil, err
	}
	e := &Environment{a: a, packages: order.Groups(all)}
	chosen := map[string]bool{}
	for _, p := range all {
		chosen[p.SHA256] = true
	}
	for _, group := range order.Groups(first) {
		for _, p := range group {
			if chosen[p.SHA256] { // what else the build needs may exclude an alternative
				e.base = append(e.base, p)
			}
		}
	}
	return e, nil
}

func (a *Archive) roots(queries []string) ([]resolve.Root, error) {
	var out []resolve.Root
	for _, q := range queries {
		parsed, err := query.Parse(q)
		if err != nil {
			return nil, err
		}
		out = append(out, resolve.Root{Query: parsed, Origin: "every build"})
	}
	return out, nil
}

func (a *Archive) resolve(ctx context.Context, u *resolve.Universe, s *Source, roots []resolve.Root) ([]*resolve.Package, error) {
	res, err := parallel.Until(ctx, func() (*resolve.Result, error) {
		return u.Resolve(resolve.Request{Roots: roots, Architectures: []string{a.o.Architecture}, Host: &resolve.Host{}})
	})
	if errors.Is(err, resolve.ErrUnsatisfied) {
		err = fmt.Errorf("%w: what the build of source %s %s needs on %s is not all in the snapshot (build-depends: [%s] in mmoci.yaml takes it): %w",
			outcome.ErrNotFound, s.Name, s.Version, a.o.Architecture, s.Name, err)
		if len(a.foreign) > 0 {
			err = outcome.GiveUpstreamKey.For(fmt.Errorf("%w (no key is given for prefix %s: what it has was left out)", err, strings.Join(a.foreign, ", ")), "PREFIX")
		}
	}
	if err != nil {
		return nil, err
	}
	var out []*resolve.Package
	for _, c := range res.Packages {
		if !builddeps.IsWish(c.Package) {
			out = append(out, c.Package)
		}
	}
	return out, nil
}

// Text has a line "NAME VERSION ARCHITECTURE sha256:HEX" for each package, sorted bytewise: the
// environment of an identity.
func (e *Environment) Text() []byte {
	var lines []string
	for _, group := range e.packages {
		for _, p := range group {
			lines = append(lines, fmt.Sprintf("%s %s %s sha256:%s\n", p.Name, p.Version, p.Architecture, p.SHA256))
		}
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// blobOf is the .deb that a stanza names.
func blobOf(p *resolve.Package) (snapshot.Blob, error) {
	d, err := snapshot.ListedDigest(p.SHA256)
	if err != nil {
		return snapshot.Blob{}, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return snapshot.Blob{Digest: d, Size: p.Size}, nil
}
