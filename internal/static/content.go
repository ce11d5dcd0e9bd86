package static

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// content is what one reference names.
type content struct {
	ref      artifact.Reference
	root     snapshot.Digest
	listed   bool // the tree has the list already: all of it was there once
	list     *list
	about    []referrer
	from     snapshot.Blobs
	layout   string             // the directory of a layout that blobs may be linked from, or ""
	blobs    *os.File           // its directory of blobs, or nil
	snapshot *snapshot.Snapshot // nil: an image
}

// referrer is a document about another one.
type referrer struct {
	subject snapshot.Digest
	entry
}

// entry describes a document in a list of referrers (distribution-spec, "Listing Referrers").
type entry struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// maxAnnotated is the largest document, in bytes, whose annotations stand in a list of referrers.
const maxAnnotated = 32 << 10

// read finds out what a reference names, and all that belongs to it: from the tree's own list where it has one.
func (e *export) read(ctx context.Context, ref artifact.Reference) (*content, error) {
	root, err := artifact.Resolve(ctx, ref, e.o.Places)
	if err != nil {
		return nil, err
	}
	c := &content{ref: ref, root: root}
	if ref.Kind == artifact.Layout {
		c.layout = ref.Name
		if c.blobs, err = os.Open(filepath.Join(ref.Name, blobsDir)); err != nil {
			return nil, err
		}
	}
	ref.Digest = root // the tag may move meanwhile
	c.list, c.listed = e.known(root)
	sealed, err := artifact.Open(ctx, ref, e.o.Places)
	switch {
	case err == nil:
		err = c.readSnapshot(ctx, ref, sealed, e.o.Places)
	case errors.Is(err, artifact.ErrNotOurs) && !errors.Is(err, snapshot.ErrNewer):
		err = c.readImage(ctx, ref, e.o.Places)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *content) close() {
	if c.blobs != nil {
		c.blobs.Close()
	}
}

// known reads the list of a root. One that cannot be read is as good as none.
func (t *tree) known(root snapshot.Digest) (*list, bool) {
	l, err := t.readList(root)
	return l, err == nil
}

func (c *content) readSnapshot(ctx context.Context, ref artifact.Reference, sealed *snapshot.Sealed, o artifact.Options) error {
	s, err := sealed.Unseal(nil)
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	c.snapshot, c.from = s, s.Blobs()
	var m listMaker
	for _, image := range s.Statement.Images {
		if c.listed && len(image.Referrers) == 0 {
			continue
		}
		if err := c.readDocuments(ctx, &m, image); err != nil {
			return fmt.Errorf("%s: image %s: %w", ref, image.Name, err)
		}
	}
	if c.listed {
		return nil
	}
	g, err := artifact.ReadGraph(ctx, ref, o)
	if err != nil {
		return err
	}
	for i, b := range g.Manifests {
		kind := oci.TypeManifest
		if i == 0 {
			kind = oci.TypeIndex
		}
		m.document(oci.Describe(kind, b))
	}
	for _, b := range g.Files {
		m.blob(b)
	}
	c.list, err = m.list(c.root)
	return err
}

// readDocuments adds the documents of an image of the snapshot, whose blobs are files of the snapshot anyway.
func (c *content) readDocuments(ctx context.Context, m *listMaker, image snapshot.Image) error {
	read := func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		return c.snapshot.ReadBlob(ctx, d.Blob, oci.MaxImageDocument)
	}
	for _, root := range append([]snapshot.Blob{image.Blob}, image.Referrers...) {
		g, err := oci.WalkImage(ctx, read, oci.Descriptor{Blob: root})
		if err != nil {
			return err
		}
		for _, d := range g.Documents {
			m.document(d.Descriptor)
		}
		if root != image.Blob {
			c.refer(g.Root())
		}
	}
	return nil
}

func (c *content) readImage(ctx context.Context, ref artifact.Reference, o artifact.Options) error {
	c.listed = false // what refers to it may have changed
	im, err := images.Read(ctx, ref, images.Options{Options: o})
	if err != nil {
		return err
	}
	var m listMaker
	for _, d := range im.Documents {
		m.document(d.Descriptor)
		if slices.ContainsFunc(im.Referrers, func(b snapshot.Blob) bool { return b.Digest == d.Digest }) {
			c.refer(d)
		}
	}
	for _, d := range im.Parts() {
		m.blob(d.Blob)
	}
	c.from = im
	c.list, err = m.list(c.root)
	return err
}

// refer notes a document that says what it is about.
func (c *content) refer(d oci.ImagePart) {
	r := referrer{subject: d.Document.Subject.Digest, entry: entry{
		MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, ArtifactType: d.Document.ArtifactType,
	}}
	if r.subject.IsZero() {
		return
	}
	if r.ArtifactType == "" && !d.Document.IsIndex() {
		r.ArtifactType = d.Document.Config.MediaType
	}
	var said struct {
		Annotations map[string]string `json:"annotations"`
	}
	if len(d.Data) <= maxAnnotated && json.Unmarshal(d.Data, &said) == nil {
		r.Annotations = said.Annotations
	}
	c.about = append(c.about, r)
}

// referrerLists are the documents that /v2/ answers with for what refers to a digest, by that digest.
func referrerLists(contents []*content) map[snapshot.Digest][]byte {
	all := map[snapshot.Digest][]entry{}
	for _, c := range contents {
		for _, r := range c.about {
			all[r.subject] = append(all[r.subject], r.entry)
		}
	}
	lists := map[snapshot.Digest][]byte{}
	for subject, entries := range all {
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.Digest, b.Digest) })
		entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.Digest == b.Digest })
		data, err := json.Marshal(struct {
			SchemaVersion int     `json:"schemaVersion"`
			MediaType     string  `json:"mediaType"`
			Manifests     []entry `json:"manifests"`
		}{2, oci.TypeIndex, entries})
		if err == nil { // always: texts and numbers
			lists[subject] = data
		}
	}
	return lists
}
