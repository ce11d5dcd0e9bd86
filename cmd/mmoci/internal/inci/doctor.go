package inci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/probe"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
)

// errUnwell says that something needs a remedy.
var errUnwell = errors.New("not all is well; the remedies stand beside")

// Doctor looks at what would be in the way of a push.
func Doctor(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var write, probing, asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [REF]",
		Short: "Look at all that a push depends on: registry, CA, keys, clock, proxy, upstreams",
		Long: `Looks at the registry (CA, reach, credentials, clock), the keys (expiry), the proxy and what each archive is read from (CA,
signature, whether files, own RPMs and other snapshots are there), and says in one line each how it is and what to do about it.
With --write it also tries, under the tag mmoci-doctor, what a push does: uploads, manifests of 400 layers, an index of 1 MiB,
Range, moving a tag, DELETE.
With --probe it does nothing else than push a synthetic snapshot of 100 files under a tag of its own, and remove it: one line
for each capability of the registry, for artifacts/docs/registries.md. What did not get an answer (a registry that fails, a
connection that breaks, credentials that do not do) is unknown. What cannot be removed is told in lines that begin with left.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.Flags(f)
	f.BoolVar(&write, "write", false, "try pushes, too, under the tag mmoci-doctor")
	f.BoolVar(&probing, "probe", false, "tell what the registry can do, by a snapshot that is pushed and removed")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, ref, err := p.Place(args)
		switch {
		case err != nil:
			return err
		case probing && ref.Kind != artifact.Registry:
			return fmt.Errorf("%w: --probe is about a registry, and %s is none", outcome.ErrUsage, ref)
		case probing:
			return runProbe(cmd.Context(), a, ref, asJSON)
		}
		q := site.DoctorOptions{Plan: plan, Ref: ref, Write: write, Env: os.Getenv, Now: time.Now(), Options: a.Options()}
		if plan != nil {
			if q.Keys, err = networkKeys(&p, plan, nil, nil); err != nil {
				return err
			}
		}
		var found []artifact.Finding
		if plan != nil && plan.Sign != nil {
			if q.Signer, err = command.LoadKey(a, plan.Sign, plan.Trust); err != nil {
				found = append(found, artifact.Finding{What: "signing key", Text: err.Error(), Remedy: "mmoci key new makes one"})
			}
		}
		found = append(found, site.Doctor(cmd.Context(), q)...)
		if err := context.Cause(cmd.Context()); err != nil {
			return err // what was cut off is no finding
		}
		return printFindings(a, found, asJSON)
	}
	return cmd
}

// runProbe prints what a registry can do, and what the probe left there.
func runProbe(ctx context.Context, a *command.App, ref artifact.Reference, asJSON bool) error {
	o := a.Options()
	r, err := probe.Run(ctx, ref, o.Remote())
	if r == nil {
		return err
	}
	if asJSON {
		err = errors.Join(err, a.PrintJSON(r))
	} else {
		w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
		for _, row := range r.Rows {
			fmt.Fprintf(w, "%s\t%s\t%s\n", row.Answer, row.Capability, terminal.OneLine(row.Text))
		}
		for _, left := range r.Left {
			what, name, _ := strings.Cut(left, " ")
			fmt.Fprintf(w, "left\t%s\t%s\n", what, name)
		}
		if r.Garbage > 0 {
			fmt.Fprintf(w, "left\tblobs\t%d, which the garbage collection of the registry takes\n", r.Garbage)
		}
		err = errors.Join(err, w.Flush())
	}
	if verdict := r.Verdict(); err == nil || len(r.Left) > 0 {
		err = errors.Join(err, verdict)
	}
	return err
}

func printFindings(a *command.App, found []artifact.Finding, asJSON bool) error {
	var unwell error
	for i, f := range found {
		if f.OK {
			continue
		}
		unwell = errUnwell
		switch f.What { // of the registry's there are flags, too
		case "registry":
			found[i].Remedy += " (--plain-http, --ca-file)"
		case "CA":
			found[i].Remedy += " (or --ca-file FILE)"
		}
	}
	if asJSON {
		type finding struct {
			What   string `json:"what"`
			OK     bool   `json:"ok"`
			Text   string `json:"text"`
			Remedy string `json:"remedy,omitempty"`
		}
		list := []finding{}
		for _, f := range found {
			list = append(list, finding(f))
		}
		return errors.Join(a.PrintJSON(list), unwell)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
	for _, f := range found {
		state, text := "ok", f.Text
		if !f.OK {
			state, text = "no", f.Text+": "+f.Remedy
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", state, terminal.OneLine(f.What), terminal.OneLine(text))
	}
	return errors.Join(w.Flush(), unwell)
}
