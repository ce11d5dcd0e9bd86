// Package imageproof looks at images that were made of packages: it reads what is said of one and who says it, makes the image
// again from the signed .debs and compares, and finds the images that have a package.
package imageproof

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// maxPart bounds a part of what is said of an image, in bytes.
const maxPart = 256 << 20

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
	Lock    *imagebuild.Lock
	Account map[string][]account.Line // by Debian's name of the architecture
	Plan    []byte
	Files   []byte // tar of what sync: names; nil: nothing
	Parts   map[string][]byte

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
	im := &Image{Reference: ref, image: at}
	im.Reference.Digest = at.Root.Digest
	if err := im.readCompanion(ctx, o); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if err := im.readArchitectures(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return im, nil
}

// readCompanion takes the first manifest that refers to the image, is a companion, and has a statement that verifies.
func (im *Image) readCompanion(ctx context.Context, o Options) error {
	var failed error
	for _, r := range im.image.Referrers {
		i := slices.IndexFunc(im.image.Documents, func(p oci.ImagePart) bool { return p.Digest == r.Digest })
		doc := im.image.Documents[i].Document
		if doc.ArtifactType != imagebuild.TypeCompanion || doc.Subject.Digest != im.image.Root.Digest {
			continue
		}
		err := im.take(ctx, im.image.Documents[i].Data, o)
		if err == nil {
			return nil
		}
		if failed == nil || errors.Is(err, outcome.ErrIntegrity) {
			failed = err
		}
	}
	if failed != nil {
		return failed
	}
	return fmt.Errorf("nothing is said of it by mmoci, so what it is made of is %w; it was made by another program, or a copier left out what refers to it (mmoci copy does not)", outcome.ErrNotFound)
}

// titled are the descriptors of a companion's parts with their names.
type titled struct {
	Layers []struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations"`
	} `json:"layers"`
}

func (im *Image) take(ctx context.Context, manifest []byte, o Options) error {
	var t titled
	if err := json.Unmarshal(manifest, &t); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	parts, types := map[string][]byte{}, map[string]string{}
	for _, l := range t.Layers {
		d, err := snapshot.ParseDigest(l.Digest)
		if err != nil || l.Size > maxPart {
			return fmt.Errorf("%w: what is said of the image has a part %.100q of %d bytes", outcome.ErrIntegrity, l.Digest, l.Size)
		}
		data, err := im.read(ctx, snapshot.Blob{Digest: d, Size: l.Size})
		if err != nil {
			return err
		}
		name := l.Annotations["org.opencontainers.image.title"]
		parts[name], types[name] = data, l.MediaType
	}
	signer, err := im.checkStatement(parts, types[statementName], o)
	if err != nil {
		return err
	}
	lock, err := imagebuild.ParseLock("image.lock", parts["image.lock"])
	if err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	accounts := map[string][]account.Line{}
	for _, a := range lock.Architectures {
		if accounts[a.Name], err = account.Parse(parts["account-"+a.Name+".txt"]); err != nil {
			return fmt.Errorf("%w: account of %s: %w", outcome.ErrIntegrity, a.Name, err)
		}
	}
	im.Signer, im.Lock, im.Account, im.Plan, im.Files, im.Parts = signer, lock, accounts, parts["image.yaml"], parts["files.tar"], parts
	return nil
}

// statementName is the part that vouches for the others.
const statementName = "statement.txt"

// checkStatement verifies who says it, that it is said of this image, and that each part is the one that is meant.
func (im *Image) checkStatement(parts map[string][]byte, mediaType string, o Options) (signer string, err error) {
	text := parts[statementName]
	switch {
	case mediaType == imagebuild.TypeSignedStatement:
		var how pgp.How
		if text, how, err = pgp.VerifyClearsigned(text, pgp.Trust{Keyring: o.Site}); err != nil {
			return "", fmt.Errorf("statement of the image: %w", err)
		}
		signer = how.Signer
	case mediaType != imagebuild.TypeStatement:
		return "", fmt.Errorf("%w: the image has no statement", outcome.ErrIntegrity)
	case o.Site != nil:
		return "", fmt.Errorf("%w: the statement of the image is not signed, and a key to verify it by is given", outcome.ErrIntegrity)
	}
	st, err := imagebuild.ParseStatement(text)
	if err != nil {
		return "", err
	}
	if st.Image.Digest != im.image.Root.Digest {
		return "", fmt.Errorf("%w: the statement is of image %s, not of %s", outcome.ErrIntegrity, st.Image.Digest, im.image.Root.Digest)
	}
	for name, data := range parts {
		if name == statementName {
			continue
		}
		if st.Parts[name] != snapshot.BlobOf(data) {
			return "", fmt.Errorf("%w: part %.80q is not the one of the image's statement", outcome.ErrIntegrity, name)
		}
	}
	for name := range st.Parts {
		if _, ok := parts[name]; !ok {
			return "", fmt.Errorf("%w: the statement names part %.80q, which is not there", outcome.ErrIntegrity, name)
		}
	}
	return signer, nil
}

// read reads a blob of the image, verified.
func (im *Image) read(ctx context.Context, b snapshot.Blob) ([]byte, error) {
	c, err := im.image.Open(ctx, b, 0)
	if err != nil {
		return nil, err
	}
	r := c.Reader(b)
	defer r.Close()
	return io.ReadAll(r)
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

// PlanIn writes the plan and its files into a directory and reads it there. The directory must be empty.
func (im *Image) PlanIn(dir string) (*imageplan.Plan, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	bad := func(err error) error { return fmt.Errorf("%w: plan of the image: %w", outcome.ErrIntegrity, err) }
	for r := tar.NewReader(bytes.NewReader(im.Files)); len(im.Files) > 0; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, bad(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !filepath.IsLocal(name) {
			return nil, bad(fmt.Errorf("file %.100q", h.Name))
		}
		if parent := filepath.Dir(name); parent != "." {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return nil, bad(err)
			}
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = writeFile(root, name, r, os.FileMode(h.Mode&0o111)|0o644)
		default:
			err = fmt.Errorf("file %.100q of type %q", h.Name, h.Typeflag)
		}
		if err != nil {
			return nil, bad(err)
		}
	}
	if err := root.WriteFile(imageplan.Name, im.Plan, 0o644); err != nil {
		return nil, bad(err)
	}
	p, err := imageplan.Load(filepath.Join(dir, imageplan.Name))
	if err != nil {
		return nil, bad(err)
	}
	return p, nil
}

func writeFile(root *os.Root, name string, r io.Reader, mode os.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return errors.Join(f.Chmod(mode), f.Close())
}
