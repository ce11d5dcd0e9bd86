// Package passenger reads the container images that travel with a snapshot: which ones, a plan says, and
// at which digests, a lock. What it returns is content that nobody has verified but by its digest.
package passenger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Options say which images are read. Plan is required.
type Options struct {
	Plan *config.Plan
	Lock *config.Lock // pins them; nil: none does
	// Previous is a snapshot that may hold what the lock names and its place has lost. nil: none.
	Previous *snapshot.Snapshot
	Artifact artifact.Options
	Log      outcome.Log
}

// Read reads the documents of all images of the plan and of what refers to them. An image that the lock names is
// read at the lock's digest, with the referrers that the lock has and no others. Nil if the plan has no images.
//
// Errors name the image and where it was written; see [images.Read] for their kinds.
func Read(ctx context.Context, o Options) (*freeze.Images, error) {
	if len(o.Plan.Images) == 0 {
		return nil, nil
	}
	o.Log = o.Log.During(ctx)
	read := make([]*passenger, len(o.Plan.Images))
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for i := range o.Plan.Images {
		g.Go(func() (err error) {
			m := &o.Plan.Images[i]
			if read[i], err = o.read(each, m); err != nil {
				err = fmt.Errorf("%s: image %s: %w", m.Position, m.Name, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(read, func(a, b *passenger) int { return cmp.Compare(a.locked.Name, b.locked.Name) })
	return join(read)
}

// passenger is one image with what refers to it.
type passenger struct {
	locked config.LockImage
	parts  []part
}

// part is an image, or a referrer, with the place that opens its blobs.
type part struct {
	all   []oci.Descriptor
	blobs snapshot.Blobs
}

// join lists all content once, and opens each blob where it was found.
func join(read []*passenger) (*freeze.Images, error) {
	out, from := &freeze.Images{}, sources{}
	sizes := map[snapshot.Digest]int64{}
	for _, p := range read {
		out.Locked = append(out.Locked, p.locked)
		for _, part := range p.parts {
			for _, d := range part.all {
				if at, there := from[d.Digest]; there {
					if size := sizes[d.Digest]; size != d.Size {
						return nil, fmt.Errorf("image %s: %w: %s has %d bytes here and %d in image %s", p.locked.Name, snapshot.ErrIntegrity, d.Digest, d.Size, size, at.image)
					}
					continue
				}
				sizes[d.Digest] = d.Size
				from[d.Digest] = source{part.blobs, p.locked.Name}
				out.Rows = append(out.Rows, snapshot.Row{Path: snapshot.ImageBlobPath(d.Digest), Size: d.Size, Digest: d.Digest})
			}
		}
	}
	out.Blobs = from
	return out, nil
}

// sources opens each blob where it was found first.
type sources map[snapshot.Digest]source

// source is where a blob was found, and of which image.
type source struct {
	blobs snapshot.Blobs
	image string
}

// Open implements snapshot.Blobs. Errors, and those of reading, name the image.
func (s sources) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	from, ok := s[b.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
	}
	c, err := from.blobs.Open(ctx, b, offset)
	if err == nil {
		c.Of = "image " + from.image
		return c, nil
	}
	if errors.Is(err, snapshot.ErrNotExist) && !errors.Is(err, artifact.ErrNotFound) {
		err = fmt.Errorf("%w: %w", artifact.ErrNotFound, err)
	}
	return nil, fmt.Errorf("image %s: %w", from.image, err)
}

// read reads one image of the plan.
func (o Options) read(ctx context.Context, m *config.Image) (*passenger, error) {
	ref, platforms, err := parse(m)
	if err != nil {
		return nil, err
	}
	pinned := o.pinned(m, ref)
	if pinned == nil {
		image, err := images.Read(ctx, ref, images.Options{Options: o.Artifact, Platforms: platforms})
		if err != nil {
			return nil, err
		}
		p := &passenger{locked: config.LockImage{Name: m.Name, Digest: image.Root.Digest.String(), Size: image.Root.Size, Source: image.Source.String()}}
		for _, r := range image.Referrers {
			p.locked.Referrers = append(p.locked.Referrers, config.LockReferrer{Digest: r.Digest.String(), Size: r.Size})
		}
		p.parts = []part{{image.Parts(), image}}
		return p, nil
	}
	return o.readPinned(ctx, ref, platforms, *pinned)
}

// parse reads the reference and the platforms of an image of the plan.
func parse(m *config.Image) (artifact.Reference, []oci.Platform, error) {
	ref, err := artifact.ParseReference(m.From)
	if err != nil {
		return ref, nil, err
	}
	var platforms []oci.Platform
	for _, s := range m.Platforms {
		p, err := oci.ParsePlatform(s)
		if err != nil {
			return ref, nil, fmt.Errorf("%w: %w", outcome.ErrUsage, err)
		}
		platforms = append(platforms, p)
	}
	return ref, platforms, nil
}

// pinned is the lock's line of an image, unless the plan itself names another digest.
func (o Options) pinned(m *config.Image, ref artifact.Reference) *config.LockImage {
	if o.Lock == nil {
		return nil
	}
	i := slices.IndexFunc(o.Lock.Images, func(l config.LockImage) bool { return l.Name == m.Name })
	if i < 0 {
		return nil
	}
	l := o.Lock.Images[i]
	if !ref.Digest.IsZero() && ref.Digest.String() != l.Source {
		o.Log.Printf("image %s: the configuration names %s, the lock %s; the configuration counts", m.Name, ref.Digest, l.Source)
		return nil
	}
	return &l
}

// readPinned reads an image as the lock names it.
func (o Options) readPinned(ctx context.Context, ref artifact.Reference, platforms []oci.Platform, l config.LockImage) (*passenger, error) {
	source, err := snapshot.ParseDigest(l.Source)
	if err != nil {
		return nil, err
	}
	p := &passenger{locked: l}
	ref.Digest = source
	image, err := images.Read(ctx, ref, images.Options{Options: o.Artifact, Platforms: platforms, WithoutReferrers: true})
	switch {
	case err == nil:
		if now := image.Root.Digest.String(); now != l.Digest {
			o.Log.Printf("image %s: the lock names %s, and of its source %s the platforms that the configuration asks for are %s", l.Name, l.Digest, l.Source, now)
		}
		p.locked.Digest, p.locked.Size = image.Root.Digest.String(), image.Root.Size
		p.parts = []part{{image.Parts(), image}}
	case !isGone(err):
		return nil, err
	default:
		held, herr := o.held(ctx, l.Digest, l.Size)
		if herr != nil {
			return nil, outcome.UpdateLock.For(fmt.Errorf("%w (the lock names it)", err))
		}
		o.Log.Printf("image %s: %s is gone from its place, and taken from the snapshot that has it", l.Name, l.Source)
		p.parts = []part{held}
	}
	for _, r := range l.Referrers {
		part, err := o.referrer(ctx, ref, r)
		if err != nil {
			return nil, fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
		p.parts = append(p.parts, part)
	}
	return p, nil
}

// referrer reads a manifest about an image that the lock names.
func (o Options) referrer(ctx context.Context, ref artifact.Reference, r config.LockReferrer) (part, error) {
	var err error
	if ref.Digest, err = snapshot.ParseDigest(r.Digest); err != nil {
		return part{}, err
	}
	image, err := images.Read(ctx, ref, images.Options{Options: o.Artifact, WithoutReferrers: true})
	if err == nil {
		return part{image.Parts(), image}, nil
	}
	if isGone(err) {
		if held, herr := o.held(ctx, r.Digest, r.Size); herr == nil {
			return held, nil
		}
		err = outcome.UpdateLock.For(fmt.Errorf("%w (the lock names it)", err))
	}
	return part{}, err
}

func isGone(err error) bool {
	return errors.Is(err, artifact.ErrNotFound) || errors.Is(err, snapshot.ErrNotExist)
}

// held takes an image from the snapshot that may still have it. Its digest is the lock's, so nothing of it is believed.
func (o Options) held(ctx context.Context, digest string, size int64) (part, error) {
	d, err := snapshot.ParseDigest(digest)
	if err != nil {
		return part{}, err
	}
	if o.Previous == nil {
		return part{}, snapshot.ErrNotExist
	}
	g, err := oci.ImageIn(ctx, o.Previous, snapshot.Blob{Digest: d, Size: size})
	if err != nil {
		return part{}, err
	}
	return part{g.All(), o.Previous.Blobs()}, nil
}

// Checked says how much of a lock's images is there, and whether they are those of the plan.
type Checked struct {
	Wanted           int // how many the lock has
	Missing, Differs []string
}

// Check asks the places of the images for what the lock names, and compares plan and lock.
func Check(ctx context.Context, o Options) (*Checked, error) {
	c := &Checked{Wanted: len(o.Lock.Images)}
	planned := map[string]bool{}
	for i := range o.Plan.Images {
		m := &o.Plan.Images[i]
		planned[m.Name] = true
		ref, _, err := parse(m)
		if err != nil {
			return nil, fmt.Errorf("%s: image %s: %w", m.Position, m.Name, err)
		}
		l := Options{Lock: o.Lock}.pinned(m, ref)
		if l == nil {
			c.Differs = append(c.Differs, fmt.Sprintf("image %s: in the configuration, not in the lock", m.Name))
			continue
		}
		if ref.Digest, err = snapshot.ParseDigest(l.Source); err != nil {
			return nil, err
		}
		switch _, err := artifact.Resolve(ctx, ref, o.Artifact); {
		case isGone(err):
			c.Missing = append(c.Missing, fmt.Sprintf("image %s: %s is not there any more", m.Name, l.Source))
		case err != nil:
			return nil, fmt.Errorf("image %s: %w", m.Name, err)
		}
	}
	for _, l := range o.Lock.Images {
		if !planned[l.Name] {
			c.Differs = append(c.Differs, fmt.Sprintf("image %s: in the lock, not in the configuration", l.Name))
		}
	}
	return c, nil
}
