package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func (a *app) ls() *cobra.Command {
	var p planFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [REF]",
		Short: "List the packages of a snapshot",
		Args:  cobra.MaximumNArgs(1),
	}
	p.flags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.look(cmd, &p, args)
		if err != nil {
			return err
		}
		list := mirror.List(s)
		if asJSON {
			return a.printJSON(list)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		for _, l := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.Version, l.Architecture, l.Prefix, l.Component, l.Digest)
		}
		return w.Flush()
	}
	return cmd
}

// look opens a snapshot for what only looks; nothing of it is believed.
func (a *app) look(cmd *cobra.Command, p *planFlags, args []string) (*snapshot.Snapshot, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, err
	}
	ref, err := reference(args, plan)
	if err != nil {
		return nil, err
	}
	return mirror.OpenUnverified(cmd.Context(), ref, a.options())
}

func (a *app) why() *cobra.Command {
	var p planFlags
	var ref string
	cmd := &cobra.Command{
		Use:   "why PKG",
		Short: "Tell why a package is in a snapshot, down to what was asked for",
		Args:  cobra.ExactArgs(1),
	}
	p.flags(cmd.Flags())
	cmd.Flags().StringVar(&ref, "ref", "", "reference (default: ref: of the configuration)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var refs []string
		if ref != "" {
			refs = []string{ref}
		}
		s, err := a.look(cmd, &p, refs)
		if err != nil {
			return err
		}
		l, err := config.ParseLock("lock", s.Lock)
		if err != nil {
			return err
		}
		steps, err := mirror.Why(l, args[0])
		for _, step := range steps {
			fmt.Fprintln(a.stdout, step)
		}
		return err
	}
	return cmd
}

func (a *app) diff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell which packages two snapshots differ in",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s [2]*snapshot.Snapshot
			for i := range s {
				ref, err := artifact.ParseReference(args[i])
				if err != nil {
					return err
				}
				if s[i], err = mirror.OpenUnverified(cmd.Context(), ref, a.options()); err != nil {
					return err
				}
			}
			for c := range snapshot.Diff(s[0].Table, s[1].Table) {
				fmt.Fprintln(a.stdout, c)
			}
			return nil
		},
	}
}

func (a *app) tag() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag",
		Short: "Look at the tags of a place",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var p planFlags
	list := &cobra.Command{
		Use:   "list [REF]",
		Short: "List tags with digests",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := p.plan()
			if err != nil {
				return err
			}
			ref, err := reference(args, plan)
			if err != nil {
				return err
			}
			tags, err := artifact.Tags(cmd.Context(), ref, a.options())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
			for _, t := range tags {
				fmt.Fprintf(w, "%s\t%s\n", t.Name, t.Digest)
			}
			return w.Flush()
		},
	}
	p.flags(list.Flags())
	cmd.AddCommand(list)
	return cmd
}
