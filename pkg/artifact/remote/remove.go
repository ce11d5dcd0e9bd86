package remote

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Remove deletes tags, as far as each still names the digest that it was seen with.
// A registry that allows no DELETE is no error: the outcome says so.
func Remove(ctx context.Context, ref oci.Reference, tags []oci.Tag, o *Options) (oci.Removed, error) {
	return remove(ctx, ref, tags, false, o)
}

// RemoveImages is [Remove] in a repository of a snapshot's images, whose tags TAG-HEX12 name one image each.
func RemoveImages(ctx context.Context, ref oci.Reference, tags []oci.Tag, o *Options) (oci.Removed, error) {
	return remove(ctx, ref, tags, true, o)
}

func remove(ctx context.Context, ref oci.Reference, tags []oci.Tag, images bool, o *Options) (oci.Removed, error) {
	p, err := Open(ref, o)
	if err != nil {
		return oci.Removed{}, err
	}
	t := Target{Repository: p, images: images}
	var r oci.Removed
	for _, tag := range tags {
		if err := oci.Interrupted(ctx); err != nil {
			return r, err
		}
		if err := t.removeOne(ctx, tag, tags, &r); err != nil {
			return r, fmt.Errorf("tag %s: %w", tag.Name, err)
		}
	}
	return r, nil
}

// removeOne deletes a tag; where the registry deletes manifests only, the
// manifest, if no tag that stays names it by now.
func (r Target) removeOne(ctx context.Context, t oci.Tag, going []oci.Tag, out *oci.Removed) error {
	now, err := r.named(ctx, t.Name)
	if err != nil {
		return err
	}
	if now.IsZero() { // by itself, or with another tag of its root
		out.Tags = append(out.Tags, t.Name)
		return nil
	}
	if now != t.Digest {
		out.Kept = append(out.Kept, t.Name)
		return nil
	}
	code, err := r.deleteReference(ctx, t.Name)
	if err != nil {
		return err
	}
	if !isGone(code) {
		stays, err := r.stillNames(ctx, t.Digest, going)
		if err != nil {
			return err
		}
		if stays {
			out.Kept = append(out.Kept, t.Name)
			return nil
		}
		if code, err = r.deleteReference(ctx, t.Digest.String()); err != nil {
			return err
		}
	}
	if isGone(code) {
		out.Tags = append(out.Tags, t.Name)
		return nil
	}
	out.Refused = append(out.Refused, t.Name)
	out.Reason = fmt.Errorf("the registry answers %d to DELETE: allow it there, or let its own retention rules remove these tags", code)
	return nil
}

func isGone(status int) bool { return status/100 == 2 || status == http.StatusNotFound }

func (r *Repository) deleteReference(ctx context.Context, reference string) (status int, err error) {
	err = r.retry(ctx, func(ctx context.Context) (err error) {
		status, err = r.delete(ctx, reference)
		return err
	})
	return status, err
}

// stillNames asks whether any tag that is not going names a root now.
// An immutable tag has its root's digest in its name, and names no
// other; so aliases are asked for, and the immutable tags of this root.
func (r Target) stillNames(ctx context.Context, root snapshot.Digest, going []oci.Tag) (bool, error) {
	names, err := r.TagNames(ctx)
	if err != nil {
		return false, err
	}
	var found atomic.Bool
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(r.o.workers())
	for _, name := range names {
		mine := slices.ContainsFunc(going, func(t oci.Tag) bool { return t.Name == name && t.Digest == root })
		if mine || r.namesOneOnly(name) && !strings.HasSuffix(name, root.Hex()[:12]) {
			continue
		}
		g.Go(func() error {
			now, err := r.named(each, name)
			if now == root {
				found.Store(true)
			}
			return err
		})
	}
	err = g.Wait()
	return found.Load(), err
}

// namesOneOnly tells tags that end in the digits of the only thing they name.
func (r Target) namesOneOnly(tag string) bool {
	return !oci.TagDate(tag).IsZero() || r.images && oneImage.MatchString(tag)
}

var oneImage = regexp.MustCompile(`-[0-9a-f]{12}$`)
