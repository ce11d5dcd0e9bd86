package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/mmoci/internal/serve/paths"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// madeImage is an image of layers whose content depends on their names.
func madeImage(t testing.TB, layers ...string) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(bytesOf(l, 1000+len(l)), types.OCILayer)); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// madeIndex is an image index of two platforms.
func madeIndex(amd64, arm64 v1.Image) v1.ImageIndex {
	platform := func(img v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), platform(amd64, "amd64"), platform(arm64, "arm64"))
}

// manifested is what images and image indices have in common.
type manifested interface {
	RawManifest() ([]byte, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	MediaType() (types.MediaType, error)
}

// carry has a snapshot carry an image under a name, with documents about it.
func (s *spec) carry(t testing.TB, name string, root manifested, referrers ...v1.Image) {
	t.Helper()
	m := snapshot.Image{Name: name, Blob: s.put(t, root)}
	for _, r := range referrers {
		m.Referrers = append(m.Referrers, s.put(t, r))
	}
	s.packed, s.images = true, append(s.images, m)
}

func (s *spec) put(t testing.TB, root manifested) snapshot.Blob {
	t.Helper()
	must := func(data []byte, err error) snapshot.Blob {
		if err != nil {
			t.Fatal(err)
		}
		b := snapshot.BlobOf(data)
		if s.files == nil {
			s.files = map[string][]byte{}
		}
		s.files[snapshot.ImageBlobPath(b.Digest)] = data
		return b
	}
	switch root := root.(type) {
	case v1.ImageIndex:
		manifest, err := root.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range manifest.Manifests {
			img, err := root.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			s.put(t, img)
		}
	case v1.Image:
		must(root.RawConfigFile())
		layers, err := root.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			must(io.ReadAll(r))
		}
	}
	return must(root.RawManifest())
}

func digestOf(t testing.TB, m manifested) string {
	t.Helper()
	h, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// about is a signature-like artifact about a document.
func about(t testing.TB, subject manifested, artifactType types.MediaType, layer string) v1.Image {
	t.Helper()
	h, _ := subject.Digest()
	size, _ := subject.Size()
	mediaType, _ := subject.MediaType()
	img := mutate.Annotations(mutate.ConfigMediaType(madeImage(t, layer), artifactType), map[string]string{"org.example.by": layer}).(v1.Image)
	return mutate.Subject(img, v1.Descriptor{MediaType: mediaType, Size: size, Digest: h}).(v1.Image)
}

// pull reads an image or image index as clients do, and returns the digest of its root. HEAD must say what GET
// does, and each part be what its descriptor says.
func pull(t testing.TB, base, repository, reference string) (root string, err error) {
	t.Helper()
	target := "/v2/" + repository + "/manifests/" + reference
	a := ask(t, base, "GET", target)
	if a.status != 200 || a.err != nil {
		return "", fmt.Errorf("%s: %d %s %w", target, a.status, a.body, a.err)
	}
	root = snapshot.Sum(a.body).String()
	if head := ask(t, base, "HEAD", target); head.header.Get("Docker-Content-Digest") != root || head.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
		return "", fmt.Errorf("HEAD %s: %v", target, head.header)
	}
	part := func(kind string, d v1.Descriptor) error {
		target := "/v2/" + repository + "/" + kind + "/" + d.Digest.String()
		b := ask(t, base, "GET", target)
		if int64(len(b.body)) != d.Size || snapshot.Sum(b.body).String() != d.Digest.String() || kind == "manifests" && b.header.Get("Content-Type") != string(d.MediaType) {
			return fmt.Errorf("%s: %d, %d bytes, %v", target, b.status, len(b.body), b.header)
		}
		return nil
	}
	mediaType := types.MediaType(a.header.Get("Content-Type"))
	if mediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(a.body))
		if err != nil {
			return "", err
		}
		for _, d := range index.Manifests {
			if err := part("manifests", d); err != nil {
				return "", err
			}
			if _, err := pull(t, base, repository, d.Digest.String()); err != nil {
				return "", err
			}
		}
		return root, nil
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(a.body))
	if err != nil || mediaType != manifest.MediaType {
		return "", fmt.Errorf("%s: %s, %w", target, mediaType, err)
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		if err := part("blobs", d); err != nil {
			return "", err
		}
	}
	return root, nil
}

