package inci

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/listed"
	"example.org/mmoci/internal/lock"
	"example.org/mmoci/internal/others"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/outdated"
	"example.org/mmoci/internal/passenger"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// lockFlags are the flags of lock.
type lockFlags struct {
	command.PlanFlags
	archiveFlags
	file, date    string
	held          string
	check, update bool
	json          bool
	outdated      bool
	changelogs    bool
	add, accept   []string
}

// Lock makes, checks and changes a lock, without pushing anything.
func Lock(a *command.App) *cobra.Command {
	var o lockFlags
	cmd := &cobra.Command{
		Use:   "lock [REF]",
		Short: "Resolve the selection to exact versions and digests; check, update or extend a lock",
		Long: `Without a flag the selection is resolved and the lock written to stdout, or to the file that -o names.
--check, --update and --add work on a lock that is there: what -o or the configuration's lock: names, else mmoci.lock beside the configuration.
--outdated tells which packages of it, or of the snapshot REF, have newer versions upstream; -o then names the new list.
--check ends with 10 if lock and configuration differ, 11 if the upstreams lack something of the lock, 12 if both.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	o.PlanFlags.Flags(f)
	o.archiveFlags.flags(f)
	f.StringVarP(&o.file, "output", "o", "", "the `LOCK` file; with --outdated the list to write")
	f.StringVar(&o.date, "date", "", "date input, as of push")
	f.BoolVar(&o.check, "check", false, "compare the lock with the configuration, and tell what of it the upstreams still have, without downloading packages; exit code 10, 11 or 12 if it does not hold")
	f.BoolVar(&o.json, "json", false, "with --check and --outdated: print the result as JSON")
	f.BoolVar(&o.outdated, "outdated", false, "tell which packages have newer versions upstream, security updates first with the CVE numbers of their changelogs; -o writes the list with the newer versions")
	f.BoolVar(&o.changelogs, "changelogs", false, "with --outdated: read the changelogs of all newer versions, and not of security updates alone")
	f.BoolVar(&o.update, "update", false, "resolve anew, print what changes, write it")
	f.StringArrayVar(&o.add, "add", nil, "add the package `QUERY` and what it needs to the lock, keeping its versions (repeatable)")
	f.StringVar(&o.held, "held", "", "`REF` of a snapshot that holds the lock's day, for --add (default: ref: of the configuration, if it does)")
	f.StringArrayVar(&o.accept, "accept-key", nil, "`FINGERPRINT` that a key from the network may have from now on")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.check && (o.update || len(o.add) > 0) || o.update && len(o.add) > 0 {
			return fmt.Errorf("%w: --check, --update and --add are one at a time", outcome.ErrUsage)
		}
		switch {
		case o.json && !o.check && !o.outdated:
			return fmt.Errorf("%w: --json is for --check and --outdated", outcome.ErrUsage)
		case o.outdated && (o.check || o.update || len(o.add) > 0):
			return fmt.Errorf("%w: --outdated stands alone", outcome.ErrUsage)
		case !o.outdated && (o.changelogs || len(args) > 0):
			return fmt.Errorf("%w: REF and --changelogs are for --outdated", outcome.ErrUsage)
		}
		if o.file != "" && !o.check {
			if err := durable.CheckOutput(o.file); err != nil {
				return err
			}
		}
		a.Events = o.json
		plan, err := o.archiveFlags.plan(cmd, &o.PlanFlags)
		if err != nil {
			return err
		}
		q := freeze.Options{Plan: plan, Now: time.Now(), Log: a.Log}
		if q.Others, err = otherArchives(a, plan); err != nil {
			return err
		}
		if q.Date, _, err = command.ParseDate(o.date); err != nil {
			return err
		}
		if o.outdated {
			return printOutdated(a, cmd, &o, q, args)
		}
		var pinned *config.Lock
		if o.check || len(o.add) > 0 {
			if pinned, err = o.existing(plan); err != nil {
				return err
			}
		}
		if plan, err = command.TakeBuilds(a, cmd, &o.PlanFlags, plan, func() (artifact.Reference, error) { return command.Configured(plan) }); err != nil {
			return err
		}
		dir := listedDir
		if o.check { // what is kept here says nothing of what upstream has
			var tmp string
			defer func() { os.RemoveAll(tmp) }() // of "": nothing
			dir = func() (_ string, err error) {
				tmp, err = os.MkdirTemp("", "mmoci-check-")
				return tmp, err
			}
		}
		files, err := listed.Fetch(cmd.Context(), listed.Options{Plan: plan, Lock: pinned, Dir: dir, Check: o.check, Log: a.Log})
		if err != nil {
			return err
		}
		q.Plan = files.Plan
		switch {
		case o.check:
			for _, m := range files.Missing {
				a.Log("%s", m)
			}
			return checkLock(a, cmd, &o, q, files.Gone)
		case o.update, len(o.add) > 0:
			return changeLock(a, cmd, &o, q)
		}
		if q.Keys, err = networkKeys(&o.PlanFlags, plan, nil, o.accept); err != nil {
			return err
		}
		if q.Images, err = passengersOf(a, cmd, q); err != nil {
			return err
		}
		l, err := lock.Make(cmd.Context(), q, nil)
		if err != nil {
			return err
		}
		if o.file == "" {
			_, err := a.Stdout.Write(l.Format())
			return err
		}
		return durable.WriteOutput(o.file, l.Format(), 0o644)
	}
	return cmd
}

// printOutdated prints which packages have newer versions, and writes the list that takes them.
func printOutdated(a *command.App, cmd *cobra.Command, o *lockFlags, q freeze.Options, args []string) (err error) {
	var l *config.Lock
	file := cmp.Or(q.Plan.Lock, lockBeside(q.Plan))
	if _, missing := os.Stat(file); missing == nil && len(args) == 0 {
		if l, err = readLock(file); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		s, err := a.OpenUnverified(cmd, &o.PlanFlags, args)
		if err != nil {
			return err
		}
		text, err := s.ReadLock(cmd.Context())
		if err != nil {
			return err
		}
		if l, err = config.ParseLock("lock of "+args[0], text); err != nil {
			return err
		}
	}
	if q.Keys, err = networkKeys(&o.PlanFlags, q.Plan, l, o.accept); err != nil {
		return err
	}
	list, err := outdated.Find(cmd.Context(), outdated.Options{Freeze: q, Lock: l, Changelogs: o.changelogs})
	if err != nil {
		return err
	}
	if o.json {
		err = a.PrintJSON(list)
	} else {
		_, err = fmt.Fprint(a.Stdout, outdated.Text(list))
	}
	if err == nil && o.file != "" {
		err = durable.WriteOutput(o.file, outdated.List(q.Plan, l, list), 0o644)
	}
	if len(list) == 0 {
		a.Log("nothing newer")
	}
	return err
}

// existing reads the lock that is to be checked or changed.
func (o *lockFlags) existing(plan *config.Plan) (*config.Lock, error) {
	if o.file == "" {
		o.file = cmp.Or(plan.Lock, lockBeside(plan))
	}
	return readLock(o.file)
}

// lockBeside is where the lock of a configuration lies if nothing else is said.
func lockBeside(plan *config.Plan) string {
	return filepath.Join(filepath.Dir(plan.File), "mmoci.lock")
}

// checkLock prints how the lock differs from the configuration, what upstream
// lacks of it, and what another archive has newer, which does not fail the check.
func checkLock(a *command.App, cmd *cobra.Command, o *lockFlags, q freeze.Options, gone []string) (err error) {
	if q.Lock, err = o.existing(q.Plan); err != nil {
		return err
	}
	if q.Keys, err = networkKeys(&o.PlanFlags, q.Plan, q.Lock, o.accept); err != nil {
		return err
	}
	res, err := freeze.CheckLock(cmd.Context(), q, gone)
	if err != nil {
		return err
	}
	images, err := passenger.Check(cmd.Context(), passenger.Options{Plan: q.Plan, Lock: q.Lock, Artifact: a.Options()})
	if err != nil {
		return err
	}
	res.Wanted, res.Available = res.Wanted+images.Wanted, res.Available+images.Wanted-len(images.Missing)
	res.Missing, res.Differs = append(res.Missing, images.Missing...), append(res.Differs, images.Differs...)
	if o.json {
		if err := a.PrintJSON(res); err != nil {
			return err
		}
	} else {
		for _, d := range res.Differs {
			fmt.Fprintln(a.Stdout, "differs:", d)
		}
		for _, m := range res.Missing {
			fmt.Fprintln(a.Stdout, "missing:", m)
		}
		for _, n := range res.Newer {
			fmt.Fprintln(a.Stdout, "newer:", n.Say(q.Plan.CommonList))
		}
		fmt.Fprintf(a.Stdout, "wanted %d, available %d\n", res.Wanted, res.Available)
	}
	e := &command.CodedError{}
	if n := len(res.Differs); n > 0 {
		e.Code = command.ExitDiffers
		e.Text = fmt.Sprintf("%s and the configuration differ in %s (mmoci lock --update takes the configuration's)", o.file, terminal.Count(n, "point"))
	}
	if n := len(res.Missing); n > 0 {
		if e.Code == 0 {
			e.Code = command.ExitLockMissing
		} else {
			e.Code, e.Text = command.ExitLockBoth, e.Text+"; "
		}
		e.Text += fmt.Sprintf("%d of %d are not available any more (mmoci lock --update proposes what is)", n, res.Wanted)
	}
	if e.Code == 0 {
		return nil
	}
	return e
}

// otherArchives reads the archives of the plan that are no Debian archives.
func otherArchives(a *command.App, plan *config.Plan) (func(context.Context, freeze.Options) ([]freeze.ReadyArchive, error), error) {
	r := others.Reader{Artifact: a.Options(), Keep: listedDir}
	var err error
	if len(plan.Others) > 0 && len(plan.Trust) > 0 {
		r.Site, err = signer.ReadKeyrings(plan.Trust...)
	}
	return r.Read, err
}

// passengersOf reads the images of the plan, as the lock pins them.
func passengersOf(a *command.App, cmd *cobra.Command, q freeze.Options) (*freeze.Images, error) {
	return passenger.Read(cmd.Context(), passenger.Options{Plan: q.Plan, Lock: q.Lock, Previous: q.Previous, Artifact: a.Options(), Log: a.Log})
}

// holding opens the snapshot that may hold what a lock names. The configured
// one may be missing: then today's upstreams are all there is.
func holding(a *command.App, cmd *cobra.Command, held string, plan *config.Plan) (*snapshot.Snapshot, error) {
	var ref artifact.Reference
	var err error
	switch {
	case held != "":
		ref, err = artifact.ParseReference(held)
	case plan.Ref != "":
		ref, err = command.Configured(plan)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := place.OpenUnverified(cmd.Context(), ref, a.Options())
	if err != nil && held == "" {
		a.Detail("%s: %s; today's upstreams have to do", ref, err)
		return nil, nil
	}
	return s, err
}

// changeLock writes a newer or longer lock and prints the difference.
func changeLock(a *command.App, cmd *cobra.Command, o *lockFlags, q freeze.Options) error {
	old, err := o.existing(q.Plan)
	if err != nil {
		return err
	}
	if q.Keys, err = networkKeys(&o.PlanFlags, q.Plan, old, o.accept); err != nil {
		return err
	}
	if len(o.add) > 0 {
		q.Lock = old
		if q.Previous, err = holding(a, cmd, o.held, q.Plan); err != nil {
			return err
		}
		for _, text := range o.add {
			q.Add = append(q.Add, config.Query{Text: text, Position: document.Position{File: "--add"}})
		}
	}
	if q.Images, err = passengersOf(a, cmd, q); err != nil {
		return err
	}
	l, err := lock.Make(cmd.Context(), q, old)
	if err != nil {
		return err
	}
	changes := lock.Changes(old, l)
	for _, c := range changes {
		fmt.Fprintln(a.Stdout, c)
	}
	if len(changes) == 0 {
		a.Log("%s: nothing newer", o.file)
	}
	if len(o.add) > 0 {
		a.Log("%s: name what was added in packages: of the configuration, too: --check and --update go by it", o.file)
	}
	st, err := os.Stat(o.file)
	if err != nil {
		return err
	}
	return durable.WriteFile(o.file, l.Format(), st.Mode().Perm())
}
