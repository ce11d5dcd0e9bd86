package freeze

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// checkFiles compares what a lock has of archives of plain files and of RPM repositories with what their places have now. A
// file whose digest the lock alone knows, and that has another one now, is outcome.ErrIntegrity.
func checkFiles(ctx context.Context, f Options, lock *config.Lock, c *Checked) error {
	of := func(archives []config.LockArchive) (out []config.LockArchive) {
		for _, a := range archives {
			if isChecked(a.Format) {
				out = append(out, a)
			}
		}
		return out
	}
	whole, plan := f.Plan, *f.Plan
	plan.Others = nil
	for _, o := range f.Plan.Others {
		if isChecked(o.Format) {
			plan.Others = append(plan.Others, o)
		}
	}
	f.Plan, f.KeepGoing, f.Check, f.Previous = &plan, true, true, nil
	// An RPM repository that the lock names is what upstream has no more, if that has moved: what is there now is asked.
	f.Lock = &config.Lock{Date: lock.Date, Archives: slices.DeleteFunc(slices.Clone(lock.Archives), func(a config.LockArchive) bool { return a.Format == snapshot.FormatRPM })}
	ready, err := readOthers(ctx, f)
	if err != nil {
		return err
	}
	var now []config.LockArchive
	for _, r := range ready {
		now = append(now, r.Locked)
		c.Missing = append(c.Missing, r.Missing...)
	}
	for _, was := range of(lock.Archives) {
		if o := whole.Other(was.Prefix); o != nil && !isChecked(o.Format) {
			continue // it is taken out of another snapshot
		}
		c.Wanted += len(was.Files)
		if was.Format == snapshot.FormatRPM {
			c.Wanted += len(was.Releases)
		}
		i := slices.IndexFunc(now, func(a config.LockArchive) bool { return a.Prefix == was.Prefix })
		if i < 0 {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the lock, not in the configuration", was.Prefix))
			continue
		}
		for j, r := range was.Releases {
			if is := now[i].Releases; was.Format == snapshot.FormatRPM && j < len(is) && is[j].Digest != r.Digest {
				c.Missing = append(c.Missing, fmt.Sprintf("%s %s: repomd.xml of %s: there is that of %s", was.Prefix, r.Suite, snapshot.FormatDate(r.Date), snapshot.FormatDate(is[j].Date)))
			}
		}
		is := map[string]config.LockFile{}
		for _, x := range now[i].Files {
			is[x.Path] = x
		}
		for _, x := range was.Files {
			switch got, ok := is[x.Path]; {
			case !ok && len(ready[i].Missing) == 0:
				c.Differs = append(c.Differs, fmt.Sprintf("archive %s: %s: in the lock, not in the configuration", was.Prefix, x.Path))
			case ok && got.Digest != x.Digest:
				c.Differs = append(c.Differs, fmt.Sprintf("archive %s: %s: %s in the lock, %s in the configuration", was.Prefix, x.Path, x.Digest, got.Digest))
			}
			delete(is, x.Path)
		}
		for _, x := range now[i].Files {
			if _, left := is[x.Path]; left {
				c.Differs = append(c.Differs, fmt.Sprintf("archive %s: %s: in the configuration, not in the lock", was.Prefix, x.Path))
			}
		}
	}
	for _, a := range now {
		if !slices.ContainsFunc(lock.Archives, func(was config.LockArchive) bool { return was.Prefix == a.Prefix }) {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the configuration, not in the lock", a.Prefix))
		}
	}
	return nil
}

// checkTaken asks for the snapshots that archives were taken out of: each must still be there, and have them. Their
// statements and indices are read, no packages.
func checkTaken(ctx context.Context, f Options, lock *config.Lock, taken []config.Other, c *Checked) error {
	f.Lock = lock
	read := func(some []config.Other) error {
		plan := *f.Plan
		plan.Others = some
		of := f
		of.Plan = &plan
		_, err := readOthers(ctx, of)
		return err
	}
	c.Wanted += len(taken)
	err := read(taken) // each snapshot once, as long as nothing is missing
	if !errors.Is(err, outcome.ErrNotFound) {
		return err
	}
	for i := range taken {
		if err := read(taken[i : i+1]); errors.Is(err, outcome.ErrNotFound) {
			c.Missing = append(c.Missing, err.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}

// isChecked tells the formats of archives that checkFiles compares.
func isChecked(format string) bool {
	return format == snapshot.FormatFiles || format == snapshot.FormatRPM
}
