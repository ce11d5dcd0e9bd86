// Package others reads the archives of a plan that are no Debian archives, each in the room of its kind: archives of
// other formats, and archives that other snapshots have. Merged ones are made by internal/freeze.
package others

import (
	"context"
	"fmt"

	"example.org/mmoci/internal/fileset"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rpmrepo"
	"example.org/mmoci/internal/taken"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
)

// Reader reads them. The zero value knows no key and the defaults of places.
type Reader struct {
	Site     *pgp.Keyring // keys that other snapshots are signed by; nil: only those that their entries name
	Artifact artifact.Options
	// Keep makes the directory for what is kept of files from one time to the next. It is required for archives of files.
	Keep func() (string, error)
}

// Read is what [freeze.Options] has as Others: the archives of f.Plan that are no Debian archives, in its order. What
// f.Lock names is read as it names it, from f.Previous where its place has lost it.
func (r Reader) Read(ctx context.Context, f freeze.Options) ([]freeze.ReadyArchive, error) {
	var out []freeze.ReadyArchive
	snapshots := &taken.Reader{Site: r.Site, Artifact: r.Artifact}
	for i := range f.Plan.Others {
		o := &f.Plan.Others[i]
		switch {
		case len(o.Merge) > 0: // of what was read
		case o.From != "":
			ready, err := snapshots.Read(ctx, f, o)
			if err != nil {
				return nil, err
			}
			out = append(out, ready)
		case o.Files != nil:
			files, err := fileset.Read(ctx, fileset.Options{
				Plan: o.Files, Lock: f.Lock, Previous: f.Previous, Dir: r.Keep, KeepGoing: f.KeepGoing, Check: f.Check, Now: f.Now, Log: f.Log,
			})
			if err != nil {
				return nil, err
			}
			out = append(out, *files)
		case o.RPM != nil:
			a, err := rpmrepo.Read(ctx, o.RPM, rpmrepo.Options{
				Lock: f.Lock, Locked: f.Locked, Previous: f.Previous, Keys: f.Keys, KeepGoing: f.KeepGoing, Record: f.Record, Now: f.Now, Log: f.Log,
			})
			if err != nil {
				return nil, err
			}
			out = append(out, *a)
		default:
			return nil, fmt.Errorf("%w: archive %s: nothing here reads it", outcome.ErrUsage, o.Prefix)
		}
	}
	return out, nil
}
