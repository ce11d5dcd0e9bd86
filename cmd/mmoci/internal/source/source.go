// Package source is "mmoci source" and what is below it: sources built once, and found by what they were built of.
package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/sourcebuild"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Command is "mmoci source".
func Command(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "source",
		Short: "Build patched source packages once, and find them by what they were built of",
	}
	cmd.AddCommand(sourceHash(a), sourceFind(a), sourceLs(a), sourceBuild(a), sourcePush(a), sourcePull(a), sourceDiff(a))
	return cmd
}

// sourceFlags say of which snapshot a source is, and whose builds count.
type sourceFlags struct {
	command.PlanFlags
	places   command.PlaceFlags
	from     string
	arch     string
	builders []string
	confirm  int
}

func (s *sourceFlags) configFlag(f *pflag.FlagSet) {
	s.ConfigFlag(f, "snapshot, keys and sources:")
}

func (s *sourceFlags) snapshotFlags(f *pflag.FlagSet) {
	s.configFlag(f)
	f.StringVar(&s.from, "from", "", "`REF` of the snapshot (default: ref: of mmoci.yaml)")
	f.StringVar(&s.arch, "arch", "", "Debian's `ARCHITECTURE` that is built on and for (default: this machine's)")
	s.PlanFlags.BelieveFlags(f)
	s.places.Flags(f)
}

func (s *sourceFlags) builderFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.builders, "builder-key", nil, "public key `FILE` of a builder whose builds count (default: builders: below trust: in mmoci.yaml)")
	f.IntVar(&s.confirm, "confirm", 0, "how many of these builders have to have built the same (default: confirm: below trust: in mmoci.yaml, else 1)")
}

// builderTrust is whose builds count.
func (s *sourceFlags) builderTrust(plan *config.Plan) (builds.Trust, error) {
	return command.BuilderTrust(s.builders, s.confirm, plan)
}

// placesAsked is command.PlacesOf where at least one is wanted.
func placesAsked(args []string, plan *config.Plan) ([]artifact.Reference, error) {
	list, err := command.PlacesOf(args, plan)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: no place is named; give HOST/REPO or oci:DIR, or sources: in mmoci.yaml", outcome.ErrUsage)
	}
	return list, err
}

// findBuild is the first of the places named, else of sources:, that has a build of an identity, whoever signed it.
func findBuild(ctx context.Context, a *command.App, s *sourceFlags, id snapshot.Digest, at []string) (artifact.Reference, error) {
	plan, err := s.Plan()
	if err != nil {
		return artifact.Reference{}, err
	}
	list, err := placesAsked(at, plan)
	if err != nil {
		return artifact.Reference{}, err
	}
	return builds.Find(ctx, list, id, a.Options(), a.Log)
}

// identityArg reads sha256:HEX or HEX.
func identityArg(s string) (snapshot.Digest, error) {
	d, err := snapshot.ParseDigest("sha256:" + strings.TrimPrefix(s, "sha256:"))
	if err != nil {
		err = fmt.Errorf("%w: %.80q is no identity: 64 hexadecimal digits, as mmoci source hash prints them", outcome.ErrUsage, s)
	}
	return d, err
}

// resolveSource reads a pkg.yaml and resolves it in the snapshot.
func resolveSource(a *command.App, cmd *cobra.Command, s *sourceFlags, dir string) (*sourcebuild.Source, error) {
	p, err := buildsource.Load(dir)
	if err != nil {
		return nil, err
	}
	var from []string
	if s.from != "" {
		from = []string{s.from}
	}
	o := sourcebuild.Options{Plan: p, Architecture: s.arch, Log: a.Log}
	if o.Architecture == "" {
		o.Architecture = host.OwnArchitecture(cmd.Context())
	}
	if o.Snapshot, o.Trust, err = a.Open(cmd, &s.PlanFlags, &s.places, from); err != nil {
		return nil, err
	}
	if o.Kept, err = command.PatchesKept(a); err != nil {
		return nil, err
	}
	return sourcebuild.Resolve(cmd.Context(), o)
}

