package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
)

// madeImage is an image of one platform made of texts, with a companion that refers to its index.
type madeImage struct {
	index, manifest, companion []byte
	blobs                      map[snapshot.Digest][]byte
}

func (m *madeImage) blob(mediaType, text string) string {
	b := snapshot.BlobOf([]byte(text))
	m.blobs[b.Digest] = []byte(text)
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, b.Digest, b.Size)
}

func describeJSON(mediaType string, data []byte, more string) string {
	b := snapshot.BlobOf(data)
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, b.Digest, b.Size, more)
}

func makeImage(layers ...string) *madeImage {
	m := &madeImage{blobs: map[snapshot.Digest][]byte{}}
	var list []string
	for _, l := range layers {
		list = append(list, m.blob("application/vnd.oci.image.layer.v1.tar", l))
	}
	m.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, oci.TypeManifest,
		m.blob("application/vnd.oci.image.config.v1+json", `{"os":"linux","architecture":"amd64"}`), strings.Join(list, ","))
	m.index = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, oci.TypeIndex,
		describeJSON(oci.TypeManifest, m.manifest, `,"platform":{"os":"linux","architecture":"amd64"}`))
	m.companion = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.example","config":%s,"layers":[%s],"subject":%s}`, oci.TypeManifest,
		m.blob(oci.TypeEmpty, "{}"), m.blob("text/plain", "about "+strings.Join(layers, " ")), describeJSON(oci.TypeIndex, m.index, ""))
	return m
}

func (m *madeImage) image(t *testing.T) *Image {
	t.Helper()
	im, err := New(t.Context(), m.index, [][]byte{m.manifest}, [][]byte{m.companion}, memoryImage(m.blobs))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

type memoryImage map[snapshot.Digest][]byte

// TestPutImage: an image and what refers to it into each place, the manifests in an order in which each registry takes them, the tag last;
// again nothing is sent, and of the next image only what is new.
func TestPutImage(t *testing.T) {
	for _, api := range []bool{false, true} {
		r := testregistry.New(t, testregistry.Options{Referrers: api})
		dir := t.TempDir()
		for _, ref := range []oci.Reference{
			{Kind: oci.Registry, Name: r.Host() + "/site/app", Tag: "v1"},
			{Kind: oci.Layout, Name: filepath.Join(dir, "layout"), Tag: "v1"},
			{Kind: oci.Archive, Name: filepath.Join(dir, "app.tar"), Tag: "v1"},
		} {
			made := makeImage("one", "two")
			r.Requests()
			put, err := Put(t.Context(), made.image(t), ref, "", places.PushOptions{})
			if err != nil {
				t.Fatalf("%s: %v", ref, err)
			}
			if put.Root != snapshot.Sum(made.index) || !put.Changed || put.Uploaded != 5 {
				t.Errorf("%s: %+v", ref, put)
			}
			if ref.Kind == oci.Registry {
				inOrder(t, r.Requests(), snapshot.Sum(made.manifest).String(), snapshot.Sum(made.index).String(), snapshot.Sum(made.companion).String(), "v1")
			}
			im := mustReadImage(t, ref, Options{})
			if im.Root.Digest != put.Root || len(im.Referrers) != 1 || im.Referrers[0].Digest != snapshot.Sum(made.companion) {
				t.Errorf("%s: read %s with referrers %v", ref, im.Root.Digest, im.Referrers)
			}
			if again, err := Put(t.Context(), made.image(t), ref, "", places.PushOptions{}); err != nil || again.Changed || again.Uploaded != 0 && ref.Kind != oci.Archive {
				t.Errorf("%s: again %+v, %v", ref, again, err)
			}
			next := makeImage("one", "three")
			if put, err = Put(t.Context(), next.image(t), ref, "", places.PushOptions{}); err != nil || !put.Changed || put.Uploaded != 2 && ref.Kind != oci.Archive {
				t.Errorf("%s: the next one %+v, %v", ref, put, err)
			}
			if im := mustReadImage(t, ref, Options{}); im.Root.Digest != snapshot.Sum(next.index) || len(im.Referrers) != 1 {
				t.Errorf("%s: then %s with %d referrers", ref, im.Root.Digest, len(im.Referrers))
			}
		}
	}
}

// inOrder fails unless manifests were put in the order of the names, which are tags or digests.
func inOrder(t *testing.T, requests testregistry.Requests, names ...string) {
	t.Helper()
	var put []string
	for _, q := range requests {
		if q.Method == "PUT" && q.Kind == "manifest" {
			put = append(put, q.Ref)
		}
	}
	last := -1
	for _, name := range names {
		at := slices.Index(put, name)
		if at <= last {
			t.Errorf("%s is put at %d of %q", name, at, put)
		}
		last = at
	}
	if put[len(put)-1] != names[len(names)-1] {
		t.Errorf("the last is %s of %q", put[len(put)-1], put)
	}
}

// What an image lacks, or is of another one, is found before anything is sent; a digest cannot be written to.
func TestNewImage(t *testing.T) {
	made, other := makeImage("one"), makeImage("two")
	if _, err := New(t.Context(), made.index, nil, nil, memoryImage(made.blobs)); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("without its manifest: %v", err)
	}
	if _, err := New(t.Context(), made.index, [][]byte{made.manifest}, [][]byte{other.companion}, memoryImage(made.blobs)); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("with the companion of another: %v", err)
	}
	ref := oci.Reference{Kind: oci.Layout, Name: t.TempDir(), Tag: "v1", Digest: snapshot.Sum(nil)}
	if _, err := Put(t.Context(), made.image(t), ref, "", places.PushOptions{}); !errors.Is(err, oci.ErrReference) {
		t.Errorf("to a digest: %v", err)
	}
	// Bytes that are not the layer's get no name.
	for d := range made.blobs {
		made.blobs[d] = []byte("x" + string(made.blobs[d][1:]))
	}
	ref = oci.Reference{Kind: oci.Layout, Name: filepath.Join(t.TempDir(), "l"), Tag: "v1"}
	if _, err := Put(t.Context(), made.image(t), ref, "", places.PushOptions{}); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("wrong bytes: %v", err)
	}
	if _, err := resolve(t.Context(), ref, &places.Options{}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("then %v", err)
	}
}

// Open implements snapshot.Blobs.
func (m memoryImage) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	data, ok := m[b.Digest]
	if !ok {
		return nil, snapshot.ErrNotExist
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data[offset:]))}, nil
}
