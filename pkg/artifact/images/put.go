package images

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// New makes an image that is in no place yet of its documents, which are verified against each other: each
// but the root is found by its digest. The root and the manifests that refer to it, or to a manifest of it, are named by what they are.
// Configs and layers are opened at from when they are needed.
//
// Errors are those of [Read] for contents.
func New(ctx context.Context, root []byte, documents, referrers [][]byte, from snapshot.Blobs) (*Image, error) {
	texts := map[snapshot.Digest][]byte{}
	for _, data := range append(append([][]byte{root}, documents...), referrers...) {
		texts[snapshot.Sum(data)] = data
	}
	read := func(_ context.Context, d oci.Descriptor) ([]byte, error) {
		data, ok := texts[d.Digest]
		if !ok || int64(len(data)) != d.Size {
			return nil, oci.Integrity("document %s is not among those of the image", d.Digest)
		}
		return data, nil
	}
	im := &Image{Source: snapshot.Sum(root), from: from, documents: map[snapshot.Digest][]byte{}, blobs: map[snapshot.Digest]bool{}}
	graph, err := oci.WalkImage(ctx, read, oci.Describe("", snapshot.BlobOf(root)))
	if err != nil {
		return nil, err
	}
	im.Root = graph.Root().Descriptor
	im.add(graph)
	for _, data := range referrers {
		r, err := oci.WalkImage(ctx, read, oci.Describe("", snapshot.BlobOf(data)))
		if err != nil {
			return nil, err
		}
		if _, ours := im.documents[r.Root().Document.Subject.Digest]; !ours {
			return nil, oci.Integrity("document %s refers to no manifest of the image", r.Root().Digest)
		}
		im.Referrers = append(im.Referrers, r.Root().Blob)
		im.add(r)
	}
	return im, nil
}

// Put writes an image with what refers to it under a tag, as [Copy] does: blobs, manifests and image index, then
// the manifests that refer to them, the tag last. What is there already is not sent again. mountFrom is a repository of the same
// registry that may have blobs of it, "" if none.
//
// Errors are those of Copy.
func Put(ctx context.Context, im *Image, dst oci.Reference, mountFrom string, o places.PushOptions) (places.Pushed, error) {
	if !dst.Digest.IsZero() {
		return places.Pushed{}, fmt.Errorf("%w %s: a digest cannot be written to; name a tag", oci.ErrReference, dst)
	}
	if err := dst.CheckTag(); err != nil {
		return places.Pushed{}, err
	}
	put, err := im.put(ctx, dst, mountFrom, &o)
	if err != nil {
		return places.Pushed{}, fmt.Errorf("image: %w", err)
	}
	return put, nil
}
