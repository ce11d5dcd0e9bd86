package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// IsName tells whether a reference names an image in a layout or oci-archive, REPO:TAG. No snapshot is called so.
func IsName(ref oci.Reference) bool { return ref.Kind != oci.Registry && oci.ValidImageName(ref.Tag) }

// Copy copies a container image, or other OCI content that is no snapshot, with all its documents, blobs and
// what refers to it, bytes unchanged and verified; dst's tag moves last. It does not replace a
// snapshot by an image. Between repositories of one registry blobs are mounted.
//
// Errors are those of [Read], and of [Copy].
func Copy(ctx context.Context, src, dst oci.Reference, o places.PushOptions) (copied places.Pushed, err error) {
	if !dst.Digest.IsZero() {
		return places.Pushed{}, fmt.Errorf("%w %s: a digest cannot be written to; name a tag", oci.ErrReference, dst)
	}
	if err := dst.CheckTag(); err != nil {
		return places.Pushed{}, err
	}
	im, err := Read(ctx, src, Options{Options: o.Options})
	if err != nil {
		return places.Pushed{}, fmt.Errorf("copy of %w", err)
	}
	mountFrom := ""
	if src.Kind == oci.Registry && dst.Kind == oci.Registry && src.Host() == dst.Host() && src.Name != dst.Name {
		mountFrom = src.Repository()
	}
	if copied, err = im.put(ctx, dst, mountFrom, &o); err != nil {
		return places.Pushed{}, fmt.Errorf("copy of %s: %w", src, err)
	}
	return copied, nil
}

// put writes an image under a tag that names no snapshot.
func (im *Image) put(ctx context.Context, dst oci.Reference, mountFrom string, o *places.PushOptions) (put places.Pushed, err error) {
	t, err := places.OpenTarget(ctx, dst, mountFrom, o)
	if err != nil {
		return places.Pushed{}, fmt.Errorf("%s: %w", dst, err)
	}
	defer func() { err = places.Closed(ctx, t, dst, err) }()
	now, err := t.Resolve(ctx, dst)
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return places.Pushed{}, err
	}
	if !now.IsZero() && now != im.Root.Digest {
		if _, data, err := t.Root(ctx, dst); err == nil && isSnapshot(ctx, t, data) {
			return places.Pushed{}, fmt.Errorf("%w %s: it names a snapshot; give the image another tag", oci.ErrReference, dst)
		}
	}
	put = places.Pushed{Root: im.Root.Digest, Reference: dst, Changed: now != im.Root.Digest, Was: now, Blobs: len(im.Blobs)}
	put.Reference.Digest = im.Root.Digest
	if err := im.writeTo(ctx, t, dst, now, o, &put); err != nil {
		return places.Pushed{}, err
	}
	return put, nil
}

// writeTo puts everything below the root and what refers to it, then names the root.
func (im *Image) writeTo(ctx context.Context, t places.Destination, dst oci.Reference, now snapshot.Digest, o *places.PushOptions, copied *places.Pushed) error {
	var names []oci.NamedImage // of referrers
	tags := map[snapshot.Digest]string{}
	for _, r := range im.Referrers {
		d := im.document(r.Digest)
		if tag := oci.CosignTag(im.Root.Digest, d.Document); tag != "" {
			tags[r.Digest] = tag
		}
		names = append(names, oci.NamedImage{Descriptor: d.Descriptor, Tag: tags[r.Digest]})
	}
	contents := oci.Contents{Root: im.Root, Images: names, Blobs: func(yield func(snapshot.Blob) bool) {
		for _, d := range im.Parts() {
			if !yield(d.Blob) {
				return
			}
		}
	}}
	if err := t.Begin(contents, o.Recheck); err != nil {
		return err
	}
	if err := im.putBlobs(ctx, t, o, copied); err != nil {
		return err
	}
	for _, d := range im.Documents {
		if d.Digest == im.Root.Digest && dst.Kind != oci.Registry {
			continue // Publish puts it
		}
		if err := oci.Interrupted(ctx); err != nil {
			return err
		}
		there := false
		if dst.Kind == oci.Layout {
			var err error
			if there, err = t.Has(ctx, d.Descriptor); err != nil {
				return err
			}
		}
		if !there {
			if err := t.PutDocument(ctx, d.Descriptor, d.Data); err != nil {
				return err
			}
		}
	}
	switch dst.Kind {
	case oci.Registry:
		for _, r := range im.Referrers {
			if tag := tags[r.Digest]; tag != "" {
				d := im.document(r.Digest)
				if err := t.Registry.Name(ctx, d.Descriptor, d.Data, nil, tag); err != nil {
					return err
				}
			}
		}
	case oci.Layout:
		if err := t.Layout.NameImages(ctx, names); err != nil {
			return err
		}
	}
	expected := now
	if o.Expect != nil {
		expected = *o.Expect
	}
	root := im.document(im.Root.Digest)
	if err := t.Publish(ctx, root.Descriptor, root.Data, &expected, dst.Tag); err != nil {
		return err
	}
	o.Tell(oci.Event{Kind: oci.Tagged, Path: dst.Tag, Digest: im.Root.Digest, Bytes: im.Root.Size})
	return nil
}

