package imageproof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Bounds of the parts that are held in memory, in bytes. Others are read when somebody asks for them.
const (
	maxStatement = 1 << 20
	maxAccount   = 64 << 20
	maxOther     = 64 << 20
)

// Titles of parts.
const (
	statementName = "statement.txt" // vouches for the others
	planName      = "image.yaml"
	filesName     = "files.tar"
	lockName      = "image.lock"
	notesName     = "notes.txt"
)

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
	return fmt.Errorf("nothing is said of it by mmoci, so what it is made of is %w; it was made by another program, or of a single package, or a copier left out what refers to it (mmoci copy does not)", outcome.ErrNotFound)
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

// take reads the statement, verifies it, and reads what every use of the image needs: lock, plan and account. Nothing of a companion
// is read before its statement is.
func (im *Image) take(ctx context.Context, manifest []byte, o Options) error {
	var t titled
	if err := json.Unmarshal(manifest, &t); err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	parts, types := map[string]snapshot.Blob{}, map[string]string{}
	for _, l := range t.Layers {
		name := l.Annotations["org.opencontainers.image.title"]
		d, err := snapshot.ParseDigest(l.Digest)
		if _, twice := parts[name]; err != nil || twice {
			return fmt.Errorf("%w: what is said of the image has a part %.100q, %.100q, twice or with a wrong digest", outcome.ErrIntegrity, name, l.Digest)
		}
		parts[name], types[name] = snapshot.Blob{Digest: d, Size: l.Size}, l.MediaType
	}
	signer, err := im.checkStatement(ctx, parts, types[statementName], o)
	if err != nil {
		return err
	}
	said := &Image{image: im.image, parts: parts}
	text, err := said.part(ctx, lockName, imagelock.MaxSize)
	if err != nil {
		return err
	}
	lock, err := imagelock.Parse(lockName, text)
	if err != nil {
		return fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	accounts := map[string][]account.Line{}
	for _, a := range lock.Architectures {
		if text, err = said.part(ctx, "account-"+a.Name+".txt", maxAccount); err != nil {
			return err
		}
		if accounts[a.Name], err = account.Parse(text); err != nil {
			return fmt.Errorf("%w: account of %s: %w", outcome.ErrIntegrity, a.Name, err)
		}
	}
	if text, err = said.part(ctx, planName, document.MaxYAML); err != nil {
		return err
	}
	plan, err := imageplan.Parse(planName, ".", text)
	if err != nil {
		return fmt.Errorf("%w: plan of the image: %w", outcome.ErrIntegrity, err)
	}
	im.Signer, im.Lock, im.Account, im.Plan, im.parts = signer, lock, accounts, plan, parts
	return nil
}

// checkStatement verifies who says it, that it is said of this image, and that each part is the one that is meant.
func (im *Image) checkStatement(ctx context.Context, parts map[string]snapshot.Blob, mediaType string, o Options) (signer string, err error) {
	if _, ok := parts[statementName]; !ok || mediaType != imagebuild.TypeSignedStatement && mediaType != imagebuild.TypeStatement {
		return "", fmt.Errorf("%w: the image has no statement", outcome.ErrIntegrity)
	}
	text, err := (&Image{image: im.image, parts: parts}).part(ctx, statementName, maxStatement)
	switch {
	case err != nil:
		return "", err
	case mediaType == imagebuild.TypeSignedStatement:
		var how pgp.How
		if text, how, err = pgp.VerifyClearsigned(text, pgp.Trust{Keyring: o.Site}); err != nil {
			return "", fmt.Errorf("statement of the image: %w", err)
		}
		signer = how.Signer
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
	for name, blob := range parts {
		if name != statementName && st.Parts[name] != blob {
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

// Part reads a part of what is said of the image, by its title. The error is outcome.ErrNotFound if it has none of that title.
func (im *Image) Part(ctx context.Context, title string) ([]byte, error) {
	return im.part(ctx, title, maxOther)
}

func (im *Image) part(ctx context.Context, title string, most int64) ([]byte, error) {
	b, ok := im.parts[title]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is %w beside the image", title, outcome.ErrNotFound)
	case b.Size > most:
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", outcome.ErrIntegrity, title, b.Size, most)
	}
	return im.read(ctx, b)
}

// Notes reads what is known of the layers of an image by who signed what is said of it.
//
// Errors: outcome.ErrNotFound and artifact.ErrNotFound if there are none; outcome.ErrIntegrity if nobody signed them of whom a key is given.
func Notes(ctx context.Context, ref artifact.Reference, o Options) (layercache.Notes, error) {
	at, err := images.Read(ctx, ref, images.Options{Options: o.Artifact})
	if err != nil {
		return nil, err
	}
	im, err := ReadCompanion(ctx, at, o)
	if err != nil {
		return nil, err
	}
	return im.Notes(ctx)
}

// Notes are those of the image; errors are those of [Notes].
func (im *Image) Notes(ctx context.Context) (layercache.Notes, error) {
	if im.Signer == "" {
		return nil, fmt.Errorf("%w: no key of the site is given to verify them by", outcome.ErrIntegrity)
	}
	text, err := im.part(ctx, notesName, layercache.MaxNotes)
	if err != nil {
		return nil, err
	}
	return layercache.ParseNotes(text)
}

// readParts reads every part to its end, which proves its digest.
func (im *Image) readParts(ctx context.Context) error {
	for title, b := range im.parts {
		r, err := im.reader(ctx, b)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
	}
	return nil
}

// PlanIn is the plan over the files that sync: names, which it writes into a directory. The directory must be empty.
func (im *Image) PlanIn(ctx context.Context, dir string) (*imageplan.Plan, error) {
	plan := *im.Plan
	plan.Dir = dir
	b, ok := im.parts[filesName]
	if !ok {
		return &plan, nil
	}
	r, err := im.reader(ctx, b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = syncfiles.Unpack(dir, r)
	if _, rest := io.Copy(io.Discard, r); rest != nil { // what was unpacked is not what the statement names
		return nil, fmt.Errorf("%s: %w", filesName, rest)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s of the image: %w", outcome.ErrIntegrity, filesName, err)
	}
	return &plan, nil
}