func sourceHash(a *command.App) *cobra.Command {
	var s sourceFlags
	var explain string
	var text bool
	cmd := &cobra.Command{
		Use:   "hash DIR",
		Short: "Print the identity of what a pkg.yaml builds of a snapshot's source",
		Long: `The identity is the SHA-256 of a text that has all that decides the bytes of the build: the source's files, the patches, the architecture,
profiles, options, variables, the date, and every package that is there while it is built. Names, reasons, the author, paths and the day are no part of it.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	s.snapshotFlags(f)
	f.StringVar(&explain, "explain", "", "print which lines differ from `OLD`: a file with the text of an identity, or an identity that one of sources: has")
	f.BoolVar(&text, "text", false, "print the text of the identity")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := resolveSource(a, cmd, &s, args[0])
		if err != nil {
			return err
		}
		now := src.Identity.Text()
		switch {
		case explain != "":
			old, err := identityText(cmd.Context(), a, &s, explain, nil)
			if err != nil {
				return err
			}
			for _, line := range buildsource.Difference(old, now) {
				fmt.Fprintln(a.Stdout, line)
			}
			return nil
		case text:
			_, err := a.Stdout.Write(now)
			return err
		}
		fmt.Fprintln(a.Stdout, src.Identity.Digest())
		return nil
	}
	return cmd
}

// identityText is the text of an identity that is in a file, or that a place has.
func identityText(ctx context.Context, a *command.App, s *sourceFlags, name string, at []string) ([]byte, error) {
	if data, err := document.ReadFile(name, buildsource.MaxIdentity); err == nil {
		_, err := buildsource.ParseIdentity(data)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return data, err
	}
	id, err := identityArg(name)
	if err != nil {
		return nil, err
	}
	// The text is believed for its digest: whose build it is does not matter.
	place, err := findBuild(ctx, a, s, id, at)
	if err != nil {
		return nil, err
	}
	return builds.ReadIdentity(ctx, place, id, a.Options())
}

// environmentText is the text of the environment of an identity: of environment.txt beside a file that was named, else of a place.
func environmentText(ctx context.Context, a *command.App, s *sourceFlags, name string, id *buildsource.Identity, at []string) ([]byte, error) {
	if data, err := os.ReadFile(filepath.Join(filepath.Dir(name), builds.EnvironmentName)); err == nil && snapshot.Sum(data) == id.Environment {
		return data, nil
	}
	place, err := findBuild(ctx, a, s, id.Digest(), at)
	if err != nil {
		return nil, fmt.Errorf("packages of the environment: %w", err)
	}
	return builds.ReadEnvironment(ctx, place, id.Digest(), id.Environment, a.Options())
}

func sourceFind(a *command.App) *cobra.Command {
	var s sourceFlags
	cmd := &cobra.Command{
		Use:   "find HASH|DIR [REG..]",
		Short: "Tell which registry has what was built of an identity",
		Long: `Each place (HOST/REPO, oci:DIR; default: sources: of mmoci.yaml) is asked by one request, in order, until one has it; its reference is printed.
Whether the build counts is decided when it is used: by who signed it. If none has it, the exit code is 4.`,
		Args: cobra.MinimumNArgs(1),
	}
	s.snapshotFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identityOf(a, cmd, &s, args[0])
		if err != nil {
			return err
		}
		place, err := findBuild(cmd.Context(), a, &s, id, args[1:])
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, builds.At(place, id))
		return nil
	}
	return cmd
}

// identityOf is an identity that is named, or that of a directory's pkg.yaml.
func identityOf(a *command.App, cmd *cobra.Command, s *sourceFlags, arg string) (snapshot.Digest, error) {
	if _, err := os.Stat(arg); err != nil {
		id, wrong := identityArg(arg)
		if wrong != nil {
			wrong = fmt.Errorf("%w, and no directory with a pkg.yaml", wrong)
		}
		return id, wrong
	}
	src, err := resolveSource(a, cmd, s, arg)
	if err != nil {
		return snapshot.Digest{}, err
	}
	return src.Identity.Digest(), nil
}

func sourceLs(a *command.App) *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "ls REG [NAME]",
		Short: "List what was built of sources in a registry",
		Long: `The list of a place (HOST/REPO, oci:DIR) is read by one request: source, version, architecture, identity, author and patches of each build.
It is for people: nothing is believed for being in it.`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&json, "json", false, "print it as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		place, err := builds.ParsePlace(args[0])
		if err != nil {
			return err
		}
		name := ""
		if len(args) > 1 {
			name = args[1]
		}
		entries, err := builds.List(cmd.Context(), place, name, a.Options())
		if err != nil {
			return err
		}
		if json {
			type entry struct {
				Source       string   `json:"source"`
				Version      string   `json:"version"`
				Architecture string   `json:"architecture"`
				Identity     string   `json:"identity"`
				Recipe       string   `json:"recipe"`
				Author       string   `json:"author,omitempty"`
				Patches      []string `json:"patches,omitempty"`
			}
			out := []entry{}
			for _, e := range entries {
				out = append(out, entry{e.Source, e.Version, e.Architecture, e.Identity.String(), e.Recipe.String(), e.Author, e.Patches})
			}
			return a.PrintJSON(out)
		}
		w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SOURCE\tVERSION\tARCHITECTURE\tIDENTITY\tAUTHOR\tPATCHES")
		for _, e := range entries {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Source, e.Version, e.Architecture, e.Identity, e.Author, strings.Join(e.Patches, "; "))
		}
		return w.Flush()
	}
	return cmd
}

func sourceBuild(a *command.App) *cobra.Command {
	var s sourceFlags
	var discover []string
	var to, output, program, signKey string
	var rebuild, without bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "build DIR [-o OUT] [--to REG]",
		Short: "Build what a pkg.yaml says, unless a registry has it already",
		Long: `Source and what building needs come out of the snapshot, proved. The identity is asked for at the places of --discover (default: sources: of
mmoci.yaml) and --to; what a listed builder signed there is taken. Else it is built, without network: by sbuild, or by a program that is
called with two directories: IN, with identity, environment, environment.tar and source/, and OUT, which it fills.
With --to the build is signed and put there, and its reference is printed; with -o it is written into the directory OUT.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	s.snapshotFlags(f)
	s.builderFlags(f)
	f.StringArrayVar(&discover, "discover", nil, "`REG` that is asked first, HOST/REPO or oci:DIR; may be repeated")
	f.StringVar(&to, "to", "", "`REG` that the build is put into, HOST/REPO or oci:DIR")
	f.StringVarP(&output, "output", "o", "", "directory `OUT` for the build, which must not be there or be empty")
	f.StringVar(&program, "builder", "sbuild", "sbuild, or a `PROGRAM` that builds IN/ into OUT/")
	f.BoolVar(&without, "without-environment", false, "give the program no environment.tar: it has or makes one by environment's lines")
	f.BoolVar(&rebuild, "rebuild", false, "build it even if a registry has it, and say whether the .debs are the same")
	f.StringVar(&signKey, "sign-key", "", "the builder's signing key `FILE`, in the place of sign: of mmoci.yaml")
	command.DurationVar(f, &timeout, "timeout", "end a build that takes longer, such as 2h (default: 6h)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if output == "" && to == "" {
			return fmt.Errorf("%w: where does the build go: --to REG or -o OUT", outcome.ErrUsage)
		}
		plan, err := s.Plan()
		if err != nil {
			return err
		}
		list, err := command.PlacesOf(discover, plan)
		if err != nil {
			return err
		}
		o := sourcebuild.GetOptions{Artifact: a.Options(), Places: list, Native: host.OwnArchitecture(ctx), Rebuild: rebuild, Log: a.Log, BuilderName: filepath.Base(program)}
		if o.Build, err = command.BuildBy(a, program, without, timeout); err != nil {
			return err
		}
		if to != "" {
			ref, err := builds.ParsePlace(to)
			if err != nil {
				return err
			}
			o.To = &ref
			if o.Signer, err = command.Signer(a, plan, signKey); err != nil {
				return err
			}
			if o.Signer == nil {
				return outcome.GiveSigningKey.For(fmt.Errorf("%w: a build that nobody signed counts for nobody", outcome.ErrUsage))
			}
		}
		if !rebuild && (len(list) > 0 || o.To != nil) {
			if o.Builders, err = s.builderTrust(plan); err != nil {
				return err
			}
			if o.To != nil {
				if err := command.ListedSigner(o.Signer, o.Builders, *o.To); err != nil {
					return err
				}
			}
		}
		src, err := resolveSource(a, cmd, &s, args[0])
		if err != nil {
			return err
		}
		got, err := src.Get(ctx, output, o)
		if err != nil {
			return err
		}
		if got.Reference != nil {
			fmt.Fprintln(a.Stdout, *got.Reference)
		} else {
			fmt.Fprintln(a.Stdout, output)
		}
		return got.Differs()
	}
	return cmd
}

