package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

// readEverything reads all that a reference leads to, as verify does.
func readEverything(ctx context.Context, ref Reference) error {
	o := Options{Tuning: places.Tuning{Timing: remote.Timing{Backoff: 1}}}
	s, err := openSnapshot(ctx, ref, o)
	if err != nil {
		return err
	}
	for row := range s.Table.Rows() {
		f, err := s.Open(ctx, row.Path)
		if err != nil {
			return err
		}
		err = drain(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	g, err := ReadGraph(ctx, ref, o)
	if err != nil {
		return err
	}
	for _, b := range g.Files {
		f, err := s.OpenBlob(ctx, b)
		if err != nil {
			return err
		}
		err = drain(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// blobsByKind names one blob of each kind.
func blobsByKind(t *testing.T, p *Packed) map[string]snapshot.Digest {
	t.Helper()
	kinds := map[string]snapshot.Digest{
		"root": p.Root(), "core": snapshot.Sum(p.core), "shard": p.shards[0].Digest, "empty config": oci.EmptyConfigDescriptor().Digest,
		"config": p.tops[0].Digest, "statement": p.tops[1].Digest, "table": p.tops[2].Digest, "lock": p.tops[3].Digest, "release": p.tops[4].Digest,
	}
	for _, l := range p.shards[0].layers {
		switch {
		case strings.HasSuffix(l.Path, "Packages.gz"):
			kinds["index"] = l.Digest
		case strings.Contains(l.Path, "/big/"):
			kinds["long file"] = l.Digest
		case strings.Contains(l.Path, "/src0001/"):
			kinds["file"] = l.Digest
		}
	}
	if len(kinds) != 12 {
		t.Fatalf("%d kinds", len(kinds))
	}
	return kinds
}

// One flipped byte in any kind of blob of a layout is an integrity error that names it.
func TestFlippedByteInLayout(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	s := takeOf(t, synthFiles(5))
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, ref, s, PushOptions{})
	if err := readEverything(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	for kind, d := range blobsByKind(t, p) {
		name := filepath.Join(ref.Name, layoutBlobs, d.Hex())
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for how, bad := range map[string][]byte{
			"flipped":   append(append(bytes.Clone(good[:len(good)/2]), good[len(good)/2]^1), good[len(good)/2+1:]...),
			"truncated": good[:len(good)-1],
			"longer":    append(bytes.Clone(good), 0),
		} {
			writeFile(t, name, bad)
			err := readEverything(t.Context(), ref)
			if !errors.Is(err, snapshot.ErrIntegrity) || !namesBlob(err, p, d) {
				t.Errorf("%s %s: %v", kind, how, err)
			}
			// Verify reads the files itself and leaves the config to the graph.
			if _, err := ReadGraph(t.Context(), ref, Options{}); kind == "config" && !errors.Is(err, snapshot.ErrIntegrity) {
				t.Errorf("the graph with a config that is %s: %v", how, err)
			}
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := readEverything(t.Context(), ref); err == nil || !namesBlob(err, p, d) {
			t.Errorf("%s removed: %v", kind, err)
		}
		writeFile(t, name, good)
	}
	if err := readEverything(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// namesBlob tells whether an error names a blob by digest or path.
func namesBlob(err error, p *Packed, d snapshot.Digest) bool {
	text := fmt.Sprint(err)
	for l := range p.layers() {
		if l.Digest == d && l.Path != "" && strings.Contains(text, l.Path) {
			return true
		}
	}
	return strings.Contains(text, d.Hex())
}

// Recheck finds what was damaged in a layout and replaces it.
func TestRecheckHealsLayout(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	s := takeOf(t, synthFiles(5))
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, ref, s, PushOptions{})
	kinds := blobsByKind(t, p)
	for _, d := range kinds {
		name := filepath.Join(ref.Name, layoutBlobs, d.Hex())
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[0] ^= 1
		writeFile(t, name, data)
	}
	pushed := mustPush(t, ref, s, PushOptions{Recheck: true})
	if want := len(kinds) - 3; pushed.Uploaded != want || pushed.Changed { // all but the manifests
		t.Errorf("%+v, want %d written", pushed, want)
	}
	if err := readEverything(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// The same at a registry that lies, in the body, in the length, in the type.
func TestLyingRegistry(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	s := takeOf(t, synthFiles(5))
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, ref, s, PushOptions{})
	lies := map[string]func(h http.Header, body []byte) []byte{
		"flipped":   func(_ http.Header, b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"truncated": func(_ http.Header, b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(_ http.Header, b []byte) []byte { return append(b, ' ') },
		"other":     func(http.Header, []byte) []byte { return []byte("{}\n") },
	}
	// By tag the registry may answer with any root that it stands for: see below.
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/manifests/noble") {
			return false
		}
		f.relay(w, r, lies["flipped"])
		return true
	})
	if err := readEverything(t.Context(), ref); !errors.Is(err, snapshot.ErrIntegrity) || !namesBlob(err, p, p.Root()) {
		t.Errorf("root by tag flipped: %v", err)
	}
	for kind, d := range blobsByKind(t, p) {
		if kind == "root" {
			continue
		}
		for how, lie := range lies {
			f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.Hex()) {
					return false
				}
				f.relay(w, r, lie)
				return true
			})
			if err := readEverything(t.Context(), ref); !errors.Is(err, snapshot.ErrIntegrity) || !namesBlob(err, p, d) {
				t.Errorf("%s %s: %v", kind, how, err)
			}
		}
	}
	f.answer(nil)
	pinned, other := ref, ref
	pinned.Digest = p.Root()
	other.Tag = "other" // another snapshot, whole and valid, in the place of the one asked for
	root := mustPush(t, other, takeOf(t, synthFiles(6)), PushOptions{}).Root
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, p.Root().Hex()) {
			r.URL.Path = strings.Replace(r.URL.Path, p.Root().Hex(), root.Hex(), 1)
		}
		return false
	})
	if err := readEverything(t.Context(), pinned); !errors.Is(err, snapshot.ErrIntegrity) || !namesBlob(err, p, p.Root()) {
		t.Errorf("root by digest: %v", err)
	}
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, snapshot.Sum(p.core).Hex()) {
			f.relay(w, r, func(h http.Header, b []byte) []byte { h.Set("Content-Type", oci.TypeIndex); return b })
			return true
		}
		return false
	})
	if err := readEverything(t.Context(), ref); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("core of another type: %v", err)
	}
}

