// Package imageproof looks at images that were made of packages: it reads what is said of one and who says it, makes the image
// again from the signed .debs and compares, and finds the images that have a package.
package imageproof

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Options say how an image is read.
type Options struct {
	Artifact artifact.Options
	Site     *pgp.Keyring // by which the statement is verified; nil: it is not
	Log      outcome.Log
}

// Image is an image of a place, with what is said of it.
type Image struct {
	Reference artifact.Reference // with the digest that was read
	// Signer is who signed the statement; "": nobody, or no key to verify it by was given. Then all below is whoever's word that
	// can write to the place.
	Signer  string
	Lock    *imagelock.Lock
	Account map[string][]account.Line // by Debian's name of the architecture
	Plan    *imageplan.Plan           // without the files that sync: names

	parts     map[string]snapshot.Blob // of what is said of it, by title
	image     *images.Image
	archs     []architecture
	manifests [][]byte // of archs
}

// architecture is the image of one of them as it lies there.
type architecture struct {
	goarch, variant string
	config          []byte
	diffIDs         []snapshot.Digest
	layers          []layerAt
}

type layerAt struct {
	mediaType string
	snapshot.Blob
}

// Read reads the documents of an image and what is said of it.
//
// Errors: outcome.ErrNotFound if nothing is said of the image by mmoci; outcome.ErrIntegrity for a signature, digest or part
// that contradicts another.
func Read(ctx context.Context, ref artifact.Reference, o Options) (*Image, error) {
	at, err := images.Read(ctx, ref, images.Options{Options: o.Artifact})
	if err != nil {
		return nil, err
	}
	im, err := ReadCompanion(ctx, at, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	im.Reference = ref
	im.Reference.Digest = at.Root.Digest
	if err := im.readArchitectures(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return im, nil
}

// ReadCompanion reads what is said of an image wherever it lies, and nothing of the image: Reference is zero, and what it returns can
// be asked, not verified or made again. Errors are those of Read.
func ReadCompanion(ctx context.Context, at *images.Image, o Options) (*Image, error) {
	im := &Image{image: at}
	return im, im.readCompanion(ctx, o)
}

// read reads a blob of the image, verified.
func (im *Image) read(ctx context.Context, b snapshot.Blob) ([]byte, error) {
	r, err := im.reader(ctx, b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (im *Image) reader(ctx context.Context, b snapshot.Blob) (*snapshot.Reader, error) {
	c, err := im.image.Open(ctx, b, 0)
	if err != nil {
		return nil, err
	}
	return c.Reader(b), nil
}

// jsonConfig is what is read of an image's config (image-spec, config.md).
type jsonConfig struct {
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// maxConfig bounds a config, in bytes.
const maxConfig = 8 << 20

func (im *Image) readArchitectures(ctx context.Context) error {
	documents := map[snapshot.Digest]oci.ImagePart{}
	for _, d := range im.image.Documents {
		documents[d.Digest] = d
	}
	root := documents[im.image.Root.Digest]
	if !root.Document.IsIndex() {
		return fmt.Errorf("%w: it is a manifest, and what mmoci makes is an image index", outcome.ErrIntegrity)
	}
	for _, m := range root.Document.Manifests {
		doc := documents[m.Digest].Document
		if doc.IsIndex() || doc.Config.Size > maxConfig {
			return fmt.Errorf("%w: %s is no manifest as mmoci makes them", outcome.ErrIntegrity, m.Digest)
		}
		a := architecture{}
		var err error
		if a.config, err = im.read(ctx, doc.Config.Blob); err != nil {
			return err
		}
		var c jsonConfig
		if err := json.Unmarshal(a.config, &c); err != nil {
			return fmt.Errorf("%w: config %s: %w", outcome.ErrIntegrity, doc.Config.Digest, err)
		}
		a.goarch, a.variant = c.Architecture, c.Variant
		for _, text := range c.RootFS.DiffIDs {
			d, err := snapshot.ParseDigest(text)
			if err != nil {
				return fmt.Errorf("%w: config %s: %w", outcome.ErrIntegrity, doc.Config.Digest, err)
			}
			a.diffIDs = append(a.diffIDs, d)
		}
		for _, l := range doc.Layers {
			a.layers = append(a.layers, layerAt{l.MediaType, l.Blob})
		}
		if len(a.layers) != len(a.diffIDs) {
			return fmt.Errorf("%w: %s: manifest %s has %d layers, its config %d", outcome.ErrIntegrity, c.Architecture, m.Digest, len(a.layers), len(a.diffIDs))
		}
		im.archs = append(im.archs, a)
		im.manifests = append(im.manifests, documents[m.Digest].Data)
	}
	return nil
}
