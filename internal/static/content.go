package static

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// content is what one reference names.
type content struct {
	ref      artifact.Reference
	root     snapshot.Digest
	listed   bool        // the tree has its list already: all of it was there once
	lists    []*rootList // its own, and one of each manifest that refers to an image
	about    []referrer
	attached map[snapshot.Digest]map[string]snapshot.Digest // of an image, what cosign attached to it, by tag
	from     snapshot.Blobs
	layout   string             // the directory of a layout that blobs may be linked from, or ""
	blobs    *os.File           // its directory of blobs, or nil
	snapshot *snapshot.Snapshot // nil: an image
}

// referrer is a document about another one, which it names.
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
func (t *tree) read(ctx context.Context, ref artifact.Reference, o *Options) (*content, error) {
	root, err := artifact.Resolve(ctx, ref, o.Places)
	if err != nil {
		return nil, err
	}
	c := &content{ref: ref, root: root, attached: map[snapshot.Digest]map[string]snapshot.Digest{}}
	if ref.Kind == artifact.Layout {
		c.layout = ref.Name
		if c.blobs, err = os.Open(filepath.Join(ref.Name, blobsDir)); err != nil {
			return nil, err
		}
	}
	ref.Digest = root                           // the tag may move meanwhile
	if l, err := t.readList(root); err == nil { // one that cannot be read is as good as none
		c.lists, c.listed = []*rootList{l}, true
	}
	sealed, err := artifact.Open(ctx, ref, o.Places)
	switch {
	case err == nil:
		err = c.readSnapshot(ctx, ref, sealed, o.Places)
	case errors.Is(err, artifact.ErrNotOurs) && !errors.Is(err, snapshot.ErrNewer):
		err = c.readImage(ctx, ref, o.Places)
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

func (c *content) readSnapshot(ctx context.Context, ref artifact.Reference, sealed *snapshot.Sealed, o artifact.Options) error {
	s, err := sealed.Unseal(nil)
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	c.snapshot = s
	c.from = withDocuments{s.Blobs(), sync.OnceValues(func() (*artifact.Documents, error) { return artifact.DocumentsOf(s) })}
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
	l, err := m.list(c.root)
	c.lists = []*rootList{l}
	return err
}

// withDocuments are the blobs of a snapshot and its own documents: a registry need not give a document to who asks for a blob.
type withDocuments struct {
	snapshot.Blobs
	documents func() (*artifact.Documents, error) // encoded when the first blob is asked for, which is none that was linked
}

func (w withDocuments) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	d, err := w.documents()
	if err != nil {
		return nil, err
	}
	data, _, err := d.Document(b.Digest)
	switch {
	case err != nil:
		return nil, err
	case data == nil: // none of the snapshot's own
		return w.Blobs.Open(ctx, b, offset)
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data[offset:]))}, nil
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
			c.refer(image.Digest, g.Root())
		}
	}
	return nil
}

// readImage reads an image, and each manifest that refers to it as a root of its own: one that is no longer there leaves as
// other roots do.
func (c *content) readImage(ctx context.Context, ref artifact.Reference, o artifact.Options) error {
	c.listed = false // what refers to it may have changed
	im, err := images.Read(ctx, ref, images.Options{Options: o})
	if err != nil {
		return err
	}
	c.from, c.lists = im, nil
	read := func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		return oci.ReadBlob(ctx, im, "document", d.Blob, oci.MaxImageDocument)
	}
	for _, root := range append([]snapshot.Blob{im.Root.Blob}, im.Referrers...) {
		g, err := oci.WalkImage(ctx, read, oci.Descriptor{Blob: root})
		if err != nil {
			return err
		}
		var m listMaker
		for _, d := range g.Documents {
			m.document(d.Descriptor)
		}
		for _, d := range g.Blobs {
			m.blob(d.Blob)
		}
		l, err := m.list(root.Digest)
		if err != nil {
			return err
		}
		c.lists = append(c.lists, l)
		if root != im.Root.Blob {
			c.refer(im.Root.Digest, g.Root())
		}
	}
	return nil
}

// refer notes a document that belongs to an image: it says what it is about, or cosign attached it.
func (c *content) refer(image snapshot.Digest, d oci.ImagePart) {
	if tag := oci.CosignTag(image, d.Document); tag != "" {
		if c.attached[image] == nil {
			c.attached[image] = map[string]snapshot.Digest{}
		}
		c.attached[image][tag] = d.Digest
	}
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
