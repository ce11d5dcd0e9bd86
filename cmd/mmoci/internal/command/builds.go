package command

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/embedded"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/sourcebuild"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// BuildsFlags say where the packages are that an image has built of sources, whose builds count, and by what they are built.
type BuildsFlags struct {
	discover, builders []string
	confirm            int
	to, command        string
	without            bool
	timeout            time.Duration
}

// Find adds the flags of what is asked for and not built.
func (b *BuildsFlags) Find(f *pflag.FlagSet) {
	f.StringArrayVar(&b.discover, "discover", nil, "`REG` that is asked for what is built of the plan's sources, HOST/REPO or oci:DIR; may be repeated (default: sources: of mmoci.yaml)")
	f.StringArrayVar(&b.builders, "builder-key", nil, "public key `FILE` of a builder whose builds count (default: builders: below trust: in mmoci.yaml)")
	f.IntVar(&b.confirm, "confirm", 0, "how many of these builders have to have built the same (default: confirm: below trust: in mmoci.yaml, else 1)")
}

// Build adds the flags of what is built if nobody has it.
func (b *BuildsFlags) Build(f *pflag.FlagSet) {
	b.Find(f)
	b.Made(f)
}

// Made are the flags of Build beside those of Find.
func (b *BuildsFlags) Made(f *pflag.FlagSet) {
	f.StringVar(&b.to, "push-to", "", "`REG` that a source is put into which was built here, HOST/REPO or oci:DIR; it is asked, too")
	f.StringVar(&b.command, "builder", "sbuild", "sbuild, or a `PROGRAM` that builds IN/ into OUT/")
	f.BoolVar(&b.without, "without-environment", false, "give the program no environment.tar: it has or makes one by environment's lines")
	DurationVar(f, &b.timeout, "timeout", "end a build of a source that takes longer, such as 2h (default: 6h)")
}

// BuilderTrust is whose builds count: the keys that are named, else those of the configuration.
func BuilderTrust(keys []string, confirm int, site *config.Plan) (builds.Trust, error) {
	t := builds.Trust{Confirm: confirm}
	if site != nil && len(keys) == 0 {
		keys = site.Builders.Keys
	}
	if site != nil && t.Confirm == 0 {
		t.Confirm = site.Builders.Confirm
	}
	if t.Confirm < 0 {
		return t, fmt.Errorf("%w: --confirm is 1 or more", outcome.ErrUsage)
	}
	if len(keys) == 0 {
		return t, fmt.Errorf("%w: no builder is listed, so no build counts; name their keys (builders: below trust: in mmoci.yaml, or --builder-key FILE)", outcome.ErrUsage)
	}
	var err error
	t.Builders, err = signer.ReadKeyrings(keys...)
	return t, err
}

