package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// imageDocs are documents by digest, as a place has them.
type imageDocs map[snapshot.Digest][]byte

func (m imageDocs) put(mediaType, data string) Descriptor {
	d := Describe(mediaType, snapshot.BlobOf([]byte(data)))
	m[d.Digest] = []byte(data)
	return d
}

func (m imageDocs) read(_ context.Context, d Descriptor) ([]byte, error) {
	data, ok := m[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, snapshot.ErrNotExist)
	}
	return data, nil
}

func text(d Descriptor) string { return string(AppendDescriptor(nil, d)) }

func with(d Descriptor, more string) string {
	return strings.TrimSuffix(text(d), "}") + "," + more + "}"
}

func blobOf(mediaType, data string) Descriptor {
	return Describe(mediaType, snapshot.BlobOf([]byte(data)))
}

func manifestOf(mediaType, config string, layers ...string) string {
	var ls []string
	for _, l := range layers {
		ls = append(ls, text(blobOf("application/vnd.oci.image.layer.v1.tar+gzip", l)))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, mediaType,
		text(blobOf("application/vnd.oci.image.config.v1+json", config)), strings.Join(ls, ","))
}

// twoPlatforms is an image index of two platforms and an attestation of each.
func twoPlatforms(docs imageDocs) (string, []Descriptor) {
	var entries []string
	var children []Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		m := docs.put(TypeManifest, manifestOf(TypeManifest, arch, "base", arch))
		a := docs.put(TypeManifest, manifestOf(TypeManifest, "attestation of "+arch, "in-toto "+arch))
		entries = append(entries, with(m, fmt.Sprintf(`"platform":{"os":"linux","architecture":%q}`, arch)),
			with(a, fmt.Sprintf(`"platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.digest":%q,"vnd.docker.reference.type":"attestation-manifest"}`, m.Digest)))
		children = append(children, m, a)
	}
	return `{"annotations":{"x": "y"},"schemaVersion":2,"mediaType":"` + TypeIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`, children
}

func TestWalkImage(t *testing.T) {
	t.Parallel()
	docs := imageDocs{}
	index, children := twoPlatforms(docs)
	root := docs.put(TypeIndex, index)
	g, err := WalkImage(t.Context(), docs.read, root)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Documents) != 5 || g.Root().Descriptor != root || len(g.Blobs) != 7 {
		t.Errorf("%d documents, %d blobs", len(g.Documents), len(g.Blobs))
	}
	for i, c := range children {
		if g.Documents[i].Descriptor != c {
			t.Errorf("document %d is %s", i, g.Documents[i].Digest)
		}
	}
	if p := g.Root().Document.Manifests[2].Platform.String(); p != "linux/arm64" {
		t.Error(p)
	}
	// A document that does not say its media type has the one that it has the shape of.
	plain := docs.put("", strings.Replace(manifestOf(TypeManifest, "c", "l"), `"mediaType":"`+TypeManifest+`",`, "", 1))
	if g, err := WalkImage(t.Context(), docs.read, plain); err != nil || g.Root().MediaType != TypeManifest {
		t.Error(g, err)
	}
	docker := docs.put(TypeDockerManifest, manifestOf(TypeDockerManifest, "c", "l"))
	if g, err := WalkImage(t.Context(), docs.read, docker); err != nil || g.Root().MediaType != TypeDockerManifest {
		t.Error(g, err)
	}
}

// A layer that has the bytes of a manifest does not stand for that manifest, in whatever order they come.
func TestWalkImageOfBoth(t *testing.T) {
	t.Parallel()
	docs := imageDocs{}
	inner := manifestOf(TypeManifest, "inner config", "inner layer")
	a := docs.put(TypeManifest, inner)
	b := docs.put(TypeManifest, manifestOf(TypeManifest, "c", inner))
	for _, order := range [][]Descriptor{{a, b}, {b, a}} {
		root := docs.put(TypeIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, TypeIndex, text(order[0]), text(order[1])))
		g, err := WalkImage(t.Context(), docs.read, root)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Documents) != 3 || len(g.Blobs) != 4 || len(g.All()) != 6 {
			t.Errorf("%d documents, %d blobs, %d in all", len(g.Documents), len(g.Blobs), len(g.All()))
		}
	}
}

// many are so many distinct keys.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%06x":0`, i)
	}
	return b.String()
}

