package artifact

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Pushed is the outcome of a push.
type Pushed struct {
	Root      snapshot.Digest
	Reference Reference // with tag and digest
	Immutable string    // the immutable tag; "" in an oci-archive, which has one tag only
	Changed   bool      // false: the tag named this root already
	Blobs     int       // distinct blobs, manifests not counted
	Uploaded  int
	Bytes     int64 // uploaded
	Reused    int64 // bytes that were there
	// Runnable are the files that an oci-archive names for hosts to run.
	Runnable []CarriedFile
	// Manifests are those below the root that were looked for and not there, or
	// damaged, Refilled their bytes. At a registry they are looked for with Recheck only.
	Manifests int
	Refilled  int64
}

// PushOptions of one push.
type PushOptions struct {
	Options
	// Recheck asks the place for every blob instead of believing the previous
	// root, and puts every manifest again; in a layout every file is hashed. It heals
	// what was lost or damaged behind our back, also when the tag names the root already.
	Recheck bool
	// Expect is what the tag named when the caller read it, the zero digest for
	// nothing; the push ends in ErrMoved if it names something else. Nil: what it
	// names when the push opens the place.
	Expect *snapshot.Digest
	// ImagesTo is HOST/REPO, below which a registry gets the snapshot's images as REPO:TAG;
	// "": images/ below the snapshot's own repository.
	ImagesTo string
}

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
	t, err := openTarget(ctx, ref, "", &o)
	if err != nil {
		return Pushed{}, fmt.Errorf("%s: %w", ref, err)
	}
	defer func() { err = closed(ctx, t, ref, err) }()
	return write(ctx, t, ref, p, &o)
}

// closed closes a target. After another error, what goes wrong then is no news.
func closed(ctx context.Context, t target, ref Reference, err error) error {
	if closing := t.Close(ctx); err == nil && closing != nil {
		return fmt.Errorf("%s: %w", ref, closing)
	}
	return err
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
func write(ctx context.Context, t destination, ref Reference, p *packed, o *PushOptions) (Pushed, error) {
	if p.omit != nil {
		t.target = deltaTarget{t.target, p.omit}
	}
	w, err := newWriter(t, ref, p, o)
	if err != nil {
		return Pushed{}, err
	}
	contents := p.contents()
	if ref.Kind == Archive {
		if contents.Images, err = w.namer.entries(ctx, p.omit); err != nil {
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
	if previous == w.root.Digest && !o.Recheck {
		if err := w.nameImages(ctx); err != nil {
			return Pushed{}, err
		}
		if err := w.ensureImmutable(ctx); err != nil {
			return Pushed{}, err
		}
		w.skipAll()
		return w.pushed(false), nil
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
	return w.pushed(previous != w.root.Digest), nil
}
