package place

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Source is a followed reference, as internal/serve asks for its snapshots.
// Safe for concurrent use.
type Source struct {
	Ref     artifact.Reference
	Options artifact.Options
	// Mirrors are tried before Ref's own place, by digest ([OpenAnywhere]); Log hears of those that are skipped.
	Mirrors []artifact.Reference
	Log     outcome.Log
	// Through, if not nil, puts a store before the place's blobs.
	Through func(snapshot.Blobs) snapshot.Blobs
	// Keep, if not "", is a directory for what opened snapshots say of
	// themselves: with Through, they are opened again while the place is away.
	Keep string
	// Fallback, if not nil, is asked for pool files that the place cannot give.
	Fallback *Fallback

	tags tagList
}

// Name is the reference.
func (s *Source) Name() string { return s.Ref.String() }

// Pinned tells whether the reference names its snapshot by digest.
func (s *Source) Pinned() bool { return !s.Ref.Digest.IsZero() }

// Resolve tells which root the reference names now.
func (s *Source) Resolve(ctx context.Context) (snapshot.Digest, error) {
	return artifact.Resolve(ctx, s.Ref, s.Options)
}

// A snapshot ID as it stands at the end of an immutable tag.
var DateHex = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}$`)

// Open opens the snapshot of an ID: "" for the reference itself, a digest, a
// tag, or the DATE-HEX12 of an immutable tag. An ID that is not there is
// snapshot.ErrNotExist.
func (s *Source) Open(ctx context.Context, id string) (*snapshot.Snapshot, error) {
	ref, err := s.Reference(ctx, id)
	if err != nil {
		return nil, absent(err)
	}
	sealed := s.kept(ref)
	if sealed == nil {
		if sealed, err = OpenAnywhere(ctx, ref, s.Mirrors, s.Options, s.Log); err != nil {
			return nil, absent(err)
		}
		if s.Keep != "" {
			if err := keepSnapshot(s.Keep, sealed); err != nil {
				s.Log.Printf("snapshot not kept for the case that the registry is away: %s", err)
			}
		}
	}
	if len(s.Mirrors) == 0 {
		place := s.Ref
		place.Tag, place.Digest = "", snapshot.Digest{}
		sealed.Blobs = named{sealed.Blobs, place.String()}
	}
	sn, err := sealed.Unseal(nil)
	if err != nil || (s.Through == nil && s.Fallback == nil) {
		return sn, err
	}
	return sn.WithBlobs(func(blobs snapshot.Blobs) snapshot.Blobs {
		if s.Fallback != nil {
			blobs = fallenBack{s.Fallback, blobs, sn}
		}
		if s.Through != nil {
			blobs = s.Through(blobs)
		}
		return blobs
	}), nil
}

// named are blobs that say where they come from.
type named struct {
	blobs snapshot.Blobs
	from  string
}

// Open implements snapshot.Blobs.
func (n named) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	c, err := n.blobs.Open(ctx, b, offset)
	if err == nil {
		c.From = n.from
	}
	return c, err
}

// kept is a snapshot whose documents were kept; nil if it is not there. Its
// place is opened when a blob is asked for that is not in the store.
func (s *Source) kept(ref artifact.Reference) *snapshot.Sealed {
	if s.Keep == "" || ref.Digest.IsZero() {
		return nil
	}
	sealed, err := readKept(s.Keep, ref.Digest)
	if err != nil {
		return nil
	}
	sealed.Pinned, sealed.Blobs = true, &lateBlobs{source: s, ref: ref}
	return sealed
}

// lateBlobs opens its snapshot when the first blob is asked for.
type lateBlobs struct {
	source *Source
	ref    artifact.Reference

	mu     sync.Mutex
	opened snapshot.Blobs
}

// Open implements snapshot.Blobs.
func (l *lateBlobs) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	l.mu.Lock()
	blobs := l.opened
	l.mu.Unlock()
	if blobs == nil {
		s := l.source
		sealed, err := OpenAnywhere(ctx, l.ref, s.Mirrors, s.Options, s.Log)
		if err != nil {
			return nil, err
		}
		blobs = sealed.Blobs
		l.mu.Lock()
		l.opened = blobs
		l.mu.Unlock()
	}
	return blobs.Open(ctx, b, offset)
}

// absent says in the words of the waist that a reference is not there.
func absent(err error) error {
	if errors.Is(err, artifact.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, snapshot.ErrNotExist)
	}
	return err
}

func (s *Source) Reference(ctx context.Context, id string) (artifact.Reference, error) {
	ref := s.Ref
	if id == "" {
		return ref, nil
	}
	ref.Tag, ref.Digest = "", snapshot.Digest{}
	if d, err := snapshot.ParseDigest(id); err == nil {
		ref.Digest = d
		return ref, nil
	}
	if ref.Tag = id; !DateHex.MatchString(id) {
		return ref, nil
	}
	names, err := s.tagNames(ctx)
	if err != nil {
		return ref, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "-"+id) && len(name) > len(id)+1 {
			ref.Tag = name
			return ref, nil
		}
	}
	return ref, fmt.Errorf("snapshot %s: %w", id, artifact.ErrNotFound)
}

// IDs lists the snapshots of the place by their immutable tags' DATE-HEX12, newest first.
func (s *Source) IDs(ctx context.Context) ([]string, error) {
	names, err := s.tagNames(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		if n := len(name) - len("20060102T150405Z-0123456789ab"); n > 0 && DateHex.MatchString(name[n:]) {
			ids = append(ids, name[n:])
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return slices.Compact(ids), nil
}

// OpenUnverified opens a snapshot for what only looks or hands on: ls, serve.
func OpenUnverified(ctx context.Context, ref artifact.Reference, o artifact.Options) (*snapshot.Snapshot, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return sealed.Unseal(nil)
}
