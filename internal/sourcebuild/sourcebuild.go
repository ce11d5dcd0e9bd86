// Package sourcebuild makes of a pkg.yaml and a snapshot the identity of a build, and builds it: the source and what building needs come
// out of the snapshot, proved, and the builder gets nothing else.
package sourcebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"example.org/mmoci/internal/builddeps"
	"example.org/mmoci/internal/buildenv"
	"example.org/mmoci/internal/builder"
	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/debsource"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Options say what is built, and of which snapshot.
type Options struct {
	Plan         *buildsource.Plan
	Snapshot     *snapshot.Snapshot
	Trust        prove.Trust
	Architecture string // that is built on and for
	// Kept is a directory where patches from the network are kept by their digest, so that each is fetched once; "": they are not.
	Kept string
	Log  outcome.Log
}

// Source is a source with all that decides what is built of it.
type Source struct {
	Identity *buildsource.Identity

	o           *Options
	archive     *buildenv.Archive
	base        *buildenv.Source
	environment *buildenv.Environment
	patches     [][]byte
}

// Resolve finds the source and what building it needs in the snapshot, reads the patches, and computes the identity.
//
// Errors: outcome.ErrUsage for a pkg.yaml that cannot be honoured; outcome.ErrNotFound for a source, or what building needs, that is
// not in the snapshot; outcome.ErrIntegrity for a patch that is not the one of its digest.
func Resolve(ctx context.Context, o Options) (*Source, error) {
	archive, err := buildenv.Open(ctx, buildenv.Options{Snapshot: o.Snapshot, Trust: o.Trust, Architecture: o.Architecture, Log: o.Log})
	if err != nil {
		return nil, err
	}
	s := &Source{o: &o, archive: archive}
	if s.base, err = archive.SourceWithout(o.Plan.Source, o.Plan.Version, o.Plan.Suffix); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Plan.BaseAt, err)
	}
	profiles, err := o.Plan.BuildProfiles(s.base.Profiles())
	if err != nil {
		return nil, err
	}
	what, err := builddeps.ParseWhat(o.Plan.Build)
	if err != nil {
		return nil, err
	}
	if s.environment, err = archive.Environment(ctx, s.base, builddeps.Needs{What: what, Profiles: profiles}); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Plan.File, err)
	}
	id := &buildsource.Identity{
		Source: s.base.Name, Base: s.base.Version, Version: s.base.Version + o.Plan.Suffix,
		BuildArch: o.Architecture, HostArch: o.Architecture, What: o.Plan.Build,
		Profiles: profiles, Options: o.Plan.Options, Env: o.Plan.Env, Environment: snapshot.Sum(s.environment.Text()),
	}
	for i := range o.Plan.Patches {
		data, err := s.patch(ctx, &o.Plan.Patches[i])
		if err != nil {
			return nil, err
		}
		s.patches = append(s.patches, data)
		id.Patches = append(id.Patches, snapshot.BlobOf(data))
	}
	if err := s.files(ctx, id); err != nil {
		return nil, fmt.Errorf("source %s %s: %w", s.base.Name, s.base.Version, err)
	}
	s.Identity = id
	return s, nil
}

// files takes the files of the source, and the date of its changelog.
func (s *Source) files(ctx context.Context, id *buildsource.Identity) error {
	for i, f := range s.base.Files {
		file := buildsource.File{Name: f.Name, Blob: f.Blob}
		if i == 0 {
			dsc, err := s.dsc(ctx)
			if err != nil {
				return err
			}
			text, err := pgp.Unsigned(dsc)
			if err != nil {
				return err
			}
			file.Blob = snapshot.BlobOf(text)
		}
		id.Files = append(id.Files, file)
	}
	p, err := s.open(ctx)
	if err != nil {
		return err
	}
	id.Date = p.Date().UTC()
	if id.Version != id.Base {
		id.Date = id.Date.Add(time.Second)
	}
	return nil
}

