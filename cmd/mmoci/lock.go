package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// lockFlags are what lock was asked.
type lockFlags struct {
	planFlags
	archiveFlags
	file, date    string
	held          string
	check, update bool
	add, accept   []string
}

// lock makes, checks and changes a lock, without pushing anything.
func (a *app) lock() *cobra.Command {
	var o lockFlags
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Resolve the selection to exact versions and digests; check, update or extend a lock",
		Long: `Without a flag the selection is resolved and the lock written to stdout, or to the file that -o names.
--check, --update and --add work on a lock that is there: mmoci.lock beside the configuration, or what -o names.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	o.planFlags.flags(f)
	o.archiveFlags.flags(f)
	f.StringVarP(&o.file, "output", "o", "", "the `LOCK` file")
	f.StringVar(&o.date, "date", "", "date input, as of push")
	f.BoolVar(&o.check, "check", false, "tell what of the lock the upstreams still have, without downloading packages; exit code 1 if not all")
	f.BoolVar(&o.update, "update", false, "resolve anew, print what changes, write it")
	f.StringArrayVar(&o.add, "add", nil, "add the package `QUERY` and what it needs to the lock, keeping its versions (repeatable)")
	f.StringVar(&o.held, "held", "", "`REF` of a snapshot that holds the lock's day, for --add (default: ref: of the configuration, if it does)")
	f.StringArrayVar(&o.accept, "accept-key", nil, "`FINGERPRINT` that a key from the network may have from now on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.check && (o.update || len(o.add) > 0) || o.update && len(o.add) > 0 {
			return fmt.Errorf("%w: --check, --update and --add are one at a time", mirror.ErrUsage)
		}
		plan, err := o.archiveFlags.plan(cmd, &o.planFlags)
		if err != nil {
			return err
		}
		q := mirror.Freezing{Plan: plan, AcceptKeys: o.accept, Now: time.Now(), Log: a.log}
		if q.Date, _, err = parseDate(o.date); err != nil {
			return err
		}
		switch {
		case o.check:
			return a.checkLock(cmd, &o, q)
		case o.update, len(o.add) > 0:
			return a.changeLock(cmd, &o, q)
		}
		l, err := mirror.Lock(cmd.Context(), q)
		if err != nil {
			return err
		}
		if o.file == "" {
			_, err := a.stdout.Write(l.Format())
			return err
		}
		return replaceFile(o.file, l.Format(), 0o644)
	}
	return cmd
}

// existing reads the lock that is to be checked or changed.
func (o *lockFlags) existing(plan *config.Plan) (*config.Lock, error) {
	if o.file == "" {
		o.file = filepath.Join(filepath.Dir(plan.File), "mmoci.lock")
	}
	return readLock(o.file)
}

// checkLock prints what is missing; that something is, is exit code 1.
func (a *app) checkLock(cmd *cobra.Command, o *lockFlags, q mirror.Freezing) (err error) {
	if q.Lock, err = o.existing(q.Plan); err != nil {
		return err
	}
	res, err := mirror.CheckLock(cmd.Context(), q)
	if err != nil {
		return err
	}
	for _, m := range res.Missing {
		fmt.Fprintln(a.stdout, "missing:", m)
	}
	for _, n := range res.Newer {
		fmt.Fprintln(a.stdout, "newer:", n.Say(q.Plan.CommonList))
	}
	fmt.Fprintf(a.stdout, "wanted %d, available %d\n", res.Wanted, res.Available)
	if len(res.Missing) > 0 {
		return fmt.Errorf("%d of %d are not available any more (mmoci lock --update proposes what is)", len(res.Missing), res.Wanted)
	}
	return nil
}

// holding opens the snapshot that may hold what a lock names. The configured
// one is a convenience: without it the upstreams of today have to do.
func (a *app) holding(cmd *cobra.Command, held string, plan *config.Plan) (*snapshot.Snapshot, error) {
	var ref artifact.Reference
	var err error
	switch {
	case held != "":
		ref, err = artifact.ParseReference(held)
	case plan.Ref != "":
		ref, err = configured(plan)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := mirror.OpenUnverified(cmd.Context(), ref, a.options())
	if err != nil && held == "" {
		a.detail("%s: %s; today's upstreams have to do", ref, err)
		return nil, nil
	}
	return s, err
}

// changeLock writes a newer or longer lock and prints the difference.
func (a *app) changeLock(cmd *cobra.Command, o *lockFlags, q mirror.Freezing) error {
	old, err := o.existing(q.Plan)
	if err != nil {
		return err
	}
	q.Known = mirror.KnownKeys(old)
	if len(o.add) > 0 {
		q.Lock = old
		if q.Held, err = a.holding(cmd, o.held, q.Plan); err != nil {
			return err
		}
		for _, text := range o.add {
			q.Add = append(q.Add, config.Query{Text: text, Position: config.Position{File: "--add"}})
		}
	}
	l, err := mirror.Lock(cmd.Context(), q)
	if err != nil {
		return err
	}
	changes := mirror.LockChanges(old, l)
	for _, c := range changes {
		fmt.Fprintln(a.stdout, c)
	}
	if len(changes) == 0 {
		a.log("%s: nothing newer", o.file)
	}
	st, err := os.Stat(o.file)
	if err != nil {
		return err
	}
	return replaceFile(o.file, l.Format(), st.Mode().Perm())
}
