package builds

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/debsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Local is a build in a directory: identity.txt, environment.txt, the files of the source package that the identity names, its patches
// in patches/, and beside them what the builder made: .debs, .buildinfo, .changes and the patched source.
type Local struct {
	Dir      string
	Identity *buildsource.Identity
	About    About
	Parts    []Part
}

// ReadDir reads a build, and holds it against its identity: what the identity names is there, and is what it says, and each .deb is of the
// source and version.
//
// Errors: outcome.ErrNotFound if there is no identity.txt; outcome.ErrIntegrity for what is another than the identity says.
func ReadDir(ctx context.Context, dir string) (*Local, error) {
	f, _, err := oci.OpenRegular(filepath.Join(dir, IdentityName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s in %s is %w: this is no directory that a source was built into", IdentityName, dir, outcome.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := oci.ReadLimited(f, buildsource.MaxIdentity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	l := &Local{Dir: dir}
	if l.Identity, err = buildsource.ParseIdentity(text); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := l.read(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, nil
}

func (l *Local) read(ctx context.Context) error {
	root, err := os.OpenRoot(l.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	named := map[string]bool{}
	for _, f := range l.Identity.Files {
		named[f.Name] = true
	}
	var names []string
	for _, dir := range []string{".", strings.TrimSuffix(patchDir, "/")} {
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if name := filepath.ToSlash(filepath.Join(dir, e.Name())); !e.IsDir() {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		kind := ""
		switch {
		case name == IdentityName:
			kind = TypeIdentity
		case name == EnvironmentName:
			kind = TypeEnvironment
		case name == statementName:
			continue // of who built it; pushing makes another
		case strings.HasPrefix(name, patchDir):
			kind = TypePatch
		case named[name]:
			kind = TypeSource
		case strings.HasSuffix(name, ".deb"):
			kind = TypeDeb
		case name == AboutName, strings.HasSuffix(name, ".buildinfo"), strings.HasSuffix(name, ".changes"), strings.HasSuffix(name, ".dsc"), strings.Contains(name, ".tar."), strings.HasSuffix(name, ".diff.gz"):
			kind = TypeRecord
		default:
			return fmt.Errorf("%w: %s is no part of a build; it has .debs, .buildinfo, .changes, source packages, %s, %s and %s", outcome.ErrUsage, name, IdentityName, EnvironmentName, patchDir)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0) // no pipe is waited for
		if err != nil {
			return err
		}
		b, err := Hashed(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.Parts = append(l.Parts, Part{kind, name, b})
	}
	slices.SortFunc(l.Parts, compareParts)
	if data, err := root.ReadFile(AboutName); err == nil {
		l.About = parseAbout(data)
	}
	return check(ctx, l.Identity, l.Parts, l)
}

// Hashed reads a file to its end, which must be a regular one.
func Hashed(f *os.File) (snapshot.Blob, error) {
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no file", outcome.ErrUsage)
	}
	if err != nil {
		return snapshot.Blob{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	return snapshot.Blob{Digest: snapshot.Digest(h.Sum(nil)), Size: n}, err
}

// partOrder is that of the parts of a manifest.
var partOrder = []string{TypeIdentity, TypeEnvironment, TypeSource, TypePatch, TypeDeb, TypeRecord, TypeStatement}

func compareParts(a, b Part) int {
	if c := slices.Index(partOrder, a.Type) - slices.Index(partOrder, b.Type); c != 0 {
		return c
	}
	return strings.Compare(a.Title, b.Title)
}

// Open implements snapshot.Blobs, for parts.
func (l *Local) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	i := slices.IndexFunc(l.Parts, func(p Part) bool { return p.Blob == b })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", b.Digest, snapshot.ErrNotExist)
	}
	root, err := os.OpenRoot(l.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(l.Parts[i].Title))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return &snapshot.Content{R: f}, nil
}

// check holds parts against the identity: environment, source and patches are proved by it, and each .deb says that it is of the source.
func check(ctx context.Context, id *buildsource.Identity, parts []Part, from snapshot.Blobs) error {
	if err := checkInputs(ctx, id, parts, from); err != nil {
		return err
	}
	for _, p := range parts {
		if p.Type != TypeDeb {
			continue
		}
		if _, err := ReadDeb(ctx, id, p, from); err != nil {
			return err
		}
	}
	return nil
}

func checkInputs(ctx context.Context, id *buildsource.Identity, parts []Part, from snapshot.Blobs) error {
	of := func(kind string) (out []Part) {
		for _, p := range parts {
			if p.Type == kind {
				out = append(out, p)
			}
		}
		return out
	}
	env, patches, sources := of(TypeEnvironment), of(TypePatch), of(TypeSource)
	switch {
	case len(env) != 1 || env[0].Digest != id.Environment:
		return fmt.Errorf("%w: %s is not the one of the identity", outcome.ErrIntegrity, EnvironmentName)
	case len(patches) != len(id.Patches):
		return fmt.Errorf("%w: %d patches, and the identity names %d", outcome.ErrIntegrity, len(patches), len(id.Patches))
	case len(sources) != len(id.Files):
		return fmt.Errorf("%w: %d files of the source package, and the identity names %d", outcome.ErrIntegrity, len(sources), len(id.Files))
	}
	for i, p := range patches {
		if p.Blob != id.Patches[i] {
			return fmt.Errorf("%w: %s is not the patch of the identity", outcome.ErrIntegrity, p.Title)
		}
	}
	for i, f := range id.Files {
		j := slices.IndexFunc(sources, func(p Part) bool { return p.Title == f.Name })
		if j < 0 {
			return fmt.Errorf("%w: %s, which the identity names, is not there", outcome.ErrIntegrity, f.Name)
		}
		got := sources[j].Blob
		if i == 0 {
			data, err := small(ctx, from, sources[j], debsource.MaxDsc)
			if err != nil {
				return err
			}
			text, err := pgp.Unsigned(data)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			got = snapshot.BlobOf(text)
		}
		if got != f.Blob {
			return fmt.Errorf("%w: %s is not the one of the identity", outcome.ErrIntegrity, f.Name)
		}
	}
	return nil
}

// ReadDeb reads a .deb of a build to its end. It says that it is of the source, version and architecture of the identity.
//
// Errors: outcome.ErrIntegrity if it does not, or is no .deb; else that of reading.
func ReadDeb(ctx context.Context, id *buildsource.Identity, p Part, from snapshot.Blobs) (*deb.Deb, error) {
	c, err := from.Open(ctx, p.Blob, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Title, err)
	}
	r := c.Reader(p.Blob)
	defer r.Close()
	d, err := deb.ReadDeb(struct{ io.Reader }{r})
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if errors.Is(err, deb.ErrMalformed) {
		err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Title, err)
	}
	name, version := d.Control.Source()
	arch := d.Control.Get("Architecture")
	if name != id.Source || version != id.Version || arch != id.HostArch && arch != "all" {
		return nil, fmt.Errorf("%w: %s: it is of source %.80s %.80s for %.40s, and the identity of %s %s for %s", outcome.ErrIntegrity, p.Title, name, version, arch, id.Source, id.Version, id.HostArch)
	}
	return d, nil
}

// About is what people are told of a build.
type About struct {
	Author  string
	Patches []string // their titles, in order
}

// Text is about.txt.
func (a About) Text() []byte {
	var b strings.Builder
	if a.Author != "" {
		fmt.Fprintf(&b, "author %s\n", a.Author)
	}
	for _, p := range a.Patches {
		fmt.Fprintf(&b, "patch %s\n", p)
	}
	return []byte(b.String())
}

// Limits of what the list of a place has of a build's titles.
const (
	maxTitles = 32
	maxTitle  = 120 // bytes
)

func parseAbout(text []byte) (a About) {
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		value = strings.ToValidUTF8(value[:min(len(value), maxTitle)], "")
		switch {
		case key == "author":
			a.Author = value
		case key == "patch" && len(a.Patches) < maxTitles:
			a.Patches = append(a.Patches, value)
		}
	}
	return a
}
