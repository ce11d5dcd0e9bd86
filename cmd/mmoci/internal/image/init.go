package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/buildenv"
	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/imageinit"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
)

func imageInit(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var from, ref, output string
	cmd := &cobra.Command{
		Use:   "init --from DIR -o OUT",
		Short: "Rewrite a container.yaml and its pkg.yaml files into ones that image build takes",
		Long: `DIR is a tree of a package-centric container build. OUT gets an image.yaml and, for each source, a pkg.yaml of a source package that
the snapshot has, with its exact version and the digest of every patch; patches and files come along. Each thing that is written
otherwise or left out is told on stderr with file, line and what stands there now. What cannot be rewritten is refused, all at once
(exit code 2), and nothing is written.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the tree, `DIR` with a container.yaml")
	f.StringVarP(&output, "output", "o", "", "directory `OUT`, which must not be there or be empty")
	p.ConfigFlag(f, "snapshot and keys")
	f.StringVar(&ref, "ref", "", "`REF` of the snapshot that has the sources (default: ref: of mmoci.yaml; without either no source is looked up)")
	p.BelieveFlags(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if from == "" || output == "" {
			return fmt.Errorf("%w: --from DIR -o OUT", outcome.ErrUsage)
		}
		if err := durable.Vacant(output); err != nil {
			return fmt.Errorf("%w: %w", outcome.ErrUsage, err)
		}
		o := imageinit.Options{Dir: from, Fetch: func(ctx context.Context, url string) ([]byte, error) {
			return upstream.Fetch(ctx, upstream.Options{Log: a.Log}, url, buildsource.MaxPatch)
		}}
		plan, err := p.Plan()
		if err != nil {
			return err
		}
		if ref != "" || plan != nil && plan.Ref != "" {
			archive, err := sourcesIn(a, cmd, &p, ref)
			if err != nil {
				return err
			}
			o.Source = func(_ context.Context, name, version string) (*imageinit.Source, error) {
				s, err := archive.Source(name, version)
				if err != nil {
					return nil, err
				}
				return &imageinit.Source{Version: s.Version, Profiles: s.Profiles()}, nil
			}
		}
		tree, err := imageinit.Rewrite(cmd.Context(), o)
		for _, n := range tree.Notes {
			a.Log("%s", n)
		}
		if err != nil {
			return err
		}
		if err := tree.Write(output); err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, output)
		return nil
	}
	return cmd
}

func sourcesIn(a *command.App, cmd *cobra.Command, p *command.PlanFlags, ref string) (*buildenv.Archive, error) {
	var args []string
	if ref != "" {
		args = []string{ref}
	}
	s, trust, err := a.Open(cmd, p, &command.PlaceFlags{}, args)
	if err != nil {
		return nil, err
	}
	archive, err := buildenv.Open(cmd.Context(), buildenv.Options{Snapshot: s, Trust: trust, Architecture: host.OwnArchitecture(cmd.Context()), Log: a.Log})
	if errors.Is(err, outcome.ErrNotFound) {
		err = fmt.Errorf("sources of the snapshot: %w", err)
	}
	return archive, err
}
