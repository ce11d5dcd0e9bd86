package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// Removed is the outcome of Remove.
type Removed struct {
	Tags []string // that are gone
	// Refused are the tags that the registry does not let go, in whose place stands why.
	Refused []string
	Reason  error
	// Files and Bytes are what a layout shrank by; a registry frees by its own collection.
	Files int
	Bytes int64
}

// Remove takes tags away. Tags that name the same root and are not in the list
// stay, and so does everything that any remaining tag reaches. A registry that allows
// no DELETE is no error: the outcome says so. A layout is collected: what no entry of
// its index.json reaches is deleted, what a killed push left included; while somebody else writes to
// it, or holds something that cannot be read through, nothing is.
func Remove(ctx context.Context, ref Reference, tags []string, o Options) (Removed, error) {
	switch ref.Kind {
	case Layout:
		return removeFromLayout(ctx, ref, tags, &o)
	case Registry:
		return removeFromRegistry(ctx, ref, tags, &o)
	}
	return Removed{}, fmt.Errorf("%w %s: an oci-archive has one tag; delete the file", ErrReference, ref)
}

func removeFromRegistry(ctx context.Context, ref Reference, tags []string, o *Options) (Removed, error) {
	p, err := openRegistry(ref, o)
	if err != nil {
		return Removed{}, err
	}
	all, err := p.tags(ctx)
	if err != nil {
		return Removed{}, err
	}
	var r Removed
	for _, t := range all {
		if !slices.Contains(tags, t.Name) {
			continue
		}
		status, err := p.removeOne(ctx, t, all, tags)
		if err != nil {
			return r, fmt.Errorf("tag %s: %w", t.Name, err)
		}
		if status/100 == 2 || status == 404 {
			r.Tags = append(r.Tags, t.Name)
			continue
		}
		r.Refused = append(r.Refused, t.Name)
		r.Reason = fmt.Errorf("the registry answers %d to DELETE: allow it there, or let its own retention rules remove these tags", status)
	}
	return r, nil
}

// removeOne deletes a tag; where the registry deletes manifests only, the
// manifest, if no tag that stays names it.
func (r *registryPlace) removeOne(ctx context.Context, t Tag, all []Tag, going []string) (status int, err error) {
	for _, reference := range []string{t.Name, t.Digest.String()} {
		if reference != t.Name && slices.ContainsFunc(all, func(o Tag) bool { return o.Digest == t.Digest && !slices.Contains(going, o.Name) }) {
			break
		}
		err = r.retry(ctx, func(ctx context.Context) (err error) {
			status, err = r.delete(ctx, reference)
			return err
		})
		if err != nil || status/100 == 2 || status == 404 {
			break
		}
	}
	return status, err
}

// errBusy says that a layout is being written to.
var errBusy = errors.New("somebody is writing to it; try again when that has ended")

func removeFromLayout(ctx context.Context, ref Reference, tags []string, o *Options) (r Removed, err error) {
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
		gone := e.tag != "" && slices.Contains(tags, e.tag)
		if gone {
			r.Tags = append(r.Tags, e.tag)
		}
		return gone
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