// Images are read by all their names, with what is about them. (scripts/e2e/82-serve-registry.sh does it by others' clients.)
func TestRegistryImages(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb([]byte("deb"))
	amd64, arm64 := madeImage(t, "base", "amd64"), madeImage(t, "base", "arm64")
	index := madeIndex(amd64, arm64)
	signature, sbom := about(t, index, "application/vnd.example.signature", "sig"), about(t, amd64, "application/vnd.example.sbom", "sbom")
	s.carry(t, "registry.example.org/site/app:1.0", index, signature, sbom)
	single := madeImage(t, "single")
	s.carry(t, "other.example:5000/pause:3.9", single)
	s.carry(t, "docker.io/busybox:1", mutate.ConfigMediaType(mutate.MediaType(madeImage(t, "busybox"), types.DockerManifestSchema2), types.DockerConfigJSON))
	_, base := run(t, Options{Sources: []Source{newTag(s.take(t, m))}, Registry: true}, false)

	busybox := mutate.ConfigMediaType(mutate.MediaType(madeImage(t, "busybox"), types.DockerManifestSchema2), types.DockerConfigJSON)
	for n, want := range map[string]manifested{
		"site/app:1.0": index, "registry.example.org/site/app:1.0": index, "site/app@" + digestOf(t, index): index, "site/app@" + digestOf(t, arm64): arm64,
		"site/app@" + digestOf(t, signature): signature,
		"site/mirror/images/pause:3.9":       single, "registry.example.org/site/mirror/images/site/app:1.0": index,
		"pause:3.9": single, "pause@" + digestOf(t, single): single,
		"docker.io/busybox:1": busybox, "busybox:1": busybox, "library/busybox:1": busybox, "docker.io/library/busybox:1": busybox,
	} {
		i := strings.IndexAny(n, ":@")
		if got, err := pull(t, base, n[:i], n[i+1:]); err != nil || got != digestOf(t, want) {
			t.Errorf("%s: %s %v, want %s", n, got, err, digestOf(t, want))
		}
	}
	for _, c := range []struct {
		of     manifested
		filter string
		want   []string
	}{
		{index, "", []string{digestOf(t, signature)}},
		{amd64, "", []string{digestOf(t, sbom)}},
		{amd64, "application/vnd.example.sbom", []string{digestOf(t, sbom)}},
		{amd64, "application/vnd.example.signature", nil},
		{arm64, "", nil},
	} {
		target := "/v2/site/app/referrers/" + digestOf(t, c.of)
		if c.filter != "" {
			target += "?artifactType=" + c.filter
		}
		a := ask(t, base, "GET", target)
		var list v1.IndexManifest
		if err := json.Unmarshal(a.body, &list); err != nil || a.header.Get("Content-Type") != string(types.OCIImageIndex) || list.MediaType != types.OCIImageIndex {
			t.Fatalf("%s: %d %s %v", target, a.status, a.body, err)
		}
		var got []string
		for _, d := range list.Manifests {
			got = append(got, d.Digest.String())
			if d.ArtifactType == "" || d.Annotations["org.example.by"] == "" || d.MediaType != types.OCIManifestSchema1 {
				t.Errorf("%s: %+v", target, d)
			}
		}
		if !slices.Equal(got, c.want) || (a.header.Get("OCI-Filters-Applied") == "artifactType") != (c.filter != "") {
			t.Errorf("%s: %v, want %v; %v", target, got, c.want, a.header)
		}
	}
	var catalog struct{ Repositories []string }
	a := ask(t, base, "GET", "/v2/_catalog")
	want := []string{"docker.io/busybox", "pause", "registry.example.org/site/app", "site/mirror"}
	if err := json.Unmarshal(a.body, &catalog); err != nil || !slices.Equal(catalog.Repositories, want) {
		t.Errorf("catalog %s %v", a.body, err)
	}
}

