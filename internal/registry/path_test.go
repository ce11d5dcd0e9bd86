package registry

import (
	"errors"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	d := snapshot.Sum([]byte("x"))
	for p, want := range map[string]Path{
		"": {}, "/": {}, "/_catalog": {Kind: Catalog},
		"/a/tags/list":           {Kind: Tags, Name: "a"},
		"/a/b/manifests/1.0_x-Y": {Kind: Manifest, Name: "a/b", Tag: "1.0_x-Y"},
		"/registry.example.org/a/manifests/" + d.String():  {Kind: Manifest, Name: "registry.example.org/a", Digest: d},
		"/registry.example.org:5000/a/blobs/" + d.String(): {Kind: Blob, Name: "registry.example.org:5000/a", Digest: d},
		"/manifests/blobs/tags/blobs/" + d.String():        {Kind: Blob, Name: "manifests/blobs/tags", Digest: d},
		"/a/tags/list/tags/list":                           {Kind: Tags, Name: "a/tags/list"},
		"/a/manifests/list":                                {Kind: Manifest, Name: "a", Tag: "list"},
		"/a/referrers/" + d.String():                       {Kind: Referrers, Name: "a", Digest: d},
	} {
		got, err := ParsePath(p)
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", p, got, err)
		}
	}
	for p, code := range map[string]string{
		"/a": "UNSUPPORTED", "//": "UNSUPPORTED", "/_catalog/": "UNSUPPORTED", "/tags/list": "NAME_INVALID", "/a/tags/lists": "UNSUPPORTED",
		"/A/tags/list": "NAME_INVALID", "/a_/tags/list": "NAME_INVALID", "/a/../b/tags/list": "NAME_INVALID", "/.a/tags/list": "NAME_INVALID",
		"/a/manifests/": "MANIFEST_UNKNOWN", "/a/manifests/-x": "MANIFEST_UNKNOWN", "/a/manifests/a:b": "DIGEST_INVALID", "/a/blobs/x": "DIGEST_INVALID",
		"/a/blobs/uploads/": "BLOB_UPLOAD_UNKNOWN", "/a/blobs/uploads/x/": "UNSUPPORTED", "/a/referrers/1": "DIGEST_INVALID",
		"/" + strings.Repeat("a", 400) + "/tags/list": "NAME_INVALID", "/a:5000/tags/list": "NAME_INVALID", "/a/b:5000/c/tags/list": "NAME_INVALID",
		"/a/manifests/" + strings.Repeat("x", 129): "MANIFEST_UNKNOWN", "/a\x00/tags/list": "NAME_INVALID", "/a/tags/list\n": "UNSUPPORTED",
	} {
		_, err := ParsePath(p)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != code {
			t.Errorf("%q: %v, want %s", p, err, code)
		}
	}
}

// What is accepted has a name, tag and digest that are valid, and is the path again.
func FuzzParsePath(f *testing.F) {
	d := snapshot.Sum([]byte("x")).String()
	for _, p := range []string{
		"", "/", "/_catalog", "/a/tags/list", "/a/b/manifests/latest", "/h.example:5000/a/manifests/" + d, "/a/blobs/" + d, "/a/referrers/" + d,
		"/a/blobs/uploads/1", "/../a/manifests/1", "/a//tags/list", "/docker.io/library/x/manifests/1", "/[::1]:5000/a/tags/list",
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, err := ParsePath(p)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Status < 400 || e.Status > 404 || e.Code == "" || e.Message == "" {
				t.Errorf("%q: %v", p, err)
			}
			return
		}
		middle := map[Kind]string{Manifest: "/manifests/", Blob: "/blobs/", Referrers: "/referrers/", Tags: "/tags/list"}[got.Kind]
		if again := got.Name + middle + got.Reference(); middle != "" && again != strings.TrimPrefix(p, "/") {
			t.Errorf("%q is %q", p, again)
		}
		if middle == "" {
			return
		}
		if strings.Contains(got.Name, "..") || strings.ContainsAny(got.Name, "%\\ \n\x00") || len(got.Name) > 384 || got.Name == "" {
			t.Errorf("%q: name %q", p, got.Name)
		}
		if got.Tag != "" && !oci.ValidTag(got.Tag) || got.Tag != "" && !got.Digest.IsZero() {
			t.Errorf("%q: %+v", p, got)
		}
		if got.Kind != Tags && got.Reference() == "" {
			t.Errorf("%q: nothing asked for", p)
		}
	})
}
