package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func (a *app) diff() *cobra.Command {
	var asJSON, markdown, changelogs bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell which packages two snapshots differ in, security updates marked",
		Long: `Tells which packages were added, removed and changed, those of a security archive marked. Of what was upgraded, the changelog
between the two versions is printed too: read from the new .debs where NEW is on this host (oci:, oci-archive:), and out of a registry
with --changelogs, which then gives each of these .debs.`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print a table for a merge request or a mail")
	cmd.Flags().BoolVar(&changelogs, "changelogs", false, "read changelogs from the new .debs (default: true unless they are in a registry)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if asJSON && markdown {
			return fmt.Errorf("%w: --json or --markdown, not both", mirror.ErrUsage)
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
			if s[i], err = mirror.OpenUnverified(cmd.Context(), ref, a.options()); err != nil {
				return err
			}
		}
		changes, err := mirror.Changes(cmd.Context(), s[0], s[1])
		if err != nil {
			return err
		}
		if changelogs {
			if err := mirror.Changelogs(cmd.Context(), changes, s[1]); err != nil {
				return fmt.Errorf("changelogs: %w (--changelogs=false does without)", err)
			}
		}
		switch {
		case asJSON:
			return a.printJSON(changes)
		case markdown:
			_, err = fmt.Fprint(a.stdout, mirror.Markdown(changes))
			return err
		}
		for _, c := range changes {
			fmt.Fprintln(a.stdout, c)
		}
		return nil
	}
	return cmd
}
