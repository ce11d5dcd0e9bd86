package freeze

import (
	"context"
	"fmt"
	"slices"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/snapshot"
)

// checkFiles compares what a lock has of archives of plain files with what their places have now. A file whose digest
// the lock alone knows, and that has another one now, is outcome.ErrIntegrity.
func checkFiles(ctx context.Context, f Options, lock *config.Lock, c *Checked) error {
	of := func(archives []config.LockArchive) (out []config.LockArchive) {
		for _, a := range archives {
			if a.Format == snapshot.FormatFiles {
				out = append(out, a)
			}
		}
		return out
	}
	plan := *f.Plan
	plan.Others = nil
	for _, o := range f.Plan.Others {
		if o.Format == snapshot.FormatFiles {
			plan.Others = append(plan.Others, o)
		}
	}
	f.Plan, f.Lock, f.KeepGoing = &plan, lock, true
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
		c.Wanted += len(was.Files)
		i := slices.IndexFunc(now, func(a config.LockArchive) bool { return a.Prefix == was.Prefix })
		if i < 0 {
			c.Differs = append(c.Differs, fmt.Sprintf("archive %s: in the lock, not in the configuration", was.Prefix))
			continue
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
