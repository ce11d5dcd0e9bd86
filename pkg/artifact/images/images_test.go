package images

import (
	"context"
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

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testimage"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

func mustParse(t testing.TB, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustReadImage(t testing.TB, ref oci.Reference, o Options) *Image {
	t.Helper()
	im, err := Read(t.Context(), ref, o)
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
		"OCI image": testimage.Image(t, testimage.AMD64, false, "a", "b"), "Docker image": testimage.Image(t, testimage.AMD64, true, "a", "b"),
		"OCI index": testimage.Index(t, false, testimage.AMD64, testimage.ARM64), "Docker list": testimage.Index(t, true, testimage.AMD64, testimage.ARM64),
	} {
		t.Run(what, func(t *testing.T) {
			ref := mustParse(t, r.Host()+"/"+strings.ReplaceAll(strings.ToLower(what), " ", "/")+":1")
			testimage.Push(t, r, ref, content)
			im := mustReadImage(t, ref, Options{})
			want := testimage.Digest(t, content.(interface{ Digest() (v1.Hash, error) }))
			documents, blobs := 1, 3 // a config, two layers
			if strings.HasSuffix(what, "index") || strings.HasSuffix(what, "list") {
				documents, blobs = 3, 5 // they share a layer
			}
			if im.Root.Digest != want || im.Source != want || len(im.Documents) != documents || len(im.Blobs) != blobs || im.Documents[documents-1].Digest != want {
				t.Errorf("%s, %d documents, %d blobs; want %s, %d, %d", im.Root.Digest, len(im.Documents), len(im.Blobs), want, documents, blobs)
			}
			ref.Tag, ref.Digest = "", want
			if again := mustReadImage(t, ref, Options{}); again.Root != im.Root {
				t.Errorf("by digest %s", again.Root.Digest)
			}
			interrupted, cancel := context.WithCancel(t.Context())
			cancel()
			for _, remote := range []bool{false, true} {
				if whole, cut := im.Verify(t.Context(), remote, places.Options{}), im.Verify(interrupted, remote, places.Options{}); whole != nil || cut == nil {
					t.Errorf("verified: %v; interrupted: %v", whole, cut)
				}
			}
		})
	}
	dir := filepath.Join(testarchive.MemoryDir(t), "layout")
	at, err := ggcr.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	x := testimage.Index(t, false, testimage.AMD64, testimage.ARM64)
	if err := at.AppendIndex(x, ggcr.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "library/app:1"})); err != nil {
		t.Fatal(err)
	}
	if im := mustReadImage(t, mustParse(t, "oci:"+dir+":library/app:1"), Options{}); im.Root.Digest != testimage.Digest(t, x) || len(im.Blobs) != 5 {
		t.Errorf("in a layout: %s, %d blobs", im.Root.Digest, len(im.Blobs))
	}
}

