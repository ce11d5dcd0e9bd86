package artifact

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// Push writes s to ref, in the order of SPEC section 10: a push that dies
// anywhere leaves the old tags whole, and a rerun resumes. ref must have no digest.
// An oci-archive is replaced as a whole; in a layout everything else survives.
func Push(ctx context.Context, ref Reference, s *snapshot.Snapshot, o PushOptions) (Pushed, error) {
	if err := checkTarget(ref); err != nil {
		return Pushed{}, err
	}
	p, err := Pack(s)
	if err != nil {
		return Pushed{}, err
	}
	return p.Push(ctx, ref, o)
}

// Push is [Push] of a snapshot that was packed before.
func (p *Packed) Push(ctx context.Context, ref Reference, o PushOptions) (Pushed, error) {
	if err := checkTarget(ref); err != nil {
		return Pushed{}, err
	}
	return p.pushTo(ctx, ref, o)
}

// pushTo writes p.
func (p *packed) pushTo(ctx context.Context, ref Reference, o PushOptions) (pushed Pushed, err error) {
	t, err := places.OpenTarget(ctx, ref, o.MountFrom, &o)
	if err != nil {
		return Pushed{}, fmt.Errorf("%s: %w", ref, err)
	}
	defer func() { err = places.Closed(ctx, t, ref, err) }()
	return write(ctx, t, ref, p, &o)
}

// checkTarget refuses what can be refused before anything is read.
func checkTarget(ref Reference) error {
	if !ref.Digest.IsZero() {
		return fmt.Errorf("%w %s: a digest cannot be written to; name a tag", ErrReference, ref)
	}
	if err := ref.CheckTag(); err != nil {
		return err
	}
	if !oci.ValidTag(ref.Tag) {
		return fmt.Errorf("%w %s: %s is the name of an image; a snapshot is named by a tag", ErrReference, ref, ref.Tag)
	}
	if len(ref.Tag) > oci.MaxAlias && oci.ImmutableStem(ref.Tag) == "" {
		return fmt.Errorf("%w %s: the tag has %d characters; %d leave room for the immutable tag's date", ErrReference, ref, len(ref.Tag), oci.MaxAlias)
	}
	return nil
}

// write is the order of SPEC section 10. If it dies before publish, the tags name
// what they named; in publish, the immutable tag may be there without the alias.
func write(ctx context.Context, t places.Destination, ref Reference, p *packed, o *PushOptions) (Pushed, error) {
	if p.omit != nil {
		t.Target = deltaTarget{t.Target, p.omit}
	}
	w, err := newWriter(t, ref, p, o)
	if err != nil {
		return Pushed{}, err
	}
	contents := p.contents()
	if ref.Kind == Archive {
		if contents.Images, err = w.namer.Entries(ctx, p.omit); err != nil {
			return Pushed{}, fmt.Errorf("%s: %w", ref, err)
		}
	}
	if err := t.Begin(contents, o.Recheck); err != nil {
		return Pushed{}, fmt.Errorf("%s: %w", ref, err)
	}
	previous, err := t.Resolve(ctx, ref)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Pushed{}, err
	}
	w.expected = previous
	if o.Expect != nil {
		w.expected = *o.Expect
	}
	if err := oci.CheckMoved(ref.Tag, previous, w.root.Digest, &w.expected); err != nil {
		return Pushed{}, fmt.Errorf("%s: %w", ref, err)
	}
	if ref.Kind == Archive && (o.KeepGoing || o.HoldOnly) {
		return Pushed{}, fmt.Errorf("%w %s: an oci-archive is written whole or not at all; what could be had is kept at a registry or in a layout", ErrReference, ref)
	}
	if previous == w.root.Digest && !o.Recheck {
		if err := w.nameImages(ctx); err != nil {
			return Pushed{}, err
		}
		if err := w.ensureImmutable(ctx); err != nil {
			return Pushed{}, err
		}
		w.skipAll()
		return w.pushed(previous), nil
	}
	w.plan()
	if err := w.learn(ctx, previous); err != nil {
		return Pushed{}, err
	}
	err = w.everything(ctx)
	if errors.Is(err, errBelief) && !w.asksAll() { // once: the second time everything was asked for
		w.askAll()
		err = w.everything(ctx)
	}
	if err != nil {
		return Pushed{}, err
	}
	w.removeCheckpoints(ctx)
	return w.pushed(previous), nil
}
