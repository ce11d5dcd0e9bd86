// Package embedded gives the packages that plans of images and archives of mmoci.yaml have built of sources: it asks places for what
// was built, by its identity, and takes what a listed builder signed; what no place has it has built, and puts it there.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/debdir"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/sourcebuild"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Options say of which snapshot sources are, and where builds are.
type Options struct {
	Snapshot *snapshot.Snapshot
	Trust    prove.Trust
	Kept     string // directory of patches from the network; "": they are not kept

	sourcebuild.GetOptions
	FindOnly bool // nothing is built
}

// Sources implements [imagebuild.Sources]. It keeps what was built here until it is closed. Not safe for concurrent use.
type Sources struct {
	o    Options
	dir  string // of what was built here; "": nothing was
	read map[snapshot.Digest]*imagebuild.Built
}

// New asks for nothing yet.
func New(o Options) *Sources { return &Sources{o: o, read: map[snapshot.Digest]*imagebuild.Built{}} }

// Close removes what was built here.
func (s *Sources) Close() error {
	if s == nil || s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// Built implements [imagebuild.Sources].
//
// Errors: outcome.ErrIntegrity for what lies at a place and does not count; outcome.ErrNotFound for an identity that no place has and
// that is not built here; outcome.ErrUsage for a pkg.yaml that cannot be honoured, or is another than the locked build's.
func (s *Sources) Built(ctx context.Context, plan *imageplan.Plan, e *imageplan.Embedded, arch string, locked snapshot.Digest) (*imagebuild.Built, error) {
	dir := filepath.Join(plan.Dir, filepath.FromSlash(e.Path))
	if locked.IsZero() {
		src, err := s.resolve(ctx, dir, arch)
		if err != nil {
			return nil, err
		}
		return s.get(ctx, src)
	}
	if built := s.read[locked]; built != nil {
		return built, nil
	}
	found, err := s.o.Use(ctx, locked)
	if err == nil {
		if err := s.answers(dir, found.Identity, arch); err != nil {
			return nil, err
		}
		return s.found(ctx, found)
	}
	if s.o.FindOnly || !errors.Is(err, outcome.ErrNotFound) {
		return nil, err
	}
	src, resolveErr := s.resolve(ctx, dir, arch)
	if resolveErr != nil {
		return nil, fmt.Errorf("%w; it cannot be built here: %w", err, resolveErr)
	}
	if now := src.Identity.Digest(); now != locked {
		return nil, fmt.Errorf("%w; the snapshot and %s make %s: \"mmoci image lock\" makes the lock anew", err, filepath.Join(dir, buildsource.Name), now)
	}
	return s.get(ctx, src)
}

// answers holds the pkg.yaml against the build that a lock names: what it says by itself, whatever the snapshot has.
func (s *Sources) answers(dir string, id *buildsource.Identity, arch string) error {
	p, err := buildsource.Load(dir)
	if err != nil {
		return err
	}
	if id.HostArch != arch {
		return fmt.Errorf("%w: the lock names a build for %s, not for %s", outcome.ErrIntegrity, id.HostArch, arch)
	}
	if err := p.Answers(id); err != nil {
		return fmt.Errorf("%w; \"mmoci image lock\" makes the lock anew", err)
	}
	return nil
}

func (s *Sources) resolve(ctx context.Context, dir, arch string) (*sourcebuild.Source, error) {
	p, err := buildsource.Load(dir)
	if err != nil {
		return nil, err
	}
	return sourcebuild.Resolve(ctx, sourcebuild.Options{Plan: p, Snapshot: s.o.Snapshot, Trust: s.o.Trust, Architecture: arch, Kept: s.o.Kept, Log: s.o.Log})
}

// get asks for a build, and makes it if no place has it.
func (s *Sources) get(ctx context.Context, src *sourcebuild.Source) (*imagebuild.Built, error) {
	id := src.Identity.Digest()
	if built := s.read[id]; built != nil {
		return built, nil
	}
	find := src.Find
	if s.o.FindOnly {
		find = func(ctx context.Context, o sourcebuild.GetOptions) (*builds.Found, error) { return o.Use(ctx, id) }
	}
	found, err := find(ctx, s.o.GetOptions)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return s.found(ctx, found)
	}
	return s.make(ctx, src, id)
}

// make builds. What was put at a place is taken from there, so that whoever comes next gets the same bytes as this one.
func (s *Sources) make(ctx context.Context, src *sourcebuild.Source, id snapshot.Digest) (*imagebuild.Built, error) {
	if s.dir == "" {
		var err error
		if s.dir, err = os.MkdirTemp(s.o.Build.Dir, "mmoci-embedded-"); err != nil {
			return nil, err
		}
	}
	made, err := src.Make(ctx, filepath.Join(s.dir, id.Hex()), s.o.GetOptions)
	if err != nil {
		return nil, err
	}
	if made.Put == nil {
		return s.built(ctx, id, src.Identity, debsOf(made.Parts), nil, made)
	}
	found, err := builds.Use(ctx, []artifact.Reference{*s.o.To}, id, s.o.Builders, s.o.Artifact, s.o.Log)
	if err != nil {
		return nil, err
	}
	return s.found(ctx, found)
}

func debsOf(parts []builds.Part) []builds.Part {
	return slices.DeleteFunc(slices.Clone(parts), func(p builds.Part) bool { return p.Type != builds.TypeDeb })
}

func (s *Sources) found(ctx context.Context, f *builds.Found) (*imagebuild.Built, error) {
	return s.built(ctx, f.Identity.Digest(), f.Identity, f.Debs(), f.Builders, f)
}

// built reads what each package says of itself. Packages with debug symbols are left out: nothing depends on them.
func (s *Sources) built(ctx context.Context, digest snapshot.Digest, id *buildsource.Identity, debs []builds.Part, builders []string, from snapshot.Blobs) (*imagebuild.Built, error) {
	out := &imagebuild.Built{Identity: digest, Source: id.Source, Version: id.Version, Builders: builders, Blobs: from}
	for _, p := range debs {
		if strings.Contains(p.Title, "-dbgsym_") {
			continue
		}
		st, err := stanza(ctx, id, p, from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", digest, err)
		}
		out.Packages = append(out.Packages, imagebuild.BuiltPackage{Stanza: st, Deb: p.Blob})
	}
	s.read[digest] = out
	return out, nil
}

// stanza makes the stanza of an index of a .deb.
func stanza(ctx context.Context, id *buildsource.Identity, p builds.Part, from snapshot.Blobs) (deb.Stanza, error) {
	d, err := builds.ReadDeb(ctx, id, p, from)
	if err != nil {
		return nil, err
	}
	return debdir.SiteStanza(d, p.Digest)
}
