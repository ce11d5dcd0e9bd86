package layout

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

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// errBusy says that a layout is being written to.
var errBusy = errors.New("somebody is writing to it; try again when that has ended")

// Remove takes tags out of index.json, as far as each still names the digest that
// it was seen with, and deletes every blob that no entry reaches any more. While somebody
// writes to the layout, or a document cannot be read through, nothing is removed. Entries of
// images go with them, if each has the names and the digest that are given: others' entries of the same image stay,
// and with them what refers to it.
func Remove(ctx context.Context, ref oci.Reference, tags []oci.Tag, images []oci.NamedImage) (r oci.Removed, err error) {
	if err := checkMarker(ref.Name); err != nil {
		return r, err
	}
	unlock, err := lockLayout(ctx, ref.Name) // new pushes wait for us
	if err != nil {
		return r, err
	}
	defer unlock()
	stem := filepath.Join(ref.Name, durable.TempPrefix)
	removeLeft(stem)
	if left, err := filepath.Glob(globEscape(stem) + "*"); err != nil || len(left) > 0 {
		return r, errors.Join(err, fmt.Errorf("layout %s: %w", ref.Name, errBusy))
	}
	data, err := oci.ReadFile(filepath.Join(ref.Name, indexFile), maxLayoutIndex)
	if err != nil {
		return r, err
	}
	x, err := parseLayoutIndex(data)
	if err != nil {
		return r, err
	}
	others := namedByOthers(ref.Name, x, tags)
	x.entries = slices.DeleteFunc(x.entries, func(e layoutEntry) bool {
		if slices.ContainsFunc(images, func(m oci.NamedImage) bool { return e.isOf(m) }) && (e.name != "" || !others[aboutOf(ref.Name, e)]) {
			if e.tag != "" {
				r.Tags = append(r.Tags, e.tag)
			}
			return true
		}
		i := slices.IndexFunc(tags, func(t oci.Tag) bool { return e.tag != "" && t.Name == e.tag })
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
	reached, err := reach(ctx, ref.Name, x)
	if err != nil {
		return oci.Removed{}, fmt.Errorf("layout %s: %w; nothing was removed", ref.Name, err)
	}
	if data, err = x.encode(); err != nil {
		return oci.Removed{}, err
	}
	if err := durable.WriteFile(filepath.Join(ref.Name, indexFile), data, 0o644); err != nil {
		return oci.Removed{}, err
	}
	// Killed from here on, unreachable files are left to the next call.
	r.Files, r.Bytes, err = sweep(ctx, ref.Name, reached)
	return r, err
}

// isOf tells the entry that setImages makes of an image.
func (e layoutEntry) isOf(m oci.NamedImage) bool {
	return e.Digest == m.Digest && e.name == m.Name && (e.tag == m.Tag || e.tag == "" && m.Name != "")
}

// namedByOthers are the digests that entries which stay have by a plain tag, and those of the manifests of an image index
// among them. What cannot be read has none: [reach] says so.
func namedByOthers(dir string, x *layoutIndex, going []oci.Tag) map[snapshot.Digest]bool {
	named := map[snapshot.Digest]bool{}
	for _, e := range x.entries {
		if e.tag == "" || e.name != "" || e.Digest.IsZero() ||
			slices.ContainsFunc(going, func(t oci.Tag) bool { return t.Name == e.tag && t.Digest == e.Digest }) {
			continue
		}
		named[e.Digest] = true
		if !isDocument(e.MediaType) {
			continue
		}
		var j struct {
			Manifests []oci.JSONDescriptor `json:"manifests"`
		}
		if data, err := oci.ReadFile(blobPath(dir, e.Digest), maxForeign); err != nil || json.Unmarshal(data, &j) != nil {
			continue
		}
		for _, m := range j.Manifests {
			if d, err := snapshot.ParseDigest(m.Digest); err == nil {
				named[d] = true
			}
		}
	}
	return named
}

// aboutOf is the digest that an entry without a name is about: by cosign's tag, or as the manifest says; zero if none.
func aboutOf(dir string, e layoutEntry) snapshot.Digest {
	hex, _, _ := strings.Cut(strings.TrimPrefix(e.tag, "sha256-"), ".")
	if d, err := snapshot.ParseDigest("sha256:" + hex); err == nil {
		return d
	}
	var j struct {
		Subject oci.JSONDescriptor `json:"subject"`
	}
	if data, err := oci.ReadFile(blobPath(dir, e.Digest), maxForeign); err != nil || json.Unmarshal(data, &j) != nil {
		return snapshot.Digest{}
	}
	d, _ := snapshot.ParseDigest(j.Subject.Digest) // zero if it is none
	return d
}

// reach marks every blob below the entries of an index.json, whoever wrote
// them: documents are followed by the fields that image-spec gives them.
func reach(ctx context.Context, dir string, x *layoutIndex) (map[snapshot.Digest]struct{}, error) {
	reached := map[snapshot.Digest]struct{}{}
	followed := map[snapshot.Digest]struct{}{} // a manifest may be somebody's layer before it is found to be one
	var next []oci.Descriptor
	for _, e := range x.entries {
		if e.Digest.IsZero() {
			return nil, fmt.Errorf("index.json has an entry whose digest is no sha256")
		}
		next = append(next, e.Descriptor)
	}
	for len(next) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := next[0]
		next = next[1:]
		reached[d.Digest] = struct{}{}
		if _, seen := followed[d.Digest]; seen || !isDocument(d.MediaType) {
			continue
		}
		followed[d.Digest] = struct{}{}
		data, err := oci.ReadFile(blobPath(dir, d.Digest), maxForeign)
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
func successors(data []byte) ([]oci.Descriptor, error) {
	var j struct {
		Config    *oci.JSONDescriptor  `json:"config"`
		Subject   *oci.JSONDescriptor  `json:"subject"`
		Layers    []oci.JSONDescriptor `json:"layers"`
		Blobs     []oci.JSONDescriptor `json:"blobs"`
		Manifests []oci.JSONDescriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	all := slices.Concat(j.Layers, j.Blobs, j.Manifests)
	for _, d := range []*oci.JSONDescriptor{j.Config, j.Subject} {
		if d != nil {
			all = append(all, *d)
		}
	}
	out := make([]oci.Descriptor, 0, len(all))
	for _, d := range all {
		digest, err := snapshot.ParseDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, oci.Describe(d.MediaType, snapshot.Blob{Digest: digest, Size: d.Size}))
	}
	return out, nil
}

// sweep deletes the blobs that were not reached. Other files are left alone.
func sweep(ctx context.Context, layout string, reached map[snapshot.Digest]struct{}) (files int, bytes int64, err error) {
	dir := filepath.Join(layout, blobsDir)
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
	return files, bytes, durable.SyncDir(dir)
}
