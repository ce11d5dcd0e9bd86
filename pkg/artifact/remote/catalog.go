package remote

import (
	"context"
	"fmt"
	"slices"

	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
)

// Repositories lists the repositories of the registry that a reference is at, sorted (distribution's _catalog, which the
// distribution-spec does not have, so many registries do not answer). The repository of the reference does not count.
func Repositories(ctx context.Context, ref oci.Reference, o *Options) ([]string, error) {
	r, err := Open(ref, o)
	if err != nil {
		return nil, err
	}
	at := &remote.Registry{RepositoryOptions: remote.RepositoryOptions{
		Client: r.client.follow, Reference: oras.Reference{Registry: ref.Host()}, PlainHTTP: r.client.plainHTTP, MaxMetadataBytes: oci.MaxImageDocument,
	}}
	var names []string
	err = r.retry(ctx, func(ctx context.Context) error {
		ctx, watch := transfer.NewWatch(ctx, r.stall)
		defer watch.Stop()
		names = nil
		pages, bytes := 0, 0
		return watch.Reason(at.Repositories(ctx, "", func(page []string) error {
			watch.Allow(r.stall)
			for _, name := range page {
				bytes += len(name)
			}
			if pages++; pages > maxTagPages || len(names)+len(page) > maxTags || bytes > maxTagBytes {
				return fmt.Errorf("more than %d repositories, %d bytes or %d pages of them", maxTags, maxTagBytes, maxTagPages)
			}
			names = append(names, page...)
			return nil
		}))
	})
	if err != nil {
		return nil, explain("list repositories", ref, err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
