package artifact

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// imageOf is an image of another program's making, with one small layer for each text.
func imageOf(t testing.TB, platform v1.Platform, docker bool, texts ...string) v1.Image {
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

var amd64, arm64 = v1.Platform{OS: "linux", Architecture: "amd64"}, v1.Platform{OS: "linux", Architecture: "arm64"}

// indexOf is an image index over an image for each platform.
func indexOf(t testing.TB, docker bool, platforms ...v1.Platform) v1.ImageIndex {
	t.Helper()
	x := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if docker {
		x = mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	}
	for i, p := range platforms {
		x = mutate.AppendManifests(x, mutate.IndexAddendum{
			Add: imageOf(t, p, docker, "for all", fmt.Sprintf("for %d, %s", i, p)), Descriptor: v1.Descriptor{Platform: &p},
		})
	}
	return x
}

func digestOf(t testing.TB, of interface{ Digest() (v1.Hash, error) }) snapshot.Digest {
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

// pushed puts content into a registry under a tag, as another program does.
func pushed(t testing.TB, r *testregistry.Registry, ref Reference, what any) {
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
			pushed(t, r, Reference{Name: ref.Name}, child)
		}
		r.PutManifest(ref.Repository(), ref.Tag, string(list.MediaType), must(x.RawManifest()))
	}
}

