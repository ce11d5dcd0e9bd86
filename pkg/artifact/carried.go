package artifact

import (
	"context"
	"slices"

	"example.org/mmoci/pkg/snapshot"
)

// nameCarried has an oci-archive name what the artifact carries, if the caller
// vouches for its root: whoever unpacks the archive runs these names as root,
// before anything could look at a signature.
func (p *packed) nameCarried(ctx context.Context, dst Reference, o *Options) error {
	if dst.Kind != Archive || o.Vouched.IsZero() || o.Vouched != snapshot.Sum(p.root) {
		return nil
	}
	var tops []descriptor
	for _, l := range p.tops {
		tops = append(tops, l.descriptor)
	}
	t, err := tableOf(ctx, p.open, tops)
	if err != nil {
		return err
	}
	p.carried = carriedIn(t)
	return nil
}

// carriedIn lists what a table says is carried. Its names are of SPEC section 3
// and no others: [snapshot.OpenTable] and [snapshot.Take] see to that.
func carriedIn(t *snapshot.Table) []CarriedFile {
	var out []CarriedFile
	for row := range t.Under(snapshot.CarriedDir) {
		out = append(out, CarriedFile{Path: row.Path, Blob: row.Blob()})
	}
	return out
}

// runnable are the carried files that an oci-archive names: those whose blobs a delta does not leave out.
func (p *packed) runnable() []CarriedFile {
	return slices.DeleteFunc(slices.Clone(p.carried), func(c CarriedFile) bool {
		_, out := p.omit[c.Digest]
		return out
	})
}
