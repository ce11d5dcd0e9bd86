package testregistry_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
)

func orasRepo(t *testing.T, r *testregistry.Registry, repo string, credential bool) *remote.Repository {
	t.Helper()
	p, err := remote.NewRepository(r.Host() + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	p.PlainHTTP = true
	c := &auth.Client{Client: http.DefaultClient}
	if credential {
		c.Credential = auth.StaticCredential(r.Host(), auth.Credential{Username: "user", Password: "secret"})
	}
	p.Client = c
	return p
}

// pushed is an image index over one manifest with two layers, put by stock oras-go calls.
func pushed(t *testing.T, target oras.Target, tag string) ocispec.Descriptor {
	t.Helper()
	ctx := t.Context()
	mem := memory.New()
	put := func(mediaType string, data []byte) ocispec.Descriptor {
		d := content.NewDescriptorFromBytes(mediaType, data)
		if err := mem.Push(ctx, d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.example", Config: put(ocispec.MediaTypeEmptyJSON, []byte("{}")),
		Layers: []ocispec.Descriptor{put("text/plain", []byte("one")), put("text/plain", bytes.Repeat([]byte("two"), 9999))},
	}
	mb, _ := json.Marshal(m)
	i := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{put(ocispec.MediaTypeImageManifest, mb)},
	}
	ib, _ := json.Marshal(i)
	root := put(ocispec.MediaTypeImageIndex, ib)
	if err := oras.CopyGraph(ctx, mem, target, root, oras.DefaultCopyGraphOptions); err != nil {
		t.Fatal(err)
	}
	if err := target.Tag(ctx, root, tag); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestRegistryTakesAndGives(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]testregistry.Options{
		"plain":    {},
		"basic":    {Basic: true},
		"bearer":   {Bearer: true},
		"no range": {NoRange: true, NoDelete: true},
		"redirect": {Redirect: true, Basic: true},
		"busy":     {Every429: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testregistry.New(t, o)
			p := orasRepo(t, r, "site/mirror", true)
			if o.Every429 > 0 {
				p.Client.(*auth.Client).Client = &http.Client{Transport: again{}}
			}
			root := pushed(t, p, "latest")
			mem := memory.New()
			got, err := oras.Copy(t.Context(), p, "latest", mem, "latest", oras.DefaultCopyOptions)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != root.Digest {
				t.Errorf("read %s, put %s", got.Digest, root.Digest)
			}
		})
	}
}

// again repeats a request that was answered 429; bodies are small.
type again struct{}

func (again) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	for {
		c := req.Clone(req.Context())
		c.Body = io.NopCloser(bytes.NewReader(body))
		if len(body) == 0 {
			c.Body = nil
		}
		resp, err := http.DefaultTransport.RoundTrip(c)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests {
			return resp, err
		}
		if resp.Header.Get("Retry-After") != "0" {
			return resp, nil
		}
		resp.Body.Close()
	}
}

func do(t *testing.T, method, url, contentType string, body []byte) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

func putBlob(t *testing.T, r *testregistry.Registry, repo string, data []byte) (int, string) {
	t.Helper()
	status, text, h := do(t, "POST", r.URL+"/v2/"+repo+"/blobs/uploads/", "", nil)
	if status != http.StatusAccepted {
		return status, text
	}
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	status, text, _ = do(t, "PUT", r.URL+h.Get("Location")+"&digest="+sum, "application/octet-stream", data)
	return status, text
}

