package look

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Verify verifies a snapshot or an image.
func Verify(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var require string
	var remote, asJSON, list bool
	cmd := &cobra.Command{
		Use:   "verify [REF]",
		Short: "Prove a snapshot: signatures, chain, every byte; of an image, every byte",
		Args:  cobra.MaximumNArgs(1),
	}
	p.TrustFlags(cmd.Flags())
	cmd.Flags().StringVar(&require, "require", "", "`upstream`: every archive proved down from upstream's key, or made by the site")
	cmd.Flags().BoolVar(&remote, "remote", false, "ask the registry or layout for every blob instead of reading it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&list, "report", false, "list every file: by which key, signed when, key valid until when")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if require != "" && require != "upstream" {
			return fmt.Errorf("%w: --require knows upstream only", outcome.ErrUsage)
		}
		_, ref, err := p.Place(args)
		if err != nil {
			return err
		}
		bar := a.Progress()
		defer bar.End()
		s, trust, err := a.Open(cmd, &p, &command.PlaceFlags{}, args)
		if site.IsForeign(err) && require == "" && !list {
			bar.End()
			return verifyImage(cmd.Context(), a, ref, remote, asJSON)
		}
		if err != nil {
			return prove.Incomplete(cmd.Context(), ref, err, a.Options())
		}
		q := prove.Options{Snapshot: s, Ref: ref, Trust: trust, Hash: !remote, Artifact: a.Options(), Log: a.Log}
		report, err := prove.Verify(cmd.Context(), q)
		bar.End()
		if report == nil {
			return err
		}
		if err == nil && remote {
			err = prove.Remote(cmd.Context(), q.Ref, s, report, q.Artifact)
		}
		if list {
			report.List()
		}
		if asJSON {
			if err := a.PrintJSON(report); err != nil {
				return err
			}
		} else {
			printReport(a, report)
		}
		if err == nil && require == "upstream" {
			err = report.RequireUpstream()
		}
		return err
	}
	return cmd
}

// verifyImage verifies what is no snapshot: its bytes, for nothing says whose they are.
func verifyImage(ctx context.Context, a *command.App, ref artifact.Reference, remote, asJSON bool) error {
	r, err := site.VerifyImage(ctx, ref, remote, a.Options())
	if err != nil {
		return err
	}
	a.Log("%s is a container image: its bytes are those of its digest; no signature of mmoci's says whose they are", ref)
	if asJSON {
		return a.PrintJSON(r)
	}
	how := "hashed"
	if !r.Hashed {
		how = "asked for"
	}
	fmt.Fprintf(a.Stdout, "%s\n", r.Digest)
	for _, d := range r.Referrers {
		fmt.Fprintf(a.Stdout, "referrer %s\n", d)
	}
	fmt.Fprintf(a.Stdout, "%s, %s %s\n", terminal.Count(r.Files, "blob"), terminal.Size(r.Bytes), how)
	return nil
}

func printReport(a *command.App, r *prove.Report) {
	w := a.Stdout
	fmt.Fprintf(w, "%s\n", r.Root)
	fmt.Fprintf(w, "statement of %s: %s\n", r.Date.Format(time.RFC3339), printSignature(r.Statement))
	for _, ar := range r.Archives {
		fmt.Fprintf(w, "%s: %s", ar.Prefix, ar.State)
		if ar.Reason != "" {
			fmt.Fprintf(w, " (%s)", terminal.OneLine(ar.Reason))
		}
		fmt.Fprintf(w, "; %s, %s\n", terminal.Count(ar.Packages, "package"), command.KindOf(snapshot.Mode(ar.Mode), snapshot.Class(ar.Class)))
		for _, s := range ar.Suites {
			printRelease(a, s.Name, s.Served)
			if s.Upstream != nil {
				printRelease(a, "upstream's", *s.Upstream)
			}
			for _, n := range s.Renamed {
				fmt.Fprintf(w, "  named by the site: %s\n", n)
			}
		}
	}
	for _, m := range r.Images {
		fmt.Fprintf(w, "image %s: %s", m.Name, m.State)
		if m.Reason != "" {
			fmt.Fprintf(w, " (%s)", terminal.OneLine(m.Reason))
		}
		fmt.Fprintf(w, "; %s, %s, %s", m.Digest, terminal.Count(m.Files, "file"), terminal.Size(m.Bytes))
		if len(m.Platforms) > 0 {
			fmt.Fprintf(w, ", %s", strings.Join(m.Platforms, " "))
		}
		if m.Referrers > 0 {
			fmt.Fprintf(w, ", %s", terminal.Count(m.Referrers, "referrer"))
		}
		fmt.Fprintln(w)
	}
	for _, f := range r.Listing {
		var by []string
		for _, name := range f.Releases {
			rel, _ := r.Release(name)
			by = append(by, printSignature(rel.Signature))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", f.Path, f.Digest, f.Size, strings.Join(by, "; "))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED %s\n", terminal.OneLine(f))
	}
	how := "hashed"
	if !r.Hashed {
		how = "asked for"
	}
	fmt.Fprintf(w, "%s, %s %s\n", terminal.Count(r.Files, "blob"), terminal.Size(r.Bytes), how)
}

func printRelease(a *command.App, name string, r prove.ReleaseReport) {
	fmt.Fprintf(a.Stdout, "  %s of %s: %s", name, r.Date.Format(time.RFC3339), printSignature(r.Signature))
	if r.ValidUntil != nil {
		fmt.Fprintf(a.Stdout, ", valid until %s", r.ValidUntil.Format(time.RFC3339))
	}
	fmt.Fprintln(a.Stdout)
}

func printSignature(s prove.Signature) string {
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
