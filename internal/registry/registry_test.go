package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// blobs are content by digest that counts how often each is opened.
type blobs struct {
	by     map[snapshot.Digest][]byte
	opened atomic.Int64
}

func (b *blobs) put(data []byte) snapshot.Blob {
	blob := snapshot.BlobOf(data)
	b.by[blob.Digest] = data
	return blob
}

func (b *blobs) Open(_ context.Context, blob snapshot.Blob, offset int64) (*snapshot.Content, error) {
	b.opened.Add(1)
	data, ok := b.by[blob.Digest]
	if !ok {
		return nil, snapshot.ErrNotExist
	}
	return (&snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}).At(offset)
}

// manifest is an image manifest over a config and layers, as text.
func (b *blobs) manifest(config string, layers ...string) snapshot.Blob {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	put := func(text string) descriptor {
		blob := b.put([]byte(text))
		return descriptor{"application/octet-stream", blob.Digest.String(), blob.Size}
	}
	m := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, oci.TypeManifest, put(config), []descriptor{}}
	for _, l := range layers {
		m.Layers = append(m.Layers, put(l))
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b.put(data)
}

// take makes a snapshot that carries every blob, and images by name.
func (b *blobs) take(t testing.TB, images map[string]snapshot.Blob) *snapshot.Snapshot {
	t.Helper()
	date := time.Date(2024, 11, 1, 9, 13, 40, 0, time.UTC)
	f := snapshot.Frozen{Date: date, Encoder: 1, Lock: []byte("mmoci-lock-v1\n"), Blobs: b}
	for d, data := range b.by {
		f.Files = append(f.Files, snapshot.Row{Path: snapshot.ImageBlobPath(d), Size: int64(len(data)), Digest: d})
	}
	release := b.put([]byte("Suite: own\nDate: Fri, 01 Nov 2024 09:13:40 UTC\n"))
	const path = "own/dists/own/Release"
	f.Files = append(f.Files, snapshot.Row{Path: path, Size: release.Size, Digest: release.Digest})
	f.Archives = []snapshot.Archive{{Prefix: "own", Mode: snapshot.Curated, Class: snapshot.Site, Format: "deb", Suites: []snapshot.Suite{{
		Name: "own", Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: release, Date: date, Path: path}},
	}}}}
	for name, root := range images {
		f.Images = append(f.Images, snapshot.Image{Name: name, Blob: root})
	}
	s, err := snapshot.Take(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := artifact.Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	s.Root = p.Root()
	return s
}

// siteOf is a site of one current snapshot and no rules.
func siteOf(h *Held) *Site {
	return &Site{
		Current:     []*Held{h},
		Open:        func(context.Context, string) (*Held, error) { return nil, snapshot.ErrNotExist },
		Fixed:       func(string) bool { return false },
		DecideImage: func(string) policy.Decision { return policy.Decision{Allow: true} },
		DecideFile:  func(*Held, snapshot.Row) policy.Decision { return policy.Decision{Allow: true} },
	}
}