func manifestOf(n int, digest string, size int) []byte {
	layer := fmt.Sprintf(`{"mediaType":"text/plain","digest":"%s","size":%d}`, digest, size)
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}`, ocispec.MediaTypeImageManifest, layer,
		strings.Join(slicesRepeat(layer, n), ","))
}

func slicesRepeat(s string, n int) []string {
	r := make([]string, n)
	for i := range r {
		r[i] = s
	}
	return r
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{MaxManifest: 200_000, ImmutableTags: true, Repositories: []string{"a", "b"}})
	blob := []byte("layer")
	d := string(digest.FromBytes(blob))
	if status, text := putBlob(t, r, "a", blob); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	const typ = ocispec.MediaTypeImageManifest
	good := manifestOf(500, d, len(blob))
	child := func(digest string, size int) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d}]}`,
			ocispec.MediaTypeImageIndex, typ, digest, size)
	}
	goodDigest := string(digest.FromBytes(good))
	for _, c := range []struct {
		name, repo, ref, typ string
		body                 []byte
		status               int
		code                 string
	}{
		{"good, 500 layers", "a", "t", typ, good, 201, ""},
		{"the same tag again", "a", "t", typ, good, 201, ""},
		{"a tag moved", "a", "t", typ, manifestOf(1, d, len(blob)), 400, "TAG_INVALID"},
		{"501 layers", "a", "u", typ, manifestOf(501, d, len(blob)), 405, "UNSUPPORTED"},
		{"no layers", "a", "u", typ, manifestOf(0, d, len(blob)), 400, "MANIFEST_INVALID"},
		{"too large", "a", "u", typ, append(good, bytes.Repeat([]byte(" "), 200_000)...), 413, "SIZE_INVALID"},
		{"blob of another repository", "b", "t", typ, good, 400, "MANIFEST_BLOB_UNKNOWN"},
		{"lying size", "a", "u", typ, manifestOf(1, d, 4), 400, "SIZE_INVALID"},
		{"upper-case digest", "a", "u", typ, manifestOf(1, strings.ToUpper(d), 5), 400, "MANIFEST_INVALID"},
		{"Content-Type differs", "a", "u", ocispec.MediaTypeImageIndex, good, 400, "MANIFEST_INVALID"},
		{"layers in an index", "a", "u", ocispec.MediaTypeImageIndex,
			bytes.Replace(good, []byte(typ), []byte(ocispec.MediaTypeImageIndex), 1), 400, "MANIFEST_INVALID"},
		{"wrong digest", "a", d, typ, good, 400, "DIGEST_INVALID"},
		{"bad tag", "a", "a+b", typ, good, 400, "TAG_INVALID"},
		{"unknown repository", "c", "t", typ, good, 404, "NAME_UNKNOWN"},
		{"bad name", "A", "t", typ, good, 400, "NAME_INVALID"},
		{"index", "a", "i", ocispec.MediaTypeImageIndex, child(goodDigest, len(good)), 201, ""},
		{"missing child", "b", "i", ocispec.MediaTypeImageIndex, child(goodDigest, len(good)), 404, "MANIFEST_UNKNOWN"},
		{"text behind", "a", "u", typ, append(bytes.Clone(good), "{}"...), 400, "MANIFEST_INVALID"},
	} {
		status, text, _ := do(t, "PUT", r.URL+"/v2/"+c.repo+"/manifests/"+c.ref, c.typ, c.body)
		if status != c.status || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, text, c.status, c.code)
		}
	}
	if status, text := putBlob(t, r, "a", nil); status != 400 || !strings.Contains(text, "empty") {
		t.Errorf("empty blob: %d %s", status, text)
	}
	if status, _, _ := do(t, "GET", r.URL+"/v2/b/blobs/"+d, "", nil); status != 404 {
		t.Errorf("blob of a seen in b: %d", status)
	}
	if status, _, _ := do(t, "GET", r.URL+"/v2/a/referrers/"+d, "", nil); status != 404 {
		t.Errorf("referrers: %d", status)
	}
}

func TestRegistryCollect(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	p := orasRepo(t, r, "x", false)
	pushed(t, p, "keep")
	loose := r.PutBlob("x", []byte("loose"))
	untagged := r.PutManifest("x", "", ocispec.MediaTypeImageManifest, manifestOf(1, loose, 5))
	if m, b := r.Collect(); m != 1 || b != 1 {
		t.Errorf("%d manifests and %d blobs went, want 1 and 1", m, b)
	}
	if _, _, ok := r.Manifest("x", untagged); ok {
		t.Error("the untagged manifest is still there")
	}
	if _, err := oras.Copy(t.Context(), p, "keep", memory.New(), "", oras.DefaultCopyOptions); err != nil {
		t.Error(err)
	}
	r.SetTag("x", "keep", "")
	r.Collect()
	if n := len(r.Blobs("x")) + len(r.Manifests("x")); n != 0 {
		t.Errorf("%d things left without a tag", n)
	}
}

func TestRegistryDelete(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	root := pushed(t, orasRepo(t, r, "x", false), "t1")
	r.SetTag("x", "t2", string(root.Digest))
	if status, _, _ := do(t, "DELETE", r.URL+"/v2/x/manifests/t1", "", nil); status != 202 || len(r.Tags("x")) != 1 {
		t.Errorf("tag: %d, %v", status, r.Tags("x"))
	}
	if status, _, _ := do(t, "DELETE", r.URL+"/v2/x/manifests/"+string(root.Digest), "", nil); status != 202 || len(r.Tags("x")) != 0 {
		t.Errorf("manifest: %d, %v", status, r.Tags("x"))
	}
	if status, _, _ := do(t, "DELETE", r.URL+"/v2/x/blobs/"+r.Blobs("x")[0], "", nil); status != 202 || len(r.Blobs("x")) != 2 {
		t.Errorf("blob: %d", status)
	}
	no := testregistry.New(t, testregistry.Options{NoDelete: true})
	pushed(t, orasRepo(t, no, "x", false), "t")
	if status, text, _ := do(t, "DELETE", no.URL+"/v2/x/manifests/t", "", nil); status != 405 || !strings.Contains(text, "UNSUPPORTED") {
		t.Errorf("no delete: %d %s", status, text)
	}
}

