package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
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
		list, err := mirror.List(cmd.Context(), s)
		if err != nil {
			return err
		}
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
		text, err := s.ReadLock(cmd.Context())
		if err != nil {
			return err
		}
		l, err := config.ParseLock("lock", text)
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
