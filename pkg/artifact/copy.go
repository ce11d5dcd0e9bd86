package artifact

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// Copied is the outcome of a copy.
type Copied = Pushed

// Copy copies the whole artifact src names to dst, bytes unchanged and
// verified, and only what dst lacks. dst's tag is set last, after its immutable tag. The
// signature is not verified. Within one repository or layout nothing but tags is
// written (and the outcome counts no blobs); between repositories of one registry blobs are mounted.
func Copy(ctx context.Context, src, dst Reference, o PushOptions) (Copied, error) {
	if err := CheckCopy(src, dst, false, o.Recheck); err != nil {
		return Copied{}, err
	}
	from, err := places.Open(ctx, src, &o.Options)
	if err != nil {
		return Copied{}, err
	}
	copied, err := copyFrom(ctx, telling(from, src, dst, &o.Options), src, dst, o)
	if err != nil {
		return copied, fmt.Errorf("copy of %s: %w", src, err)
	}
	return copied, nil
}

// CheckCopy refuses what [Copy] and, for a delta, [CopySince] would refuse before anything is read.
func CheckCopy(src, dst Reference, delta, recheck bool) error {
	switch {
	case delta && dst.Kind == Registry:
		return fmt.Errorf("%w %s: a delta goes to an oci-archive or a layout; a registry takes what it lacks by itself", ErrReference, dst)
	case onePlace(src, dst) && recheck:
		return fmt.Errorf("%w %s: within one place there is nothing to put again what is lost from; copy it from another, or push it again", ErrReference, dst)
	}
	return checkTarget(dst)
}

// onePlace tells references to one repository or layout.
func onePlace(src, dst Reference) bool {
	return src.Kind == dst.Kind && src.Name == dst.Name && src.Kind != Archive
}

// copyFrom opens the target before it reads what is to be named or completed there: from
// then on a layout is not collected.
func copyFrom(ctx context.Context, from places.Place, src, dst Reference, o PushOptions) (copied Copied, err error) {
	if dst.Kind == Layout {
		if _, err := from.Resolve(ctx, src); err != nil { // before a layout is made for nothing
			return Copied{}, places.Lost(src, err)
		}
	}
	mountFrom := ""
	if src.Kind == Registry && dst.Kind == Registry && src.Host() == dst.Host() {
		mountFrom = src.Repository()
	}
	t, err := places.OpenTarget(ctx, dst, mountFrom, &o)
	if err != nil {
		return Copied{}, fmt.Errorf("%s: %w", dst, err)
	}
	defer func() { err = places.Closed(ctx, t, dst, err) }()
	if onePlace(src, dst) {
		return retag(ctx, t, from, src, dst, o)
	}
	from, err = completedBy(ctx, from, src, dst, &o.Options)
	if err != nil {
		return Copied{}, err
	}
	complete, err := whole(ctx, from, src, dst)
	if err != nil {
		return Copied{}, err
	}
	o.Recheck = o.Recheck || !complete
	p, err := readArtifact(ctx, from, src, &o.Options)
	if err != nil {
		return Copied{}, err
	}
	if err := p.nameCarried(ctx, dst, &o.Options); err != nil {
		return Copied{}, err
	}
	return write(ctx, t, dst, p, &o)
}

// retag names what is there: root and core are read and validated, the rest is where it was.
func retag(ctx context.Context, target places.Destination, from places.Place, src, dst Reference, o PushOptions) (Copied, error) {
	now, err := target.Resolve(ctx, dst)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Copied{}, err
	}
	expected := now
	if o.Expect != nil {
		expected = *o.Expect
	}
	t, err := readTop(ctx, from, src)
	if err != nil {
		return Copied{}, err
	}
	if err := oci.CheckMoved(dst.Tag, now, t.root.Digest, &expected); err != nil {
		return Copied{}, fmt.Errorf("%s: %w", dst, err)
	}
	config, named, err := t.stated(ctx, from)
	if err != nil {
		return Copied{}, err
	}
	stated, err := oci.ParseConfig(config)
	if err != nil {
		return Copied{}, err
	}
	copied := Copied{Root: t.root.Digest, Reference: dst, Changed: now != t.root.Digest, Was: now}
	if copied.Immutable, err = beside(dst, stated.Date, t.root.Digest); err != nil {
		return Copied{}, err
	}
	copied.Reference.Digest = t.root.Digest
	namer := images.Namer{Ref: dst, Images: named, Open: oci.VerifiedFrom(from), Options: &o}
	if err := namer.Name(ctx, target, nil); err != nil {
		return Copied{}, err
	}
	tags := []string{copied.Immutable, dst.Tag}
	if copied.Immutable == "" {
		tags = tags[1:]
	}
	if err := target.Publish(ctx, oci.Describe(oci.TypeIndex, snapshot.BlobOf(t.rootData)), t.rootData, &expected, tags...); err != nil {
		return Copied{}, err
	}
	for _, tag := range tags {
		o.Tell(Event{Kind: Tagged, Path: tag, Digest: t.root.Digest, Bytes: t.root.Size})
	}
	return copied, nil
}

// nameCarried has an oci-archive name what the artifact carries, if the caller
// vouches for its root: whoever unpacks the archive runs these names as root,
// before anything could look at a signature.
func (p *packed) nameCarried(ctx context.Context, dst Reference, o *Options) error {
	if dst.Kind != Archive || o.Vouched.IsZero() || o.Vouched != snapshot.Sum(p.root) {
		return nil
	}
	var tops []oci.Descriptor
	for _, l := range p.tops {
		tops = append(tops, l.Descriptor)
	}
	t, err := tableOf(ctx, p.open, tops)
	if err != nil {
		return err
	}
	p.carried = carriedIn(t)
	return nil
}

// tellingPlace is a place whose blobs are [places.Watched].
type tellingPlace struct {
	places.Place
	blobs snapshot.Blobs
}

func (t tellingPlace) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	return t.blobs.Open(ctx, b, offset)
}

// telling is the place that a copy reads from, telling of its bytes where the
// target does not: registries tell of what they are sent.
func telling(from places.Place, src, dst Reference, o *Options) places.Place {
	if o.Progress == nil || src.Kind != Registry || dst.Kind == Registry {
		return from
	}
	return tellingPlace{from, places.Watched(from, o.Progress)}
}