func (im *Image) document(d snapshot.Digest) oci.ImagePart {
	return im.Documents[slices.IndexFunc(im.Documents, func(p oci.ImagePart) bool { return p.Digest == d })]
}

// putBlobs puts configs and layers that are not there.
func (im *Image) putBlobs(ctx context.Context, t places.Destination, o *places.PushOptions, copied *places.Pushed) error {
	e := oci.Event{Kind: oci.Planned, Files: len(im.Blobs)}
	for _, d := range im.Blobs {
		e.Bytes += d.Size
	}
	o.Tell(e)
	sent := make([]int64, len(im.Blobs))
	open := oci.VerifiedFrom(im)
	if o.Progress != nil && t.Registry == nil {
		open = oci.VerifiedFrom(places.Watched(im, o.Progress))
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(o.Workers())
	for i, d := range im.Blobs {
		if each.Err() != nil {
			break
		}
		g.Go(func() error {
			there, err := t.Has(each, d)
			if err != nil {
				return err
			}
			if !there {
				o.Tell(oci.Event{Kind: oci.Started, Path: d.Digest.String(), Digest: d.Digest, Bytes: d.Size})
				if sent[i], err = t.Put(each, oci.Layer{Descriptor: d}, open); err != nil {
					return err
				}
			}
			kind := oci.Done
			if sent[i] == 0 {
				kind = oci.Skipped
			}
			o.Tell(oci.Event{Kind: kind, Path: d.Digest.String(), Digest: d.Digest, Bytes: d.Size})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, d := range im.Blobs {
		copied.Bytes += sent[i]
		if sent[i] > 0 {
			copied.Uploaded++
		} else {
			copied.Reused += d.Size
		}
	}
	return oci.Interrupted(ctx)
}

// Verify reads and hashes everything of an image, or with remote only asks the place for each of its
// parts. The error names what is not there, or is not what its digest says.
func (im *Image) Verify(ctx context.Context, remote bool, o places.Options) error {
	at, ok := im.from.(places.Place)
	if remote && !ok {
		return fmt.Errorf("%w: an image that is in no place yet", oci.ErrReference)
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(o.Workers())
	for _, d := range im.Parts() {
		if each.Err() != nil {
			break
		}
		g.Go(func() error {
			if remote {
				there, err := at.Has(each, d)
				if _, cut := im.documents[d.Digest]; err == nil && !there && !cut {
					err = fmt.Errorf("%s: %w", d.Digest, snapshot.ErrNotExist)
				}
				return err
			}
			return hash(each, im, d.Blob)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return oci.Interrupted(ctx)
}

func hash(ctx context.Context, from snapshot.Blobs, b snapshot.Blob) error {
	c, err := from.Open(ctx, b, 0)
	if err != nil {
		return err
	}
	r := c.Reader(b)
	defer r.Close()
	if _, err := io.Copy(io.Discard, oci.WithContext(ctx, r)); err != nil {
		return fmt.Errorf("%s: %w", b.Digest, err)
	}
	return nil
}
