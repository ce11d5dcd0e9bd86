// Package image is "mmoci image" and what is below it: container images made of the packages of a snapshot.
package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Command is "mmoci image".
func Command(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build container images of a snapshot's packages",
	}
	cmd.AddCommand(imageInit(a), imageBuild(a), imageLock(a), imageVerify(a), imageRebuild(a), imageScripts(a), imageSBOM(a), imageDiff(a), imageUpdate(a), imageAffected(a))
	return cmd
}

// imageFlags say what an image is made of.
type imageFlags struct {
	command.PlanFlags
	places        command.PlaceFlags
	image, from   string
	archs         []string
	lock          string
	signKey       string
	each          string
	scripts       string
	twice         bool
	locked, fresh bool
	builds        command.BuildsFlags
}

func (i *imageFlags) flags(f *pflag.FlagSet) {
	f.StringVarP(&i.image, "file", "f", ".", "the image's plan, `FILE|DIR` (default: image.yaml or container.yaml here)")
	i.ConfigFlag(f, "snapshot and keys")
	f.StringVar(&i.from, "from", "", "`REF` of the snapshot (default: from: of the plan, else ref: of mmoci.yaml)")
	f.StringSliceVar(&i.archs, "arch", nil, "Debian's `ARCHITECTURE`s in the place of the plan's (default: this machine's)")
	f.StringVar(&i.scripts, "scripts", "", "run the packages' maintainer scripts (run) or not (none), in the place of the plan's scripts: (default: run for this machine's architecture)")
	i.PlanFlags.BelieveFlags(f)
	i.places.Flags(f)
	i.builds.Build(f)
	f.StringVar(&i.signKey, "sign-key", "", "the site's signing key `FILE`, in the place of sign: of mmoci.yaml")
}

// imageOptions reads the plan, opens the snapshot, and says where both come from. done removes what was built of sources.
func imageOptions(a *command.App, cmd *cobra.Command, i *imageFlags) (o imagebuild.Options, done func() error, err error) {
	done = func() error { return nil }
	plan, err := imageplan.Load(i.image)
	if err != nil {
		return o, done, err
	}
	o = imagebuild.Options{Plan: plan, Architectures: i.archs, Scripts: i.scripts, Twice: i.twice, Native: host.OwnArchitecture(cmd.Context()), Log: a.Log}
	if i.scripts != "" && i.scripts != imageplan.Run && i.scripts != imageplan.None {
		return o, done, fmt.Errorf("%w: --scripts is run or none", outcome.ErrUsage)
	}
	if len(o.Architectures) == 0 && len(plan.Architectures) == 0 {
		o.Architectures = []string{o.Native}
	}
	from, err := snapshotOf(i.from, plan)
	if err != nil {
		return o, done, err
	}
	site, err := i.PlanFlags.Plan()
	if err != nil {
		return o, done, err
	}
	if o.Signer, err = command.Signer(a, site, i.signKey); err != nil {
		return o, done, err
	}
	if o.Snapshot, o.Trust, err = a.Open(cmd, &i.PlanFlags, &i.places, from); err != nil {
		return o, done, err
	}
	sources, err := command.ImageSources(a, o.Native, plan, site, &i.builds, o.Snapshot, o.Trust, o.Signer, false)
	if sources != nil {
		o.Sources, done = sources, sources.Close
	}
	return o, done, err
}

// snapshotOf is the reference of the snapshot that an image is made of: what is asked for, else from: of its plan; none: ref: of the configuration.
func snapshotOf(asked string, p *imageplan.Plan) ([]string, error) {
	if asked != "" {
		return []string{asked}, nil
	}
	if p.From == "" {
		return nil, nil
	}
	ref, err := artifact.ParseReference(p.From)
	if err != nil {
		return nil, document.Errorf(document.Position{File: p.File}, "from: %w", err)
	}
	if ref.Kind != artifact.Registry && !filepath.IsAbs(ref.Name) {
		ref.Name = filepath.Join(p.Dir, ref.Name)
	}
	return []string{ref.String()}, nil
}

// lockFile is the name of a plan's lock.
func lockFile(p *imageplan.Plan) string {
	name := strings.TrimSuffix(filepath.Base(p.File), ".yaml")
	if p.Name != "" {
		name = p.Name
	}
	return filepath.Join(p.Dir, name+".lock")
}

