// Package images reads container images of whatever origin out of a place, with what refers to them, copies and
// writes them, and names those of a snapshot in its place. It knows nothing of how a snapshot is packed.
package images

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// Limits of what is read of the manifests that refer to an image.
const (
	maxReferrers     = 64        // of one image
	maxReferrerBytes = 256 << 20 // of all of them, with what they consist of
)

// maxDocumentBytes is how much the documents of one image, with those of what refers to it, have together: they are
// held in memory. Real ones have a few kilobytes each.
const maxDocumentBytes = 16 << 20

// budget bounds the documents of one image. The zero value is all of it. Safe for concurrent use.
type budget struct{ used atomic.Int64 }

// take is asked before a document is read.
func (b *budget) take(d oci.Descriptor) error {
	if b.used.Add(max(d.Size, 0)) > maxDocumentBytes {
		return fmt.Errorf("%w: its manifests have more than %d bytes together", oci.ErrImage, maxDocumentBytes)
	}
	return nil
}

// budgeted is a place out of which no more documents are read than the budget allows.
type budgeted struct {
	places.Place
	budget *budget
}

func (b budgeted) Document(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	if err := b.budget.take(d); err != nil {
		return nil, err
	}
	return b.Place.Document(ctx, d)
}

// Options say what [Read] reads.
type Options struct {
	places.Options
	Platforms []oci.Platform // the only ones of an image index that are wanted; none: all
	// WithoutReferrers leaves out what refers to the image.
	WithoutReferrers bool
}

// Image is a container image, or any other OCI content that is no snapshot, as it lies in a place: its
// documents were read and verified by their digests, its configs and layers are opened where they are.
//
// It is a [snapshot.Blobs] of all of these; it yields bytes that are not verified. Safe for concurrent use.
type Image struct {
	Root   oci.Descriptor  // the manifest or image index; after a cut to platforms the index that was made
	Source snapshot.Digest // what the reference named, before a cut
	// Documents are those of the image, children before parents up to Root, then those of what refers to it.
	Documents []oci.ImagePart
	// Blobs are configs and layers, of the image and of what refers to it, each digest once.
	Blobs []oci.Descriptor
	// Referrers are the manifests that refer to the image or to a manifest of it: signatures, SBOMs, attestations.
	// They are among Documents. Sorted by digest.
	Referrers []snapshot.Blob

	from      snapshot.Blobs // of configs and layers
	documents map[snapshot.Digest][]byte
	blobs     map[snapshot.Digest]bool // which are among Blobs
}

// Open implements snapshot.Blobs.
func (im *Image) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	if data, ok := im.documents[b.Digest]; ok {
		if int64(len(data)) != b.Size || offset > b.Size {
			return nil, oci.Integrity("document %s has %d bytes, want %d", b.Digest, len(data), b.Size)
		}
		return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data[offset:]))}, nil
	}
	return im.from.Open(ctx, b, offset)
}

// Parts are all documents and blobs of the image and of what refers to it, each digest once, in no order.
func (im *Image) Parts() []oci.Descriptor {
	return oci.AllOf(im.Documents, im.Blobs)
}

// Read reads the documents of a container image from a registry, layout or oci-archive, and of the manifests
// that refer to it: by the referrers API, the tag sha256-HEX that stands in for it, and cosign's tags
// (sha256-HEX.sig, .att and .sbom). An image that is cut to platforms has another digest than the one that is
// referred to, so of an index that was cut only what refers to its manifests is read.
//
// Errors: oci.ErrNotFound if the image, or a platform of it, is not there; oci.ErrImage for one that cannot be carried: with
// layers that lie elsewhere (urls), a manifest of schema 1, or beyond a limit; oci.ErrReference for a
// snapshot; snapshot.ErrIntegrity for documents that are not what their digests say, or contradict themselves.
func Read(ctx context.Context, ref oci.Reference, o Options) (*Image, error) {
	p, err := places.Open(ctx, ref, &o.Options)
	if err != nil {
		return nil, err
	}
	im, err := read(ctx, p, ref, &o)
	if err != nil && !strings.Contains(err.Error(), ref.String()) {
		err = fmt.Errorf("%s: %w", ref, err)
	}
	return im, err
}

