package artifact

import (
	"context"
	"fmt"
)

// Remove takes tags away, as far as each still names the digest that it was seen with. Tags that name the same root and are not in the list
// stay, and so does everything that any remaining tag reaches: where only the root can be deleted, every other tag
// is asked again before. A registry that allows
// no DELETE is no error: the outcome says so. A layout is collected: what no entry of
// its index.json reaches is deleted, what a killed push left included; while somebody else writes to
// it, or holds something that cannot be read through, nothing is.
func Remove(ctx context.Context, ref Reference, tags []Tag, o Options) (Removed, error) {
	switch ref.Kind {
	case Layout:
		return removeFromLayout(ctx, ref, tags)
	case Registry:
		return removeFromRegistry(ctx, ref, tags, o.registry())
	}
	return Removed{}, fmt.Errorf("%w %s: an oci-archive has one tag; delete the file", ErrReference, ref)
}
