package chaintest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/passenger"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// imageLayout makes a layout with an image index of the platforms amd64 and arm64, and returns its reference.
func imageLayout(t *testing.T, seed string) string {
	t.Helper()
	var images []*image.Image
	for _, arch := range []string{"amd64", "arm64"} {
		m, err := image.Build(image.Spec{Architecture: arch, Created: time.Unix(1_700_000_000, 0), Layers: [][]image.File{
			{{Path: "base", Mode: 0o644, Data: []byte("base")}}, {{Path: "app", Mode: 0o755, Data: []byte(seed + arch)}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, m)
	}
	index, err := image.NewIndex(images...)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), seed)
	if err := image.WriteLayout(dir, "v1", index); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":v1"
}

// withImages is a snapshot of one own package and two images, the second cut to one platform.
func withImages(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own.deb"), testarchive.Package{Name: "own", Version: "1.0", Architecture: "all"}.Deb(t), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := &config.Plan{
		Archives: []config.Archive{{Prefix: "own", Debs: dir}},
		Images: []config.Image{
			{From: imageLayout(t, "one"), Name: "registry.example.org/one:v1"},
			{From: imageLayout(t, "two"), Name: "registry.example.org/two:v1", Platforms: []string{"linux/arm64"}},
		},
	}
	images, err := passenger.Read(t.Context(), passenger.Options{Plan: plan})
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := freeze.Run(t.Context(), freeze.Options{
		Plan: plan, Images: images, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return frozen.Snapshot
}

// verifyImages verifies what a forgery was sealed to, every byte.
func verifyImages(ctx context.Context, ref artifact.Reference, trust prove.Trust) (*prove.Report, error) {
	s, err := prove.Open(ctx, ref, trust, artifact.Options{})
	if err != nil {
		return nil, err
	}
	return prove.Verify(ctx, prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref})
}

// TestForgedImages: what somebody does to the images of a snapshot is found, also with the site's own key, as far as
// it is not a choice that this key is there to make.
func TestForgedImages(t *testing.T) {
	t.Parallel()
	good := forge.Open(t, withImages(t))
	site := world.SiteTrust(t)
	write := func(t *testing.T, s *snapshot.Snapshot) artifact.Reference {
		return forge.Write(t, s, filepath.Join(testarchive.MemoryDir(t), "layout"), "day")
	}
	r, err := verifyImages(t.Context(), write(t, good.Seal(forge.Kept)), site)
	if err != nil || len(r.Images) != 2 || r.Images[0].State != prove.SiteOwn || r.Images[0].Files != 8 || r.Images[1].Files != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	blobs := func(d *forge.Draft) (paths []string) {
		for p := range d.Rows {
			if snapshot.IsImageBlob(p) {
				paths = append(paths, p)
			}
		}
		return paths
	}
	// byContent finds the only file below v2/ that holds some text.
	byContent := func(t *testing.T, d *forge.Draft, text string) string {
		t.Helper()
		for _, p := range blobs(d) {
			if strings.Contains(string(d.Read(p)), text) {
				return p
			}
		}
		t.Fatalf("no file of an image holds %q", text)
		return ""
	}
	swap := func(d *forge.Draft, name int, data string) {
		d.Images[name].Blob = snapshot.BlobOf([]byte(data))
		d.Put(snapshot.ImageBlobPath(snapshot.Sum([]byte(data))), []byte(data))
	}
	for name, c := range map[string]struct {
		edit func(t *testing.T, d *forge.Draft)
		say  string
	}{
		"a file that no image has": {func(_ *testing.T, d *forge.Draft) {
			d.Put(snapshot.ImageBlobPath(snapshot.Sum([]byte("evil"))), []byte("evil"))
		}, "no image has it"},
		"a layer left out": {func(t *testing.T, d *forge.Draft) {
			for _, p := range blobs(d) {
				if !strings.HasPrefix(string(d.Read(p)), "{") {
					d.Remove(p)
					return
				}
			}
		}, "is not in the snapshot"},
		"a layer of other bytes": {func(t *testing.T, d *forge.Draft) {
			for _, p := range blobs(d) {
				if data := d.Read(p); !strings.HasPrefix(string(data), "{") {
					d.Lie(p, append([]byte("x"), data[1:]...))
					return
				}
			}
		}, "x"},
		"another image under the name": {func(_ *testing.T, d *forge.Draft) {
			d.Images[0].Blob, d.Images[1].Blob = d.Images[1].Blob, d.Images[0].Blob
		}, "lock: its images are not those of the statement"},
		"an image left out": {func(_ *testing.T, d *forge.Draft) { d.Images = d.Images[:1] }, "no image has it"},
		"no image at all":   {func(_ *testing.T, d *forge.Draft) { d.Images = nil }, "no image in the statement"},
		"a foreign layer": {func(t *testing.T, d *forge.Draft) {
			doc := string(d.Read(byContent(t, d, `"layers":[`)))
			swap(d, 0, strings.Replace(doc, `"layers":[{`, `"layers":[{"urls":["https://example.org/x"],`, 1))
		}, "foreign layer"},
		"two meanings": {func(t *testing.T, d *forge.Draft) {
			doc := string(d.Read(byContent(t, d, `"layers":[`)))
			swap(d, 0, strings.Replace(doc, `"layers":[`, `"Layers":[],"layers":[`, 1))
		}, "stands twice"},
		"a size that lies": {func(t *testing.T, d *forge.Draft) {
			doc := string(d.Read(byContent(t, d, `"layers":[`)))
			swap(d, 0, strings.Replace(doc, `"size":`, `"size":1`, 1))
		}, "in the table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, m := range forge.Makings() {
				d := good.For(t)
				c.edit(t, d)
				if m == forge.Kept && (name == "another image under the name" || name == "an image left out") {
					continue // the statement alone says that
				}
				if name == "a layer of other bytes" { // the layout must have them, and no writer takes them
					ref := write(t, good.For(t).Seal(m))
					for _, p := range blobs(d) {
						file := filepath.Join(ref.Name, "blobs", "sha256", filepath.Base(p))
						if err := os.WriteFile(file, d.Read(p), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					expect(t, string(m), ref, site, m, filepath.Base(good.Rows[p0(d, good)].Path))
					continue
				}
				expect(t, string(m), forge.WriteUnchecked(t, d.Seal(m), filepath.Join(testarchive.MemoryDir(t), "layout"), "day"), site, m, c.say)
			}
		})
	}
}

// p0 is the path whose bytes differ between two drafts.
func p0(a, b *forge.Draft) string {
	for p := range a.Rows {
		if string(a.Read(p)) != string(b.Read(p)) {
			return p
		}
	}
	return ""
}

// expect holds that a forgery is refused with exit code 3: with the site's key for what it says, else for its signature.
func expect(t *testing.T, name string, ref artifact.Reference, trust prove.Trust, m forge.Making, say string) {
	t.Helper()
	_, err := verifyImages(t.Context(), ref, trust)
	if !errors.Is(err, outcome.ErrIntegrity) {
		t.Errorf("%s: %v", name, err)
	} else if m == forge.Resigned && !strings.Contains(err.Error(), say) {
		t.Errorf("%s: %v; want it to say %q", name, err, say)
	}
}
