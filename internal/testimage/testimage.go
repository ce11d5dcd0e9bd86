// Package testimage makes container images as another program makes them, and puts them into a registry. Tests only.
package testimage

import (
	"fmt"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Image is an image of another program's making, with one small layer for each text.
func Image(t testing.TB, platform v1.Platform, docker bool, texts ...string) v1.Image {
	t.Helper()
	im := v1.Image(empty.Image)
	layer := types.DockerLayer
	if !docker {
		im = mutate.ConfigMediaType(mutate.MediaType(im, types.OCIManifestSchema1), types.OCIConfigJSON)
		layer = types.OCILayer
	}
	im, err := mutate.ConfigFile(im, &v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant})
	for _, text := range texts {
		if err == nil {
			im, err = mutate.Append(im, mutate.Addendum{Layer: static.NewLayer([]byte(text), layer), MediaType: layer})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// Platforms of images.
var AMD64, ARM64 = v1.Platform{OS: "linux", Architecture: "amd64"}, v1.Platform{OS: "linux", Architecture: "arm64"}

// Index is an image index over an image for each platform.
func Index(t testing.TB, docker bool, platforms ...v1.Platform) v1.ImageIndex {
	t.Helper()
	x := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if docker {
		x = mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	}
	for i, p := range platforms {
		x = mutate.AppendManifests(x, mutate.IndexAddendum{
			Add: Image(t, p, docker, "for all", fmt.Sprintf("for %d, %s", i, p)), Descriptor: v1.Descriptor{Platform: &p},
		})
	}
	return x
}

// Digest is that of an image or index.
func Digest(t testing.TB, of interface{ Digest() (v1.Hash, error) }) snapshot.Digest {
	t.Helper()
	h, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	d, err := snapshot.ParseDigest(h.String())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Push puts content into a registry under a tag, as another program does.
func Push(t testing.TB, r *testregistry.Registry, ref oci.Reference, what any) {
	t.Helper()
	must := func(data []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	switch x := what.(type) {
	case v1.Image:
		layers, err := x.Layers()
		must(nil, err)
		for _, l := range layers {
			content, err := l.Compressed()
			must(nil, err)
			r.PutBlob(ref.Repository(), must(io.ReadAll(content)))
		}
		r.PutBlob(ref.Repository(), must(x.RawConfigFile()))
		mediaType, err := x.MediaType()
		r.PutManifest(ref.Repository(), ref.Tag, string(mediaType), must(x.RawManifest()))
		must(nil, err)
	case v1.ImageIndex:
		list, err := x.IndexManifest()
		must(nil, err)
		for _, m := range list.Manifests {
			child, err := x.Image(m.Digest)
			must(nil, err)
			Push(t, r, oci.Reference{Name: ref.Name}, child)
		}
		r.PutManifest(ref.Repository(), ref.Tag, string(list.MediaType), must(x.RawManifest()))
	}
}

// RefersTo makes a manifest about another, with one blob.
func RefersTo(t testing.TB, r *testregistry.Registry, repo, tag, artifactType string, subject snapshot.Blob, layerType, text string) snapshot.Blob {
	t.Helper()
	layer, config := snapshot.BlobOf([]byte(text)), snapshot.BlobOf([]byte("{}"))
	r.PutBlob(repo, []byte(text))
	r.PutBlob(repo, []byte("{}"))
	about := ""
	if subject.Size > 0 {
		about = fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, oci.TypeManifest, subject.Digest, subject.Size)
	}
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]%s}`,
		oci.TypeManifest, artifactType, oci.TypeEmpty, config.Digest, layerType, layer.Digest, layer.Size, about)
	r.PutManifest(repo, tag, oci.TypeManifest, doc)
	return snapshot.BlobOf(doc)
}