// A snapshot is copied out under its tag, its immutable tag and its digest, and stays the same; an older one, too.
func TestRegistrySnapshots(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	one := spec{date: day(1), debs: debsUpTo(3)}
	one.carry(t, "registry.example.org/app:1", madeImage(t, "v1"))
	two := spec{date: day(2), debs: debsUpTo(450)}
	two.carry(t, "registry.example.org/app:1", madeImage(t, "v2"))
	old, current := one.take(t, m), two.take(t, m)
	g := newTag(old, current)
	g.held["noble-"+newServed(old).name] = old
	_, base := run(t, Options{Sources: []Source{g}, Registry: true}, false)
	host, dir := strings.TrimPrefix(base, "http://"), t.TempDir()
	var copies atomic.Int32
	for ref, want := range map[string]snapshot.Digest{
		"site/mirror:noble":                            current.Root,
		"registry.example.org/site/mirror:noble":       current.Root,
		"site/mirror:noble-" + newServed(current).name: current.Root,
		"site/mirror:" + newServed(current).name:       current.Root,
		"site/mirror@" + current.Root.String():         current.Root,
		"site/mirror:noble-" + newServed(old).name:     old.Root,
		"site/mirror@" + old.Root.String():             old.Root,
	} {
		t.Run(ref, func(t *testing.T) {
			src, err := artifact.ParseReference(host + "/" + ref)
			if err != nil {
				t.Fatal(err)
			}
			dst, err := artifact.ParseReference("oci:" + filepath.Join(dir, fmt.Sprint(copies.Add(1))) + ":copy")
			if err != nil {
				t.Fatal(err)
			}
			copied, err := artifact.Copy(t.Context(), src, dst, artifact.PushOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if copied.Root != want {
				t.Errorf("root %s, want %s", copied.Root, want)
			}
			sealed, err := artifact.Open(t.Context(), dst, artifact.Options{})
			if err != nil {
				t.Fatal(err)
			}
			sn, err := sealed.Unseal(nil)
			if err != nil {
				t.Fatal(err)
			}
			for row := range sn.Table.Rows() {
				if _, err := sn.ReadBlob(t.Context(), row.Blob(), 1<<30); err != nil {
					t.Errorf("%s: %v", row.Path, err)
				}
			}
		})
	}
	var list struct{ Tags []string }
	if a := ask(t, base, "GET", "/v2/site/mirror/tags/list"); json.Unmarshal(a.body, &list) != nil ||
		!slices.Equal(list.Tags, []string{"noble", "noble-" + newServed(current).name}) {
		t.Errorf("tags: %d %s", a.status, a.body)
	}
	// An ID of another repository's snapshot is none of this one's, and images have no IDs.
	for _, target := range []string{
		"/v2/app/manifests/" + newServed(current).name, "/v2/app/manifests/" + current.Root.String(),
		"/v2/mirror/manifests/noble", "/v2/other.example/site/mirror/manifests/noble", "/v2/site/mirror/manifests/1",
	} {
		if a := ask(t, base, "GET", target); a.status != 404 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
}

// An older snapshot of one repository is none of another that is served beside it.
func TestRegistryRepositoriesApart(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	one, old, two := spec{date: day(1)}, spec{date: day(1), prefix: "other"}, spec{date: day(2), prefix: "other"}
	one.packed, old.packed, two.packed = true, true, true
	first, older := newTag(one.take(t, m)), old.take(t, m)
	second := newTag(older, two.take(t, m))
	second.name = "registry.example.org/other:noble"
	_, base := run(t, Options{Sources: []Source{first, second}, Registry: true}, false)
	for _, id := range []string{newServed(older).name, older.Root.String()} {
		for repository, want := range map[string]int{"other": 200, "site/mirror": 404} {
			if a := ask(t, base, "HEAD", "/v2/"+repository+"/manifests/"+id); a.status != want {
				t.Errorf("%s of %s: %d", id, repository, a.status)
			}
		}
	}
	for repository, want := range map[string]int{"other": 200, "site/mirror": 404} {
		if a := ask(t, base, "HEAD", "/v2/"+repository+"/blobs/"+older.Statement.Table.Digest.String()); a.status != want {
			t.Errorf("its table, of %s: %d", repository, a.status)
		}
	}
}

// What comes from a layout or an archive is called mirror; one that is named by digest is listed by its DATE-HEX12.
func TestRegistryHomes(t *testing.T) {
	t.Parallel()
	s := oneDeb([]byte("deb"))
	s.packed = true
	sn := s.take(t, newMemoryBlobs())
	for reference, want := range map[string]string{
		"oci:/srv/stick:noble":                               "mirror noble noble-" + newServed(sn).name,
		"oci-archive:/srv/stick.tar":                         "mirror latest latest-" + newServed(sn).name,
		"oci:/srv/stick@" + sn.Root.String():                 "mirror " + newServed(sn).name,
		"registry.example.org:5000/a/b:c":                    "a/b c c-" + newServed(sn).name,
		"oci:/srv/stick:noble-" + newServed(sn).name:         "mirror noble-" + newServed(sn).name,
		"registry.example.org/a:" + strings.Repeat("x", 120): "a " + strings.Repeat("x", 120),
	} {
		g := newTag(sn)
		g.name = reference
		_, base := run(t, Options{Sources: []Source{g}, Registry: true}, false)
		fields := strings.Fields(want)
		var list struct{ Tags []string }
		a := ask(t, base, "GET", "/v2/"+fields[0]+"/tags/list")
		if json.Unmarshal(a.body, &list) != nil || !slices.Equal(list.Tags, fields[1:]) {
			t.Errorf("%s: %d %s", reference, a.status, a.body)
		}
		for _, tag := range fields[1:] {
			if a := ask(t, base, "HEAD", "/v2/"+fields[0]+"/manifests/"+tag); a.header.Get("Docker-Content-Digest") != sn.Root.String() {
				t.Errorf("%s: %s: %d", reference, tag, a.status)
			}
		}
	}
}

// The headers and errors that clients rely on, for GET and HEAD alike.
func TestRegistryHeaders(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb(bytesOf("deb", bigSize))
	img := madeImage(t, "layer")
	s.carry(t, "registry.example.org/app:1", img)
	s.carry(t, "registry.example.org/app:2", madeImage(t, "layer", "more"))
	sn := s.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Registry: true}, false)
	layer := snapshot.Sum(bytesOf("layer", 1005)).String()
	deb := snapshot.Sum(bytesOf("deb", bigSize)).String()
	none := "sha256:" + strings.Repeat("ab", 32)
	const octets, manifest, index, js = "application/octet-stream", string(types.OCIManifestSchema1), string(types.OCIImageIndex), "application/json"
	for _, c := range []struct {
		target string
		status int
		typ    string
		digest string
		code   string
	}{
		{"", 200, js, "", ""},
		{"/", 200, js, "", ""},
		{"/_catalog", 200, js, "", ""},
		{"/app/tags/list", 200, js, "", ""},
		{"/app/manifests/1", 200, manifest, digestOf(t, img), ""},
		{"/app/manifests/" + digestOf(t, img), 200, manifest, digestOf(t, img), ""},
		{"/site/mirror/manifests/noble", 200, index, sn.Root.String(), ""},
		{"/app/blobs/" + layer, 200, octets, layer, ""},
		{"/site/mirror/blobs/" + layer, 200, octets, layer, ""},
		{"/site/mirror/blobs/" + deb, 200, octets, deb, ""},
		{"/site/mirror/blobs/" + sn.Statement.Table.Digest.String(), 200, octets, sn.Statement.Table.Digest.String(), ""},
		{"/site/mirror/blobs/" + sn.Statement.Lock.Digest.String(), 200, octets, sn.Statement.Lock.Digest.String(), ""},
		{"/app/referrers/" + none, 200, index, "", ""},

		{"/app/blobs/" + deb, 404, js, "", "BLOB_UNKNOWN"}, // another's
		{"/app/manifests/3", 404, js, "", "MANIFEST_UNKNOWN"},
		{"/app/manifests/.INVALID_MANIFEST_NAME", 404, js, "", "MANIFEST_UNKNOWN"},
		{"/app/manifests/" + none, 404, js, "", "MANIFEST_UNKNOWN"},
		{"/app/manifests/" + layer, 404, js, "", "MANIFEST_UNKNOWN"},
		{"/site/mirror/manifests/" + none, 404, js, "", "MANIFEST_UNKNOWN"},
		{"/site/mirror/manifests/" + layer, 404, js, "", "MANIFEST_UNKNOWN"},
		{"/site/mirror/manifests/nobody", 404, js, "", "MANIFEST_UNKNOWN"},
		{"/app/blobs/" + none, 404, js, "", "BLOB_UNKNOWN"},
		{"/nothing/blobs/" + layer, 404, js, "", "NAME_UNKNOWN"},
		{"/nothing/manifests/1", 404, js, "", "NAME_UNKNOWN"},
		{"/nothing/tags/list", 404, js, "", "NAME_UNKNOWN"},
		{"/nothing/referrers/" + none, 404, js, "", "NAME_UNKNOWN"},
		{"/app/manifests/1?ns=other.example", 404, js, "", "NAME_UNKNOWN"},
		{"/app/manifests/1?ns=" + strings.Repeat("x", 400), 400, js, "", "NAME_INVALID"},
		{"/app/manifests/1?ns=a%0d%0ab", 400, js, "", "NAME_INVALID"},
		{"/app/tags/list?ns=%1b[31m", 400, js, "", "NAME_INVALID"},
		{"/app/blobs/sha256:abc", 400, js, "", "DIGEST_INVALID"},
		{"/app/blobs/sha512:" + strings.Repeat("ab", 64), 400, js, "", "DIGEST_INVALID"},
		{"/app/manifests/sha256:" + strings.Repeat("AB", 32), 400, js, "", "DIGEST_INVALID"},
		{"/app/blobs/sha256:" + strings.Repeat("0", 64), 400, js, "", "DIGEST_INVALID"},
		{"/app/tags/list?n=-1", 400, js, "", "PAGINATION_NUMBER_INVALID"},
		{"/app/tags/list?n=x", 400, js, "", "PAGINATION_NUMBER_INVALID"},
		{"/APP/manifests/1", 404, js, "", "NAME_INVALID"},
		{"/a//b/manifests/1", 404, js, "", "NAME_INVALID"},
		{"//manifests/1", 404, js, "", "NAME_INVALID"},
		{"/../app/manifests/1", 404, js, "", "NAME_INVALID"},
		{"/%2e%2e/app/manifests/1", 404, js, "", "NAME_INVALID"},
		{"/app%00/manifests/1", 404, js, "", "NAME_INVALID"},
		{"/app/%0amanifests/1", 404, js, "", "UNSUPPORTED"},
		{"/" + strings.Repeat("a/", 300) + "a/manifests/1", 404, js, "", "NAME_INVALID"},
		{"/app/blobs/uploads/", 404, js, "", "BLOB_UPLOAD_UNKNOWN"},
		{"/app/blobs/uploads/1234", 404, js, "", "BLOB_UPLOAD_UNKNOWN"},
		{"/app", 404, js, "", "UNSUPPORTED"},
		{"/app/manifests", 404, js, "", "UNSUPPORTED"},
		{"/blobs/sha256/" + layer[7:], 404, js, "", "UNSUPPORTED"},
	} {
		get, head := ask(t, base, "GET", "/v2"+c.target), ask(t, base, "HEAD", "/v2"+c.target)
		h := get.header
		if get.status != c.status || h.Get("Content-Type") != c.typ || h.Get("Docker-Content-Digest") != c.digest ||
			h.Get("Docker-Distribution-API-Version") != "registry/2.0" || h.Get("Content-Length") != fmt.Sprint(len(get.body)) {
			t.Errorf("%s: %d %v", c.target, get.status, h)
		}
		if c.digest != "" && (snapshot.Sum(get.body).String() != c.digest || h.Get("Etag") != `"`+c.digest+`"`) {
			t.Errorf("%s: %d bytes, ETag %s", c.target, len(get.body), h.Get("Etag"))
		}
		if head.status != get.status || len(head.body) != 0 || !equalHeaders(head.header, h) {
			t.Errorf("HEAD %s: %d %v", c.target, head.status, head.header)
		}
		var e struct {
			Errors []struct{ Code, Message string }
		}
		if c.code != "" && (json.Unmarshal(get.body, &e) != nil || len(e.Errors) != 1 || e.Errors[0].Code != c.code || e.Errors[0].Message == "") {
			t.Errorf("%s: %s", c.target, get.body)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, target := range []string{"/v2/app/blobs/uploads/", "/v2/app/manifests/1", "/v2/app/blobs/" + layer, "/v2/"} {
			if a := ask(t, base, method, target, "Content-Length", "0"); a.status != 405 || !strings.Contains(string(a.body), `"UNSUPPORTED"`) || a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d %s", method, target, a.status, a.body)
			}
		}
	}
	data := bytesOf("deb", bigSize)
	for header, want := range map[string][]byte{"bytes=10-19": data[10:20], fmt.Sprint("bytes=", bigSize-5, "-"): data[bigSize-5:], "bytes=-7": data[bigSize-7:]} {
		if a := ask(t, base, "GET", "/v2/site/mirror/blobs/"+deb, "Range", header); a.status != 206 || !bytes.Equal(a.body, want) {
			t.Errorf("%s: %d, %d bytes", header, a.status, len(a.body))
		}
	}
	if a := ask(t, base, "GET", "/v2/site/mirror/blobs/"+deb, "Range", "bytes=99999999-"); a.status != 416 || !strings.Contains(string(a.body), `"errors"`) {
		t.Errorf("behind the end: %d %s", a.status, a.body)
	}
	for _, target := range []string{"/v2/app/manifests/1", "/v2/site/mirror/manifests/noble", "/v2/app/blobs/" + layer} {
		etag := ask(t, base, "HEAD", target).header.Get("Etag")
		if a := ask(t, base, "GET", target, "If-None-Match", etag); a.status != 304 || len(a.body) > 0 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
	for target, want := range map[string]string{
		"/v2/app/manifests/1":                                        "no-cache",
		"/v2/app/blobs/" + layer:                                     "no-cache", // a rule may come that denies it
		"/v2/site/mirror/blobs/" + deb:                               "no-cache",
		"/v2/site/mirror/manifests/noble":                            "no-cache",
		"/v2/site/mirror/manifests/" + sn.Root.String():              paths.Access{}.CacheControl(paths.Forever),
		"/v2/site/mirror/manifests/" + newServed(sn).name:            "no-cache",
		"/v2/site/mirror/blobs/" + sn.Statement.Lock.Digest.String(): paths.Access{}.CacheControl(paths.Forever),
	} {
		if a := ask(t, base, "HEAD", target); a.header.Get("Cache-Control") != want {
			t.Errorf("%s: %q, want %q", target, a.header.Get("Cache-Control"), want)
		}
	}
}

// Lists come in pages, as far as clients ask for them.
func TestRegistryPages(t *testing.T) {
	t.Parallel()
	s := oneDeb([]byte("deb"))
	for i := range 7 {
		s.carry(t, fmt.Sprintf("registry.example.org/app:v%d", i), madeImage(t, "layer"))
		s.carry(t, fmt.Sprintf("registry.example.org/more/app%d:1", i), madeImage(t, "layer"))
	}
	_, base := run(t, Options{Sources: []Source{newTag(s.take(t, newMemoryBlobs()))}, Registry: true, BaseURL: "http://site.example.org/apt"}, false)
	walk := func(target string) (names []string, pages int) {
		for target != "" {
			a := ask(t, base, "GET", target)
			var list struct{ Tags, Repositories []string }
			if err := json.Unmarshal(a.body, &list); err != nil {
				t.Fatalf("%s: %d %s", target, a.status, a.body)
			}
			names, pages = slices.Concat(names, list.Tags, list.Repositories), pages+1
			link, ok := strings.CutPrefix(a.header.Get("Link"), "<")
			if target = ""; ok {
				target, _, _ = strings.Cut(link, ">")
			}
		}
		return names, pages
	}
	want := []string{"v0", "v1", "v2", "v3", "v4", "v5", "v6"}
	for target, pages := range map[string]int{
		"/v2/app/tags/list": 1, "/v2/app/tags/list?n=3": 3, "/v2/app/tags/list?n=7": 1, "/v2/app/tags/list?n=6&ns=registry.example.org": 2,
		"/apt/v2/app/tags/list?n=4": 2,
	} {
		if got, n := walk(target); !slices.Equal(got, want) || n != pages {
			t.Errorf("%s: %v in %d pages", target, got, n)
		}
	}
	if got, _ := walk("/v2/app/tags/list?last=v3"); !slices.Equal(got, want[4:]) {
		t.Errorf("behind v3: %v", got)
	}
	if got, n := walk("/v2/app/tags/list?n=0"); len(got) != 0 || n != 1 {
		t.Errorf("none: %v", got)
	}
	if got, n := walk("/v2/_catalog?n=2"); len(got) != 9 || n != 5 || !slices.IsSorted(got) {
		t.Errorf("catalog: %v in %d pages", got, n)
	}
}

// Two images of one short name are neither, until the host is said.
func TestRegistryAmbiguous(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	a, b, same := madeImage(t, "a"), madeImage(t, "b"), madeImage(t, "same")
	one, two := spec{date: day(1)}, spec{date: day(1), prefix: "other"}
	one.carry(t, "a.example/app:1", a)
	two.carry(t, "b.example/app:1", b)
	one.carry(t, "a.example/same:1", same)
	two.carry(t, "b.example/same:1", same)
	first, second := newTag(one.take(t, m)), newTag(two.take(t, m))
	second.name = "registry.example.org/site/mirror:jammy"
	_, base := run(t, Options{Sources: []Source{first, second}, Registry: true}, false)
	if got := ask(t, base, "GET", "/v2/app/manifests/1"); got.status != 404 || !strings.Contains(string(got.body), "a.example/app:1") || !strings.Contains(string(got.body), "b.example/app:1") {
		t.Errorf("%d %s", got.status, got.body)
	}
	for target, want := range map[string]v1.Image{
		"a.example/app/manifests/1": a, "b.example/app/manifests/1": b, "app/manifests/1?ns=a.example": a, "app/manifests/1?ns=B.example": b,
		"app/manifests/" + digestOf(t, a): a, "app/manifests/" + digestOf(t, b): b, "same/manifests/1": same,
	} {
		if got := ask(t, base, "HEAD", "/v2/"+target); got.header.Get("Docker-Content-Digest") != digestOf(t, want) {
			t.Errorf("%s: %d %v", target, got.status, got.header)
		}
	}
	for target, want := range map[string]int{
		"a.example/app/manifests/" + digestOf(t, b): 404, "app/manifests/" + digestOf(t, a) + "?ns=b.example": 404, "app/manifests/1?ns=c.example": 404,
		"b.example/app/blobs/" + snapshot.Sum(bytesOf("a", 1001)).String(): 404, "app/blobs/" + snapshot.Sum(bytesOf("a", 1001)).String(): 200,
		"site/mirror/manifests/noble": 200, "site/mirror/manifests/jammy": 200, "site/mirror/manifests/noble?ns=registry.example.org": 200, "site/mirror/manifests/noble?ns=a.example": 404,
	} {
		if got := ask(t, base, "HEAD", "/v2/"+target); got.status != want {
			t.Errorf("%s: %d, want %d", target, got.status, want)
		}
	}
}

// A denied image is denied by every path to its bytes, but for what an allowed one has, too.
func TestRegistryPolicy(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb([]byte("the deb"))
	s.debs["docker/pool/stable/o/other/other_1_all.deb"] = []byte("other")
	bad, good := madeImage(t, "shared", "bad"), madeImage(t, "shared", "good")
	badIndex := madeIndex(bad, madeImage(t, "bad arm64"))
	s.carry(t, "registry.example.org/legacy/app:1", badIndex, about(t, badIndex, "application/vnd.example.signature", "sig"))
	s.carry(t, "registry.example.org/app:1", good)
	sn := s.take(t, m)
	file := writeRules(t, "rules:\n- {name: legacy, deny: '*', image: 'registry.example.org/legacy/*', reason: not maintained}\n- {deny: docker-ce, reason: none}\n")
	var log bytes.Buffer
	locked := &lockedWriter{w: &log}
	o := Options{Sources: []Source{newTag(sn)}, Registry: true, Policy: file, Access: slog.New(slog.NewJSONHandler(locked, nil))}
	srv, base := run(t, o, false)
	blob := func(layer string) string { return "blobs/" + snapshot.Sum(bytesOf(layer, 1000+len(layer))).String() }
	denied := []string{
		"legacy/app/manifests/1", "registry.example.org/legacy/app/manifests/1", "legacy/app/manifests/1?ns=registry.example.org",
		"legacy/app/manifests/" + digestOf(t, badIndex), "legacy/app/manifests/" + digestOf(t, bad), "legacy/app/referrers/" + digestOf(t, badIndex),
		"legacy/app/" + blob("bad"), "legacy/app/" + blob("shared"), "legacy/app/" + blob("sig"), "legacy/app/blobs/" + digestOf(t, bad),
		"site/mirror/" + blob("bad"), "site/mirror/blobs/" + digestOf(t, badIndex), "site/mirror/blobs/" + digestOf(t, bad),
	}
	packages := []string{"site/mirror/blobs/" + snapshot.Sum([]byte("the deb")).String()}
	allowed := []string{
		"app/manifests/1", "app/manifests/" + digestOf(t, good), "app/" + blob("shared"), "app/" + blob("good"),
		"site/mirror/manifests/noble", "site/mirror/" + blob("shared"), "site/mirror/" + blob("good"), "site/mirror/blobs/" + snapshot.Sum([]byte("other")).String(),
	}
	absent := []string{"app/" + blob("bad"), "app/manifests/" + digestOf(t, bad), "app/blobs/" + digestOf(t, badIndex)} // of no allowed name
	expect := func(status int, targets ...string) {
		t.Helper()
		for _, target := range targets {
			for _, method := range []string{"GET", "HEAD"} {
				for _, header := range [][]string{nil, {"Range", "bytes=0-1"}, {"If-None-Match", "*"}} {
					a := ask(t, base, method, "/v2/"+target, header...)
					want := status
					if status == 200 && a.status != 404 && a.status != 403 {
						want = a.status
					}
					if a.status != want {
						t.Errorf("%s %s %v: %d, want %d", method, target, header, a.status, want)
					}
					if a.status == 403 && method == "GET" && !strings.Contains(string(a.body), `"code":"DENIED","message":"Denied by rule `) {
						t.Errorf("%s: %s", target, a.body)
					}
				}
			}
		}
	}
	expect(403, denied...)
	expect(403, packages...)
	expect(200, allowed...)
	expect(404, absent...)
	if a := ask(t, base, "GET", "/v2/legacy/app/manifests/1"); a.phrase != "Denied by rule legacy: not maintained" {
		t.Errorf("reason %q", a.phrase)
	}
	locked.mu.Lock()
	lines := log.String()
	locked.mu.Unlock()
	if !strings.Contains(lines, `"rule":"legacy"`) || !strings.Contains(lines, `"repository":"legacy/app","reference":"1","image":"registry.example.org/legacy/app:1"`) {
		t.Errorf("log: %.2000s", lines)
	}
	if counted(t, srv, "mmoci_denied_total") == 0 {
		t.Error("not counted")
	}

	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		srv.lookAtFiles()
	}
	reload("default: deny\nrules:\n- {allow: other, reason: needed}\n- {allow: '*', image: registry.example.org/app, reason: needed}\n")
	expect(403, denied...)
	expect(403, packages...)
	expect(200, allowed...)
	reload("default: allow\n")
	expect(200, slices.Concat(denied, packages, allowed)...)
	expect(404, absent...)

	o.PolicyLogOnly, o.Policy = true, writeRules(t, "rules:\n- {name: legacy, deny: '*', image: 'registry.example.org/legacy/*', reason: not maintained}\n")
	srv, base = run(t, o, false)
	expect(200, denied...)
	if got := counted(t, srv, "mmoci_would_deny_total"); got != float64(6*len(denied)) {
		t.Errorf("would deny %v of %d", got, 6*len(denied))
	}
}

