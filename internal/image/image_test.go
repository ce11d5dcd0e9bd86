package image

import (
	"archive/tar"
	"io"
	"os"
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

func build(t *testing.T, s Spec) v1.Image {
	t.Helper()
	img, err := Build(s)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, d interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := d.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// Equal specs are equal digests, in whatever order the files are given and
// whatever the zone of the time; another byte is another digest.
func TestDeterminism(t *testing.T) {
	s := MMOCI("amd64", "v1", []byte("program"), at())
	want := digest(t, build(t, s))
	slices.Reverse(s.Files)
	s.Created = s.Created.In(time.FixedZone("x", 7200))
	if got := digest(t, build(t, s)); got != want {
		t.Errorf("%s, then %s", want, got)
	}
	if digest(t, build(t, MMOCI("amd64", "v1", []byte("Program"), at()))) == want {
		t.Error("another program, the same digest")
	}
}

func TestContents(t *testing.T) {
	img := build(t, MMOCI("arm64", "v1", []byte("program"), at()))
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cf.Architecture != "arm64" || cf.OS != "linux" || cf.Config.User != "65532:65532" || cf.Config.Entrypoint[0] != "/usr/bin/mmoci" {
		t.Errorf("config %+v", cf)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(at()) {
			t.Errorf("%s: time %s", h.Name, h.ModTime)
		}
		switch h.Name {
		case "usr/bin/mmoci":
			if data, _ := io.ReadAll(tr); string(data) != "program" || h.Mode != 0o755 || h.Uid != 0 {
				t.Errorf("program %q, %o, %d", data, h.Mode, h.Uid)
			}
		case "var/lib/mmoci/":
			if h.Uid != User || h.Gid != User {
				t.Errorf("state of %d:%d", h.Uid, h.Gid)
			}
		}
	}
	if !slices.IsSorted(names) || !slices.Contains(names, "usr/") || !slices.Contains(names, "var/lib/") {
		t.Errorf("names %v", names)
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
		if _, err := Build(Spec{Architecture: "amd64", Files: files, Created: at()}); err == nil || !strings.Contains(err.Error(), want) {
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
	idx, err := Index(amd64, arm64)
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
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != digest(t, idx) || m.Manifests[0].Annotations[refAnnotation] != "v1" {
		t.Fatalf("index.json %+v, %v", m, err)
	}
	if err := validate.Index(l); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "mmoci-amd64.tar")
	if err := WriteDockerArchive(file, "mmoci:v1", amd64); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Error(err)
	}
}

// Pushed to a strict registry, index and images are there byte for byte, under
// the tag and the digest that Push tells; again is the same.
func TestPush(t *testing.T) {
	registry := testregistry.New(t, testregistry.Options{})
	var images []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		images = append(images, build(t, MMOCI(arch, "v1", []byte("program for "+arch), at())))
	}
	idx, err := Index(images...)
	if err != nil {
		t.Fatal(err)
	}
	ref := registry.Host() + "/site/mmoci:v1"
	for range 2 {
		got, err := Push(t.Context(), ref, idx)
		if err != nil {
			t.Fatal(err)
		}
		if want := registry.Host() + "/site/mmoci@" + digest(t, idx); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	blobs, documents, err := parts(idx)
	if err != nil {
		t.Fatal(err)
	}
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
	if err != nil || root.String() != digest(t, idx) {
		t.Errorf("the tag names %s: %v", root, err)
	}
	for _, bad := range []string{"", "mmoci", "site/mmoci:v1", "oci:dir:v1"} {
		if _, err := Push(t.Context(), bad, idx); err == nil {
			t.Errorf("pushed to %q", bad)
		}
	}
	registry.Fault(func(testregistry.Request, int) testarchive.Broken { return testarchive.Broken{Status: 403} })
	if _, err := Push(t.Context(), ref, idx); err == nil {
		t.Error("a registry that refuses is no error")
	}
}

func holds(r *testregistry.Registry, digest string) bool {
	_, blob := r.Blob("site/mmoci", digest)
	_, _, manifest := r.Manifest("site/mmoci", digest)
	return blob || manifest
}
