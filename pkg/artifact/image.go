package artifact

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/snapshot"
)

// ImagePart is a blob or document of an OCI image that is no snapshot.
type ImagePart struct {
	MediaType string
	Data      []byte
}

func (p ImagePart) descriptor() descriptor { return describe(p.MediaType, snapshot.BlobOf(p.Data)) }

// PushImage puts an image into a registry: blobs that are not there, then the
// documents, each after what it names; the last one is the root, and gets ref's tag.
func PushImage(ctx context.Context, ref Reference, blobs, documents []ImagePart, o *RegistryOptions) error {
	if ref.Kind != Registry || ref.Tag == "" || len(documents) == 0 {
		return fmt.Errorf("%s: %w: an image is pushed to HOST/REPO:TAG", ref, ErrReference)
	}
	t, err := openRegistryTarget(ref, "", o)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		d := b.descriptor()
		if there, err := t.Has(ctx, d); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		open := func(context.Context, snapshot.Blob) (verified, error) { return inMemory(b.Data), nil }
		if _, err := t.Put(ctx, layer{descriptor: d}, open); err != nil {
			return err
		}
	}
	root := documents[len(documents)-1]
	for _, doc := range documents[:len(documents)-1] {
		if err := t.PutDocument(ctx, doc.descriptor(), doc.Data); err != nil {
			return err
		}
	}
	return t.Publish(ctx, root.descriptor(), root.Data, nil, ref.Tag)
}