// refersTo makes a manifest about another, with one blob.
func refersTo(t testing.TB, r *testregistry.Registry, repo, tag, artifactType string, subject snapshot.Blob, layerType, text string) snapshot.Blob {
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

func mustReadImage(t testing.TB, ref Reference, o ImageOptions) *Image {
	t.Helper()
	im, err := ReadImage(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	hashAll(t, im)
	return im
}

// hashAll reads every part of an image.
func hashAll(t testing.TB, im *Image) {
	t.Helper()
	for _, d := range im.Parts() {
		c, err := im.Open(t.Context(), d.Blob, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := c.Reader(d.Blob)
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatalf("%s: %v", d.Digest, err)
		}
		r.Close()
	}
}

// What another program put into a registry or layout is read whole, of OCI's kind and of Docker's.
func TestReadImage(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	for what, content := range map[string]any{
		"OCI image": imageOf(t, amd64, false, "a", "b"), "Docker image": imageOf(t, amd64, true, "a", "b"),
		"OCI index": indexOf(t, false, amd64, arm64), "Docker list": indexOf(t, true, amd64, arm64),
	} {
		t.Run(what, func(t *testing.T) {
			ref := mustParse(t, r.Host()+"/"+strings.ReplaceAll(strings.ToLower(what), " ", "/")+":1")
			pushed(t, r, ref, content)
			im := mustReadImage(t, ref, ImageOptions{})
			want := digestOf(t, content.(interface{ Digest() (v1.Hash, error) }))
			documents, blobs := 1, 3 // a config, two layers
			if strings.HasSuffix(what, "index") || strings.HasSuffix(what, "list") {
				documents, blobs = 3, 5 // they share a layer
			}
			if im.Root.Digest != want || im.Source != want || len(im.Documents) != documents || len(im.Blobs) != blobs || im.Documents[documents-1].Digest != want {
				t.Errorf("%s, %d documents, %d blobs; want %s, %d, %d", im.Root.Digest, len(im.Documents), len(im.Blobs), want, documents, blobs)
			}
			ref.Tag, ref.Digest = "", want
			if again := mustReadImage(t, ref, ImageOptions{}); again.Root != im.Root {
				t.Errorf("by digest %s", again.Root.Digest)
			}
		})
	}
	dir := filepath.Join(testarchive.MemoryDir(t), "layout")
	at, err := ggcr.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	x := indexOf(t, false, amd64, arm64)
	if err := at.AppendIndex(x, ggcr.WithAnnotations(map[string]string{refName: "library/app:1"})); err != nil {
		t.Fatal(err)
	}
	if im := mustReadImage(t, mustParse(t, "oci:"+dir+":library/app:1"), ImageOptions{}); im.Root.Digest != digestOf(t, x) || len(im.Blobs) != 5 {
		t.Errorf("in a layout: %s, %d blobs", im.Root.Digest, len(im.Blobs))
	}
}

func TestCutImage(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	x := indexOf(t, false, amd64, arm64, v1.Platform{OS: "linux", Architecture: "s390x"})
	pushed(t, r, ref, x)
	root := digestOf(t, x)
	signature := refersTo(t, r, "app", "", "application/vnd.example.signature", snapshot.Blob{Digest: root, Size: 1}, "text/plain", "of the whole")
	refersTo(t, r, "app", digestTag(root, ".sig"), "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "of the whole, too")
	want := []Platform{{OS: "linux", Architecture: "arm64"}}
	im := mustReadImage(t, ref, ImageOptions{Platforms: want})
	if im.Source != root || im.Root.Digest == root || len(im.Documents) != 2 || len(im.Blobs) != 3 || len(im.Referrers) != 0 {
		t.Errorf("cut: %s of %s, %d documents, %d blobs, referrers %v", im.Root.Digest, im.Source, len(im.Documents), len(im.Blobs), im.Referrers)
	}
	if again := mustReadImage(t, ref, ImageOptions{Platforms: want}); again.Root != im.Root {
		t.Errorf("cut again: %s", again.Root.Digest)
	}
	child := im.Documents[0].Blob
	about := refersTo(t, r, "app", "", "application/vnd.example.sbom", child, "text/plain", "of one platform")
	if im = mustReadImage(t, ref, ImageOptions{Platforms: want}); !slices.Equal(im.Referrers, []snapshot.Blob{about}) {
		t.Errorf("referrers of what was cut: %v", im.Referrers)
	}
	if im = mustReadImage(t, ref, ImageOptions{}); len(im.Referrers) != 3 || im.Root.Digest != root {
		t.Errorf("whole: %v, want %v and %v", im.Referrers, signature, about)
	}
	if im = mustReadImage(t, ref, ImageOptions{WithoutReferrers: true}); len(im.Referrers) != 0 {
		t.Errorf("without: %v", im.Referrers)
	}
	if _, err := ReadImage(t.Context(), ref, ImageOptions{Platforms: []Platform{{OS: "linux", Architecture: "riscv64"}}}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("a platform that it does not have: %v", err)
	}
}

// Referrers are found by the API, by the tag that stands in for it, and by cosign's tags.
func TestImageReferrers(t *testing.T) {
	t.Parallel()
	for what, api := range map[string]bool{"API": true, "tag": false} {
		t.Run(what, func(t *testing.T) {
			r := testregistry.New(t, testregistry.Options{Referrers: api})
			ref := mustParse(t, r.Host()+"/app:1")
			image := imageOf(t, amd64, false, "x")
			pushed(t, r, ref, image)
			root := mustReadImage(t, ref, ImageOptions{}).Root.Blob
			sbom := refersTo(t, r, "app", "", "application/vnd.example.sbom", root, "text/plain", "sbom")
			other := refersTo(t, r, "app", "", "application/vnd.example.sbom", snapshot.BlobOf([]byte("y")), "text/plain", "of another")
			if !api {
				entry := func(b snapshot.Blob) string {
					return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, oci.TypeManifest, b.Digest, b.Size)
				}
				gone := entry(snapshot.BlobOf([]byte("collected")))
				list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s,%s]}`, oci.TypeIndex, entry(other), entry(sbom), gone)
				r.PutManifest("app", "sha256-"+root.Digest.Hex(), oci.TypeIndex, list)
			}
			signature := refersTo(t, r, "app", "sha256-"+root.Digest.Hex()+".sig", "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "signature")
			im := mustReadImage(t, ref, ImageOptions{})
			want := []snapshot.Blob{sbom, signature}
			slices.SortFunc(want, func(a, b snapshot.Blob) int { return strings.Compare(a.Digest.Hex(), b.Digest.Hex()) })
			if !slices.Equal(im.Referrers, want) || len(im.Documents) != 3 {
				t.Errorf("%v, want %v", im.Referrers, want)
			}
		})
	}
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	pushed(t, r, ref, imageOf(t, amd64, false, "x"))
	root := mustReadImage(t, ref, ImageOptions{}).Root.Blob
	for i := range maxReferrers + 1 {
		refersTo(t, r, "app", "", "application/vnd.example", root, "text/plain", fmt.Sprint(i))
	}
	if _, err := ReadImage(t.Context(), ref, ImageOptions{}); !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), "refer") {
		t.Errorf("%d referrers: %v", maxReferrers+1, err)
	}
}

// What refers to an image is bounded, by what it says of its size.
func TestLargeReferrer(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	pushed(t, r, ref, imageOf(t, amd64, false, "x"))
	root := mustReadImage(t, ref, ImageOptions{}).Root
	small := snapshot.BlobOf([]byte("{}"))
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"text/plain","digest":%q,"size":%d}],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		oci.TypeManifest, oci.TypeEmpty, small.Digest, snapshot.Sum([]byte("large")), maxReferrerBytes, oci.TypeManifest, root.Digest, root.Size)
	r.PutManifest("app", "", oci.TypeManifest, doc)
	if _, err := ReadImage(t.Context(), ref, ImageOptions{}); !errors.Is(err, ErrImage) {
		t.Errorf("%v", err)
	}
}

// An image whose documents are many and large is refused before they fill the memory.
func TestImageOfManyBytes(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	config := snapshot.BlobOf([]byte("{}"))
	var list []string
	for i := range maxDocumentBytes/(3<<20) + 1 {
		doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],"annotations":{"x":"%d%s"}}`,
			oci.TypeManifest, oci.TypeEmpty, config.Digest, i, strings.Repeat("x", 3<<20))
		b := snapshot.BlobOf(doc)
		r.PutManifest("app", "", oci.TypeManifest, doc)
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, oci.TypeManifest, b.Digest, b.Size))
	}
	r.PutManifest("app", "1", oci.TypeIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, oci.TypeIndex, strings.Join(list, ",")))
	if _, err := ReadImage(t.Context(), mustParse(t, r.Host()+"/app:1"), ImageOptions{}); !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), "together") {
		t.Errorf("%v", err)
	}
}