// A document of many short entries does not fill the memory of who reads it.
func TestImageDocumentMemory(t *testing.T) {
	config := text(blobOf("application/vnd.oci.image.config.v1+json", "c"))
	for name, doc := range map[string]string{
		"manifests":   `{"schemaVersion":2,"manifests":[{}` + strings.Repeat(",{}", MaxImageDocument/3-100) + `]}`,
		"layers":      `{"schemaVersion":2,"config":` + config + `,"layers":[null` + strings.Repeat(",0", MaxImageDocument/2-200) + `]}`,
		"fsLayers":    `{"schemaVersion":1,"fsLayers":[0` + strings.Repeat(",0", MaxImageDocument/2-200) + `]}`,
		"urls":        `{"schemaVersion":2,"config":` + config + `,"layers":[{"urls":[""` + strings.Repeat(`,""`, MaxImageDocument/3-200) + `]}]}`,
		"keys":        `{"schemaVersion":2,"config":` + config + `,"layers":[]` + many(MaxImageDocument/12) + `}`,
		"annotations": `{"schemaVersion":2,"manifests":[{"annotations":{"":""` + strings.Repeat(`,"":""`, MaxImageDocument/6-100) + `}}]}`,
	} {
		data := []byte(doc)
		if len(data) > MaxImageDocument {
			t.Fatal(name, len(data))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ParseImageDocument(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 64<<20 {
			t.Errorf("%s: %d MiB, %v", name, used>>20, err)
		}
	}
}

func TestWalkImageRefuses(t *testing.T) {
	t.Parallel()
	m := manifestOf(TypeManifest, "c", "l")
	docs := imageDocs{}
	good := docs.put(TypeManifest, m)
	index := func(entries ...string) string {
		return `{"schemaVersion":2,"mediaType":"` + TypeIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`
	}
	nested := text(good)
	for range 3 {
		nested = text(docs.put(TypeIndex, index(nested)))
	}
	var many []string
	for i := range 200 {
		many = append(many, text(docs.put(TypeManifest, manifestOf(TypeManifest, fmt.Sprint(i)))))
	}
	layer := text(blobOf("application/vnd.oci.image.layer.v1.tar+gzip", "l"))
	edit := func(old, new string) string {
		if !strings.Contains(m, old) {
			t.Fatalf("nothing to edit: %s", old)
		}
		return strings.Replace(m, old, new, 1)
	}
	for name, c := range map[string]struct {
		doc  string
		want error
		say  string
	}{
		"schema 1":           {`{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[{"blobSum":"sha256:00"}]}`, ErrImage, "schema 1"},
		"foreign, later":     {edit(layer, with(blobOf("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "l"), `"urls":[null,"https://example.org/l"]`)), ErrImage, "foreign"},
		"no bytes":           {edit(layer, text(blobOf("application/vnd.oci.image.layer.v1.tar+gzip", ""))), ErrImage, "0 bytes"},
		"foreign layer":      {edit(layer, with(blobOf("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "l"), `"urls":["https://example.org/l"]`)), ErrImage, "example.org/l"},
		"200 platforms":      {index(many...), ErrImage, "200 manifests, the limit is 128"},
		"deep":               {index(nested), ErrImage, "deep"},
		"no manifests":       {index(), ErrImage, "without manifests"},
		"other child":        {index(text(blobOf("application/vnd.example", "x"))), ErrImage, "media type"},
		"sha512":             {edit(blobOf("", "l").Digest.String(), "sha512:"+strings.Repeat("0", 128)), ErrImage, "sha512"},
		"manifests, layers":  {edit(`"layers"`, `"manifests":[],"layers"`), snapshot.ErrIntegrity, "manifests and layers"},
		"two, folded":        {edit(`"layers"`, `"layer\u017f":[],"layers"`), snapshot.ErrIntegrity, "twice"},
		"two layers in one":  {edit(layer, with(blobOf("a/b", "l"), `"Digest":"`+snapshot.Sum(nil).String()+`"`)), snapshot.ErrIntegrity, "twice"},
		"two configs in one": {edit(`"config":{`, `"config": {"size":7,`), snapshot.ErrIntegrity, "twice"},
		"two meanings":       {edit(`"layers"`, `"Layers":[],"layers"`), snapshot.ErrIntegrity, "twice"},
		"other type":         {edit(TypeManifest, TypeIndex), snapshot.ErrIntegrity, "mediaType"},
		"another than told":  {edit(TypeManifest, TypeDockerManifest), snapshot.ErrIntegrity, "its descriptor says"},
		"empty layer":        {edit(`"size":1}]`, `"size":0}]`), snapshot.ErrIntegrity, "0 bytes"},
		"two sizes":          {index(text(good), strings.Replace(text(good), `"size":`, `"size":1`, 1)), snapshot.ErrIntegrity, "two sizes"},
		"no JSON":            {"<html>", snapshot.ErrIntegrity, "no JSON object"},
		"more behind":        {m + "{}", snapshot.ErrIntegrity, "after the document"},
		"neither":            {`{"schemaVersion":2}`, snapshot.ErrIntegrity, "neither"},
		"absent":             {index(text(blobOf(TypeManifest, "x"))), snapshot.ErrNotExist, ""},
	} {
		mediaType := TypeManifest
		if strings.Contains(c.doc, `"manifests":[{`) {
			mediaType = TypeIndex
		}
		d := docs.put(mediaType, c.doc)
		if g, err := WalkImage(t.Context(), docs.read, d); g != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v; want %v that says %q", name, err, c.want, c.say)
		}
	}
}

// What is cut is an image index again, whose entries are those of before, byte for byte.
func TestCutPlatforms(t *testing.T) {
	t.Parallel()
	docs := imageDocs{}
	index, children := twoPlatforms(docs)
	arm := Platform{OS: "linux", Architecture: "arm64"}
	cut, err := CutPlatforms([]byte(index), []Platform{arm})
	if err != nil {
		t.Fatal(err)
	}
	d, err := ParseImageDocument(cut)
	if err != nil || len(d.Manifests) != 2 || d.Manifests[0].Descriptor != children[2] || d.Manifests[1].Descriptor != children[3] {
		t.Errorf("%s: %v", cut, err)
	}
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":`
	if !strings.HasPrefix(string(cut), want) || !strings.HasSuffix(string(cut), `],"annotations":{"x":"y"}}`) {
		t.Errorf("%s", cut)
	}
	if again, err := CutPlatforms(cut, []Platform{arm}); err != nil || !bytes.Equal(again, cut) {
		t.Errorf("cut again: %s, %v", again, err)
	}
	both := []Platform{arm, {OS: "linux", Architecture: "amd64"}}
	if whole, err := CutPlatforms([]byte(index), both); err != nil || string(whole) != index {
		t.Errorf("both: %s, %v", whole, err)
	}
	if _, err := CutPlatforms([]byte(index), []Platform{{OS: "linux", Architecture: "s390x"}}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "linux/amd64, linux/arm64") {
		t.Error(err)
	}
	m := manifestOf(TypeManifest, "c", "l")
	if same, err := CutPlatforms([]byte(m), []Platform{arm}); err != nil || string(same) != m {
		t.Errorf("%s, %v", same, err)
	}
	for s, want := range map[string]string{"linux/arm/v7": "linux/arm/v7", "linux/amd64": "linux/amd64", "amd64": "", "linux//v7": "", "a/b/c/d": ""} {
		if p, err := ParsePlatform(s); (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
}

func FuzzImageDocument(f *testing.F) {
	docs := imageDocs{}
	index, _ := twoPlatforms(docs)
	f.Add([]byte(index))
	for _, data := range docs {
		f.Add(data)
	}
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseImageDocument(data)
		if err != nil {
			if !errors.Is(err, ErrImage) && !errors.Is(err, snapshot.ErrIntegrity) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !json.Valid(data) || d.IsIndex() != (len(d.Manifests) > 0) {
			t.Fatalf("%+v", d)
		}
		var all []Platform
		for _, m := range d.Manifests {
			if m.Describes.IsZero() {
				all = append(all, m.Platform)
			}
		}
		for _, p := range all {
			cut, err := CutPlatforms(data, []Platform{p})
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			again, err := ParseImageDocument(cut)
			if err != nil || !slices.ContainsFunc(again.Manifests, func(m ImageManifest) bool { return m.Platform == p }) {
				t.Fatalf("cut to %s: %s, %v", p, cut, err)
			}
		}
	})
}
