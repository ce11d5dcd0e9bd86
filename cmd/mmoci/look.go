package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

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

func (a *app) verify() *cobra.Command {
	var p planFlags
	var require string
	var remote, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [REF]",
		Short: "Prove a snapshot: signatures, chain, every byte",
		Args:  cobra.MaximumNArgs(1),
	}
	p.trustFlags(cmd.Flags())
	cmd.Flags().StringVar(&require, "require", "", "`upstream`: every archive proved down from upstream's key, or made by the site")
	cmd.Flags().BoolVar(&remote, "remote", false, "ask the place for every blob instead of reading it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if require != "" && require != "upstream" {
			return fmt.Errorf("%w: --require knows upstream only", mirror.ErrUsage)
		}
		s, trust, err := a.open(cmd, &p, args)
		if err != nil {
			return err
		}
		report, err := mirror.Verify(cmd.Context(), mirror.Verifying{Snapshot: s, Trust: trust, Hash: !remote, Log: a.log})
		if report == nil {
			return err
		}
		if err == nil && remote {
			err = a.missing(cmd, &p, args, report)
		}
		if asJSON {
			if err := a.printJSON(report); err != nil {
				return err
			}
		} else {
			a.printReport(report)
		}
		if err == nil && require == "upstream" {
			err = report.RequireUpstream()
		}
		return err
	}
	return cmd
}

// missing asks the place for every blob of the artifact.
func (a *app) missing(cmd *cobra.Command, p *planFlags, args []string, report *mirror.Report) error {
	plan, err := p.plan()
	if err != nil {
		return err
	}
	ref, err := reference(args, plan)
	if err != nil {
		return err
	}
	return mirror.Remote(cmd.Context(), ref, report, a.options())
}

func (a *app) printReport(r *mirror.Report) {
	w := a.stdout
	fmt.Fprintf(w, "%s\n", r.Root)
	fmt.Fprintf(w, "statement of %s: %s\n", r.Date.Format(time.RFC3339), printSignature(r.Statement))
	for _, ar := range r.Archives {
		fmt.Fprintf(w, "%s: %s", ar.Prefix, ar.State)
		if ar.Reason != "" {
			fmt.Fprintf(w, " (%s)", ar.Reason)
		}
		fmt.Fprintf(w, "; %s, %s, %d packages\n", ar.Mode, ar.Class, ar.Packages)
		for _, s := range ar.Suites {
			fmt.Fprintf(w, "  %s of %s: %s\n", s.Name, s.Date.Format(time.RFC3339), printSignature(s.Upstream))
		}
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED %s\n", f)
	}
	how := "hashed"
	if !r.Hashed {
		how = "asked for"
	}
	fmt.Fprintf(w, "%d files, %s %s\n", r.Files, size(r.Bytes), how)
}

func printSignature(s mirror.Signature) string {
	parts := []string{s.Kind}
	if s.Key != "" {
		parts = append(parts, "by "+s.Key)
	}
	if s.Time != nil {
		parts = append(parts, "on "+s.Time.Format(time.RFC3339))
	}
	if s.KeyValidUntil != nil {
		parts = append(parts, "key valid until "+s.KeyValidUntil.Format(time.DateOnly))
	}
	if s.AptRefuses != "" {
		parts = append(parts, "apt would refuse: "+s.AptRefuses)
	}
	return strings.Join(parts, ", ")
}