// When a tag moves, what a client began is finished by digest, and the new is found by who asks for it.
func TestRegistryTagMoves(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	v1st, v2nd := madeImage(t, "v1"), madeImage(t, "v2")
	one, two := spec{date: day(1)}, spec{date: day(2)}
	one.carry(t, "registry.example.org/app:1", v1st)
	two.carry(t, "registry.example.org/app:1", v2nd)
	first, second := one.take(t, m), two.take(t, m)
	g, c := newTag(first), newClock()
	_, base := run(t, Options{Sources: []Source{g}, Registry: true, Follow: time.Hour, Now: c.now}, false)
	head := func(target string) (int, string) {
		a := ask(t, base, "HEAD", "/v2/"+target)
		return a.status, a.header.Get("Docker-Content-Digest")
	}
	if _, d := head("app/manifests/1"); d != digestOf(t, v1st) {
		t.Fatalf("before: %s", d)
	}
	g.move(second)
	if status, _ := head("app/manifests/" + digestOf(t, v2nd)); status != 200 { // another replica told of it
		t.Errorf("the new one: %d", status)
	}
	if _, d := head("app/manifests/1"); d != digestOf(t, v2nd) {
		t.Errorf("after: %s", d)
	}
	old := []string{
		"app/manifests/" + digestOf(t, v1st), "app/blobs/" + snapshot.Sum(bytesOf("v1", 1002)).String(),
		"site/mirror/manifests/" + first.Root.String(), "site/mirror/blobs/" + first.Statement.Table.Digest.String(),
	}
	for _, target := range old {
		if status, _ := head(target); status != 200 {
			t.Errorf("%s: %d", target, status)
		}
	}
	c.advance(2 * time.Hour)
	for _, target := range old[:2] {
		if status, _ := head(target); status != 404 {
			t.Errorf("%s after grace: %d", target, status)
		}
	}
}

