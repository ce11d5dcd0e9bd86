package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// fileStore is a layout, as a directory or within a tar.
type fileStore interface {
	snapshot.Blobs
	// index reads index.json; an error wraps ErrNotFound if there is no layout.
	index() ([]byte, error)
	// size of a blob's file; snapshot.ErrNotExist if there is none.
	size(d snapshot.Digest) (int64, error)
}

// filePlace reads artifacts of a layout or oci-archive.
type filePlace struct{ fileStore }

func (p filePlace) layoutIndex() (*layoutIndex, error) {
	data, err := p.index()
	if err != nil {
		return nil, err
	}
	return parseLayoutIndex(data)
}

// find names the document of a reference. The media type is index.json's, "" for a digest that stands in no entry.
func (p filePlace) find(ref Reference) (descriptor, error) {
	x, err := p.layoutIndex()
	if err != nil {
		return descriptor{}, fmt.Errorf("%s: %w", ref, err)
	}
	if ref.Digest.IsZero() {
		d, ok := x.find(ref.Tag)
		if !ok {
			return descriptor{}, fmt.Errorf("%s: tag %w (%s)", ref, ErrNotFound, x.listTags())
		}
		return d, nil
	}
	for _, e := range x.entries {
		if e.Digest == ref.Digest {
			return e.descriptor, nil
		}
	}
	size, err := p.size(ref.Digest)
	if errors.Is(err, snapshot.ErrNotExist) {
		return descriptor{}, fmt.Errorf("%s: digest %w", ref, ErrNotFound)
	}
	return describe("", snapshot.Blob{Digest: ref.Digest, Size: size}), err
}

func (x *layoutIndex) listTags() string {
	const most = 8
	var names []string
	for _, t := range x.Tags() {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "there are none"
	case len(names) > most:
		return fmt.Sprintf("there are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "there are " + strings.Join(names, ", ")
}

func (p filePlace) Resolve(_ context.Context, ref Reference) (snapshot.Digest, error) {
	d, err := p.find(ref)
	return d.Digest, err
}

func (p filePlace) Root(ctx context.Context, ref Reference) (descriptor, []byte, error) {
	d, err := p.find(ref)
	if err != nil {
		return d, nil, err
	}
	data, err := readBlob(ctx, p, "root", d.Blob, MaxDocument)
	return d, data, err
}

func (p filePlace) Document(ctx context.Context, d descriptor) ([]byte, error) {
	return readBlob(ctx, p, "manifest", d.Blob, MaxDocument)
}

func (p filePlace) Has(_ context.Context, d descriptor) (bool, error) {
	size, err := p.size(d.Digest)
	if errors.Is(err, snapshot.ErrNotExist) {
		return false, nil
	}
	return size == d.Size, err
}

func (p filePlace) TagNames(ctx context.Context) ([]string, error) {
	tags, err := p.Tags(ctx)
	var names []string
	for _, t := range tags {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, err
}

func (p filePlace) Tags(context.Context) ([]Tag, error) {
	x, err := p.layoutIndex()
	if err != nil {
		return nil, err
	}
	return x.Tags(), nil
}