// What cannot be carried, is not there or lies is refused in one line that says which it is.
func TestRefusedImages(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	ref := func(repo string) Reference { return mustParse(t, r.Host()+"/"+repo+":1") }
	pushed(t, r, ref("whole"), imageOf(t, amd64, false, "x"))

	layer := snapshot.BlobOf([]byte("x"))
	manifest := func(more string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d%s}]}`,
			oci.TypeManifest, "application/vnd.oci.image.config.v1+json", layer.Digest, layer.Size, layer.Digest, layer.Size, more)
	}
	r.PutManifest("foreign", "1", oci.TypeManifest, manifest(`,"urls":["https://example.org/layer"]`))
	r.PutManifest("old", "1", "application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1,"name":"old","tag":"1","fsLayers":[],"history":[]}`))
	r.PutManifest("sized", "1", oci.TypeManifest, manifest(`,"size":7`))

	many := []byte(`{"schemaVersion":2,"mediaType":"` + oci.TypeIndex + `","manifests":[`)
	for i := range 200 {
		m := imageOf(t, v1.Platform{OS: "linux", Architecture: fmt.Sprint("a", i)}, false)
		data, err := m.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		r.PutManifest("many", "", oci.TypeManifest, data)
		if i > 0 {
			many = append(many, ',')
		}
		b := snapshot.BlobOf(data)
		many = fmt.Appendf(many, `{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"a%d"}}`, oci.TypeManifest, b.Digest, b.Size, i)
	}
	r.PutManifest("many", "1", oci.TypeIndex, append(many, `]}`...))

	x := indexOf(t, false, amd64, arm64)
	pushed(t, r, ref("flipped"), x)
	im, err := x.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	r.FlipManifest(t, "flipped", im.Manifests[1].Digest.String())
	pushed(t, r, ref("lost"), x)
	r.DeleteManifest("lost", im.Manifests[1].Digest.String())
	mustPush(t, ref("snapshot"), takeOf(t, synthFiles(3)), PushOptions{})

	for what, c := range map[string]struct {
		want error
		says string
	}{
		"absent":   {ErrNotFound, "/absent:1"},
		"foreign":  {ErrImage, "https://example.org/layer"},
		"old":      {ErrImage, "schema 1"},
		"many":     {ErrImage, "200 manifests"},
		"sized":    {snapshot.ErrIntegrity, ""},
		"flipped":  {snapshot.ErrIntegrity, im.Manifests[1].Digest.String()},
		"lost":     {snapshot.ErrNotExist, im.Manifests[1].Digest.String()},
		"snapshot": {ErrReference, "it is a snapshot"},
	} {
		_, err := ReadImage(t.Context(), ref(what), ImageOptions{})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ReadImage(t.Context(), ref("many"), ImageOptions{Platforms: []Platform{{OS: "linux", Architecture: "a199"}}}); err != nil {
		t.Errorf("cut to one of 200: %v", err)
	}

	// Configs and layers are verified by who reads them.
	pushed(t, r, ref("liar"), imageOf(t, amd64, false, "x"))
	liar := mustReadImage(t, ref("liar"), ImageOptions{})
	for size, lie := range map[string][]byte{"same size": []byte("y"), "longer": []byte("xy"), "shorter": {}} {
		r.SetBlob("liar", layer.Digest.String(), lie)
		c, err := liar.Open(t.Context(), layer, 0)
		if err == nil {
			_, err = io.Copy(io.Discard, c.Reader(layer))
		}
		if !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("a layer of other bytes, %s: %v", size, err)
		}
	}
}

// A document may be larger than a snapshot's, up to what registries take.
func TestLargeImageDocument(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	im, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	long := mutate.Annotations(im, map[string]string{"long": strings.Repeat("x", 2<<20)}).(v1.Image)
	ref := mustParse(t, r.Host()+"/app:1")
	pushed(t, r, ref, long)
	if got := mustReadImage(t, ref, ImageOptions{}); got.Root.Size < 2<<20 {
		t.Errorf("%d bytes", got.Root.Size)
	}
	// And a snapshot's may not.
	if _, err := Open(t.Context(), ref, Options{}); !errors.Is(err, ErrNotOurs) {
		t.Errorf("opened as a snapshot: %v", err)
	}
}