// Two servers of the same snapshot, one from memory and one from files, answer alike.
func TestRegistryReplicas(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb(bytesOf("deb", bigSize))
	img := madeImage(t, "layer")
	s.carry(t, "registry.example.org/app:1", madeIndex(img, madeImage(t, "other")), about(t, img, "application/vnd.example.sbom", "sbom"))
	sn := s.take(t, m)
	files := fileBlobs(t, m)
	_, a := run(t, Options{Sources: []Source{newTag(sn)}, Registry: true}, false)
	_, b := run(t, Options{Sources: []Source{newTag(sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return files }))}, Registry: true}, false)
	targets := []string{"/v2/", "/v2/_catalog", "/v2/app/tags/list", "/v2/site/mirror/tags/list", "/v2/app/referrers/" + digestOf(t, img), "/v2/none/manifests/1", "/v2/app/manifests/2"}
	docs, err := artifact.DocumentsOf(sn)
	if err != nil {
		t.Fatal(err)
	}
	root, _, _ := docs.Document(sn.Root)
	var index v1.IndexManifest
	if err := json.Unmarshal(root, &index); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(index.Manifests, v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: sn.Root.Hex()}}) {
		targets = append(targets, "/v2/site/mirror/manifests/"+d.Digest.String())
	}
	for row := range sn.Table.Rows() {
		targets = append(targets, "/v2/site/mirror/blobs/"+row.Digest.String())
		if snapshot.IsImageBlob(row.Path) {
			targets = append(targets, "/v2/app/blobs/"+row.Digest.String(), "/v2/app/manifests/"+row.Digest.String())
		}
	}
	for _, target := range targets {
		for _, header := range [][]string{nil, {"Range", "bytes=3-"}, {"If-None-Match", "*"}} {
			x, y := ask(t, a, "GET", target, header...), ask(t, b, "GET", target, header...)
			if x.status != y.status || x.phrase != y.phrase || !bytes.Equal(x.body, y.body) || !equalHeaders(x.header, y.header) {
				t.Errorf("%s %q: %d %s %v, %d %s %v", target, header, x.status, x.phrase, x.header, y.status, y.phrase, y.header)
			}
		}
	}
}