func imageLock(a *command.App) *cobra.Command {
	var i imageFlags
	var output string
	cmd := &cobra.Command{
		Use:   "lock [-f FILE|DIR] [-o LOCK]",
		Short: "Resolve an image's packages to exact versions and digests",
		Long: `The lock is written to what -o names, "-" for stdout; by default beside the plan, as NAME.lock of its name:, else image.lock.
"mmoci image build --lock LOCK" takes exactly these packages.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	i.flags(f)
	f.StringVarP(&output, "output", "o", "", "the `LOCK` file, or - for stdout")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, done, err := imageOptions(a, cmd, &i)
		if err != nil {
			return err
		}
		defer done()
		l, err := imagebuild.MakeLock(cmd.Context(), o)
		if err != nil {
			return err
		}
		if output == "-" {
			_, err := a.Stdout.Write(l.Encode())
			return err
		}
		if output == "" {
			output = lockFile(o.Plan)
		}
		if err := durable.WriteOutput(output, l.Encode(), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, output)
		return nil
	}
	return cmd
}

func imageBuild(a *command.App) *cobra.Command {
	var i imageFlags
	cmd := &cobra.Command{
		Use:   "build [-f FILE|DIR] [REF|oci:DIR|oci-archive:FILE]",
		Short: "Build an image and put it into a registry, layout or oci-archive",
		Long: `An image.yaml says which packages of a snapshot an image is made of, which files of your own lie beside them, and what is run.
Every package becomes a layer of its own, recomputable from the .deb that its archive signed; on top are a layer with dpkg's database and one with your files.
The result is an image index, also for one architecture. REF defaults to ref: and tags: of the plan.

With --lock the packages are exactly those of that file; if it is not there it is written, unless --locked forbids that.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	i.flags(f)
	f.StringVar(&i.lock, "lock", "", "the `LOCK` file that says exactly which packages (mmoci image lock makes one)")
	f.BoolVar(&i.locked, "locked", false, "with --lock: it must be there")
	f.StringVar(&i.each, "each", "", "beside the image, one of one layer for each of its packages: `HOST/REPO`/NAME:VERSION")
	f.BoolVar(&i.twice, "twice", false, "run the scripts twice, and refuse what does not come out the same")
	f.BoolVar(&i.fresh, "no-cache", false, "make every layer anew, and keep none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if i.locked && i.lock == "" {
			return fmt.Errorf("%w: --locked is for --lock FILE", outcome.ErrUsage)
		}
		bar := a.Progress()
		defer bar.End()
		o, done, err := imageOptions(a, cmd, &i)
		if err != nil {
			return err
		}
		defer done()
		to, err := targets(o.Plan, args)
		if err != nil {
			return err
		}
		var each artifact.Reference
		if i.each != "" {
			each, err = artifact.ParseReference(i.each)
			if err == nil && (each.Kind != artifact.Registry || strings.ContainsAny(path.Base(i.each), ":@")) {
				err = fmt.Errorf("%w: a repository of a registry is wanted, without a tag: HOST/REPO", outcome.ErrUsage)
			}
			if err != nil {
				return fmt.Errorf("--each: %w", err)
			}
		}
		if i.lock != "" {
			if o.Lock, err = readImageLock(i.lock); errors.Is(err, fs.ErrNotExist) && !i.locked {
				err = nil
			}
			if err != nil {
				return err
			}
		}
		if !i.fresh {
			if o.Cache, err = imageCache(a); err != nil {
				return err
			}
			defer o.Cache.Close()
			o.Signed = notesAt(a, to[0], o.Trust.Site, o.Signer)
		}
		if o.Signer == nil && o.Trust.Site != nil {
			a.Log("nobody signs what is said of the image, so it does not verify by the site's key; give --sign-key FILE or sign: in mmoci.yaml")
		}
		start := time.Now()
		im, err := imagebuild.Build(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer im.Close()
		var single *imagebuild.Each // looked at before anything is put
		if i.each != "" {
			if single, err = im.Each(cmd.Context(), each, a.Options()); err != nil {
				return err
			}
		}
		if err := putImage(cmd.Context(), a, im, to, nil, start); err != nil {
			return err
		}
		if single != nil {
			err := single.Put(cmd.Context(), artifact.PushOptions{Options: a.Options()}, func(c artifact.Copied) { fmt.Fprintln(a.Stdout, c.Reference) })
			if err != nil {
				return err
			}
		}
		if i.lock != "" && o.Lock == nil {
			return durable.WriteOutput(i.lock, im.Lock.Encode(), 0o644)
		}
		return nil
	}
	return cmd
}

// putImage puts an image under all its tags and prints them.
// expect is what they name until then; nil: whatever it is.
func putImage(ctx context.Context, a *command.App, im *imagebuild.Image, to []artifact.Reference, expect *snapshot.Digest, start time.Time) error {
	for _, ref := range to {
		copied, err := im.Put(ctx, ref, artifact.PushOptions{Options: transferring(a), Expect: expect})
		if err != nil {
			return err
		}
		a.Bar.End()
		for _, arch := range im.Architectures {
			a.Log("%s: %s, %s, %s", arch.Name, terminal.Count(arch.Packages, "package"), terminal.Count(len(arch.Layers), "layer"), terminal.Size(arch.Bytes))
		}
		a.Log("%s: %s, %s of blobs written, %.1f s", ref, changedWord(copied.Changed), terminal.Size(copied.Bytes), time.Since(start).Seconds())
		fmt.Fprintln(a.Stdout, copied.Reference)
	}
	return nil
}

func changedWord(changed bool) string {
	if changed {
		return "new"
	}
	return "as it was"
}

// transferring are the options of a transfer that the line of progress shows.
func transferring(a *command.App) artifact.Options {
	o := a.Options()
	if a.Bar != nil {
		o.Progress = a.Bar.Event
	}
	return o
}

// imageCache is where layers and notes are kept; nil if there is no place for it.
func imageCache(a *command.App) (*layercache.Cache, error) {
	dir, err := state.HostDir("images")
	if errors.Is(err, state.ErrForeign) {
		return nil, err
	}
	if err != nil {
		a.Detail("layers are not kept: %s", err)
		return nil, nil
	}
	return layercache.Open(dir, 0, a.Log)
}

// notesAt reads the notes of the image that a reference names, if a key of the site's signed them.
func notesAt(a *command.App, ref artifact.Reference, site *pgp.Keyring, own pgp.Signer) func(context.Context) layercache.Notes {
	if own != nil {
		site = pgp.JoinKeyrings(site, own.Public())
	}
	return signedNotes(a, ref, func(ctx context.Context) (layercache.Notes, error) {
		return imageproof.Notes(ctx, ref, imageproof.Options{Artifact: a.Options(), Site: site, Log: a.Log})
	})
}

// signedNotes reads notes, and says why they do not count, which ends no build. Those of an oci-archive spare nothing: its layers are
// written anew, and what scripts do not make the same each time could not be.
func signedNotes(a *command.App, ref artifact.Reference, read func(context.Context) (layercache.Notes, error)) func(context.Context) layercache.Notes {
	if ref.Kind == artifact.Archive {
		return nil
	}
	return func(ctx context.Context) layercache.Notes {
		notes, err := read(ctx)
		switch {
		case err == nil:
			a.Detail("%s: the site signed %s of its layers: these packages are not read", ref, terminal.Count(len(notes), "note"))
		case !errors.Is(err, outcome.ErrNotFound) && !errors.Is(err, artifact.ErrNotFound) && ctx.Err() == nil:
			a.Log("%s: the notes of its layers do not count, and every package is read: %v", ref, err)
		}
		return notes
	}
}

func readImageLock(name string) (*imagelock.Lock, error) {
	text, err := document.ReadFile(name, imagelock.MaxSize)
	if err != nil {
		return nil, err
	}
	return imagelock.Parse(name, text)
}

// targets are where an image goes: what is named, else the plan's ref: with each of its tags:.
func targets(p *imageplan.Plan, args []string) ([]artifact.Reference, error) {
	if len(args) > 0 {
		ref, err := artifact.ParseReference(args[0])
		return []artifact.Reference{ref}, err
	}
	if p.Ref == "" {
		return nil, fmt.Errorf("%w: no place for the image: give one (registry.example.org/site/nginx:1, oci:DIR, oci-archive:FILE) or ref: in %s", outcome.ErrUsage, p.File)
	}
	ref, err := artifact.ParseReference(p.Ref)
	if err != nil {
		return nil, document.Errorf(document.Position{File: p.File}, "ref: %w", err)
	}
	if ref.Kind != artifact.Registry && !filepath.IsAbs(ref.Name) {
		ref.Name = filepath.Join(p.Dir, ref.Name)
	}
	out := []artifact.Reference{ref}
	for n, tag := range p.Tags {
		ref.Tag = tag
		out = append(out[:n], ref)
	}
	return out, nil
}