// relay answers as the inner registry does, but for the lie.
func (f *fakeRegistry) relay(w http.ResponseWriter, r *http.Request, lie func(http.Header, []byte) []byte) {
	rec := httptest.NewRecorder()
	f.inner.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	body := lie(w.Header(), rec.Body.Bytes())
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(rec.Code)
	if _, err := w.Write(body); err != nil {
		return
	}
}

// An artifact rewritten consistently is opened, but what is not ours, or not of
// this version, is refused and named.
func TestForeignArtifacts(t *testing.T) {
	t.Parallel()
	put := func(t *testing.T, dir string, docs ...string) string {
		t.Helper()
		var d snapshot.Digest
		for _, doc := range docs {
			d = snapshot.Sum([]byte(doc))
			if err := os.MkdirAll(filepath.Join(dir, layoutBlobs), 0o755); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, layoutBlobs, d.Hex()), []byte(doc))
		}
		var root struct{ MediaType string }
		last := docs[len(docs)-1]
		if err := json.Unmarshal([]byte(last), &root); err != nil {
			t.Fatal(err)
		}
		writeIndex(t, dir, "noble", root.MediaType, []byte(last))
		return "oci:" + dir + ":noble"
	}
	image := `{"schemaVersion":2,"mediaType":"` + oci.TypeManifest + `","config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[]}`
	over := func(core, extra string) string {
		b := snapshot.BlobOf([]byte(core))
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d%s}]}`, oci.TypeIndex, oci.TypeManifest, b.Digest, b.Size, extra)
	}
	next := `{"schemaVersion":2,"mediaType":"` + oci.TypeManifest + `","config":{"mediaType":"` + oci.TypeConfigStem + `3+json"},"layers":[]}`
	later := func(version, config string) string {
		b := snapshot.BlobOf([]byte(config))
		return fmt.Sprintf(`{"config":{"mediaType":"%s%s+json","digest":"%s","size":%d}}`, oci.TypeConfigStem, version, b.Digest, b.Size)
	}
	needs := `{"date":"2026-11-21T09:13:40Z","encoder":1,"needs":"1.4"}`
	shout := `{"needs":"1.4\n\u001b[31m"}`
	negative := strings.Replace(later("3", needs), `"size":`, `"size":-`, 1)
	ours := string(tiny(t).core)
	for name, c := range map[string]struct {
		docs []string
		is   error
		says string
	}{
		"image":           {[]string{image}, ErrNotOurs, "a container image"},
		"index of images": {[]string{image, over(image, `,"platform":{"os":"linux","architecture":"arm64"}`)}, ErrNotOurs, "a container image"},
		"next version":    {[]string{next, over(next, "")}, ErrNotOurs, "needs a newer mmoci"},
		"next, needs":     {[]string{needs, later("3", needs), over(later("3", needs), "")}, snapshot.ErrNewer, `snapshot format "3" needs mmoci >= 1.4`},
		"after next":      {[]string{needs, later("3", needs), over(later("3", needs), `,"annotations":{}`)}, snapshot.ErrNewer, `snapshot format "3" needs mmoci >= 1.4`},
		"needs no number": {[]string{shout, later("3", shout), over(later("3", shout), "")}, snapshot.ErrNewer, `snapshot format "3" needs a newer mmoci`},
		"needs is gone":   {[]string{later("3", needs), over(later("3", needs), "")}, snapshot.ErrNewer, `snapshot format "3" needs a newer mmoci`},
		"negative config": {[]string{negative, over(negative, "")}, snapshot.ErrNewer, `snapshot format "3" needs a newer mmoci`},
		"next, extended":  {[]string{next, over(next, `,"annotations":{}`)}, ErrNotOurs, "needs a newer mmoci"},
		"ours, annotated": {[]string{ours, over(ours, `,"annotations":{}`)}, snapshot.ErrIntegrity, "annotations"},
		"child missing":   {[]string{over(image, "")}, snapshot.ErrNotExist, snapshot.Sum([]byte(image)).Hex()},
		"no children":     {[]string{`{"schemaVersion":2,"mediaType":"` + oci.TypeIndex + `","manifests":[]}`}, ErrNotOurs, "an image index"},
		"nested":          {[]string{image, over(image, ""), over(over(image, ""), "")}, ErrNotOurs, "an image index"},
	} {
		_, err := Open(t.Context(), mustParse(t, put(t, t.TempDir(), c.docs...)), Options{})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
}

// A digest that stands in two shards is refused where all shards are read.
func TestSharedBlob(t *testing.T) {
	t.Parallel()
	a := shard{layers: []oci.Layer{{Descriptor: oci.Describe(oci.TypeOctets, snapshot.BlobOf([]byte("a")))}}}
	b := shard{layers: []oci.Layer{{Descriptor: oci.Describe(oci.TypeOctets, snapshot.BlobOf([]byte("b")))}}}
	if err := (&packed{shards: []shard{a, b}}).checkDistinct(); err != nil {
		t.Error(err)
	}
	if err := (&packed{shards: []shard{a, b, a}}).checkDistinct(); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Error(err)
	}
	if err := (&packed{tops: a.layers, shards: []shard{b, a}}).checkDistinct(); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Error(err)
	}
	// and that it is looked for
	dir := t.TempDir()
	ref := mustParse(t, "oci:"+dir)
	p := tiny(t)
	twice := p.shards[0].encode()
	twice = bytes.Replace(twice, []byte(oci.TypeDeb), []byte(oci.TypeOctets), 1) // another shard over the same blobs
	root := oci.EncodeIndex([]oci.Descriptor{
		oci.Describe(oci.TypeManifest, snapshot.BlobOf(p.core)), p.shards[0].Descriptor, oci.Describe(oci.TypeManifest, snapshot.BlobOf(twice)),
	})
	var top oci.Layer
	for _, l := range p.tops {
		if strings.HasPrefix(l.MediaType, "application/vnd.mmoci.statement") {
			top = l
		}
	}
	statement, err := p.open(t.Context(), top.Blob)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(statement)
	if err != nil {
		t.Fatal(err)
	}
	docs := [][]byte{p.core, p.shards[0].encode(), twice, root, p.config, text}
	if err := os.MkdirAll(filepath.Join(dir, layoutBlobs), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		writeFile(t, filepath.Join(dir, layoutBlobs, snapshot.Sum(d).Hex()), d)
	}
	writeIndex(t, dir, "latest", oci.TypeIndex, root)
	if _, err := ReadGraph(t.Context(), ref, Options{}); !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), "two manifests") {
		t.Error(err)
	}
}

// TestOtherManifest: a registry that tells no digest answers with another core than the root names.
func TestOtherManifest(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	p := tiny(t)
	ref := f.ref(t, "latest")
	if _, err := p.Push(t.Context(), ref, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"the registry answered with": bytes.Replace(p.core, []byte(`"schemaVersion":2`), []byte(`"schemaVersion":3`), 1),
		"bytes, want":                append(bytes.Clone(p.core), ' '),
	} {
		f.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, snapshot.Sum(p.core).String()) {
				return false
			}
			w.Header().Set("Content-Type", oci.TypeManifest)
			_, _ = w.Write(data)
			return true
		}
		if _, err := Open(t.Context(), ref, Options{}); !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
