package imageproof

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/pkg/snapshot"
)

// VerifyOptions say by what an image is verified.
type VerifyOptions struct {
	Snapshot *snapshot.Snapshot // that has its packages; not necessarily the one that it was made from
	Trust    prove.Trust
	Workers  int // layers at once; 0: as many as there are processors
	Log      outcome.Log
}

// Proof is what was found of one architecture. Plan, files and config are the site's word: they are proved only where the image
// has a Signer.
type Proof struct {
	Architecture string // Debian's
	Proved       int    // packages whose layers were computed again from the .debs that their archives signed
	Generated    int    // layers that were computed again from what these packages say: the system layer
	// Unproved are layers, by name, for which the site's statement alone vouches: this machine cannot run the scripts that made them.
	Unproved []string
	Files    int // layers of the site's own files, which only its statement vouches for
}

// Verify makes the image again from the signed .debs and compares: each layer's tar, each config, and the bytes of each layer.
//
// Errors: outcome.ErrIntegrity for whatever differs, with the package and the path; those of [imagebuild.Build] where the
// snapshot does not have, or does not prove, what the image is made of.
func (im *Image) Verify(ctx context.Context, o VerifyOptions) ([]Proof, error) {
	dir, err := os.MkdirTemp("", "mmoci-verify-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	plan, err := im.PlanIn(dir)
	if err != nil {
		return nil, err
	}
	want, err := imagebuild.Build(ctx, imagebuild.Options{Plan: plan, Snapshot: o.Snapshot, Trust: o.Trust, Lock: im.Lock, Dry: true, Workers: o.Workers, Log: o.Log})
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
		out = append(out, p)
	}
	return out, nil
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
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for n, l := range got.layers {
		g.Go(func() error {
			if n >= len(w.Layers) {
				return fmt.Errorf("%w: layer %d, %s, is none of the plan's", outcome.ErrIntegrity, n+1, l.Digest)
			}
			expected := w.Layers[n]
			if expected.DiffID.IsZero() {
				d, err := im.diffID(each, l)
				if err == nil && d != got.diffIDs[n] {
					err = fmt.Errorf("%w: it is not the one that its config names", outcome.ErrIntegrity)
				}
				if err != nil {
					return fmt.Errorf("layer of %s: %w", expected.By, err)
				}
				return nil
			}
			if got.diffIDs[n] != expected.DiffID {
				return im.differs(each, want, expected, l)
			}
			d, err := im.diffID(each, l)
			if err != nil {
				return fmt.Errorf("layer of %s: %w", expected.By, err)
			}
			if d != expected.DiffID {
				return im.differs(each, want, expected, l)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return p, err
	}
	if len(got.layers) < len(w.Layers) {
		return p, fmt.Errorf("%w: the layer of %s is missing", outcome.ErrIntegrity, w.Layers[len(got.layers)].By)
	}
	for _, l := range w.Layers {
		if l.DiffID.IsZero() {
			p.Unproved = append(p.Unproved, l.By)
		}
	}
	if string(got.config) != configWith(want.Config(i), w.Layers, got.diffIDs) {
		return p, fmt.Errorf("%w: its config (entrypoint, user, environment, ..) is not the one of its plan", outcome.ErrIntegrity)
	}
	for _, l := range w.Layers {
		if l.DiffID.IsZero() {
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

// configWith is a config that was made, with the digests that the image has for the layers that were not computed.
func configWith(config []byte, layers []image.Layer, diffIDs []snapshot.Digest) string {
	text := string(config)
	for n, l := range layers {
		if l.DiffID.IsZero() {
			text = strings.Replace(text, l.DiffID.String(), diffIDs[n].String(), 1)
		}
	}
	return text
}

// differs tells in which path a layer differs from what it has to be.
func (im *Image) differs(ctx context.Context, want *imagebuild.Image, expected image.Layer, got layerAt) error {
	where, err := im.firstDifference(ctx, want, expected, got)
	if err != nil && !errors.Is(err, outcome.ErrIntegrity) {
		return err
	}
	if err != nil {
		where = err.Error()
	}
	return fmt.Errorf("%w: the layer of %s is not what it has to be: %s", outcome.ErrIntegrity, expected.By, where)
}

func (im *Image) firstDifference(ctx context.Context, want *imagebuild.Image, expected image.Layer, got layerAt) (string, error) {
	c, err := want.Open(ctx, expected.Blob, 0)
	if err != nil {
		return "", err
	}
	defer c.R.Close()
	r, err := im.open(ctx, got)
	if err != nil {
		return "", err
	}
	defer r.Close()
	a, b := tar.NewReader(c.R), tar.NewReader(r)
	for {
		x, errX := a.Next()
		y, errY := b.Next()
		switch {
		case errX == io.EOF && errY == io.EOF:
			return "its entries are the same, and it is written in another way", nil
		case errX != nil && errX != io.EOF:
			return "", errX
		case errY == io.EOF:
			return "/" + clean(x.Name) + " is missing", nil
		case errY != nil:
			return fmt.Sprintf("it cannot be read: %v", errY), nil
		case errX == io.EOF, x.Name != y.Name:
			return "/" + clean(y.Name) + " is not expected there", nil
		}
		if x.Mode != y.Mode || x.Uid != y.Uid || x.Gid != y.Gid || x.Typeflag != y.Typeflag || x.Linkname != y.Linkname || x.Size != y.Size || !x.ModTime.Equal(y.ModTime) {
			return "/" + clean(x.Name) + " has another type, owner, mode, size, time or target", nil
		}
		p, q := sha256.New(), sha256.New()
		if _, err := io.Copy(p, a); err != nil {
			return "", err
		}
		if _, err := io.Copy(q, b); err != nil {
			return fmt.Sprintf("/%s cannot be read: %v", clean(x.Name), err), nil
		}
		if string(p.Sum(nil)) != string(q.Sum(nil)) {
			return "/" + clean(x.Name) + " has other bytes", nil
		}
	}
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
	c, err := im.image.Open(ctx, l.Blob, 0)
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
func (im *Image) Rebuild(ctx context.Context, o VerifyOptions, cache *imagebuild.Cache) error {
	dir, err := os.MkdirTemp("", "mmoci-rebuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plan, err := im.PlanIn(dir)
	if err != nil {
		return err
	}
	made, err := imagebuild.Build(ctx, imagebuild.Options{Plan: plan, Snapshot: o.Snapshot, Trust: o.Trust, Lock: im.Lock, Cache: cache, Workers: o.Workers, Log: o.Log})
	if err != nil {
		return err
	}
	defer made.Close()
	if made.Digest() == im.Reference.Digest {
		return nil
	}
	for i, a := range made.Architectures {
		for n, l := range a.Layers {
			if i >= len(im.archs) || n >= len(im.archs[i].diffIDs) || im.archs[i].diffIDs[n] != l.DiffID {
				return fmt.Errorf("%w: made again it is %s: the layer of %s differs", outcome.ErrIntegrity, made.Digest(), l.By)
			}
		}
	}
	return fmt.Errorf("%w: made again it is %s: the layers' contents are the same, and compression or documents are written by another mmoci", outcome.ErrIntegrity, made.Digest())
}
