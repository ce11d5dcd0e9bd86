package site

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// memory are blobs at hand.
type memory map[snapshot.Digest][]byte

func (m memory) put(data string) snapshot.Blob {
	b := snapshot.BlobOf([]byte(data))
	m[b.Digest] = []byte(data)
	return b
}

func (m memory) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	data, ok := m[b.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", b.Digest, snapshot.ErrNotExist)
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data[offset:]))}, nil
}

// image makes an image with one layer of its own.
func (m memory) image(content string) (root snapshot.Blob, parts []snapshot.Blob) {
	config, layer := m.put(`{"os":"linux","config":"`+content+`"}`), m.put("layer "+content)
	root = m.put(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		oci.TypeManifest, config.Digest, config.Size, layer.Digest, layer.Size))
	return root, []snapshot.Blob{root, config, layer}
}

// snapshotOf is a snapshot of one small archive and images, of a day.
func snapshotOf(t testing.TB, m memory, date time.Time, contents map[string]string) *snapshot.Snapshot {
	t.Helper()
	release := m.put("Suite: own\nDate: " + date.Format(time.RFC1123) + "\n")
	const path = "own/dists/own/Release"
	f := snapshot.Frozen{
		Date: date, Encoder: 1, Lock: []byte("mmoci-lock-v1\n"), Blobs: m,
		Archives: []snapshot.Archive{{
			Prefix: "own", Mode: snapshot.Curated, Class: snapshot.Site, Format: "deb",
			Suites: []snapshot.Suite{{Name: "own", Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: release, Date: date, Path: path}}}},
		}},
		Files: []snapshot.Row{{Path: path, Digest: release.Digest, Size: release.Size}},
	}
	add := func(path string, b snapshot.Blob) {
		f.Files = append(f.Files, snapshot.Row{Path: path, Digest: b.Digest, Size: b.Size})
	}
	add("own/pool/main/a/a/a_1_amd64.deb", m.put("the same every day"))
	seen := map[snapshot.Digest]bool{}
	for name, content := range contents {
		root, parts := m.image(content)
		f.Images = append(f.Images, snapshot.Image{Name: name, Blob: root})
		for _, b := range parts {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				add(snapshot.ImageBlobPath(b.Digest), b)
			}
		}
	}
	slices.SortFunc(f.Files, func(a, b snapshot.Row) int { return strings.Compare(a.Path, b.Path) })
	s, err := snapshot.Take(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A snapshot that is pushed while prune reads which images are needed keeps the names of its own.
func TestPruneBesidePush(t *testing.T) {
	t.Parallel()
	const app = "registry.example.org/app:1"
	date := func(day int) time.Time { return time.Date(2025, 11, 20, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day) }
	r := testregistry.New(t, testregistry.Options{Referrers: true, Mounts: true})
	ref, err := artifact.ParseReference(r.Host() + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	m := memory{}
	push := func(day int, content string) {
		if _, err := artifact.Push(t.Context(), ref, snapshotOf(t, m, date(day), map[string]string{app: content}), artifact.PushOptions{}); err != nil {
			t.Error(err)
		}
	}
	push(0, "old")
	push(1, "new")
	var pushed atomic.Bool
	r.Fault(func(q testregistry.Request, _ int) testarchive.Broken {
		if q.Kind == "blob" && q.Method == "GET" && pushed.CompareAndSwap(false, true) {
			push(2, "old")
		}
		return testarchive.Broken{}
	})
	out, err := Prune(t.Context(), PruneOptions{Ref: ref, Keep: Retention{Last: 1}, Now: date(3)})
	if err != nil || !pushed.Load() || len(out.Keep) != 1 || len(out.Remove) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if tags := r.Tags("site/mirror/images/app"); len(tags) != 3 {
		t.Errorf("%v; want the names of the image of days 0 and 2, and of day 1", tags)
	}
}

// Many days with an image that changes each day and one that never does: prune takes the images of the days that
// it takes, in seconds, in a registry whether or not it can delete tags, and loses nothing of what stays.
func TestPruneImages(t *testing.T) {
	t.Parallel()
	const days, keep = 120, 30
	const app, pause = "registry.example.org/team/app:1", "registry.example.org/pause:3"
	date := func(day int) time.Time { return time.Date(2025, 11, 20, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day) }
	for _, kind := range []string{"registry", "layout"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := testregistry.New(t, testregistry.Options{Referrers: true, Mounts: true})
			ref, err := artifact.ParseReference(r.Host() + "/site/mirror:noble")
			if kind == "layout" {
				ref, err = artifact.ParseReference("oci:" + filepath.Join(testarchive.MemoryDir(t), "layout") + ":noble")
			}
			if err != nil {
				t.Fatal(err)
			}
			at := func(short string, digest snapshot.Digest) artifact.Reference {
				if kind == "layout" {
					return artifact.Reference{Kind: ref.Kind, Name: ref.Name, Tag: short, Digest: digest}
				}
				repo, tag, _ := strings.Cut(short, ":")
				return artifact.Reference{Kind: ref.Kind, Name: ref.Name + "/images/" + repo, Tag: tag, Digest: digest}
			}
			m := memory{}
			var roots []snapshot.Digest
			for day := range days {
				content := map[string]string{app: fmt.Sprint("app ", day), pause: "pause"}
				s := snapshotOf(t, m, date(day), content)
				for _, i := range s.Statement.Images {
					if i.Name == app {
						roots = append(roots, i.Digest)
					}
				}
				if _, err := artifact.Push(t.Context(), ref, s, artifact.PushOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			// Another name's snapshot needs the image of the fifth day.
			other := ref
			other.Tag = "other"
			if _, err := artifact.Push(t.Context(), other, snapshotOf(t, m, date(5), map[string]string{app: "app 5"}), artifact.PushOptions{}); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			out, err := Prune(t.Context(), PruneOptions{Ref: ref, Keep: Retention{Daily: keep}, Now: date(days)})
			if err != nil || len(out.Keep) != keep {
				t.Fatalf("%d kept, %v", len(out.Keep), err)
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("%s for %d snapshots", took, days-keep)
			} else {
				t.Logf("%d of %d snapshots with their images in %s", days-keep, days, took)
			}
			if kind == "registry" {
				r.Collect()
			}
			for day, root := range roots {
				im, err := images.Read(t.Context(), at("team/app:1", root), images.Options{})
				if err == nil {
					err = im.Verify(t.Context(), false, artifact.Options{})
				}
				if stays := day >= days-keep || day == 5; stays != (err == nil) {
					t.Errorf("image of day %d: stays %t, %v", day, stays, err)
				}
			}
			for _, short := range []string{"team/app:1", "pause:3"} {
				if _, err := images.Read(t.Context(), at(short, snapshot.Digest{}), images.Options{}); err != nil {
					t.Error(err)
				}
			}
			for _, tag := range out.Keep {
				s, err := artifact.Open(t.Context(), artifact.Reference{Kind: ref.Kind, Name: ref.Name, Tag: tag.Name}, artifact.Options{})
				if err == nil {
					_, err = s.Unseal(nil)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
