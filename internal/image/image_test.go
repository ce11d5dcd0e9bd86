package image

import (
	"archive/tar"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func at() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func build(t *testing.T, s Spec) *Image {
	t.Helper()
	img, err := Build(s)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// read gives an image of a written docker-archive, through a reader of other hands.
func read(t *testing.T, img *Image) v1.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := WriteDockerArchive(file, "mmoci:v1", img); err != nil {
		t.Fatal(err)
	}
	got, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	return got
}

// contents are the files of an image's layers by name, with their owners, a later layer over an earlier one.
func contents(t *testing.T, img v1.Image) (files map[string]string, headers map[string]*tar.Header) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files, headers = map[string]string{}, map[string]*tar.Header{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			if h.Name <= last {
				t.Errorf("%s after %s", h.Name, last)
			}
			if !h.ModTime.Equal(at()) {
				t.Errorf("%s: time %s", h.Name, h.ModTime)
			}
			last, files[h.Name], headers[h.Name] = h.Name, string(data), h
		}
		r.Close()
	}
	return files, headers
}

// Equal specs are equal digests, in whatever order the files are given and
// whatever the zone of the time; another byte is another digest.
func TestDeterminism(t *testing.T) {
	s := MMOCI("amd64", "v1", []byte("program"), at())
	want := build(t, s).Digest()
	slices.Reverse(s.Layers[0])
	s.Created = s.Created.In(time.FixedZone("x", 7200))
	if got := build(t, s).Digest(); got != want {
		t.Errorf("%s, then %s", want, got)
	}
	if build(t, MMOCI("amd64", "v1", []byte("Program"), at())).Digest() == want {
		t.Error("another program, the same digest")
	}
}

func TestContents(t *testing.T) {
	img := read(t, build(t, MMOCI("arm64", "v1", []byte("program"), at())))
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cf.Architecture != "arm64" || cf.OS != "linux" || cf.Config.User != "65532:65532" || cf.Config.Entrypoint[0] != "/usr/bin/mmoci" || !cf.Created.Equal(at()) {
		t.Errorf("config %+v", cf)
	}
	files, headers := contents(t, img)
	if h := headers["usr/bin/mmoci"]; files["usr/bin/mmoci"] != "program" || h.Mode != 0o755 || h.Uid != 0 {
		t.Errorf("program %q, %+v", files["usr/bin/mmoci"], h)
	}
	if h := headers["var/lib/mmoci/"]; h == nil || h.Uid != User || h.Gid != User {
		t.Errorf("state of %+v", h)
	}
	if headers["usr/"] == nil || headers["var/lib/"] == nil {
		t.Errorf("no parents in %v", files)
	}
}

func TestSpecErrors(t *testing.T) {
	for want, files := range map[string][]File{
		"twice":        {{Path: "a"}, {Path: "a"}},
		"below a file": {{Path: "a"}, {Path: "a/b"}},
		`path "/a"`:    {{Path: "/a"}},
		`path "../a"`:  {{Path: "../a"}},
		`path "a/"`:    {{Path: "a/", Dir: true}},
	} {
		if _, err := Build(Spec{Architecture: "amd64", Layers: [][]File{files}, Created: at()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Build(Spec{}); err == nil {
		t.Error("an image of no time")
	}
}

// What is written is read back as a valid image, of both kinds.
func TestWritten(t *testing.T) {
	dir := t.TempDir()
	amd64, arm64 := build(t, MMOCI("amd64", "v1", []byte("a"), at())), build(t, MMOCI("arm64", "v1", []byte("b"), at()))
	idx, err := NewIndex(amd64, arm64)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteLayout(filepath.Join(dir, "layout"), "v1", idx); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayout(filepath.Join(dir, "layout"), "v1", idx); err == nil {
		t.Error("a layout was written over")
	}
	l, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != idx.Digest().String() || m.Manifests[0].Annotations[refAnnotation] != "v1" {
		t.Fatalf("index.json %+v, %v", m, err)
	}
	if err := validate.Index(l); err != nil {
		t.Error(err)
	}
	for _, img := range []*Image{amd64, arm64} { // the docker-archive is of the same configuration and layers
		got := read(t, img)
		name, err := got.ConfigName()
		if err != nil || name.String() != digestOf(img.Config).String() {
			t.Errorf("configuration %s, %v", name, err)
		}
	}
}

// Pushed to a strict registry, index and images are there byte for byte, under
// the tag and the digest that Push tells; again is the same.
func TestPush(t *testing.T) {
	registry := testregistry.New(t, testregistry.Options{})
	var images []*Image
	for _, arch := range []string{"amd64", "arm64"} {
		images = append(images, build(t, MMOCI(arch, "v1", []byte("program for "+arch), at())))
	}
	idx, err := NewIndex(images...)
	if err != nil {
		t.Fatal(err)
	}
	ref := registry.Host() + "/site/mmoci:v1"
	for range 2 {
		got, err := Push(t.Context(), ref, idx, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := ref + "@" + idx.Digest().String(); got.String() != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	blobs, documents := idx.parts()
	for _, part := range slices.Concat(blobs, documents) {
		if d := snapshot.Sum(part.Data); !holds(registry, d.String()) {
			t.Errorf("%s %s is not there", part.MediaType, d)
		}
	}
	to, err := artifact.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	root, err := artifact.Resolve(t.Context(), to, artifact.Options{})
	if err != nil || root != idx.Digest() {
		t.Errorf("the tag names %s: %v", root, err)
	}
	for _, bad := range []string{"", "mmoci", "site/mmoci:v1", "oci:dir:v1"} {
		if _, err := Push(t.Context(), bad, idx, artifact.Options{}); err == nil {
			t.Errorf("pushed to %q", bad)
		}
	}
	registry.Fault(func(testregistry.Request, int) testarchive.Broken { return testarchive.Broken{Status: 403} })
	if _, err := Push(t.Context(), ref, idx, artifact.Options{}); err == nil {
		t.Error("a registry that refuses is no error")
	}
}

func holds(r *testregistry.Registry, digest string) bool {
	_, blob := r.Blob("site/mmoci", digest)
	_, _, manifest := r.Manifest("site/mmoci", digest)
	return blob || manifest
}