// PlacesOf are the places that are named, else sources: of the configuration.
func PlacesOf(args []string, plan *config.Plan) (out []artifact.Reference, err error) {
	if len(args) == 0 && plan != nil {
		args = plan.Sources
	}
	for _, arg := range args {
		ref, err := builds.ParsePlace(arg)
		if err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

// PatchesKept is where patches from the network are kept; "" if there is no place for them.
func PatchesKept(a *App) (string, error) {
	dir, err := state.HostDir("patches")
	if errors.Is(err, state.ErrForeign) {
		return "", err
	}
	if err != nil {
		a.Detail("patches are not kept: %s", err)
		return "", nil
	}
	return dir, nil
}

// BuildBy says by what sources are built: "sbuild", or a program with its arguments.
func BuildBy(a *App, program string, without bool, timeout time.Duration) (sourcebuild.BuildOptions, error) {
	o := sourcebuild.BuildOptions{WithoutEnvironment: without, Timeout: timeout}
	if program != "sbuild" {
		if o.Command = strings.Fields(program); len(o.Command) == 0 {
			return o, fmt.Errorf("%w: --builder is sbuild or a program", outcome.ErrUsage)
		}
	}
	if a.Verbose {
		o.Output = a.Stderr
	}
	return o, nil
}

// ImageSources are the sources of an image's plan; nil if it names none. Built is what no place has if sign is not nil or nothing is put
// anywhere; else (find) it is an error.
func ImageSources(a *App, native string, plan *imageplan.Plan, site *config.Plan, b *BuildsFlags, s *snapshot.Snapshot, trust prove.Trust, sign pgp.Signer, find bool) (*embedded.Sources, error) {
	if len(plan.Embedded) == 0 {
		return nil, nil
	}
	o := embedded.Options{Snapshot: s, Trust: trust, FindOnly: find}
	o.Artifact, o.Log, o.Native, o.BuilderName = a.Options(), a.Log, native, filepath.Base(b.command)
	discover := b.discover
	if len(discover) == 0 {
		discover = plan.Discover
	}
	var err error
	if o.Places, err = PlacesOf(discover, site); err != nil {
		return nil, err
	}
	if o.Kept, err = PatchesKept(a); err != nil {
		return nil, err
	}
	if !find {
		if o.Build, err = BuildBy(a, b.command, b.without, b.timeout); err != nil {
			return nil, err
		}
		if to := cmp.Or(b.to, plan.PushTo); to != "" {
			ref, err := builds.ParsePlace(to)
			if err != nil {
				return nil, err
			}
			o.To, o.Signer = &ref, sign
			if sign == nil {
				return nil, outcome.GiveSigningKey.For(fmt.Errorf("%w: a build that nobody signed counts for nobody", outcome.ErrUsage))
			}
		}
	}
	if find || len(o.Places) > 0 || o.To != nil {
		if o.Builders, err = BuilderTrust(b.builders, b.confirm, site); err != nil {
			return nil, err
		}
	}
	if o.To != nil {
		if err := ListedSigner(sign, o.Builders, *o.To); err != nil {
			return nil, err
		}
	}
	return embedded.New(o), nil
}

// ListedSigner refuses to sign builds for a place by a key that is no listed builder's.
func ListedSigner(sign pgp.Signer, listed builds.Trust, to artifact.Reference) error {
	by := sign.Public().Fingerprints()
	if slices.ContainsFunc(by, func(f string) bool { return slices.Contains(listed.Builders.Fingerprints(), f) }) {
		return nil
	}
	return fmt.Errorf("%w: what is put into %s would be signed by %s, which is no listed builder: nobody would take it; list its public key (builders: below trust: in mmoci.yaml, or --builder-key FILE)",
		outcome.ErrUsage, builds.PlaceOf(to), by[0])
}

// TakeBuilds puts what archives name by sources: into directories, and returns the plan that has them. A directory with a pkg.yaml is
// resolved in the snapshot that ref names now.
func TakeBuilds(a *App, cmd *cobra.Command, p *PlanFlags, plan *config.Plan, ref func() (artifact.Reference, error)) (*config.Plan, error) {
	if !slices.ContainsFunc(plan.Archives, func(a config.Archive) bool { return len(a.Sources) > 0 }) {
		return plan, nil
	}
	top, err := state.HostDir("built")
	if err != nil {
		return nil, fmt.Errorf("packages that sources: names: %w", err)
	}
	var o embedded.Options
	o.Artifact, o.Log = a.Options(), a.Log
	if o.Places, err = PlacesOf(nil, plan); err != nil {
		return nil, err
	}
	if len(o.Places) == 0 {
		return nil, fmt.Errorf("%w: an archive names builds, and no place says where they are; write sources: [HOST/REPO] at the top of mmoci.yaml", outcome.ErrUsage)
	}
	if len(plan.Builders.Keys) == 0 {
		return nil, fmt.Errorf("%w: an archive names builds, and no builder is listed, so none counts; name their keys (builders: below trust: in mmoci.yaml)", outcome.ErrUsage)
	}
	if o.Builders, err = BuilderTrust(nil, 0, plan); err != nil {
		return nil, err
	}
	if o.Kept, err = PatchesKept(a); err != nil {
		return nil, err
	}
	file, err := filepath.Abs(plan.File)
	if err != nil {
		return nil, err
	}
	now := *plan
	now.Archives = slices.Clone(plan.Archives)
	var from *embedded.Sources
	for i := range now.Archives {
		ar := &now.Archives[i]
		if len(ar.Sources) == 0 {
			continue
		}
		var ids []snapshot.Digest
		for _, q := range ar.Sources {
			if id, err := snapshot.ParseDigest("sha256:" + strings.TrimPrefix(q.Text, "sha256:")); err == nil {
				ids = append(ids, id)
				continue
			}
			if from == nil {
				if from, err = sourcesOf(a, cmd, p, o, ref); err != nil {
					return nil, fmt.Errorf("%s: sources: %s is resolved in the snapshot that is to be replaced: %w; push without it first, or name the hash of a build", q.Position, q.Text, err)
				}
			}
			archs := ar.Architectures
			if len(archs) == 0 {
				archs = []string{host.OwnArchitecture(cmd.Context())}
			}
			for _, arch := range archs {
				id, err := from.Find(cmd.Context(), q.Text, arch)
				if err != nil {
					return nil, fmt.Errorf("%s: sources: %w", q.Position, err)
				}
				ids = append(ids, id)
			}
		}
		// One directory for each archive of each configuration.
		ar.Debs = filepath.Join(top, ar.Prefix+"-"+snapshot.Sum([]byte(file + "\n" + ar.Prefix)).Hex()[:12])
		if ar.BuiltOf, err = embedded.New(o).Take(cmd.Context(), ar.Debs, ids, ar.WithSources); err != nil {
			if errors.Is(err, outcome.ErrNotFound) {
				err = fmt.Errorf("%w; mmoci source build DIR --to REG builds it", err)
			}
			return nil, fmt.Errorf("archive %s: sources: %w", ar.Prefix, err)
		}
		ar.Sources, ar.WithSources = nil, false // a source package that is there comes along
	}
	return &now, nil
}

func sourcesOf(a *App, cmd *cobra.Command, p *PlanFlags, o embedded.Options, ref func() (artifact.Reference, error)) (*embedded.Sources, error) {
	at, err := ref()
	if err != nil {
		return nil, err
	}
	if o.Snapshot, o.Trust, err = a.Open(cmd, p, &PlaceFlags{}, []string{at.String()}); err != nil {
		return nil, err
	}
	return embedded.New(o), nil
}
