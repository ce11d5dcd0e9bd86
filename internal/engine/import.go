package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// ErrForeign marks a name that another image has in the engine, which mmoci did not put there. It is an [outcome.ErrRefused].
var ErrForeign = fmt.Errorf("%w", outcome.ErrRefused)

// ImportOptions of [Import].
type ImportOptions struct {
	Snapshot *snapshot.Snapshot
	Names    []string // HOST/REPO:TAG, or REPO:TAG; none: every image that runs on this machine
	Engine   *Engine
	State    string // directory of the record
	// Replace takes names that other images have, which mmoci did not put there. They are not brought back.
	Replace  bool
	Log      outcome.Log // one line a step
	Platform string      // as oci.ParsePlatform reads it; "": this machine's
}

// Wanted are the images of a snapshot that are asked for, by HOST/REPO:TAG or REPO:TAG; all if no
// name is given. Without a signature by the site's key, and without a pin, there are none to believe: then
// an error is returned, as for a name that the statement does not have (outcome.ErrNotFound).
func Wanted(s *snapshot.Snapshot, names []string) ([]snapshot.Image, error) {
	images := s.Statement.Images
	if len(images) > 0 && s.Statement.How.Kind == 0 {
		return nil, outcome.GiveSiteKey.For(fmt.Errorf("%w: nothing vouches for the container images of the snapshot: upstream's keys sign packages, the site's key signs images", outcome.ErrUsage))
	}
	if len(names) == 0 {
		return images, nil
	}
	var out []snapshot.Image
	for _, name := range names {
		i := slices.IndexFunc(images, func(im snapshot.Image) bool { return im.Name == name || im.Short() == name })
		if i < 0 {
			return nil, fmt.Errorf("image %s %w; the snapshot has %s", name, outcome.ErrNotFound, list(images))
		}
		out = append(out, images[i])
	}
	return out, nil
}

