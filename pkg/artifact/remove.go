package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// Removed is the outcome of Remove.
type Removed struct {
	Tags []string // that are gone
	// Kept are tags that stay because somebody moved a tag meanwhile: theirs, or one to the snapshot that they name.
	Kept []string
	// Refused are the tags that the registry does not let go, in whose place stands why.
	Refused []string
	Reason  error
	// Files and Bytes are what a layout shrank by; a registry frees by its own collection.
	Files int
	Bytes int64
}

// Remove takes tags away, as far as each still names the digest that it was seen with. Tags that name the same root and are not in the list
// stay, and so does everything that any remaining tag reaches: where only the root can be deleted, every other tag
// is asked again before. A registry that allows
// no DELETE is no error: the outcome says so. A layout is collected: what no entry of
// its index.json reaches is deleted, what a killed push left included; while somebody else writes to
// it, or holds something that cannot be read through, nothing is.
func Remove(ctx context.Context, ref Reference, tags []Tag, o Options) (Removed, error) {
	switch ref.Kind {
	case Layout:
		return removeFromLayout(ctx, ref, tags, &o)
	case Registry:
		return removeFromRegistry(ctx, ref, tags, &o)
	}
	return Removed{}, fmt.Errorf("%w %s: an oci-archive has one tag; delete the file", ErrReference, ref)
}

func removeFromRegistry(ctx context.Context, ref Reference, tags []Tag, o *Options) (Removed, error) {
	p, err := openRegistry(ref, o)
	if err != nil {
		return Removed{}, err
	}
	t := registryTarget{p, ""}
	var r Removed
	for _, tag := range tags {
		if err := interrupted(ctx); err != nil {
			return r, err
		}
		if err := t.removeOne(ctx, tag, tags, &r); err != nil {
			return r, fmt.Errorf("tag %s: %w", tag.Name, err)
		}
	}
	return r, nil
}

// removeOne deletes a tag; where the registry deletes manifests only, the
// manifest, if no tag that stays names it by now.
func (r registryTarget) removeOne(ctx context.Context, t Tag, going []Tag, out *Removed) error {
	now, err := r.named(ctx, t.Name)
	if err != nil {
		return err
	}
	if now.IsZero() { // by itself, or with another tag of its root
		out.Tags = append(out.Tags, t.Name)
		return nil
	}
	if now != t.Digest {
		out.Kept = append(out.Kept, t.Name)
		return nil
	}
	code, err := r.deleteReference(ctx, t.Name)
	if err != nil {
		return err
	}
	if !isGone(code) {
		stays, err := r.stillNames(ctx, t.Digest, going)
		if err != nil {
			return err
		}
		if stays {
			out.Kept = append(out.Kept, t.Name)
			return nil
		}
		if code, err = r.deleteReference(ctx, t.Digest.String()); err != nil {
			return err
		}
	}
	if isGone(code) {
		out.Tags = append(out.Tags, t.Name)
		return nil
	}
	out.Refused = append(out.Refused, t.Name)
	out.Reason = fmt.Errorf("the registry answers %d to DELETE: allow it there, or let its own retention rules remove these tags", code)
	return nil
}

func isGone(status int) bool { return status/100 == 2 || status == http.StatusNotFound }

func (r *registryPlace) deleteReference(ctx context.Context, reference string) (status int, err error) {
	err = r.retry(ctx, func(ctx context.Context) (err error) {
		status, err = r.delete(ctx, reference)
		return err
	})
	return status, err
}

// stillNames asks whether any tag that is not going names a root now. An immutable tag has its root's
// digest in its name, and names no other; so aliases are asked for, and the immutable tags of this root.
func (r registryTarget) stillNames(ctx context.Context, root snapshot.Digest, going []Tag) (bool, error) {
	names, err := r.tagNames(ctx)
	if err != nil {
		return false, err
	}
	var found atomic.Bool
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(r.o.workers())
	for _, name := range names {
		mine := slices.ContainsFunc(going, func(t Tag) bool { return t.Name == name && t.Digest == root })
		if mine || !tagDate(name).IsZero() && !strings.HasSuffix(name, root.Hex()[:12]) {
			continue
		}
		g.Go(func() error {
			now, err := r.named(each, name)
			if now == root {
				found.Store(true)
			}
			return err
		})
	}
	err = g.Wait()
	return found.Load(), err
}

// errBusy says that a layout is being written to.
var errBusy = errors.New("somebody is writing to it; try again when that has ended")