func read(ctx context.Context, p places.Place, ref oci.Reference, o *Options) (*Image, error) {
	d, data, err := p.Root(ctx, ref)
	if err != nil {
		return nil, places.Lost(ref, err)
	}
	if isSnapshot(ctx, p, data) {
		return nil, fmt.Errorf("%w %s: it is %w, not a container image", oci.ErrReference, ref, oci.ErrSnapshot)
	}
	im := &Image{Source: d.Digest, from: p, documents: map[snapshot.Digest][]byte{}, blobs: map[snapshot.Digest]bool{}}
	p = budgeted{p, &budget{}}
	cut, err := oci.CutPlatforms(data, o.Platforms)
	if err != nil {
		return nil, err
	}
	d.Blob = snapshot.BlobOf(cut)
	read, err := reading(ctx, p, d, cut, o.Workers())
	if err != nil {
		return nil, err
	}
	graph, err := oci.WalkImage(ctx, read, d)
	if err != nil {
		return nil, err
	}
	im.Root = graph.Root().Descriptor
	im.add(graph)
	if o.WithoutReferrers {
		return im, nil
	}
	return im, im.readReferrers(ctx, p, ref, graph, o)
}

// reading returns how [oci.WalkImage] reads documents: the root is at hand, and those right
// below it are read at once beforehand, which saves an image of many platforms as many round trips.
func reading(ctx context.Context, p places.Place, root oci.Descriptor, data []byte, workers int) (func(context.Context, oci.Descriptor) ([]byte, error), error) {
	doc, err := oci.ParseImageDocument(data)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	known := map[oci.Descriptor][]byte{}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	if len(doc.Manifests) <= oci.MaxImageParts {
		for _, m := range doc.Manifests {
			g.Go(func() error {
				if m.Size > oci.MaxImageDocument { // the walk says so
					return nil
				}
				data, err := p.Document(each, m.Descriptor)
				mu.Lock()
				defer mu.Unlock()
				known[m.Descriptor] = data
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		if d.Digest == root.Digest {
			return data, nil
		}
		if data, ok := known[d]; ok {
			return data, nil
		}
		return p.Document(ctx, d)
	}, nil
}

// add takes what is not there yet of a graph.
func (im *Image) add(g *oci.ImageGraph) {
	for _, d := range g.Documents {
		if _, there := im.documents[d.Digest]; !there {
			im.documents[d.Digest] = d.Data
			im.Documents = append(im.Documents, d)
		}
	}
	for _, b := range g.Blobs {
		if !im.blobs[b.Digest] {
			im.blobs[b.Digest] = true
			im.Blobs = append(im.Blobs, b)
		}
	}
}

// isSnapshot tells whether an index is the root of a snapshot, whole or broken, of this version or another.
func isSnapshot(ctx context.Context, p places.Place, data []byte) bool {
	first, err := oci.FirstChild(data)
	if err != nil || first.MediaType != oci.TypeManifest || first.Size < 1 || first.Size > oci.MaxDocument {
		return false
	}
	core, err := p.Document(ctx, first)
	var l oci.Looks
	return err == nil && json.Unmarshal(core, &l) == nil && l.Config != nil && strings.HasPrefix(l.Config.MediaType, oci.TypeConfigStem)
}

// cosignEndings are those of the tags sha256-HEX.ENDING by which cosign attaches something to an image.
var cosignEndings = []string{".sig", ".att", ".sbom"}

// digestTag is the tag sha256-HEX with an ending: by itself it lists the referrers
// of a digest where a registry has no API for that (distribution-spec, "Referrers oci.Tag Schema").
func digestTag(d snapshot.Digest, ending string) string { return "sha256-" + d.Hex() + ending }

// readReferrers reads what refers to the image, and to each manifest of its index but attestations.
func (im *Image) readReferrers(ctx context.Context, p places.Place, ref oci.Reference, g *oci.ImageGraph, o *Options) error {
	about := map[snapshot.Digest]bool{} // attestations, which lie in the index itself
	for _, d := range g.Documents {
		for _, m := range d.Document.Manifests {
			about[m.Digest] = about[m.Digest] || !m.Describes.IsZero()
		}
	}
	var mu sync.Mutex
	var found []*oci.ImageGraph
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(o.Workers())
	take := func(read func() ([]*oci.ImageGraph, error)) {
		group.Go(func() error {
			graphs, err := read()
			mu.Lock()
			defer mu.Unlock()
			if found = append(found, graphs...); err == nil && len(found) > maxReferrers {
				err = fmt.Errorf("%w: more than %d manifests refer to it", oci.ErrImage, maxReferrers)
			}
			return err
		})
	}
	whole := im.Source == im.Root.Digest
	for _, d := range g.Documents {
		if about[d.Digest] || d.Digest == im.Root.Digest && !whole {
			continue
		}
		take(func() ([]*oci.ImageGraph, error) { return referrersOf(each, p, d.Descriptor, &o.Options) })
	}
	if whole {
		for _, ending := range cosignEndings {
			take(func() ([]*oci.ImageGraph, error) { return attachedBy(each, p, ref, digestTag(im.Source, ending)) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b *oci.ImageGraph) int {
		return cmp.Compare(a.Root().Digest.Hex(), b.Root().Digest.Hex())
	})
	found = slices.CompactFunc(found, func(a, b *oci.ImageGraph) bool { return a.Root().Digest == b.Root().Digest })
	var size int64
	for _, r := range found {
		for _, d := range r.All() {
			size += d.Size
		}
		if size > maxReferrerBytes {
			return fmt.Errorf("%w: what refers to it has more than %d bytes", oci.ErrImage, maxReferrerBytes)
		}
		im.Referrers = append(im.Referrers, r.Root().Blob)
		im.add(r)
	}
	return nil
}

// referrersOf reads the manifests that refer to one. What a list names and is not there, does not refer
// to it, or is of a kind that nobody makes any more is left out: lists are kept by whoever writes.
func referrersOf(ctx context.Context, p places.Place, subject oci.Descriptor, o *places.Options) ([]*oci.ImageGraph, error) {
	list, err := p.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	if len(list) > maxReferrers {
		return nil, fmt.Errorf("%w: %d manifests refer to %s, the limit is %d", oci.ErrImage, len(list), subject.Digest, maxReferrers)
	}
	var out []*oci.ImageGraph
	for _, d := range list {
		graph, err := readReferrer(ctx, p, d, subject.Digest)
		if err != nil && !errors.Is(err, errNoReferrer) && !errors.Is(err, oci.ErrNotFound) && !errors.Is(err, snapshot.ErrNotExist) {
			return nil, fmt.Errorf("referrer %s: %w", d.Digest, err)
		}
		if err != nil {
			if o.Log != nil {
				o.Log("what refers to %s: %s is left out: %v", subject.Digest, d.Digest, err)
			}
			continue
		}
		out = append(out, graph)
	}
	return out, nil
}

// errNoReferrer marks what a list names and does not refer to the manifest.
var errNoReferrer = errors.New("no manifest that refers to it")

func readReferrer(ctx context.Context, p places.Place, d oci.Descriptor, subject snapshot.Digest) (*oci.ImageGraph, error) {
	if !d.IsManifest() || d.Size < 1 {
		return nil, fmt.Errorf("%w (media type %.100q)", errNoReferrer, d.MediaType)
	}
	graph, err := oci.WalkImage(ctx, p.Document, d)
	if err == nil && graph.Root().Document.Subject.Digest != subject {
		err = errNoReferrer
	}
	return graph, err
}

// attachedBy reads what a tag of cosign's names, if it is there.
func attachedBy(ctx context.Context, p places.Place, ref oci.Reference, tag string) ([]*oci.ImageGraph, error) {
	ref.Tag, ref.Digest = tag, snapshot.Digest{}
	d, data, err := p.Root(ctx, ref)
	if errors.Is(err, oci.ErrNotFound) || errors.Is(err, snapshot.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	graph, err := oci.WalkImage(ctx, func(ctx context.Context, at oci.Descriptor) ([]byte, error) {
		if at.Digest == d.Digest {
			return data, nil
		}
		return p.Document(ctx, at)
	}, d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tag, err)
	}
	return []*oci.ImageGraph{graph}, nil
}
