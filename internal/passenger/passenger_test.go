package passenger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// hub is a registry of other hands, with images that other hands made.
type hub struct {
	t    *testing.T
	host string
}

func newHub(t *testing.T) hub {
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	return hub{t, strings.TrimPrefix(s.URL, "http://")}
}

// push puts an image index of two platforms under the tag v1 and returns its descriptor.
func (h hub) push() v1.Descriptor {
	h.t.Helper()
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(1000, 2)
		if err != nil {
			h.t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return h.copy("v1", func(l layout.Path, name layout.Option) error { return l.AppendIndex(index, name) })
}

// refer puts a manifest about an image, and returns its descriptor.
func (h hub) refer(to v1.Descriptor) v1.Descriptor {
	h.t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		h.t.Fatal(err)
	}
	about, ok := mutate.Subject(mutate.MediaType(img, types.OCIManifestSchema1), to).(v1.Image)
	if !ok {
		h.t.Fatal("no image")
	}
	return h.copy("about", func(l layout.Path, name layout.Option) error { return l.AppendImage(about, name) })
}

// copy writes a layout and puts what is in it into the registry.
func (h hub) copy(tag string, write func(l layout.Path, name layout.Option) error) v1.Descriptor {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = write(l, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	to := artifact.Reference{Kind: artifact.Registry, Name: h.host + "/app", Tag: tag}
	if _, err := images.Copy(h.t.Context(), artifact.Reference{Kind: artifact.Layout, Name: dir, Tag: tag}, to, artifact.PushOptions{}); err != nil {
		h.t.Fatal(err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		h.t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		h.t.Fatal(err)
	}
	d := m.Manifests[0]
	d.Annotations = nil
	return d
}

func (h hub) plan(platforms ...string) *config.Plan {
	return &config.Plan{Images: []config.Image{{
		Position: document.At("mmoci.yaml", 7), From: h.host + "/app:v1", Name: "registry.example.org/app:v1", Platforms: platforms,
	}}}
}

func read(t *testing.T, o Options) *freeze.Images {
	t.Helper()
	images, err := Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// hashAll reads every row where it was found.
func hashAll(t *testing.T, images *freeze.Images) {
	t.Helper()
	for _, r := range images.Rows {
		c, err := images.Blobs.Open(t.Context(), r.Blob(), 0)
		if err != nil {
			t.Errorf("%s: %v", r.Path, err)
			continue
		}
		var b bytes.Buffer
		rd := c.Reader(r.Blob())
		if _, err := b.ReadFrom(rd); err != nil || int64(b.Len()) != r.Size {
			t.Errorf("%s: %d bytes, %v", r.Path, b.Len(), err)
		}
		rd.Close()
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if images, err := Read(t.Context(), Options{Plan: &config.Plan{}}); images != nil || err != nil {
		t.Errorf("no images: %v, %v", images, err)
	}
	h := newHub(t)
	image := h.push()
	about := h.refer(image)
	whole := read(t, Options{Plan: h.plan()})
	l := whole.Locked[0]
	if l.Name != "registry.example.org/app:v1" || l.Digest != image.Digest.String() || l.Source != l.Digest || len(l.Referrers) != 1 || l.Referrers[0].Digest != about.Digest.String() {
		t.Errorf("%+v", l)
	}
	// An index, two manifests with a config and two layers each, and a referrer with two.
	if len(whole.Rows) != 1+2*4+3 {
		t.Errorf("%d rows", len(whole.Rows))
	}
	hashAll(t, whole)

	cut := read(t, Options{Plan: h.plan("linux/arm64")})
	if l := cut.Locked[0]; l.Source != image.Digest.String() || l.Digest == l.Source || len(l.Referrers) != 0 || len(cut.Rows) != 1+4 {
		t.Errorf("cut: %+v, %d rows", l, len(cut.Rows))
	}
	hashAll(t, cut)
	if again := read(t, Options{Plan: h.plan("linux/arm64")}); again.Locked[0].Digest != cut.Locked[0].Digest {
		t.Errorf("cut again: %s", again.Locked[0].Digest)
	}
	both := h.plan()
	both.Images = append(both.Images, both.Images[0])
	both.Images[1].Name = "registry.example.org/a:v1"
	if twice := read(t, Options{Plan: both}); len(twice.Rows) != len(whole.Rows) || twice.Locked[0].Name != "registry.example.org/a:v1" {
		t.Errorf("one image under two names: %d rows, %+v", len(twice.Rows), twice.Locked)
	}
}

// What the lock names is read, whatever the tag names now, and nothing that was added since.
func TestReadPinned(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	image := h.push()
	h.refer(image)
	for _, platforms := range [][]string{nil, {"linux/amd64"}} {
		was := read(t, Options{Plan: h.plan(platforms...)})
		lock := &config.Lock{Images: was.Locked}
		h.refer(image)
		image = h.push()
		moved := image.Digest
		now := read(t, Options{Plan: h.plan(platforms...), Lock: lock})
		if fmt.Sprint(now.Locked) != fmt.Sprint(was.Locked) || len(now.Rows) != len(was.Rows) {
			t.Errorf("%v: %+v, want %+v", platforms, now.Locked, was.Locked)
		}
		hashAll(t, now)
		if fresh := read(t, Options{Plan: h.plan(platforms...)}); fresh.Locked[0].Source != moved.String() {
			t.Errorf("%v: without the lock %s, the tag names %s", platforms, fresh.Locked[0].Source, moved)
		}
		// The digest that the plan itself names counts before that of the lock.
		named := h.plan(platforms...)
		named.Images[0].From += "@" + moved.String()
		said := ""
		got := read(t, Options{Plan: named, Lock: lock, Log: func(f string, a ...any) { said += fmt.Sprintf(f, a...) }})
		if got.Locked[0].Source != moved.String() || !strings.Contains(said, "the configuration counts") {
			t.Errorf("%v: %s, said %q", platforms, got.Locked[0].Source, said)
		}
	}
}

// A lock whose source was edited, or that was made for other platforms, does not pass without a word: what is read
// then is not what it names. (Where nothing but the lock counts, package push refuses that.)
func TestReadOtherSource(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.push()
	lock := &config.Lock{Images: read(t, Options{Plan: h.plan()}).Locked}
	other := h.push()
	said := ""
	log := func(f string, a ...any) { said += fmt.Sprintf(f, a...) }
	if read(t, Options{Plan: h.plan(), Lock: lock, Log: log}); said != "" {
		t.Errorf("said %q", said)
	}
	lock.Images[0].Source = other.Digest.String()
	got := read(t, Options{Plan: h.plan(), Lock: lock, Log: log})
	if !strings.Contains(said, "the lock names "+lock.Images[0].Digest) || got.Locked[0].Digest != other.Digest.String() {
		t.Errorf("%+v, said %q", got.Locked, said)
	}
}

// What its place has lost is taken from the snapshot that has it; without one, the error says what the lock wants.
func TestReadHeld(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.refer(h.push())
	was := read(t, Options{Plan: h.plan()})
	s, err := snapshot.Take(snapshot.Frozen{
		Date: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), Encoder: 1, Lock: []byte("lock"), Files: was.Rows, Blobs: was.Blobs, Images: stated(t, was),
	})
	if err != nil {
		t.Fatal(err)
	}
	ref := artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(t.TempDir(), "held"), Tag: "day"}
	if _, err := artifact.Push(t.Context(), ref, s, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	sealed, err := artifact.Open(t.Context(), ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := sealed.Unseal(nil)
	if err != nil {
		t.Fatal(err)
	}
	lost := newHub(t) // that never had it
	lock := &config.Lock{Images: was.Locked}
	got := read(t, Options{Plan: lost.plan(), Lock: lock, Previous: held})
	if fmt.Sprint(got.Locked) != fmt.Sprint(was.Locked) || len(got.Rows) != len(was.Rows) {
		t.Errorf("%+v, want %+v", got.Locked, was.Locked)
	}
	hashAll(t, got)
	_, err = Read(t.Context(), Options{Plan: lost.plan(), Lock: lock})
	remedy, _ := outcome.RemedyOf(err)
	if !errors.Is(err, artifact.ErrNotFound) || remedy != outcome.UpdateLock || !strings.Contains(fmt.Sprint(err), "mmoci.yaml:7") {
		t.Errorf("%v, remedy %q", err, remedy)
	}
	if _, err := Read(t.Context(), Options{Plan: lost.plan()}); !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "mmoci.yaml:7: image registry.example.org/app:v1") {
		t.Error(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if images, err := Read(stopped, Options{Plan: h.plan()}); images != nil || err == nil {
		t.Errorf("interrupted: %v, %v", images, err)
	}
}

// stated are the images as a statement has them.
func stated(t *testing.T, images *freeze.Images) (out []snapshot.Image) {
	t.Helper()
	blob := func(digest string, size int64) snapshot.Blob {
		d, err := snapshot.ParseDigest(digest)
		if err != nil {
			t.Fatal(err)
		}
		return snapshot.Blob{Digest: d, Size: size}
	}
	for _, l := range images.Locked {
		m := snapshot.Image{Name: l.Name, Blob: blob(l.Digest, l.Size)}
		for _, r := range l.Referrers {
			m.Referrers = append(m.Referrers, blob(r.Digest, r.Size))
		}
		out = append(out, m)
	}
	return out
}

func TestCheck(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.push()
	lock := &config.Lock{Images: read(t, Options{Plan: h.plan()}).Locked}
	h.push() // the tag moved: what the lock names is still there
	c, err := Check(t.Context(), Options{Plan: h.plan(), Lock: lock})
	if err != nil || c.Wanted != 1 || len(c.Missing)+len(c.Differs) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	lost := newHub(t)
	if c, err := Check(t.Context(), Options{Plan: lost.plan(), Lock: lock}); err != nil || len(c.Missing) != 1 || len(c.Differs) != 0 {
		t.Errorf("lost: %+v, %v", c, err)
	}
	other := h.plan()
	other.Images[0].Name = "registry.example.org/other:v1"
	want := []string{"image registry.example.org/other:v1: in the configuration, not in the lock", "image registry.example.org/app:v1: in the lock, not in the configuration"}
	if c, err := Check(t.Context(), Options{Plan: other, Lock: lock}); err != nil || !slices.Equal(c.Differs, want) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestErrorsNameTheImage: what its bytes betray is told of the image, as what its documents betray is.
func TestErrorsNameTheImage(t *testing.T) {
	t.Parallel()
	data := []byte("bytes of a layer")
	blob := snapshot.BlobOf(data)
	other := snapshot.Blob{Digest: blob.Digest, Size: blob.Size + 1}
	lost := snapshot.BlobOf([]byte("not there"))
	flipped := snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		if b != blob {
			return nil, snapshot.ErrNotExist
		}
		wrong := bytes.Clone(data)
		wrong[0] ^= 1
		return &snapshot.Content{R: io.NopCloser(bytes.NewReader(wrong))}, nil
	})
	one := func(name string, blobs ...snapshot.Blob) *passenger {
		p := &passenger{locked: config.LockImage{Name: name}}
		for _, b := range blobs {
			p.parts = append(p.parts, part{[]oci.Descriptor{oci.Describe("", b)}, flipped})
		}
		return p
	}
	const name = "registry.example.org/app:v1"
	images, err := join([]*passenger{one(name, blob, lost)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.Blobs.Open(t.Context(), lost, 0); !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), name) {
		t.Errorf("a blob that is not there: %v", err)
	}
	c, err := images.Blobs.Open(t.Context(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c.Reader(blob)); !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), name) {
		t.Errorf("a blob of other bytes: %v", err)
	}
	if _, err := join([]*passenger{one(name, blob), one("registry.example.org/b:v1", other)}); !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), name) {
		t.Errorf("a digest of two sizes: %v", err)
	}
}