func sourcePush(a *command.App) *cobra.Command {
	var s sourceFlags
	var signKey, name string
	cmd := &cobra.Command{
		Use:   "push OUT REG",
		Short: "Sign a build that lies in a directory, and put it into a registry",
		Long: `OUT is what mmoci source build -o made, or a build job that got the identity: identity.txt, environment.txt, the source package, patches/, and
what was built. Everything is held against the identity first. A tag never moves: where another builder was before, equal .debs are
confirmed, and other ones are put beside and named, with exit code 3.`,
		Args: cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	s.configFlag(f)
	f.StringVar(&signKey, "sign-key", "", "the builder's signing key `FILE`, in the place of sign: of mmoci.yaml")
	f.StringVar(&name, "builder", "by-hand", "`WORD` of the statement: by what it was built")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, err := s.Plan()
		if err != nil {
			return err
		}
		place, err := builds.ParsePlace(args[1])
		if err != nil {
			return err
		}
		key, err := command.Signer(a, plan, signKey)
		if err != nil {
			return err
		}
		local, err := builds.ReadDir(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		put, err := local.Put(cmd.Context(), place, builds.PutOptions{Artifact: a.Options(), Signer: key, Builder: name, Date: time.Now(), Log: a.Log})
		if err != nil {
			return err
		}
		put.Tell(a.Log)
		fmt.Fprintln(a.Stdout, put.Reference)
		return put.Differs()
	}
	return cmd
}

func sourcePull(a *command.App) *cobra.Command {
	var s sourceFlags
	var output string
	cmd := &cobra.Command{
		Use:   "pull HASH [REG..] -o OUT",
		Short: "Write a build into a directory: .debs, source package, patches, and what was said of it",
		Args:  cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	s.configFlag(f)
	s.builderFlags(f)
	f.StringVarP(&output, "output", "o", "", "directory `OUT`, which must not be there or be empty")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if output == "" {
			return fmt.Errorf("%w: -o OUT says where to", outcome.ErrUsage)
		}
		found, err := trustedBuild(cmd.Context(), a, &s, args[0], args[1:])
		if err != nil {
			return err
		}
		if err := found.WriteTo(cmd.Context(), output, nil); err != nil {
			return err
		}
		a.Log("%s: signed by %s", found.Reference, strings.Join(found.Builders, ", "))
		fmt.Fprintln(a.Stdout, output)
		return nil
	}
	return cmd
}

// trustedBuild finds a build that counts.
func trustedBuild(ctx context.Context, a *command.App, s *sourceFlags, hash string, at []string) (*builds.Found, error) {
	id, err := identityArg(hash)
	if err != nil {
		return nil, err
	}
	plan, err := s.Plan()
	if err != nil {
		return nil, err
	}
	list, err := placesAsked(at, plan)
	if err != nil {
		return nil, err
	}
	trust, err := s.builderTrust(plan)
	if err != nil {
		return nil, err
	}
	return builds.Use(ctx, list, id, trust, a.Options(), a.Log)
}

func sourceDiff(a *command.App) *cobra.Command {
	var s sourceFlags
	cmd := &cobra.Command{
		Use:   "diff HASH HASH [REG..]",
		Short: "Print which lines of two identities differ, and which packages of their environments",
		Long: `Each HASH is an identity, or a file with the text of one. What one of them has alone has - or + in front. Where the environments differ, a line
"package NAME VERSION ARCHITECTURE -> VERSION ARCHITECTURE" tells each package that is another one; their texts are those of environment.txt
beside a named file, or of a registry.`,
		Args: cobra.MinimumNArgs(2),
	}
	s.configFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var texts [2][]byte
		var ids [2]*buildsource.Identity
		for i, arg := range args[:2] {
			var err error
			if texts[i], err = identityText(cmd.Context(), a, &s, arg, args[2:]); err != nil {
				return err
			}
			if ids[i], err = buildsource.ParseIdentity(texts[i]); err != nil {
				return err
			}
		}
		lines := buildsource.Difference(texts[0], texts[1])
		if ids[0].Environment != ids[1].Environment {
			var packages [2][]byte
			for i, arg := range args[:2] {
				var err error
				if packages[i], err = environmentText(cmd.Context(), a, &s, arg, ids[i], args[2:]); err != nil {
					return err
				}
			}
			more, err := buildsource.PackagesDiffer(packages[0], packages[1])
			if err != nil {
				return err
			}
			lines = append(lines, more...)
		}
		for _, line := range lines {
			fmt.Fprintln(a.Stdout, line)
		}
		return nil
	}
	return cmd
}
