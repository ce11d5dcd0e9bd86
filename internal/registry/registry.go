// Package registry is the read-only side of an OCI registry over opened snapshots: what
// /v2/ answers for the container images that travel with them and for the snapshots themselves.
//
// It finds what a path names, by whose name it may be had, and what a policy says of it, and leaves the
// sending to its caller. Nothing is asked of the registry that snapshots come from but blobs by digest, through
// [snapshot.Snapshot], which verifies them. The answer is a function of the snapshots, the path and the policy.
package registry

import (
	"context"
	"strings"
	"sync"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// DefaultRepository and DefaultTag are the name of a snapshot from a layout or an oci-archive.
	DefaultRepository = "mirror"
	DefaultTag        = oci.DefaultTag

	// MaxImage bounds the documents of one image that are read to know its parts, in bytes,
	// and maxReading is of how many images they are read at once.
	MaxImage   = 16 << 20
	maxReading = 4
	// MaxParts bounds the parts of images that are remembered for one snapshot; each takes about 100 bytes.
	MaxParts = 100_000
	// MaxPage is how many names a list gives at once, whoever asks for more.
	MaxPage = 1000
)

// Registry makes what answers are made of. Safe for concurrent use.
type Registry struct {
	packing turn          // that takes much memory for a moment
	reading chan struct{} // has an element for each image that is read
}

// turn is taken by one at a time.
type turn chan struct{}

func newTurn() turn {
	t := make(turn, 1)
	t <- struct{}{}
	return t
}

// take calls what makes something, when it is its turn. It waits no longer than ctx lasts.
func (t turn) take(ctx context.Context, make func() error) error {
	select {
	case <-t:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { t <- struct{}{} }()
	return make()
}

// New makes a registry.
func New() *Registry {
	return &Registry{packing: newTurn(), reading: make(chan struct{}, maxReading)}
}

// Home is where clients find a snapshot.
type Home struct {
	Host       string // "" of a layout or an oci-archive
	Repository string
	Tag        string // "" if the snapshot is named by its digest
}

// HomeOf is the home of what a reference names: its own repository and tag, or [DefaultRepository] where there is none.
func HomeOf(reference string) Home {
	ref, err := oci.ParseReference(reference)
	if err != nil {
		return Home{Repository: DefaultRepository, Tag: DefaultTag}
	}
	if ref.Kind != oci.Registry {
		return Home{Repository: DefaultRepository, Tag: ref.Tag}
	}
	return Home{Host: ref.Host(), Repository: ref.Repository(), Tag: ref.Tag}
}

// Held is a snapshot that is answered from. What is not in its statement is made when it is first asked
// for, and is remembered. Safe for concurrent use.
type Held struct {
	*snapshot.Snapshot
	registry *Registry
	home     Home
	images   []image

	making turn // of docs and index

	mu     sync.Mutex
	docs   *artifact.Documents
	index  *digestIndex
	turns  map[string]turn   // of graphs
	graphs map[string]*graph // by the name of the image
	parts  int               // of graphs
}

// image is an image of a snapshot with its name divided.
type image struct {
	*snapshot.Image
	host, repository, tag string
}

// Hold returns a snapshot as it is answered from.
func (r *Registry) Hold(s *snapshot.Snapshot, home Home) *Held {
	h := &Held{Snapshot: s, registry: r, home: home, making: newTurn(), turns: map[string]turn{}, graphs: map[string]*graph{}}
	for i := range s.Statement.Images {
		m := &s.Statement.Images[i]
		if host, repository, tag, ok := snapshot.CutImageName(m.Name); ok { // always: the statement's reader saw to it
			h.images = append(h.images, image{m, host, repository, tag})
		}
	}
	return h
}

// Memory is how many bytes a snapshot takes at most for being answered from, beside its table and statement and the
// parts of images.
func Memory(s *snapshot.Snapshot) int64 {
	const row = digestIndexRow + 4 // the index by digest, and a number in the documents
	return int64(s.Table.Len())*row + int64(artifact.MaxDocument)
}

// immutableTag is the tag that names the snapshot for ever; "" if there is no room for it in a tag.
func (h *Held) immutableTag() string {
	if h.home.Tag == "" || len(h.home.Tag) > oci.MaxAlias || oci.ImmutableStem(h.home.Tag) != "" {
		return ""
	}
	return oci.ImmutableTag(h.home.Tag, h.Statement.Date, h.Root)
}

// tags are those that the snapshot is listed by.
func (h *Held) tags() []string {
	var tags []string
	for _, tag := range []string{h.home.Tag, h.immutableTag()} {
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	if tags == nil {
		tags = []string{h.dateTag()}
	}
	return tags
}

// dateTag is DATE-HEX12, which names the snapshot for ever, too.
func (h *Held) dateTag() string {
	return strings.TrimPrefix(oci.ImmutableTag("", h.Statement.Date, h.Root), "-")
}

// documents are the snapshot's own documents.
func (h *Held) documents(ctx context.Context) (*artifact.Documents, error) {
	if d := h.knownDocuments(); d != nil {
		return d, nil
	}
	err := h.making.take(ctx, func() error {
		if h.knownDocuments() != nil {
			return nil
		}
		return h.registry.packing.take(ctx, func() error {
			d, err := artifact.DocumentsOf(h.Snapshot)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.docs = d
			return err
		})
	})
	return h.knownDocuments(), err
}

func (h *Held) knownDocuments() *artifact.Documents {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.docs
}

// byDigest is the index of the snapshot's files.
func (h *Held) byDigest(ctx context.Context) (*digestIndex, error) {
	if x := h.knownIndex(); x != nil {
		return x, nil
	}
	err := h.making.take(ctx, func() error {
		if h.knownIndex() == nil {
			x := indexDigests(h.Table)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.index = x
		}
		return nil
	})
	return h.knownIndex(), err
}

func (h *Held) knownIndex() *digestIndex {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index
}
