package imagefind

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/sbom"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
)

// Options say how images are read.
type Options struct {
	Artifact artifact.Options
	Site     *pgp.Keyring // by which what is said of them is verified; nil: it is not
	Log      outcome.Log
}

// Query is a package that images may have.
type Query struct {
	Name  string // of a binary package, or of a source package: then all that are built of it are meant
	Below string // only versions before this one, in Debian's order; "": all. Of a source package its version is compared
}

// Match is a package of an image that is asked for.
type Match struct {
	Architecture  string // of the image, Debian's
	Name, Version string
}

// Answer is what was found of one image: matches, in the order of its lock, or an error.
type Answer struct {
	Reference artifact.Reference // with the digest that was read
	Matches   []Match
	Has       bool   // it has the package, in whatever version
	Signer    string // who vouches for it; "": nobody who is known
	Err       error
}

// atOnce is how many images are asked at a time.
const atOnce = 8

// Affected asks images whether they have a package, several at a time, and tells of each in order. What cannot be asked is told like
// the others, and the rest goes on; a candidate that was listed and turns out to be a snapshot, or the image of a single package, is
// passed over.
//
// The error is ctx's.
func Affected(ctx context.Context, q Query, candidates []Candidate, o Options, tell func(Answer)) error {
	answers := make([]chan *Answer, len(candidates))
	for i := range answers {
		answers[i] = make(chan *Answer, 1)
	}
	g, each := errgroup.WithContext(ctx)
	g.Go(func() error {
		work, each := errgroup.WithContext(each)
		work.SetLimit(atOnce)
		for i, c := range candidates {
			if each.Err() != nil {
				break
			}
			work.Go(func() error { answers[i] <- ask(each, q, c, o); return nil })
		}
		return work.Wait()
	})
	for _, a := range answers {
		select {
		case <-ctx.Done():
			_ = g.Wait()
			return ctx.Err()
		case answer := <-a:
			if answer != nil && ctx.Err() == nil {
				tell(*answer)
			}
		}
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// ask asks one; nil: it is none that is meant.
func ask(ctx context.Context, q Query, c Candidate, o Options) *Answer {
	im, err := imageproof.Read(ctx, c.Reference, imageproof.Options{Artifact: o.Artifact, Site: o.Site, Log: o.Log})
	switch {
	case c.Listed && errors.Is(err, artifact.ErrSnapshot):
		return nil
	case c.Listed && errors.Is(err, outcome.ErrNotFound) && isOfOnePackage(ctx, c.Reference, o):
		return nil
	case err != nil:
		return &Answer{Reference: c.Reference, Err: err}
	}
	a := &Answer{Reference: im.Reference, Signer: im.Signer}
	a.Matches, a.Has, a.Err = q.in(ctx, im)
	return a
}

// in finds the package in what is said of an image: its lock has the packages, its bill of materials their sources.
func (q Query) in(ctx context.Context, im *imageproof.Image) (out []Match, has bool, err error) {
	bill, err := im.Part(ctx, "sbom.cdx.json")
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", im.Reference, err)
	}
	sources, err := sbom.SourcesOf(bill)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %s: sbom.cdx.json: %w", outcome.ErrIntegrity, im.Reference, err)
	}
	below := func(version string) bool { return q.Below == "" || deb.Compare(version, q.Below) < 0 }
	for _, a := range im.Lock.Architectures {
		for _, p := range a.Packages {
			s := sources[p.Deb.Digest]
			has = has || p.Name == q.Name || s.Name == q.Name
			if p.Name == q.Name && below(p.Version) || s.Name == q.Name && below(s.Version) {
				out = append(out, Match{a.Name, p.Name, p.Version})
			}
		}
	}
	return out, has, nil
}
