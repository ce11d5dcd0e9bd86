package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// CopySince copies of the artifact src only what old lacks, root, core and
// what that holds always, to an oci-archive or a layout: a delta. [Copy] of that to a place
// which holds old gives the whole artifact there, under the digest it always had.
func CopySince(ctx context.Context, src, old, dst Reference, o PushOptions) (Copied, error) {
	if err := CheckCopy(src, dst, true, o.Recheck); err != nil {
		return Copied{}, err
	}
	had, err := ReadGraph(ctx, old, o.Options)
	if err != nil {
		return Copied{}, fmt.Errorf("what is there already: %w", err)
	}
	from, err := places.Open(ctx, src, &o.Options)
	if err != nil {
		return Copied{}, err
	}
	p, err := readArtifact(ctx, telling(from, src, dst, &o.Options), src, &o.Options)
	if err != nil {
		return Copied{}, fmt.Errorf("copy of %s: %w", src, err)
	}
	p.omit = map[snapshot.Digest]struct{}{}
	for _, b := range slices.Concat(had.Manifests, had.Files) {
		p.omit[b.Digest] = struct{}{}
	}
	for _, doc := range [][]byte{p.root, p.core} {
		delete(p.omit, snapshot.Sum(doc))
	}
	for _, l := range p.tops {
		delete(p.omit, l.Digest)
	}
	if err := p.nameCarried(ctx, dst, &o.Options); err != nil {
		return Copied{}, err
	}
	return p.pushTo(ctx, dst, o)
}

// deltaTarget is told that it has what a delta leaves out.
type deltaTarget struct {
	places.Target
	omit map[snapshot.Digest]struct{}
}

func (t deltaTarget) Has(ctx context.Context, d oci.Descriptor) (bool, error) {
	if _, out := t.omit[d.Digest]; out {
		return true, nil
	}
	return t.Target.Has(ctx, d)
}

// completed reads from a place, and what that lacks from where it is copied to.
type completed struct {
	places.Place
	rest places.Place
}

func (c completed) Open(ctx context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	content, err := c.Place.Open(ctx, b, offset)
	if errors.Is(err, snapshot.ErrNotExist) {
		if rest, err := c.rest.Open(ctx, b, offset); err == nil {
			return rest, nil
		}
	}
	return content, err
}

func (c completed) Document(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	data, err := c.Place.Document(ctx, d)
	if errors.Is(err, snapshot.ErrNotExist) {
		if rest, err := c.rest.Document(ctx, d); err == nil {
			return rest, nil
		}
	}
	return data, err
}

func (c completed) Has(ctx context.Context, d oci.Descriptor) (bool, error) {
	there, err := c.Place.Has(ctx, d)
	if there || err != nil {
		return there, err
	}
	there, err = c.rest.Has(ctx, d)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return there, err
}

// completedBy lets a delta read what it left out from the target of a copy,
// where that is a place already.
func completedBy(ctx context.Context, from places.Place, src, dst Reference, o *Options) (places.Place, error) {
	if src.Kind == Registry {
		return from, nil
	}
	rest, err := places.Open(ctx, dst, o)
	if errors.Is(err, ErrNotFound) {
		return from, nil
	}
	return completed{from, rest}, err
}

const namedMissing = 5 // missing files that an error names

// whole tells whether src has every file of its table; if not, each must be at
// dst, or the error names what is missing before anything is written. A
// registry is asked when it is written to.
func whole(ctx context.Context, from places.Place, src, dst Reference) (bool, error) {
	c, ok := from.(completed)
	if !ok {
		return true, nil
	}
	t, err := readTop(ctx, from, src)
	if err != nil {
		return false, err
	}
	table, err := tableOf(ctx, oci.VerifiedFrom(from), t.core.Layers)
	if err != nil {
		return false, fmt.Errorf("%s: %w", src, err)
	}
	complete, missing := true, 0
	var names []string
	for row := range table.Rows() {
		if row.Size == 0 {
			continue
		}
		d := oci.Describe(oci.TypeOctets, row.Blob())
		there, err := c.Place.Has(ctx, d)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		if complete = false; dst.Kind == Registry {
			return false, nil
		}
		if there, err = c.Has(ctx, d); err != nil {
			return false, err
		}
		if there {
			continue
		}
		if missing++; len(names) < namedMissing {
			names = append(names, row.Path)
		}
	}
	if missing == 0 {
		return complete, nil
	}
	return false, fmt.Errorf("%w: %d files are neither in %s nor in %s: %s%s (a delta completes a place that holds the snapshot before it)",
		ErrNotFound, missing, src, dst, strings.Join(names, ", "), more(missing-len(names)))
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// tableOf reads the table among a core's layers.
func tableOf(ctx context.Context, open oci.Opener, layers []oci.Descriptor) (*snapshot.Table, error) {
	i := slices.IndexFunc(layers, func(d oci.Descriptor) bool { return d.MediaType == oci.TypeTable })
	if i < 0 {
		return nil, oci.Integrity("core has no table")
	}
	r, err := open(ctx, layers[i].Blob)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	defer r.Close()
	data, err := oci.ReadLimited(r, MaxTable)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	return snapshot.OpenTable(data)
}