func path(t testing.TB, p string) Path {
	t.Helper()
	parsed, err := ParsePath(p)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// However many ask at once, each document is read once, and the snapshot packed once.
func TestDocumentsAreReadOnce(t *testing.T) {
	t.Parallel()
	b := &blobs{by: map[snapshot.Digest][]byte{}}
	root := b.manifest("config", "layer")
	s := b.take(t, map[string]snapshot.Blob{"registry.example.org/app:1": root})
	site := siteOf(New().Hold(s, HomeOf("oci:stick:noble")))
	b.opened.Store(0)
	var wg sync.WaitGroup
	for range 20 {
		for _, p := range []string{"/app/manifests/1", "/app/manifests/" + root.Digest.String(), "/mirror/manifests/noble", "/mirror/blobs/" + root.Digest.String(), "/app/blobs/" + snapshot.Sum([]byte("layer")).String()} {
			wg.Go(func() {
				if a, err := site.Find(t.Context(), path(t, p), "", ""); err != nil || a.From == nil {
					t.Errorf("%s: %v", p, err)
				}
			})
		}
	}
	wg.Wait()
	h := New().Hold(s, HomeOf("oci:stick:noble"))
	made := make(chan *artifact.Documents, 20)
	<-h.making // so that all of them wait
	for range cap(made) {
		wg.Go(func() {
			d, err := h.documents(t.Context())
			if err != nil {
				t.Error(err)
			}
			made <- d
		})
	}
	time.Sleep(50 * time.Millisecond)
	h.making <- struct{}{}
	wg.Wait()
	for first := <-made; len(made) > 0; {
		if <-made != first {
			t.Error("packed more than once")
		}
	}
	if n := b.opened.Load(); n != 1 {
		t.Errorf("%d blobs were opened", n)
	}
}

// The documents of an image are read within a bound, and what is remembered of images has one.
func TestBounds(t *testing.T) {
	t.Parallel()
	b := &blobs{by: map[snapshot.Digest][]byte{}}
	index := struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []map[string]any `json:"manifests"`
	}{2, oci.TypeIndex, nil}
	for i := range MaxImage/(3<<20) + 2 {
		blob := b.put(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":"%s","size":2},"layers":[],"annotations":{"%d":"%s"}}`,
			oci.TypeManifest, snapshot.Sum([]byte("{}")), i, strings.Repeat("x", 3<<20)))
		index.Manifests = append(index.Manifests, map[string]any{"mediaType": oci.TypeManifest, "digest": blob.Digest.String(), "size": blob.Size})
	}
	b.put([]byte("{}"))
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	big := b.put(data)
	small := b.manifest("config", "layer")
	s := b.take(t, map[string]snapshot.Blob{"registry.example.org/big:1": big, "registry.example.org/small:1": small})
	h := New().Hold(s, HomeOf("oci:stick:noble"))
	site := siteOf(h)
	if _, err := site.Find(t.Context(), path(t, "/big/manifests/1"), "", ""); !errors.Is(err, oci.ErrImage) {
		t.Errorf("documents of more than %d bytes: %v", MaxImage, err)
	}
	if _, err := site.Find(t.Context(), path(t, "/small/manifests/1"), "", ""); err != nil {
		t.Errorf("another image: %v", err)
	}
	parts := map[snapshot.Digest]string{}
	for i := range MaxParts / 4 {
		parts[snapshot.Sum(fmt.Append(nil, i))] = ""
	}
	for i := range 10 {
		h.keepGraph(fmt.Sprint(i), &graph{parts: parts})
		if h.parts > MaxParts || len(h.graphs) > 5 {
			t.Errorf("%d parts of %d images are remembered", h.parts, len(h.graphs))
		}
	}
	// Annotations count, by number and by length.
	said := map[string]string{"long": strings.Repeat("x", 100*MaxParts/8)}
	for i := range MaxParts / 8 {
		said[fmt.Sprint(i)] = ""
	}
	for i := range 10 {
		h.keepGraph(fmt.Sprint(i), &graph{referrers: []referrer{{descriptor: descriptor{Annotations: said}}}})
		if h.parts > MaxParts || len(h.graphs) > 4 {
			t.Errorf("annotations: %d parts of %d images are remembered", h.parts, len(h.graphs))
		}
	}
}