// Credentials hold below /v2/, in the way that docker asks for them.
func TestRegistryCredentials(t *testing.T) {
	t.Parallel()
	s := oneDeb([]byte("deb"))
	s.carry(t, "registry.example.org/app:1", madeImage(t, "layer"))
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("host:pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, base := run(t, Options{Sources: []Source{newTag(s.take(t, newMemoryBlobs()))}, Registry: true, Credentials: file}, false)
	right := []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("host:pass"))}
	for _, target := range []string{"/v2", "/v2/", "/v2/app/manifests/1", "/v2/_catalog"} {
		a := ask(t, base, "GET", target)
		if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic realm=") || !strings.Contains(string(a.body), `"UNAUTHORIZED"`) || a.header.Get("Docker-Distribution-API-Version") == "" {
			t.Errorf("%s: %d %v %s", target, a.status, a.header, a.body)
		}
		if a := ask(t, base, "GET", target, right...); a.status != 200 {
			t.Errorf("%s with credentials: %d", target, a.status)
		}
	}
}

// Wrong bytes are never completed, and a document that is none is an error of the server's.
func TestRegistryWrongBytes(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb([]byte("deb"))
	img := madeImage(t, "layer")
	s.carry(t, "registry.example.org/app:1", img)
	sn := s.take(t, m)
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Registry: true, smallFiles: -1}, false)
	layer := snapshot.Sum(bytesOf("layer", 1005))
	targets := []string{"/v2/app/manifests/1", "/v2/app/blobs/" + layer.String()}
	for _, warm := range []bool{false, true} {
		m.mu.Lock()
		m.fault = func(_ snapshot.Blob, data []byte) (io.Reader, error) { return flipped(data, len(data)/2), nil }
		m.mu.Unlock()
		for _, target := range targets {
			a := ask(t, base, "GET", target)
			if a.status != 502 || !strings.Contains(string(a.body), `"UNAVAILABLE"`) || a.header.Get("Docker-Content-Digest") != "" || a.header.Get("Retry-After") == "" {
				t.Errorf("warm %t, %s: %d %v %s", warm, target, a.status, a.header, a.body)
			}
		}
		m.mu.Lock()
		m.fault = nil
		m.mu.Unlock()
		for _, target := range targets {
			if a := ask(t, base, "GET", target); a.status != 200 {
				t.Errorf("healed, %s: %d", target, a.status)
			}
		}
	}
}

