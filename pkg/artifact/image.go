package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"oras.land/oras-go/v2/registry/remote/auth"

	"example.org/mmoci/pkg/snapshot"
)

// ImagePart is a blob or document of an OCI image that is no snapshot.
type ImagePart struct {
	MediaType string
	Data      []byte
}

func (p ImagePart) descriptor() descriptor { return descriptor{p.MediaType, snapshot.BlobOf(p.Data)} }

// PushImage puts an image into a registry: blobs that are not there, then the
// documents, each after what it names; the last one is the root, and gets ref's tag.
func PushImage(ctx context.Context, ref Reference, blobs, documents []ImagePart, o Options) error {
	if ref.Kind != Registry || ref.Tag == "" || len(documents) == 0 {
		return fmt.Errorf("%s: %w: an image is pushed to HOST/REPO:TAG", ref, ErrReference)
	}
	r, err := openRegistry(ref, &o)
	if err != nil {
		return err
	}
	r.actions = []string{auth.ActionPull, auth.ActionPush}
	t := registryTarget{r, ""}
	for _, b := range blobs {
		d := b.descriptor()
		if there, err := t.has(ctx, d); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		open := func(context.Context, snapshot.Blob) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Data)), nil
		}
		if _, err := t.put(ctx, layer{d, ""}, open); err != nil {
			return err
		}
	}
	root := documents[len(documents)-1]
	for _, doc := range documents[:len(documents)-1] {
		if err := t.putDocument(ctx, doc.descriptor(), doc.Data); err != nil {
			return err
		}
	}
	return t.publish(ctx, root.descriptor(), root.Data, nil, ref.Tag)
}
