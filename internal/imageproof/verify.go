package imageproof

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/snapshot"
)

// VerifyOptions say by what an image is verified.
type VerifyOptions struct {
	Snapshot *snapshot.Snapshot // that has its packages; not necessarily the one that it was made from
	Trust    prove.Trust
	Sources  imagebuild.Sources // what was built of the sources of the image's plan; nil: it names none
	Workers  int                // layers at once; 0: as many as there are processors
	Log      outcome.Log
}

// Proof is what was found of one architecture. Plan, files and config are the site's word: they are proved only where the image
// has a Signer.
type Proof struct {
	Architecture string // Debian's
	Proved       int    // packages whose layers were computed again from the .debs that upstream's key signed
	Site         int    // the same of .debs for which the site's key alone vouches
	// Built are packages whose layers were computed again from .debs that listed builders signed: each with the identity of its source.
	Built     []string
	Generated int // layers that were computed again from what these packages say: the system layer
	// Unproved are layers, by name, for which the site's statement alone vouches: this machine cannot run the scripts that made them,
	// or they made other files when they were run again.
	Unproved []string
	// Otherwise are those files, by path.
	Otherwise []string
	Files     int // layers of the site's own files, which only its statement vouches for
}

// Verify makes the image again from the signed .debs and compares: each layer's tar, each config, and the bytes of each layer.
//
// Errors: outcome.ErrIntegrity for whatever differs, with the package and the path; those of [imagebuild.Build] where the
// snapshot does not have, or does not prove, what the image is made of.
func (im *Image) Verify(ctx context.Context, o VerifyOptions) ([]Proof, error) {
	if err := im.readParts(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mmoci-verify-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	plan, err := im.PlanIn(ctx, dir)
	if err != nil {
		return nil, err
	}
	// One behind the other: an index of a whole distribution is in memory here, and packages being decompressed there.
	byUpstream, err := signedUpstream(ctx, o.Snapshot, o.Trust, im.Lock)
	if err != nil {
		return nil, err
	}
	want, err := imagebuild.Build(ctx, imagebuild.Options{Plan: plan, Snapshot: o.Snapshot, Trust: o.Trust, Lock: im.Lock, Sources: o.Sources, Dry: true, Workers: o.Workers, Log: o.Log})
	if err != nil {
		return nil, err
	}
	defer want.Close()
	if len(want.Architectures) != len(im.archs) {
		return nil, fmt.Errorf("%w: the image has %d architectures, its plan %d", outcome.ErrIntegrity, len(im.archs), len(want.Architectures))
	}
	var out []Proof
	for i, a := range want.Architectures {
		p, err := im.compare(ctx, want, i, o.Workers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		built := builtIn(im.Lock, a.Name)
		for _, n := range a.Notes {
			if id, ok := built[n.Deb.Digest]; ok {
				p.Proved, p.Built = p.Proved-1, append(p.Built, n.Name()+" of "+id.String())
				continue
			}
			if !byUpstream[n.Deb.Digest] {
				p.Proved, p.Site = p.Proved-1, p.Site+1
			}
		}
		out = append(out, p)
	}
	index, err := want.IndexOver(im.manifests)
	if err != nil {
		return nil, err
	}
	if snapshot.Sum(index.Data) != im.image.Root.Digest {
		return nil, fmt.Errorf("%w: its image index (platforms, annotations, order) is not the one of its plan", outcome.ErrIntegrity)
	}
	return out, nil
}

// builtIn are the .debs of an architecture that were built of sources, with the identities of these.
func builtIn(l *imagelock.Lock, arch string) map[snapshot.Digest]snapshot.Digest {
	out := map[snapshot.Digest]snapshot.Digest{}
	for _, a := range l.Architectures {
		for _, p := range a.Packages {
			if a.Name == arch && !p.Identity.IsZero() {
				out[p.Deb.Digest] = p.Identity
			}
		}
	}
	return out
}

func (im *Image) compare(ctx context.Context, want *imagebuild.Image, i, workers int) (Proof, error) {
	w, got := want.Architectures[i], im.archs[i]
	p := Proof{Architecture: w.Name, Proved: w.Packages}
	if goarch, variant := image.Platform(w.Name); goarch != got.goarch || variant != got.variant {
		return p, fmt.Errorf("%w: its config is for %s", outcome.ErrIntegrity, got.goarch+got.variant)
	}
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	otherwise := make([][]difference, len(got.layers)) // of layers in which scripts made something else this time
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for n, l := range got.layers {
		g.Go(func() error {
			if n >= len(w.Layers) {
				return fmt.Errorf("%w: layer %d, %s, is none of the plan's", outcome.ErrIntegrity, n+1, l.Digest)
			}
			expected := w.Layers[n]
			d, err := im.diffID(each, l)
			if errors.Is(err, snapshot.ErrNotExist) {
				err = fmt.Errorf("%w: the image is there in part only: %w", outcome.ErrIntegrity, err)
			}
			if err != nil {
				return fmt.Errorf("layer of %s: %w", expected.By, err)
			}
			switch {
			case d == expected.DiffID && d == got.diffIDs[n]:
				return nil
			case d != got.diffIDs[n] && expected.DiffID.IsZero():
				return fmt.Errorf("layer of %s: %w: it is not the one that its config names", expected.By, outcome.ErrIntegrity)
			case d == got.diffIDs[n] && expected.DiffID.IsZero():
				return nil
			case d == got.diffIDs[n] && w.Scripts == imageplan.Run && ofScripts(expected):
				otherwise[n], err = im.differences(each, want, expected, l)
				return err
			}
			return im.differs(each, want, expected, l)
		})
	}
	if err := g.Wait(); err != nil {
		return p, err
	}
	if len(got.layers) < len(w.Layers) {
		return p, fmt.Errorf("%w: the layer of %s is missing", outcome.ErrIntegrity, w.Layers[len(got.layers)].By)
	}
	if err := im.dependsOnScripts(ctx, want, w.Layers, got.layers, otherwise); err != nil {
		return p, err
	}
	for n, l := range w.Layers {
		if l.DiffID != got.diffIDs[n] {
			p.Unproved = append(p.Unproved, l.By)
		}
		for _, d := range otherwise[n] {
			p.Otherwise = append(p.Otherwise, "/"+d.path)
		}
	}
	if string(got.config) != configWith(want.Config(i), w.Layers, got.diffIDs) {
		return p, fmt.Errorf("%w: its config (entrypoint, user, environment, ..) is not the one of its plan", outcome.ErrIntegrity)
	}
	for n, l := range w.Layers {
		if l.DiffID != got.diffIDs[n] {
			continue
		}
		switch l.By {
		case "system":
			p.Generated++
		case "files":
			p.Files++
		}
	}
	return p, nil
}

// ofScripts tells the layers that follow from what scripts made: the system layer, and that of the site's files, which repeats
// directories of it.
func ofScripts(l image.Layer) bool { return l.By == "system" || l.By == "files" }

// dependsOnScripts refuses a difference in the site's files that does not come from another system layer: there directories may differ,
// and nothing else.
func (im *Image) dependsOnScripts(ctx context.Context, want *imagebuild.Image, layers []image.Layer, got []layerAt, otherwise [][]difference) error {
	system := slices.IndexFunc(layers, func(l image.Layer) bool { return l.By == "system" })
	for n, l := range layers {
		if l.By == "files" && (slices.ContainsFunc(otherwise[n], func(d difference) bool { return !d.directory }) || len(otherwise[n]) > 0 && len(otherwise[system]) == 0) {
			return im.differs(ctx, want, l, got[n])
		}
	}
	return nil
}

// configWith is a config that was made, with the digests that the image has for the layers that were not computed, or came out otherwise.
func configWith(config []byte, layers []image.Layer, diffIDs []snapshot.Digest) string {
	text := string(config)
	for n, l := range layers {
		if l.DiffID != diffIDs[n] {
			text = strings.Replace(text, l.DiffID.String(), diffIDs[n].String(), 1)
		}
	}
	return text
}

// differs tells in which path a layer differs from what it has to be.
func (im *Image) differs(ctx context.Context, want *imagebuild.Image, expected image.Layer, got layerAt) error {
	found, err := im.differences(ctx, want, expected, got)
	if err != nil && !errors.Is(err, outcome.ErrIntegrity) {
		return err
	}
	where := "its entries are the same, and it is written in another way"
	switch {
	case err != nil:
		where = err.Error()
	case len(found) > 0:
		where = "/" + found[0].path + " " + found[0].how
	}
	return fmt.Errorf("%w: the layer of %s is not what it has to be: %s", outcome.ErrIntegrity, expected.By, where)
}

func clean(name string) string { return strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/") }

// diffID reads a layer, verifies its bytes by its digest, and hashes its tar.
func (im *Image) diffID(ctx context.Context, l layerAt) (snapshot.Digest, error) {
	r, err := im.open(ctx, l)
	if err != nil {
		return snapshot.Digest{}, err
	}
	defer r.Close()
	h := sha256.New()
	_, err = io.Copy(h, r)
	if rest := r.rest(); rest != nil {
		return snapshot.Digest{}, rest
	}
	if err != nil { // the bytes are those of the digest, and no layer
		return snapshot.Digest{}, fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	return snapshot.Digest(h.Sum(nil)), nil
}

// unpacked is the tar of a layer whose bytes are verified when it ends.
type unpacked struct {
	io.Reader
	blob  *snapshot.Reader
	close func()
}

func (u *unpacked) Close() error {
	if u.close != nil {
		u.close()
	}
	return u.blob.Close()
}

// rest reads to the end, which proves the digest.
func (u *unpacked) rest() error {
	_, err := io.Copy(io.Discard, u.blob)
	return err
}

func (im *Image) open(ctx context.Context, l layerAt) (*unpacked, error) {
	return openLayer(ctx, im.image, l)
}

// openLayer opens the tar of a layer.
func openLayer(ctx context.Context, from snapshot.Blobs, l layerAt) (*unpacked, error) {
	c, err := from.Open(ctx, l.Blob, 0)
	if err != nil {
		return nil, err
	}
	blob := c.Reader(l.Blob)
	u := &unpacked{Reader: blob, blob: blob}
	switch l.mediaType {
	case image.TypeLayer:
	case image.TypeGzipLayer:
		u.Reader, err = gzip.NewReader(blob)
	case image.TypeZstdLayer:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(blob, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			u.Reader, u.close = z, z.Close
		}
	default:
		err = fmt.Errorf("media type %.100q", l.mediaType)
	}
	if err != nil {
		blob.Close()
		return nil, fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	return u, nil
}

// Rebuild makes the image again, from the registry alone, and compares the digests. cache may be nil.
func (im *Image) Rebuild(ctx context.Context, o VerifyOptions, cache *layercache.Cache) error {
	dir, err := os.MkdirTemp("", "mmoci-rebuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plan, err := im.PlanIn(ctx, dir)
	if err != nil {
		return err
	}
	made, err := imagebuild.Build(ctx, imagebuild.Options{Plan: plan, Snapshot: o.Snapshot, Trust: o.Trust, Lock: im.Lock, Sources: o.Sources, Cache: cache, Workers: o.Workers, Log: o.Log})
	if err != nil {
		return err
	}
	defer made.Close()
	if made.Digest() == im.Reference.Digest {
		return nil
	}
	var otherwise []string
	for i, a := range made.Architectures {
		for n, l := range a.Layers {
			if i < len(im.archs) && n < len(im.archs[i].diffIDs) && im.archs[i].diffIDs[n] == l.DiffID {
				continue
			}
			if i >= len(im.archs) || n >= len(im.archs[i].layers) || a.Scripts != imageplan.Run || !ofScripts(l) {
				return fmt.Errorf("%w: made again it is %s: the layer of %s differs", outcome.ErrIntegrity, made.Digest(), l.By)
			}
			found, err := im.differences(ctx, made, l, im.archs[i].layers[n])
			if err != nil {
				return err
			}
			for _, d := range found {
				otherwise = append(otherwise, "/"+d.path)
			}
		}
	}
	if len(otherwise) > 0 {
		return fmt.Errorf("%w: made again it is %s, with the same package layers: the scripts of its packages made other files this time: %s",
			outcome.ErrRefused, made.Digest(), Paths(otherwise))
	}
	return fmt.Errorf("%w: made again it is %s: the layers' contents are the same, and compression or documents are written by another mmoci", outcome.ErrIntegrity, made.Digest())
}
