package imagefind

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Holder is an image that has a package.
type Holder struct {
	Image        string // as the snapshot names it
	Architecture string // of the image, Debian's
	Version      string // of the package in it
	Deb          snapshot.Digest
}

// Carried is what the images that a snapshot carries are made of, as far as the site's key vouches for it. Immutable; safe for
// concurrent use.
type Carried struct {
	// Unknown are the images of which nothing is known: other programs made them, or nobody who is known signed what is said of them.
	Unknown []string

	holders map[string][]Holder // by the package's name
}

// maxCarried bounds the packages of all images of a snapshot together.
const maxCarried = 200_000

// ReadCarried reads what is said of the images that a snapshot carries, and nothing else of them. Every byte is verified, and
// what is said counts if a key of the site signed it.
//
// Errors: the snapshot's when bytes cannot be had; outcome.ErrRefused beyond 200,000 packages.
func ReadCarried(ctx context.Context, s *snapshot.Snapshot, site *pgp.Keyring) (*Carried, error) {
	c := &Carried{holders: map[string][]Holder{}}
	n := 0
	for _, m := range s.Statement.Images {
		im, err := companion(ctx, s, m, site)
		switch {
		case errors.Is(err, outcome.ErrNotFound), errors.Is(err, outcome.ErrIntegrity):
			c.Unknown = append(c.Unknown, m.Name)
			continue
		case err != nil:
			return nil, fmt.Errorf("image %s: %w", m.Name, err)
		}
		for _, a := range im.Lock.Architectures {
			for _, p := range a.Packages {
				c.holders[p.Name] = append(c.holders[p.Name], Holder{m.Name, a.Name, p.Version, p.Deb.Digest})
			}
			if n += len(a.Packages); n > maxCarried {
				return nil, fmt.Errorf("%w: the images of the snapshot have more than %d packages", outcome.ErrRefused, maxCarried)
			}
		}
	}
	return c, nil
}

// Holders are the images that have a package of a name, in the order of the snapshot's statement.
func (c *Carried) Holders(name string) []Holder { return c.holders[name] }

// companion reads what is said of an image of a snapshot.
func companion(ctx context.Context, s *snapshot.Snapshot, m snapshot.Image, site *pgp.Keyring) (*imageproof.Image, error) {
	if len(m.Referrers) == 0 || site == nil {
		return nil, fmt.Errorf("what it is made of is %w", outcome.ErrNotFound)
	}
	blobs := s.Blobs()
	var root []byte
	var documents, referrers [][]byte
	read := func(ctx context.Context, d oci.Descriptor) ([]byte, error) {
		return oci.ReadBlob(ctx, blobs, "document", d.Blob, oci.MaxImageDocument)
	}
	for i, b := range append([]snapshot.Blob{m.Blob}, m.Referrers...) {
		graph, err := oci.WalkImage(ctx, read, oci.Describe("", b))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			referrers = append(referrers, graph.Root().Data)
			continue
		}
		for _, d := range graph.Documents {
			documents = append(documents, d.Data)
		}
		root = graph.Root().Data
	}
	at, err := images.New(ctx, root, documents, referrers, blobs)
	if err != nil {
		return nil, err
	}
	return imageproof.ReadCompanion(ctx, at, imageproof.Options{Site: site})
}
