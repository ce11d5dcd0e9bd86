package imagebuild

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// Sources gives what is built of the sources that a plan names. It is asked for one after the other.
type Sources interface {
	// Built gives what is built of a source for an architecture of Debian's: of its pkg.yaml or, if locked is not zero, of that
	// identity and no other.
	Built(ctx context.Context, plan *imageplan.Plan, e *imageplan.Embedded, architecture string, locked snapshot.Digest) (*Built, error)
}

// Built is what is built of one source, for one architecture. Its packages are the site's: builders vouch for them, and no archive.
type Built struct {
	Identity        snapshot.Digest
	Source, Version string
	Builders        []string // fingerprints of who signed the build, each once; none: it was built here and is at no place
	Packages        []BuiltPackage
	Blobs           snapshot.Blobs // opens them; what is read of it is verified
}

// BuiltPackage is a .deb of a build.
type BuiltPackage struct {
	Stanza deb.Stanza // with Filename, Size and SHA256
	Deb    snapshot.Blob
}

// named are the packages of a build that an entry of the plan asks for, as queries.
func (b *Built) named(e *imageplan.Embedded) ([]string, error) {
	names := e.Names
	if len(names) == 0 {
		names = []string{b.Source}
	}
	var there []string
	versions := map[string]string{}
	for _, p := range b.Packages {
		name := p.Stanza.Get("Package")
		there, versions[name] = append(there, name), p.Stanza.Get("Version")
	}
	var out []string
	for _, name := range names {
		if versions[name] == "" {
			slices.Sort(there)
			return nil, fmt.Errorf("%w: %s: source %s builds no package %s; name: of the entry says which are wanted, of %q", outcome.ErrUsage, e.At, b.Source, name, there)
		}
		out = append(out, fmt.Sprintf("%s (= %s)", name, versions[name]))
	}
	return out, nil
}

// embedded is what the sources of a plan give for one architecture.
type embedded struct {
	sources []imagelock.Source
	asked   []string
	own     []deb.Stanza
}

// embed asks for what is built of the sources of the plan.
func (o *Options) embed(ctx context.Context, arch string, locked *imagelock.Architecture) (*embedded, error) {
	out := &embedded{}
	for i := range o.Plan.Embedded {
		e := &o.Plan.Embedded[i]
		var identity snapshot.Digest
		if locked != nil {
			n := slices.IndexFunc(locked.Sources, func(s imagelock.Source) bool { return s.Path == e.Path })
			if n < 0 {
				return nil, fmt.Errorf("%w: the lock has no build of %s; \"mmoci image lock\" makes it anew", outcome.ErrUsage, e.Path)
			}
			identity = locked.Sources[n].Identity
		}
		if o.Sources == nil {
			return nil, fmt.Errorf("%w: %s: builds of %s are asked for nowhere", outcome.ErrUsage, e.At, e.Path)
		}
		b, err := o.Sources.Built(ctx, o.Plan, e, arch, identity)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		asked, err := b.named(e)
		if err != nil {
			return nil, err
		}
		out.sources = append(out.sources, imagelock.Source{Path: e.Path, Identity: b.Identity})
		out.asked = append(out.asked, asked...)
		for _, p := range b.Packages {
			if was, twice := o.built[p.Deb.Digest]; twice && was.Identity != b.Identity {
				continue // two sources that build the same bytes
			}
			o.built[p.Deb.Digest] = b
			out.own = append(out.own, p.Stanza)
		}
	}
	slices.SortFunc(out.sources, func(a, b imagelock.Source) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// builtOf tells of which build a package is; nil: it is the snapshot's.
func (o *Options) builtOf(p *resolve.Package) *Built {
	if p.Archive != "" {
		return nil
	}
	d, err := snapshot.ListedDigest(p.SHA256)
	if err != nil {
		return nil
	}
	return o.built[d]
}

// accountBuilt adds a line for each package that was built of a source.
func (o *Options) accountBuilt(lines []account.Line, packages []*resolve.Package) []account.Line {
	for _, p := range packages {
		if b := o.builtOf(p); b != nil {
			lines = append(lines, account.Line{Package: p.Name, Version: p.Version, Script: "-", What: account.Built, Detail: "of " + b.Identity.String()})
		}
	}
	return lines
}

// sourceFiles are pkg.yaml and patches of the sources of a plan: with them beside the image, it can be built again of a newer snapshot.
func sourceFiles(p *imageplan.Plan) ([]syncfiles.File, error) {
	var out []syncfiles.File
	for i := range p.Embedded {
		e := &p.Embedded[i]
		s, err := buildsource.Load(filepath.Join(p.Dir, filepath.FromSlash(e.Path)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.At, err)
		}
		text, err := s.ReadText()
		if err != nil {
			return nil, err
		}
		out = append(out, syncfiles.File{Src: path.Join(e.Path, buildsource.Name), Data: text, At: e.At})
		for j := range s.Patches {
			if s.Patches[j].Path == "" {
				continue
			}
			data, err := s.ReadPatch(&s.Patches[j])
			if err != nil {
				return nil, err
			}
			out = append(out, syncfiles.File{Src: path.Join(e.Path, s.Patches[j].Path), Data: data, At: e.At})
		}
	}
	return out, nil
}