// While a registry does not answer, a client is sent away in time, and others are not held up by it.
func TestRegistryPatience(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	s := oneDeb([]byte("deb"))
	s.carry(t, "registry.example.org/app:1", madeImage(t, "layer"))
	s.carry(t, "registry.example.org/app:2", madeImage(t, "more"))
	sn := s.take(t, m)
	stuck, free := make(chan struct{}, 1), make(chan struct{})
	blobs := snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		if b != s.images[0].Blob {
			return m.Open(ctx, b, 0)
		}
		select {
		case stuck <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-free:
			return nil, io.ErrUnexpectedEOF
		}
	})
	from := []Source{newTag(sn.WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return blobs }))}
	var wg sync.WaitGroup
	waiting := func(base string, want int) {
		for range 8 {
			wg.Go(func() {
				if a := ask(t, base, "GET", "/v2/app/manifests/1"); a.status != want || a.header.Get("Retry-After") == "" {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		<-stuck
	}
	_, base := run(t, Options{Sources: from, Registry: true, Patience: 100 * time.Millisecond}, false)
	waiting(base, 504)
	wg.Wait()
	_, base = run(t, Options{Sources: from, Registry: true, Patience: time.Minute}, false)
	waiting(base, 502)
	begin := time.Now()
	for _, target := range []string{"/v2/app/manifests/2", "/v2/site/mirror/manifests/noble", "/v2/site/mirror/blobs/" + sn.Statement.Table.Digest.String()} {
		if a := ask(t, base, "GET", target); a.status != 200 || time.Since(begin) > tooLong {
			t.Errorf("%s meanwhile: %d after %s", target, a.status, time.Since(begin))
		}
	}
	close(free)
	wg.Wait()
}

// Without the switch, nothing is below /v2/; while there is no snapshot, the client is to ask again.
func TestRegistryOff(t *testing.T) {
	t.Parallel()
	s := oneDeb([]byte("deb"))
	s.carry(t, "registry.example.org/app:1", madeImage(t, "layer"))
	sn := s.take(t, newMemoryBlobs())
	_, base := run(t, Options{Sources: []Source{newTag(sn)}}, false)
	for _, target := range []string{"/v2", "/v2/", "/v2/app/manifests/1", "/v2/_catalog", "/" + snapshot.ImageBlobPath(s.images[0].Digest), "/snapshot/" + sn.Root.String() + "/" + snapshot.ImageBlobPath(s.images[0].Digest)} {
		if a := ask(t, base, "GET", target); a.status != 404 || a.header.Get("Docker-Distribution-API-Version") != "" {
			t.Errorf("%s: %d", target, a.status)
		}
	}
	g := newTag(sn)
	g.fail(errors.New("away"))
	_, base = run(t, Options{Sources: []Source{g}, Registry: true, Wait: true}, false)
	if a := ask(t, base, "GET", "/v2/app/manifests/1"); a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "UNAVAILABLE") {
		t.Errorf("no snapshot: %d %s", a.status, a.body)
	}
	if a := ask(t, base, "GET", "/v2/"); a.status != 200 {
		t.Errorf("base: %d", a.status)
	}
}
