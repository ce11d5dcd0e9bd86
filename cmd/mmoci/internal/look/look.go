// Package look is the commands that change nothing: verify, prove, ls, why, diff.
package look

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Ls lists what snapshots hold.
func Ls(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var q site.Search
	var asJSON bool
	var tags string
	cmd := &cobra.Command{
		Use:   "ls [REF]..",
		Short: "List the packages, files and images of snapshots, or search them",
		Long: `Lists the packages of a snapshot, or of several, each line with the reference before it then. Globs (* ? [a-z]) search by name,
version, architecture and source package; nothing found is exit code 4. --tags searches all snapshots that a repository has under such tags, each once.`,
	}
	p.Flags(cmd.Flags())
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&q.Name, "name", "", "only packages with such a name, a `GLOB`")
	f.StringVar(&q.Version, "version", "", "only packages with such a version, a `GLOB`")
	f.StringVar(&q.Architecture, "arch", "", "only packages of such an architecture, a `GLOB`")
	f.StringVar(&q.Source, "source", "", "only packages of such a source package, a `GLOB`")
	f.StringVar(&tags, "tags", "", "look into all snapshots of the repository whose tag is such a `GLOB`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := errors.Join(q.Check(), site.Search{Name: tags}.Check()); err != nil {
			return err
		}
		plan, err := p.Plan()
		if err != nil {
			return err
		}
		refs, err := searched(cmd.Context(), a, plan, args, tags)
		if err != nil {
			return err
		}
		list, err := site.ListAll(cmd.Context(), refs, q, a.Options())
		if err != nil {
			return err
		}
		if asJSON {
			return a.PrintJSON(list)
		}
		w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
		for _, l := range list {
			if l.Image {
				l.Architecture = "image"
			}
			if l.Ref != "" {
				fmt.Fprintf(w, "%s\t", l.Ref)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s", l.Name, cmp.Or(l.Version, "-"), l.Architecture, l.Prefix, l.Component, l.Digest)
			if l.Built != "" {
				fmt.Fprint(w, "\t", l.Built)
			}
			fmt.Fprintln(w)
		}
		return w.Flush()
	}
	return cmd
}

// searched are the references that are looked into: those that are named, or the tags of the one that is.
func searched(ctx context.Context, a *command.App, plan *config.Plan, args []string, tags string) ([]artifact.Reference, error) {
	if len(args) < 2 {
		ref, err := command.Reference(args, plan)
		if err != nil || tags == "" {
			return []artifact.Reference{ref}, err
		}
		return site.Tagged(ctx, ref, tags, a.Options())
	}
	if tags != "" {
		return nil, fmt.Errorf("%w: --tags is for one repository", outcome.ErrUsage)
	}
	var refs []artifact.Reference
	for _, s := range args {
		ref, err := artifact.ParseReference(s)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// Why tells why a package is in a snapshot.
func Why(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var ref string
	cmd := &cobra.Command{
		Use:   "why PKG",
		Short: "Tell why a package is in a snapshot, down to what was asked for",
		Args:  cobra.ExactArgs(1),
	}
	p.Flags(cmd.Flags())
	cmd.Flags().StringVar(&ref, "ref", "", "reference (default: ref: of the configuration)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var refs []string
		if ref != "" {
			refs = []string{ref}
		}
		s, err := a.OpenUnverified(cmd, &p, refs)
		if err != nil {
			return err
		}
		text, err := s.ReadLock(cmd.Context())
		if err != nil {
			return err
		}
		l, err := config.ParseLock("lock", text)
		if err != nil {
			return err
		}
		steps, err := lock.Why(l, args[0])
		for _, step := range steps {
			fmt.Fprintln(a.Stdout, step)
		}
		return err
	}
	return cmd
}

// Diff tells in which packages two snapshots differ.
func Diff(a *command.App) *cobra.Command {
	var asJSON, markdown, changelogs, exitCode bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell which packages two snapshots differ in, security updates marked",
		Long: `Tells how many packages differ, and then which were added (+), removed (-) and changed (~), those of one source together and
security updates first. Versions are compared over all archives of a snapshot: a fix that comes from another archive is an upgrade.
Of what was upgraded, the changelog between the two versions is printed too, and the CVE numbers in it: read from the new .debs where
NEW is on this host (oci:, oci-archive:), and out of a registry with --changelogs, which then gives each of these .debs.`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print a table for a merge request or a mail")
	cmd.Flags().BoolVar(&changelogs, "changelogs", false, "read changelogs from the new .debs (default: true unless they are in a registry)")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with exit code 10 if the snapshots differ")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if asJSON && markdown {
			return fmt.Errorf("%w: --json or --markdown, not both", outcome.ErrUsage)
		}
		var s [2]*snapshot.Snapshot
		for i := range s {
			ref, err := artifact.ParseReference(args[i])
			if err != nil {
				return err
			}
			if i == 1 && ref.Kind != artifact.Registry && !cmd.Flags().Changed("changelogs") {
				changelogs = true
			}
			if s[i], err = place.OpenUnverified(cmd.Context(), ref, a.Options()); err != nil {
				return err
			}
		}
		list, err := changes.Between(cmd.Context(), s[0], s[1])
		if err != nil {
			return err
		}
		if changelogs {
			if err := changes.Changelogs(cmd.Context(), list, s[1]); err != nil {
				return fmt.Errorf("changelogs: %w (--changelogs=false does without)", err)
			}
		}
		switch {
		case asJSON:
			err = a.PrintJSON(list)
		case markdown:
			_, err = fmt.Fprint(a.Stdout, changes.Markdown(list))
		default:
			_, err = fmt.Fprint(a.Stdout, changes.Text(list))
		}
		if err == nil && exitCode && len(list) > 0 {
			err = &command.CodedError{Text: "the snapshots differ: " + changes.Totals(list), Code: command.ExitDiffers}
		}
		return err
	}
	return cmd
}
