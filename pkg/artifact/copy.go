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
func Copy(ctx context.Context, src, dst Reference, o Options) (Copied, error) {
	if err := checkTarget(dst); err != nil {
		return Copied{}, err
	}
	from, err := openPlace(src, &o)
	if err != nil {
		return Copied{}, err
	}
	copied, err := copyFrom(ctx, telling(from, src, dst, &o), src, dst, &o)
	if err != nil {
		return copied, fmt.Errorf("copy of %s: %w", src, err)
	}
	return copied, nil
}

func copyFrom(ctx context.Context, from place, src, dst Reference, o *Options) (Copied, error) {
	if src.Kind == dst.Kind && src.Name == dst.Name && src.Kind != Archive {
		return retag(ctx, from, src, dst, o)
	}
	from, err := completedBy(from, src, dst, o)
	if err != nil {
		return Copied{}, err
	}
	complete, err := whole(ctx, from, src, dst)
	if err != nil {
		return Copied{}, err
	}
	p, err := readArtifact(ctx, from, src, o)
	if err != nil {
		return Copied{}, err
	}
	if err := p.nameCarried(ctx, dst, o); err != nil {
		return Copied{}, err
	}
	mountFrom := ""
	if src.Kind == Registry && dst.Kind == Registry && src.host() == dst.host() {
		mountFrom = src.repository()
	}
	return p.pushTo(ctx, dst, mountFrom, PushOptions{Options: *o, Recheck: !complete})
}

// retag names what is there: root and core are read and validated, the rest is where it was.
func retag(ctx context.Context, from place, src, dst Reference, o *Options) (copied Copied, err error) {
	t, err := readTop(ctx, from, src)
	if err != nil {
		return Copied{}, err
	}
	config, err := readBlob(ctx, from, "config", t.core.config.Blob, maxConfig)
	if err != nil {
		return Copied{}, err
	}
	date, _, err := parseConfig(config)
	if err != nil {
		return Copied{}, err
	}
	target, err := openTarget(dst, nil, "", &PushOptions{Options: *o})
	if err != nil {
		return Copied{}, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	copied = Copied{Root: t.root.Digest, Reference: dst, Immutable: immutableTag(dst.Tag, date, t.root.Digest)}
	copied.Reference.Digest = t.root.Digest
	now, err := target.resolve(ctx, dst)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Copied{}, err
	}
	copied.Changed = now != t.root.Digest
	tags := []string{copied.Immutable, dst.Tag}
	if err := target.publish(ctx, descriptor{typeIndex, snapshot.BlobOf(t.rootData)}, t.rootData, tags...); err != nil {
		return Copied{}, err
	}
	for _, tag := range tags {
		o.tell(Event{Kind: Tagged, Path: tag, Digest: t.root.Digest, Bytes: t.root.Size})
	}
	return copied, nil
}