// An answer that cannot be read in time ends with the request, and is made by the next one.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	b := &blobs{by: map[snapshot.Digest][]byte{}}
	s := b.take(t, map[string]snapshot.Blob{})
	r := New()
	<-r.packing // somebody packs
	site := siteOf(r.Hold(s, HomeOf("registry.example.org/site/mirror:noble")))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for range 2 {
		if _, err := site.Find(ctx, path(t, "/site/mirror/manifests/noble"), "", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	r.packing <- struct{}{}
	if a, err := site.Find(t.Context(), path(t, "/site/mirror/manifests/noble"), "", ""); err != nil || a.Blob.Digest != s.Root {
		t.Errorf("%+v %v", a, err)
	}
}

// A snapshot whose documents are not those of its root is an error, whatever is asked for.
func TestRootOfAnother(t *testing.T) {
	t.Parallel()
	b := &blobs{by: map[snapshot.Digest][]byte{}}
	s := b.take(t, nil)
	s.Root = snapshot.Sum([]byte("another"))
	site := siteOf(New().Hold(s, HomeOf("oci:stick:noble")))
	for _, p := range []string{"/mirror/manifests/noble", "/mirror/manifests/" + s.Root.String(), "/mirror/blobs/" + snapshot.Sum([]byte("x")).String()} {
		if _, err := site.Find(t.Context(), path(t, p), "", ""); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ns, host, repository string
		want                       bool
	}{
		{"app", "", "a.example", "app", true},
		{"a.example/app", "", "a.example", "app", true},
		{"b.example/app", "", "a.example", "app", false},
		{"app", "a.example", "a.example", "app", true},
		{"app", "A.Example", "a.example", "app", true},
		{"a.example/app", "a.example", "a.example", "app", false},
		{"app", "b.example", "a.example", "app", false},
		{"app", "a.example:5000", "a.example:5000", "app", true},
		{"app", "a.example", "a.example:5000", "app", false},
		{"library/x", "docker.io", "docker.io", "x", true},
		{"x", "docker.io", "docker.io", "x", true},
		{"library/x", "registry-1.docker.io", "docker.io", "x", true},
		{"library/x", "", "docker.io", "x", true},
		{"docker.io/library/x", "", "docker.io", "x", true},
		{"library/a/x", "", "docker.io", "a/x", false},
		{"library/x", "", "a.example", "x", false},
		{"mirror", "", "", "mirror", true},
		{"/mirror", "", "", "mirror", false},
		{"mirror", "a.example", "", "mirror", false},
	} {
		if got := named(c.name, c.ns, c.host, c.repository); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestPaged(t *testing.T) {
	t.Parallel()
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("n%05d", i))
		}
		return all
	}
	for _, c := range []struct {
		query    string
		from, to int
		next     string
	}{
		{"", 0, MaxPage, "last=n00999&n=1000"},
		{"n=5", 0, 5, "last=n00004&n=5"},
		{"n=5&last=n00004", 5, 10, "last=n00009&n=5"},
		{"n=5&last=n00004x", 5, 10, "last=n00009&n=5"},
		{"n=999999&last=n01000", 1001, 2000, ""},
		{"n=0", 0, 0, ""},
		{"last=zzz", 0, 0, ""},
		{"n=5&ns=a.example", 0, 5, "last=n00004&n=5&ns=a.example"},
	} {
		query, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		all := append(names(2000), "n00007") // one twice
		page, link, err := paged(all, "/v2/a/tags/list", query)
		want := ""
		if c.next != "" {
			want = "</v2/a/tags/list?" + c.next + `>; rel="next"`
		}
		if err != nil || !slices.Equal(page, names(2000)[c.from:c.to]) || link != want {
			t.Errorf("%q: %d names, %s, %v", c.query, len(page), link, err)
		}
	}
}

func TestErrorBody(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "DENIED", http.StatusMethodNotAllowed: "UNSUPPORTED",
		http.StatusTooManyRequests: "TOOMANYREQUESTS", http.StatusBadGateway: "UNAVAILABLE", http.StatusTeapot: "UNKNOWN",
	} {
		var e struct{ Errors []map[string]string }
		if err := json.Unmarshal(ErrorBody(status, "", "say \"why\"\n<"), &e); err != nil || len(e.Errors) != 1 || e.Errors[0]["code"] != want || e.Errors[0]["message"] != "say \"why\"\n<" {
			t.Errorf("%d: %v %v", status, e, err)
		}
	}
}
