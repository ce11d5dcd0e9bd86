package artifact

import (
	"context"
	"errors"
	"fmt"

	"oras.land/oras-go/v2/registry/remote/auth"

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
	return p.pushTo(ctx, ref, "", o)
}

// pushTo writes p. mountFrom is a repository of the same registry that has the blobs, "" if none.
func (p *packed) pushTo(ctx context.Context, ref Reference, mountFrom string, o PushOptions) (Pushed, error) {
	t, err := openTarget(ref, p, mountFrom, &o)
	if err != nil {
		return Pushed{}, fmt.Errorf("%s: %w", ref, err)
	}
	if p.omit != nil {
		t = deltaTarget{t, p.omit}
	}
	pushed, err := write(ctx, t, ref, p, &o)
	if closing := t.close(); err == nil && closing != nil {
		err = fmt.Errorf("%s: %w", ref, closing)
	}
	if ref.Kind == Archive {
		pushed.Runnable = p.runnable()
	}
	return pushed, err
}

// checkTarget refuses what can be refused before anything is read.
func checkTarget(ref Reference) error {
	if !ref.Digest.IsZero() {
		return fmt.Errorf("%w %s: a digest cannot be written to; name a tag", ErrReference, ref)
	}
	if err := ref.checkTag(); err != nil {
		return err
	}
	if len(ref.Tag) > maxAlias {
		return fmt.Errorf("%w %s: the tag has %d characters; %d leave room for the immutable tag's date", ErrReference, ref, len(ref.Tag), maxAlias)
	}
	return nil
}

func openTarget(ref Reference, p *packed, mountFrom string, o *PushOptions) (target, error) {
	switch ref.Kind {
	case Layout:
		return newLayoutWriter(ref.Name, o.Recheck, &o.Options)
	case Archive:
		return newTarWriter(ref.Name, ref.Tag, p)
	case Registry:
		r, err := openRegistry(ref, &o.Options)
		if err != nil {
			return nil, err
		}
		r.actions = []string{auth.ActionPull, auth.ActionPush}
		return registryTarget{r, mountFrom}, nil
	}
	return nil, fmt.Errorf("%w: kind %d", ErrReference, ref.Kind)
}

// write is the order of SPEC section 10. If it dies before publish, the tags name
// what they named; in publish, the immutable tag may be there without the alias.
func write(ctx context.Context, t target, ref Reference, p *packed, o *PushOptions) (Pushed, error) {
	w := newWriter(t, ref, p, o)
	previous, err := t.resolve(ctx, ref)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Pushed{}, err
	}
	if previous == w.root.Digest && !o.Recheck {
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
