package artifact

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// beside is the immutable tag that is set beside ref's tag for a root of that date; "" where
// there is none: in an oci-archive, which has one tag, and where ref's tag is that of this
// very root. The immutable tag of another root is refused: it would say what is not true.
func beside(ref Reference, date time.Time, root snapshot.Digest) (string, error) {
	if stem := oci.ImmutableStem(ref.Tag); stem != "" {
		if own := oci.ImmutableTag(stem, date, root); ref.Tag != own {
			return "", fmt.Errorf("%w %s: the tag is the immutable one of another snapshot; this one's would be %s", ErrReference, ref, own)
		}
		return "", nil
	}
	if ref.Kind == Archive {
		return "", nil
	}
	return oci.ImmutableTag(ref.Tag, date, root), nil
}

// checkpointTag is NAME-ckpt-HEX12-N.
func checkpointTag(name string, root snapshot.Digest, n int) string {
	return fmt.Sprintf("%s%d", checkpointStem(name, root), n)
}

func checkpointStem(name string, root snapshot.Digest) string {
	return name + "-ckpt-" + root.Hex()[:12] + "-"
}

// TagNames lists the names of tags, sorted; what each names
// is not asked for, which of a registry is a question a tag.
func TagNames(ctx context.Context, ref Reference, o Options) ([]string, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	names, err := p.TagNames(ctx)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", ref.Name, err)
	}
	return names, nil
}

// Repositories lists the repositories of a registry, sorted, as far as it tells; that of ref does not count.
func Repositories(ctx context.Context, ref Reference, o Options) ([]string, error) {
	return remote.Repositories(ctx, ref, o.Remote())
}

// Tags lists them: those without a date by name, then the immutable
// ones, newest first. A tag that vanishes meanwhile is left out.
func Tags(ctx context.Context, ref Reference, o Options) ([]Tag, error) {
	p, err := places.Open(ctx, ref, &o)
	if err != nil {
		return nil, err
	}
	tags, err := p.Tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", ref.Name, err)
	}
	slices.SortFunc(tags, func(a, b Tag) int {
		if a.Date.IsZero() != b.Date.IsZero() {
			return a.Date.Compare(b.Date)
		}
		return cmp.Or(b.Date.Compare(a.Date), cmp.Compare(a.Name, b.Name))
	})
	return tags, nil
}

// Remove takes tags away, as far as each still names the digest that it was seen with. Tags that
// name the same root and are not in the list stay, and so does everything that any remaining tag
// reaches: where only the root can be deleted, every other tag is asked again before. A registry
// that allows no DELETE is no error: the outcome says so. A layout is collected: what no entry
// of its index.json reaches is deleted, what a killed push left included; while somebody else
// writes to it, or holds something that cannot be read through, nothing is.
//
// The names of images go before the snapshots that say which they are: after an interruption a rerun finds them.
func Remove(ctx context.Context, ref Reference, tags []Tag, going images.Going, o Options) (Removed, error) {
	switch ref.Kind {
	case Layout:
		return layout.Remove(ctx, ref, tags, going.FromLayout())
	case Registry:
		named, err := going.RemoveFromRegistry(ctx, ref, &o)
		if err != nil {
			return named, fmt.Errorf("names of images: %w", err)
		}
		r, err := remote.Remove(ctx, ref, tags, o.Remote())
		r.Tags, r.Refused = append(r.Tags, named.Tags...), append(r.Refused, named.Refused...)
		if r.Reason == nil {
			r.Reason = named.Reason
		}
		return r, err
	case Archive:
		return Removed{}, fmt.Errorf("%w %s: an oci-archive has one tag; delete the file", ErrReference, ref)
	}
	return Removed{}, fmt.Errorf("%w %s: no tag can be removed there", ErrReference, ref)
}