func (s *Source) dsc(ctx context.Context) ([]byte, error) {
	if s.base.Files[0].Size > debsource.MaxDsc {
		return nil, fmt.Errorf("%w: %s has %d bytes", outcome.ErrIntegrity, s.base.Files[0].Name, s.base.Files[0].Size)
	}
	r, err := s.archive.Open(ctx, s.base.Files[0])
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// open reads the source package out of the snapshot.
func (s *Source) open(ctx context.Context) (*debsource.Package, error) {
	var files []debsource.File
	for _, f := range s.base.Files {
		files = append(files, debsource.File{Name: f.Name, Size: f.Size, Open: func() (io.ReadCloser, error) { return s.archive.Open(ctx, f) }})
	}
	return debsource.Open(files)
}

// patch reads a patch, from the network if it is there and was not kept.
func (s *Source) patch(ctx context.Context, p *buildsource.Patch) ([]byte, error) {
	if p.URL == "" {
		return s.o.Plan.ReadPatch(p)
	}
	kept := ""
	if s.o.Kept != "" {
		kept = filepath.Join(s.o.Kept, p.Digest.Hex())
		data, err := os.ReadFile(kept)
		if err == nil && p.Check(data) == nil {
			return data, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.o.Log.Printf("%s is fetched again: %v", p, err)
		}
	}
	data, err := upstream.Fetch(ctx, upstream.Options{Log: s.o.Log}, p.URL, buildsource.MaxPatch)
	if err != nil {
		return nil, fmt.Errorf("%s: patch %s: %w", p.Position, p, err)
	}
	if err := p.Check(data); err != nil || kept == "" {
		return data, err
	}
	if err := os.MkdirAll(s.o.Kept, 0o755); err == nil {
		err = durable.WriteFile(kept, data, 0o644)
		if err != nil {
			s.o.Log.Printf("patch %s is not kept: %v", p, err)
		}
	}
	return data, nil
}

// BuildOptions say by what is built, and where.
type BuildOptions struct {
	// Command is a program that builds what it finds in IN/ into OUT/; nil: sbuild.
	Command []string
	// WithoutEnvironment gives a command the text of the environment alone, not its tar, which takes a machine that can run maintainer scripts.
	WithoutEnvironment bool
	Timeout            time.Duration // 0: the builder's
	Dir                string        // for scratch files; "": the machine's
	Output             io.Writer     // what the builder says; nil: it is lost
}

// Build builds into a directory whose name is [durable.Vacant], and gives it the form of [builds.Local]. It has the name when all is there.
//
// Errors: outcome.ErrUsage for a name that others have, and for a patch that does not apply; those of the builder.
func (s *Source) Build(ctx context.Context, out string, o BuildOptions) (_ *builds.Local, err error) {
	if err := durable.Vacant(out); err != nil {
		return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
	}
	if err := builder.Available(o.Command); err != nil {
		return nil, err
	}
	parent := filepath.Dir(filepath.Clean(out))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(o.Dir, "mmoci-source-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	// The builder's root of a user namespace, which is nobody on the machine, passes through.
	if err := os.Chmod(scratch, 0o711); err != nil { //nolint:gosec // as said
		return nil, err
	}
	made, err := os.MkdirTemp(parent, ".mmoci-source-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(made)
	if err := os.Chmod(made, 0o755); err != nil {
		return nil, err
	}
	if err := s.inputs(ctx, made); err != nil {
		return nil, err
	}
	source := filepath.Join(scratch, "source")
	if err := s.changed(ctx, source); err != nil {
		return nil, err
	}
	id := s.Identity
	job := builder.Job{
		Identity: id.Text(), EnvironmentText: s.environment.Text(), Name: id.Source, Version: id.Version, Date: id.Date, Architecture: id.HostArch, What: id.What,
		Profiles: id.Profiles, Options: id.Options, Env: id.Env, Source: source,
	}
	if !o.WithoutEnvironment || len(o.Command) == 0 {
		job.Environment = filepath.Join(scratch, "environment.tar")
		if err := s.tar(ctx, job.Environment, scratch); err != nil {
			return nil, fmt.Errorf("environment: %w", err)
		}
	}
	result := filepath.Join(scratch, "out")
	if err := os.Mkdir(result, 0o755); err != nil {
		return nil, err
	}
	built, err := builder.Build(ctx, job, builder.Options{Command: o.Command, Timeout: o.Timeout, Dir: scratch, Log: o.Output}, result)
	if err != nil {
		return nil, err
	}
	for _, name := range built.Files {
		if err := copyFile(filepath.Join(made, filepath.Base(name)), filepath.Join(result, filepath.Base(name))); err != nil {
			return nil, err
		}
	}
	if err := keepSource(made, source); err != nil {
		return nil, err
	}
	local, err := builds.ReadDir(ctx, made)
	if err != nil {
		return nil, fmt.Errorf("what was built: %w", err)
	}
	local.Dir = out
	return local, durable.PutDir(made, out)
}

func (s *Source) tar(ctx context.Context, name, scratch string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = s.environment.WriteTar(ctx, f, buildenv.TarOptions{Date: s.Identity.Date, Dir: scratch})
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// notName is what a name of a patch in a place cannot have.
var notName = regexp.MustCompile(`[^A-Za-z0-9+._~-]+`)

// inputs writes what the identity names: itself, environment, source and patches.
func (s *Source) inputs(ctx context.Context, dir string) error {
	about := builds.About{Author: s.o.Plan.Author}
	for i := range s.o.Plan.Patches {
		about.Patches = append(about.Patches, s.o.Plan.Patches[i].Title())
	}
	texts := map[string][]byte{builds.IdentityName: s.Identity.Text(), builds.EnvironmentName: s.environment.Text()}
	if text := about.Text(); len(text) > 0 {
		texts[builds.AboutName] = text
	}
	for i, data := range s.patches {
		name := notName.ReplaceAllString(path.Base(s.o.Plan.Patches[i].String()), "-")
		texts[fmt.Sprintf("patches/%03d-%s", i+1, name[max(0, len(name)-100):])] = data
	}
	if len(s.patches) > 0 {
		if err := os.Mkdir(filepath.Join(dir, "patches"), 0o755); err != nil {
			return err
		}
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), text, 0o644); err != nil {
			return err
		}
	}
	return s.takeOut(ctx, dir)
}

// takeOut writes the files of the source package, verified as they are read.
func (s *Source) takeOut(ctx context.Context, dir string) error {
	for _, f := range s.base.Files {
		r, err := s.archive.Open(ctx, f)
		if err != nil {
			return err
		}
		err = writeFrom(filepath.Join(dir, f.Name), r)
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// changed writes the source package that is built: the base itself, or with patches and an entry in its changelog.
func (s *Source) changed(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	id := s.Identity
	if id.Version == id.Base {
		return s.takeOut(ctx, dir)
	}
	p, err := s.open(ctx)
	if err != nil {
		return err
	}
	change := debsource.Change{Version: id.Version, Date: id.Date}
	for i, data := range s.patches {
		change.Patches = append(change.Patches, debsource.Patch{Name: fmt.Sprintf("mmoci-%03d.patch", i+1), Title: s.o.Plan.Patches[i].String(), Data: data})
	}
	patched, err := p.Patch(change)
	if err != nil {
		return s.named(err)
	}
	_, err = patched.Write(dir)
	return err
}

// named puts the line of pkg.yaml in front of an error of a patch.
func (s *Source) named(err error) error {
	bad, ok := errors.AsType[*debsource.PatchError](err)
	if !ok {
		return err
	}
	for i := range s.o.Plan.Patches {
		if p := &s.o.Plan.Patches[i]; p.String() == bad.Patch || fmt.Sprintf("mmoci-%03d.patch", i+1) == bad.Patch {
			return fmt.Errorf("%s: %w", p.Position, err)
		}
	}
	return err
}

// keepSource takes the source package that was built, as far as it is another than the base: with it and the environment anybody
// can build again what was built.
func keepSource(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := copyFile(filepath.Join(to, e.Name()), filepath.Join(from, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	return writeFrom(to, r)
}

func writeFrom(to string, r io.Reader) error {
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if synced := w.Sync(); err == nil {
		err = synced
	}
	if closed := w.Close(); err == nil {
		err = closed
	}
	return err
}