func TestCutImage(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	x := testimage.Index(t, false, testimage.AMD64, testimage.ARM64, v1.Platform{OS: "linux", Architecture: "s390x"})
	testimage.Push(t, r, ref, x)
	root := testimage.Digest(t, x)
	signature := testimage.RefersTo(t, r, "app", "", "application/vnd.example.signature", snapshot.Blob{Digest: root, Size: 1}, "text/plain", "of the whole")
	testimage.RefersTo(t, r, "app", digestTag(root, ".sig"), "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "of the whole, too")
	want := []oci.Platform{{OS: "linux", Architecture: "arm64"}}
	im := mustReadImage(t, ref, Options{Platforms: want})
	if im.Source != root || im.Root.Digest == root || len(im.Documents) != 2 || len(im.Blobs) != 3 || len(im.Referrers) != 0 {
		t.Errorf("cut: %s of %s, %d documents, %d blobs, referrers %v", im.Root.Digest, im.Source, len(im.Documents), len(im.Blobs), im.Referrers)
	}
	if again := mustReadImage(t, ref, Options{Platforms: want}); again.Root != im.Root {
		t.Errorf("cut again: %s", again.Root.Digest)
	}
	child := im.Documents[0].Blob
	about := testimage.RefersTo(t, r, "app", "", "application/vnd.example.sbom", child, "text/plain", "of one platform")
	if im = mustReadImage(t, ref, Options{Platforms: want}); !slices.Equal(im.Referrers, []snapshot.Blob{about}) {
		t.Errorf("referrers of what was cut: %v", im.Referrers)
	}
	if im = mustReadImage(t, ref, Options{}); len(im.Referrers) != 3 || im.Root.Digest != root {
		t.Errorf("whole: %v, want %v and %v", im.Referrers, signature, about)
	}
	if im = mustReadImage(t, ref, Options{WithoutReferrers: true}); len(im.Referrers) != 0 {
		t.Errorf("without: %v", im.Referrers)
	}
	if _, err := Read(t.Context(), ref, Options{Platforms: []oci.Platform{{OS: "linux", Architecture: "riscv64"}}}); !errors.Is(err, oci.ErrNotFound) || !strings.Contains(err.Error(), "linux/s390x") {
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
			image := testimage.Image(t, testimage.AMD64, false, "x")
			testimage.Push(t, r, ref, image)
			root := mustReadImage(t, ref, Options{}).Root.Blob
			sbom := testimage.RefersTo(t, r, "app", "", "application/vnd.example.sbom", root, "text/plain", "sbom")
			other := testimage.RefersTo(t, r, "app", "", "application/vnd.example.sbom", snapshot.BlobOf([]byte("y")), "text/plain", "of another")
			if !api {
				entry := func(b snapshot.Blob) string {
					return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, oci.TypeManifest, b.Digest, b.Size)
				}
				gone := entry(snapshot.BlobOf([]byte("collected")))
				list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s,%s]}`, oci.TypeIndex, entry(other), entry(sbom), gone)
				r.PutManifest("app", "sha256-"+root.Digest.Hex(), oci.TypeIndex, list)
			}
			signature := testimage.RefersTo(t, r, "app", "sha256-"+root.Digest.Hex()+".sig", "", snapshot.Blob{}, "application/vnd.dev.cosign.simplesigning.v1+json", "signature")
			im := mustReadImage(t, ref, Options{})
			want := []snapshot.Blob{sbom, signature}
			slices.SortFunc(want, func(a, b snapshot.Blob) int { return strings.Compare(a.Digest.Hex(), b.Digest.Hex()) })
			if !slices.Equal(im.Referrers, want) || len(im.Documents) != 3 {
				t.Errorf("%v, want %v", im.Referrers, want)
			}
		})
	}
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	testimage.Push(t, r, ref, testimage.Image(t, testimage.AMD64, false, "x"))
	root := mustReadImage(t, ref, Options{}).Root.Blob
	for i := range maxReferrers + 1 {
		testimage.RefersTo(t, r, "app", "", "application/vnd.example", root, "text/plain", fmt.Sprint(i))
	}
	if _, err := Read(t.Context(), ref, Options{}); !errors.Is(err, oci.ErrImage) || !strings.Contains(err.Error(), "refer") {
		t.Errorf("%d referrers: %v", maxReferrers+1, err)
	}
}

// What refers to an image is bounded, by what it says of its size.
func TestLargeReferrer(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{Referrers: true})
	ref := mustParse(t, r.Host()+"/app:1")
	testimage.Push(t, r, ref, testimage.Image(t, testimage.AMD64, false, "x"))
	root := mustReadImage(t, ref, Options{}).Root
	small := snapshot.BlobOf([]byte("{}"))
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"text/plain","digest":%q,"size":%d}],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		oci.TypeManifest, oci.TypeEmpty, small.Digest, snapshot.Sum([]byte("large")), maxReferrerBytes, oci.TypeManifest, root.Digest, root.Size)
	r.PutManifest("app", "", oci.TypeManifest, doc)
	if _, err := Read(t.Context(), ref, Options{}); !errors.Is(err, oci.ErrImage) {
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
	if _, err := Read(t.Context(), mustParse(t, r.Host()+"/app:1"), Options{}); !errors.Is(err, oci.ErrImage) || !strings.Contains(err.Error(), "together") {
		t.Errorf("%v", err)
	}
}

// What cannot be carried, is not there or lies is refused in one line that says which it is.
func TestRefusedImages(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	ref := func(repo string) oci.Reference { return mustParse(t, r.Host()+"/"+repo+":1") }
	testimage.Push(t, r, ref("whole"), testimage.Image(t, testimage.AMD64, false, "x"))

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
		m := testimage.Image(t, v1.Platform{OS: "linux", Architecture: fmt.Sprint("a", i)}, false)
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

	x := testimage.Index(t, false, testimage.AMD64, testimage.ARM64)
	testimage.Push(t, r, ref("flipped"), x)
	im, err := x.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	r.FlipManifest(t, "flipped", im.Manifests[1].Digest.String())
	testimage.Push(t, r, ref("lost"), x)
	r.DeleteManifest("lost", im.Manifests[1].Digest.String())
	core := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, oci.TypeManifest, oci.TypeConfig2, layer.Digest, layer.Size)
	r.PutManifest("snapshot", "", oci.TypeManifest, core)
	r.PutManifest("snapshot", "1", oci.TypeIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		oci.TypeIndex, oci.TypeManifest, snapshot.Sum(core), len(core)))

	for what, c := range map[string]struct {
		want error
		says string
	}{
		"absent":   {oci.ErrNotFound, "/absent:1"},
		"foreign":  {oci.ErrImage, "https://example.org/layer"},
		"old":      {oci.ErrImage, "schema 1"},
		"many":     {oci.ErrImage, "200 manifests"},
		"sized":    {snapshot.ErrIntegrity, ""},
		"flipped":  {snapshot.ErrIntegrity, im.Manifests[1].Digest.String()},
		"lost":     {snapshot.ErrNotExist, im.Manifests[1].Digest.String()},
		"snapshot": {oci.ErrReference, "it is a snapshot"},
	} {
		_, err := Read(t.Context(), ref(what), Options{})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Read(t.Context(), ref("many"), Options{Platforms: []oci.Platform{{OS: "linux", Architecture: "a199"}}}); err != nil {
		t.Errorf("cut to one of 200: %v", err)
	}

	// Configs and layers are verified by who reads them.
	testimage.Push(t, r, ref("liar"), testimage.Image(t, testimage.AMD64, false, "x"))
	liar := mustReadImage(t, ref("liar"), Options{})
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
	testimage.Push(t, r, ref, long)
	if got := mustReadImage(t, ref, Options{}); got.Root.Size < 2<<20 {
		t.Errorf("%d bytes", got.Root.Size)
	}
}
