package artifact

import (
	"context"
	"errors"
	"fmt"

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
	from, err := openPlace(ctx, src, &o.Options)
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
func copyFrom(ctx context.Context, from place, src, dst Reference, o PushOptions) (copied Copied, err error) {
	if dst.Kind == Layout {
		if _, err := from.Resolve(ctx, src); err != nil { // before a layout is made for nothing
			return Copied{}, lost(src, err)
		}
	}
	mountFrom := ""
	if src.Kind == Registry && dst.Kind == Registry && src.host() == dst.host() {
		mountFrom = src.repository()
	}
	t, err := openTarget(ctx, dst, mountFrom, &o)
	if err != nil {
		return Copied{}, fmt.Errorf("%s: %w", dst, err)
	}
	defer func() { err = closed(ctx, t, dst, err) }()
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
func retag(ctx context.Context, target target, from place, src, dst Reference, o PushOptions) (Copied, error) {
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
	if err := checkMoved(dst.Tag, now, t.root.Digest, &expected); err != nil {
		return Copied{}, fmt.Errorf("%s: %w", dst, err)
	}
	config, err := t.stated(ctx, from)
	if err != nil {
		return Copied{}, err
	}
	date, _, err := parseConfig(config)
	if err != nil {
		return Copied{}, err
	}
	copied := Copied{Root: t.root.Digest, Reference: dst, Changed: now != t.root.Digest}
	if copied.Immutable, err = beside(dst, date, t.root.Digest); err != nil {
		return Copied{}, err
	}
	copied.Reference.Digest = t.root.Digest
	tags := []string{copied.Immutable, dst.Tag}
	if copied.Immutable == "" {
		tags = tags[1:]
	}
	if err := target.Publish(ctx, describe(typeIndex, snapshot.BlobOf(t.rootData)), t.rootData, &expected, tags...); err != nil {
		return Copied{}, err
	}
	for _, tag := range tags {
		o.tell(Event{Kind: Tagged, Path: tag, Digest: t.root.Digest, Bytes: t.root.Size})
	}
	return copied, nil
}
