package image

import (
	"context"
	"fmt"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
)

// Push puts an index with its images into a registry, under HOST/REPO:TAG, and
// gives the reference by digest. The tag is set last. What is there already is
// not sent again. Options are as for a snapshot.
func Push(ctx context.Context, ref string, idx *Index, o artifact.Options) (artifact.Reference, error) {
	to, err := oci.ParseReference(ref)
	if err != nil {
		return to, fmt.Errorf("push: %w", err)
	}
	blobs, documents := idx.parts()
	err = remote.PushImage(ctx, to, blobs, documents, &remote.Options{
		PlainHTTP: o.PlainHTTP, CAFile: o.CAFile, Anonymous: o.Anonymous, Concurrency: o.Concurrency, Rate: o.Rate, Log: o.Log, Connections: o.Connections,
	})
	if err != nil {
		return to, fmt.Errorf("push: %w", err)
	}
	to.Digest = idx.Digest()
	return to, nil
}