func TestRegistryMount(t *testing.T) {
	t.Parallel()
	for mounts, want := range map[bool]int{true: 201, false: 202} {
		r := testregistry.New(t, testregistry.Options{Mounts: mounts})
		d := r.PutBlob("a", []byte("blob"))
		status, _, _ := do(t, "POST", r.URL+"/v2/b/blobs/uploads/?mount="+d+"&from=a", "", nil)
		if _, ok := r.Blob("b", d); status != want || ok != mounts {
			t.Errorf("mounts %v: %d, there: %v", mounts, status, ok)
		}
	}
}

func TestRegistryUploadInParts(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	_, _, h := do(t, "POST", r.URL+"/v2/a/blobs/uploads/", "", nil)
	at := r.URL + h.Get("Location")
	patch := func(rng, body string) int {
		req, _ := http.NewRequestWithContext(t.Context(), "PATCH", at, strings.NewReader(body))
		req.Header.Set("Content-Range", rng)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if s := patch("0-2", "abc"); s != 202 {
		t.Fatal(s)
	}
	if s := patch("5-7", "fgh"); s != 416 {
		t.Errorf("a gap: %d", s)
	}
	if s := patch("3-4", "de"); s != 202 {
		t.Fatal(s)
	}
	d := string(digest.FromString("abcdef"))
	if status, text, _ := do(t, "PUT", at+"&digest="+d, "", []byte("f")); status != 201 {
		t.Fatal(status, text)
	}
	if b, _ := r.Blob("a", d); string(b) != "abcdef" {
		t.Errorf("%q", b)
	}
}

func TestRegistryFaults(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	d := r.PutBlob("a", []byte("0123456789"))
	url := r.URL + "/v2/a/blobs/" + d
	faults := []testarchive.Broken{{Status: 503, RetryAfter: "7"}, {Reset: true}, {Flip: true}, {CutAfter: 4}, {}}
	r.Fault(func(req testregistry.Request, n int) testarchive.Broken {
		if req.Kind != "blob" || req.Ref != d {
			t.Errorf("asked about %+v", req)
		}
		return faults[n-1]
	})
	var got []string
	for range faults {
		// One connection each: the client repeats a GET on a connection that died.
		req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			got = append(got, "error")
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b = nil
		}
		got = append(got, fmt.Sprint(resp.StatusCode, resp.Header.Get("Retry-After"), " ", len(b), err != nil, string(b) == "0123456789"))
	}
	want := []string{"5037 0 false false", "error", "200 10 false false", "200 4 true false", "200 10 false true"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	r.Fault(nil)

	// Lost: the blob is stored, the answer is not sent.
	_, _, h := do(t, "POST", r.URL+"/v2/a/blobs/uploads/", "", nil)
	r.Fault(func(testregistry.Request, int) testarchive.Broken { return testarchive.Broken{Lost: true} })
	dl := string(digest.FromString("lost"))
	if status, _, _ := do(t, "PUT", r.URL+h.Get("Location")+"&digest="+dl, "", []byte("lost")); status != 0 {
		t.Errorf("answered %d", status)
	}
	if _, ok := r.Blob("a", dl); !ok {
		t.Error("not stored")
	}
}

func TestRegistryAuthRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []testregistry.Options{{Basic: true}, {Bearer: true}} {
		r := testregistry.New(t, o)
		p := orasRepo(t, r, "x", false)
		if _, err := p.Resolve(t.Context(), "latest"); err == nil {
			t.Errorf("%+v: no credentials were wanted", o)
		}
		if n := r.Requests().Count("", "manifest"); n == 0 {
			t.Error("nothing in the log")
		}
	}
}

func TestRegistryTagPages(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	for _, tag := range []string{"c", "a", "b", "e", "d"} {
		r.SetTag("x", tag, "sha256:"+strings.Repeat("0", 64))
	}
	p := orasRepo(t, r, "x", false)
	p.TagListPageSize = 2
	var got []string
	if err := p.Tags(t.Context(), "", func(tags []string) error { got = append(got, tags...); return nil }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, "") != "abcde" || r.Requests().Count("GET", "tags") != 3 {
		t.Errorf("%v", got)
	}
}