func list(images []snapshot.Image) string {
	const most = 12
	var names []string
	for _, im := range images {
		names = append(names, im.Name)
	}
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Import puts images of a snapshot into an engine, and returns the names of those that are there afterwards. One
// that is there already stays. What is put there is recorded before, so that [Undo] knows it wherever this is killed;
// run again, it goes on.
//
// Errors: those of [Wanted]; outcome.ErrNotFound if an image that was named has nothing for this machine;
// [ErrForeign] before anything is changed; snapshot.ErrIntegrity for wrong bytes, of which the engine takes no image.
func Import(ctx context.Context, o ImportOptions) (names []string, err error) {
	wanted, err := Wanted(o.Snapshot, o.Names)
	if err != nil {
		return nil, err
	}
	on := ownPlatform()
	if o.Platform != "" {
		if on, err = oci.ParsePlatform(o.Platform); err != nil {
			return nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
		}
	}
	unlock, err := durable.Lock(ctx, filepath.Join(o.State, "lock"), 0o600)
	if err != nil {
		return nil, err
	}
	defer unlock()
	record, err := readRecord(o.State)
	if err != nil {
		return nil, err
	}
	var plan []step
	for _, im := range wanted {
		c, err := read(ctx, o.Snapshot, im, on)
		if other, ok := errors.AsType[*platformError](err); ok && len(o.Names) == 0 {
			o.Log.Printf("left out: %v", other)
			continue
		}
		if err != nil {
			return nil, err
		}
		p := step{cut: c, by: o.Engine.Kind}
		if p.there, err = o.Engine.has(ctx, im.Name); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(record, func(i imported) bool { return i.of(o.Engine, im.Name) && i.IDs.meets(p.there) }); i >= 0 {
			ours := record[i]
			p.ours = &ours
		}
		if len(p.there) > 0 && !p.done() && p.ours == nil && !o.Replace {
			return nil, fmt.Errorf("%w: %s has another %s, %s, which mmoci did not put there", ErrForeign, o.Engine, im.Name, p.there[0])
		}
		plan = append(plan, p)
	}
	for _, p := range plan {
		if !p.done() {
			if record, err = o.put(ctx, p, record); err != nil {
				return names, err
			}
		} else {
			o.Log.Printf("%s has %s", o.Engine, p.cut.image.Name)
		}
		names = append(names, p.cut.image.Name)
	}
	return names, nil
}

// step is an image to be imported.
type step struct {
	cut   *cut
	there ids       // what the engine has by its name
	ours  *imported // the record of that; nil: it is somebody else's, or not there
	by    Kind
}

// done tells whether the engine has the image itself. containerd knows it by its root alone, and
// another index with the same manifest is another image.
func (p step) done() bool {
	if p.by == Containerd {
		return slices.Contains(p.there, p.cut.root.Digest)
	}
	return p.cut.ids().meets(p.there)
}

// put imports one image, and removes what it replaces if mmoci had put that there. It returns the record as it is then.
func (o *ImportOptions) put(ctx context.Context, p step, record []imported) ([]imported, error) {
	start := time.Now()
	name := p.cut.image.Name
	old := p.ours
	record = slices.DeleteFunc(slices.Clone(record), func(i imported) bool { return i.of(o.Engine, name) })
	if old != nil && o.Engine.Kind != Containerd {
		old.Name = p.there[0].String() // once the name is gone
		record = append(record, *old)
	}
	record = append(record, imported{o.Engine.Kind, o.Engine.Namespace, name, p.cut.ids()})
	if err := writeRecord(o.State, record); err != nil {
		return nil, err
	}
	err := o.Engine.load(ctx, func(w io.Writer) error { return p.cut.writeTar(ctx, o.Snapshot, o.Engine.Kind, w) })
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	if p.there, err = o.Engine.has(ctx, name); err != nil {
		return nil, err
	}
	if !p.done() {
		return nil, fmt.Errorf("image %s: %s took it, and does not have it whole", name, o.Engine)
	}
	o.Log.Printf("%s takes %s: %s in %.1f s", o.Engine, name, terminal.Size(p.cut.size()), time.Since(start).Seconds())
	if old == nil || o.Engine.Kind == Containerd {
		return record, nil // containerd lets go of what has no name
	}
	if err := o.Engine.remove(ctx, *old); err != nil {
		o.Log.Printf("the %s before it stays: %v", name, err)
		return record, nil
	}
	record = slices.DeleteFunc(record, func(i imported) bool { return i.of(o.Engine, old.Name) })
	return record, writeRecord(o.State, record)
}

// Undo takes out of the engines what [Import] put into them, and nothing else: an image that is used
// by a container stays, as does a name that another image has by now; kept says so of each. A run
// after the containers are gone removes the rest.
func Undo(ctx context.Context, state string) (removed, kept []string, err error) {
	record, err := readRecord(state)
	if err != nil || len(record) == 0 {
		return nil, nil, err
	}
	unlock, err := durable.Lock(ctx, filepath.Join(state, "lock"), 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if record, err = readRecord(state); err != nil {
		return nil, nil, err
	}
	left := slices.Clone(record)
	for _, im := range record {
		e := im.engine()
		there, err := e.has(ctx, im.Name)
		gone := err == nil && len(there) == 0
		switch {
		case ctx.Err() != nil:
			return removed, kept, ctx.Err()
		case err != nil:
			kept = append(kept, fmt.Sprintf("%s: %v", im.Name, err))
		case gone: // by somebody else, or never taken
		case !im.IDs.meets(there):
			kept = append(kept, fmt.Sprintf("%s: another image has that name in %s by now", im.Name, e))
			gone = true
		default:
			if err := e.remove(ctx, im); err != nil {
				kept = append(kept, fmt.Sprintf("%s: %v", im.Name, err))
				continue
			}
			removed = append(removed, im.Name)
			gone = true
		}
		if gone {
			left = slices.DeleteFunc(left, func(i imported) bool { return i.of(e, im.Name) })
			if err := writeRecord(state, left); err != nil {
				return removed, kept, err
			}
		}
	}
	if len(left) == 0 {
		os.Remove(filepath.Join(state, "lock"))
	}
	return removed, kept, nil
}