func removeFromLayout(ctx context.Context, ref Reference, tags []Tag, o *Options) (r Removed, err error) {
	if _, err := openLayout(ref.Name, o); err != nil {
		return r, err
	}
	if err := checkMarker(ref.Name); err != nil {
		return r, err
	}
	w := &layoutWriter{layout: &layout{ref.Name, newHashedFiles(o.tuning.settle)}}
	unlock, err := w.lock(ctx) // new pushes wait for us
	if err != nil {
		return r, err
	}
	defer unlock()
	stem := filepath.Join(ref.Name, tmpStem)
	removeUnlocked(stem)
	if left, err := filepath.Glob(globEscape(stem) + "*"); err != nil || len(left) > 0 {
		return r, errors.Join(err, fmt.Errorf("layout %s: %w", ref.Name, errBusy))
	}
	data, err := readSmall(filepath.Join(ref.Name, indexFile), maxLayoutIndex)
	if err != nil {
		return r, err
	}
	x, err := parseLayoutIndex(data)
	if err != nil {
		return r, err
	}
	x.entries = slices.DeleteFunc(x.entries, func(e layoutEntry) bool {
		i := slices.IndexFunc(tags, func(t Tag) bool { return e.tag != "" && t.Name == e.tag })
		if i < 0 {
			return false
		}
		if tags[i].Digest != e.Digest {
			r.Kept = append(r.Kept, e.tag)
			return false
		}
		r.Tags = append(r.Tags, e.tag)
		return true
	})
	// What stays is found before anything goes: a document that cannot be read ends it here.
	reached, err := w.layout.reach(ctx, x)
	if err != nil {
		return Removed{}, fmt.Errorf("layout %s: %w; nothing was removed", ref.Name, err)
	}
	if data, err = x.encode(); err != nil {
		return Removed{}, err
	}
	if err := writeAside(filepath.Join(ref.Name, indexFile), data); err != nil {
		return Removed{}, err
	}
	// Killed from here on, unreachable files are left to the next call.
	r.Files, r.Bytes, err = w.layout.sweep(ctx, reached)
	return r, err
}

// reach marks every blob below the entries of an index.json, whoever wrote
// them: documents are followed by the fields that image-spec gives them.
func (l *layout) reach(ctx context.Context, x *layoutIndex) (map[snapshot.Digest]struct{}, error) {
	reached := map[snapshot.Digest]struct{}{}
	var next []descriptor
	for _, e := range x.entries {
		if e.Digest.IsZero() {
			return nil, fmt.Errorf("index.json has an entry whose digest is no sha256")
		}
		next = append(next, e.descriptor)
	}
	for len(next) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := next[0]
		next = next[1:]
		if _, seen := reached[d.Digest]; seen {
			continue
		}
		reached[d.Digest] = struct{}{}
		if !isDocument(d.mediaType) {
			continue
		}
		data, err := readSmall(l.blobPath(d.Digest), maxForeign)
		if errors.Is(err, fs.ErrNotExist) {
			continue // lost already: what is below it cannot be told, and nothing can use it
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Digest, err)
		}
		below, err := successors(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Digest, err)
		}
		next = append(next, below...)
	}
	return reached, nil
}

// maxForeign bounds documents of other tools, as these do themselves (4 MiB), with room.
const maxForeign = 16 << 20

// isDocument tells what refers to other blobs, of OCI and of Docker.
func isDocument(mediaType string) bool {
	return strings.Contains(mediaType, "manifest") || strings.Contains(mediaType, "index")
}

// successors are all descriptors in a manifest or index of any tool's.
func successors(data []byte) ([]descriptor, error) {
	var j struct {
		Config    *jsonDescriptor  `json:"config"`
		Subject   *jsonDescriptor  `json:"subject"`
		Layers    []jsonDescriptor `json:"layers"`
		Blobs     []jsonDescriptor `json:"blobs"`
		Manifests []jsonDescriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	all := slices.Concat(j.Layers, j.Blobs, j.Manifests)
	for _, d := range []*jsonDescriptor{j.Config, j.Subject} {
		if d != nil {
			all = append(all, *d)
		}
	}
	out := make([]descriptor, 0, len(all))
	for _, d := range all {
		digest, err := snapshot.ParseDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, descriptor{d.MediaType, snapshot.Blob{Digest: digest, Size: d.Size}})
	}
	return out, nil
}

// sweep deletes the blobs that were not reached. Other files are left alone.
func (l *layout) sweep(ctx context.Context, reached map[snapshot.Digest]struct{}) (files int, bytes int64, err error) {
	dir := filepath.Join(l.dir, blobsDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return files, bytes, err
		}
		d, err := snapshot.ParseDigest("sha256:" + e.Name())
		if _, kept := reached[d]; kept || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return files, bytes, err
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return files, bytes, err
		}
		files, bytes = files+1, bytes+info.Size()
	}
	f, err := os.Open(dir)
	if err != nil {
		return files, bytes, err
	}
	defer f.Close()
	return files, bytes, unix.Fsync(int(f.Fd()))
}
