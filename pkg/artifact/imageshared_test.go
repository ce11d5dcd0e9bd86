package artifact

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Content that an image shares with a package, an index, or the config {} of the shards stays the same
// snapshot in every kind of place, whole and as a delta.
func TestImagesThatShareContent(t *testing.T) {
	t.Parallel()
	files := synthFiles(20)
	var deb, index []byte
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if data := files[path]; filepath.Ext(path) == ".deb" {
			deb = data
		} else if len(data) > 0 {
			index = data
		}
	}
	if deb == nil || index == nil {
		t.Fatal("no such files")
	}
	src := testregistry.New(t, testregistry.Options{Referrers: true})
	image := func(name string, config []byte, layers ...[]byte) *images.Image {
		doc := `{"schemaVersion":2,"mediaType":"` + oci.TypeManifest + `","config":` + string(oci.AppendDescriptor(nil, oci.Describe(oci.TypeEmpty, snapshot.BlobOf(config)))) + `,"layers":[`
		src.PutBlob(name, config)
		for i, l := range layers {
			src.PutBlob(name, l)
			if i > 0 {
				doc += ","
			}
			doc += string(oci.AppendDescriptor(nil, oci.Describe("application/octet-stream", snapshot.BlobOf(l))))
		}
		src.PutManifest(name, "1", oci.TypeManifest, []byte(doc+"]}"))
		return mustReadImage(t, mustParse(t, src.Host()+"/"+name+":1"), images.Options{})
	}
	first := map[string]*images.Image{
		"registry.example.org/shared:1": image("shared", []byte("{}"), deb, index, deb),
		"registry.example.org/lock:1":   image("lock", []byte("{}"), []byte("mmoci-lock-v1\n")),
	}
	second := map[string]*images.Image{
		"registry.example.org/shared:1": first["registry.example.org/shared:1"],
		"registry.example.org/next:1":   image("next", []byte("{}"), []byte("new"), deb),
	}
	days := []*snapshot.Snapshot{takeWith(t, files, 0, first), takeWith(t, files, 1, second)}
	places, r := placesOf(t, testregistry.Options{Referrers: true})
	var root snapshot.Digest
	for what, ref := range places {
		p := mustPush(t, ref, days[0], PushOptions{})
		if root.IsZero() {
			root = p.Root
		}
		imagesAre(t, ref, first)
		if what == "registry" {
			r.Collect()
		}
		to := layoutRef(t)
		c, err := Copy(t.Context(), ref, to, PushOptions{})
		if err != nil || c.Root != root {
			t.Errorf("%s: %v, %v", what, c.Root, err)
		}
		imagesAre(t, to, first)
		if what == "archive" {
			continue
		}
		old := ref
		old.Tag = "old"
		if _, err := Copy(t.Context(), ref, old, PushOptions{}); err != nil {
			t.Fatal(err)
		}
		next := mustPush(t, ref, days[1], PushOptions{})
		delta := archiveRef(t)
		if _, err := CopySince(t.Context(), ref, old, delta, PushOptions{}); err != nil {
			t.Fatal(err)
		}
		if c, err := Copy(t.Context(), delta, to, PushOptions{}); err != nil || c.Root != next.Root {
			t.Errorf("%s: delta: %v, %v", what, c.Root, err)
		}
		imagesAre(t, to, second)
		// The new day alone stays, and lacks nothing.
		stated0, err := StatedImages(t.Context(), old, Options{})
		if err != nil {
			t.Fatal(err)
		}
		stated1, err := StatedImages(t.Context(), ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Remove(t.Context(), ref, []Tag{{Name: "old", Digest: root}, {Name: p.Immutable, Digest: root}}, images.Going{Going: stated0, Kept: stated1}, Options{}); err != nil {
			t.Fatal(err)
		}
		if what == "registry" {
			r.Collect()
		}
		imagesAre(t, ref, second)
		whole := layoutRef(t)
		if c, err := Copy(t.Context(), ref, whole, PushOptions{}); err != nil || c.Root != next.Root {
			t.Errorf("%s: after prune: %v, %v", what, c.Root, err)
		}
	}
}
