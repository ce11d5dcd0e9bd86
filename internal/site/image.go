package site

import (
	"context"
	"errors"
	"fmt"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

// IsForeign tells errors about OCI content that is no snapshot, of whatever version: container images and the like.
func IsForeign(err error) bool {
	return errors.Is(err, artifact.ErrNotOurs) && !errors.Is(err, snapshot.ErrNewer)
}

// image copies what is no snapshot. It has no date, so nothing is asked of what To names but that it is no snapshot.
func (c CopyOptions) image(ctx context.Context) (artifact.Copied, error) {
	if c.Since != nil {
		return artifact.Copied{}, fmt.Errorf("%w: %s is a container image; only of snapshots there are deltas", outcome.ErrUsage, c.From)
	}
	return images.Copy(ctx, c.From, c.To, c.Push)
}

// noDate says why a tag is not rolled back to an image, or from one.
func noDate(ref artifact.Reference, err error) error {
	if !IsForeign(err) {
		return err
	}
	return fmt.Errorf("%w: %s is a container image, which has no date to go back from; promote an older digest of it: %w", outcome.ErrUsage, ref, err)
}

// ImageReport is what [VerifyImage] found.
type ImageReport struct {
	Reference string   `json:"reference"`
	Digest    string   `json:"digest"`
	Documents int      `json:"documents"`
	Files     int      `json:"files"` // documents and blobs
	Bytes     int64    `json:"bytes"`
	Referrers []string `json:"referrers"` // digests of what refers to it
	Hashed    bool     `json:"hashed"`    // else the place was only asked
}

// VerifyImage reads and hashes all of a container image, or with remote only asks the place for each part of it.
// It proves that the bytes are those of the digest, and nothing about who made them.
func VerifyImage(ctx context.Context, ref artifact.Reference, remote bool, o artifact.Options) (*ImageReport, error) {
	im, err := images.Read(ctx, ref, images.Options{Options: o})
	if err != nil {
		return nil, err
	}
	if err := im.Verify(ctx, remote, o); err != nil {
		if errors.Is(err, snapshot.ErrNotExist) {
			err = fmt.Errorf("%w: the image is there in part only: %w", outcome.ErrIntegrity, err)
		}
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	r := &ImageReport{Reference: ref.String(), Digest: im.Root.Digest.String(), Documents: len(im.Documents), Referrers: []string{}, Hashed: !remote}
	for _, d := range im.Parts() {
		r.Files++
		r.Bytes += d.Size
	}
	for _, b := range im.Referrers {
		r.Referrers = append(r.Referrers, b.Digest.String())
	}
	return r, nil
}
