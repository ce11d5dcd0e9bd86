package image

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
)

// Push puts an index with its images into a registry, under HOST/REPO:TAG, and
// gives the reference by digest. Credentials are those of docker and podman;
// plain HTTP is spoken on loopback only.
func Push(ctx context.Context, ref string, idx v1.ImageIndex) (string, error) {
	to, err := oci.ParseReference(ref)
	if err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	blobs, documents, err := parts(idx)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	if err := remote.PushImage(ctx, to, blobs, documents, &remote.Options{}); err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	d, err := idx.Digest()
	return to.Name + "@" + d.String(), err
}

// parts are the blobs of an index's images, and the documents: manifests, and last the index.
func parts(idx v1.ImageIndex) (blobs, documents []remote.ImagePart, err error) {
	im, err := idx.IndexManifest()
	if err != nil {
		return nil, nil, err
	}
	for _, d := range im.Manifests {
		img, err := idx.Image(d.Digest)
		if err != nil {
			return nil, nil, err
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, nil, err
		}
		config, err := img.RawConfigFile()
		if err != nil {
			return nil, nil, err
		}
		blobs = append(blobs, remote.ImagePart{MediaType: string(m.Config.MediaType), Data: config})
		for _, l := range m.Layers {
			data, err := compressed(img, l)
			if err != nil {
				return nil, nil, err
			}
			blobs = append(blobs, remote.ImagePart{MediaType: string(l.MediaType), Data: data})
		}
		raw, err := img.RawManifest()
		if err != nil {
			return nil, nil, err
		}
		documents = append(documents, remote.ImagePart{MediaType: string(m.MediaType), Data: raw})
	}
	raw, err := idx.RawManifest()
	return blobs, append(documents, remote.ImagePart{MediaType: string(im.MediaType), Data: raw}), err
}

// compressed is a layer as it is stored.
func compressed(img v1.Image, d v1.Descriptor) ([]byte, error) {
	l, err := img.LayerByDigest(d.Digest)
	if err != nil {
		return nil, err
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
