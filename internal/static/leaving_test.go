package static

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// imageLayout is a layout of images that tests write by hand.
type imageLayout struct {
	dir string
}

func newImageLayout(t *testing.T) *imageLayout {
	t.Helper()
	l := &imageLayout{dir: filepath.Join(t.TempDir(), "images")}
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.file(t, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return l
}

func (l *imageLayout) file(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// blob puts a blob and returns its descriptor.
func (l *imageLayout) blob(t *testing.T, mediaType string, data []byte) map[string]any {
	t.Helper()
	b := snapshot.BlobOf(data)
	l.file(t, "blobs/sha256/"+b.Digest.Hex(), data)
	return map[string]any{"mediaType": mediaType, "digest": b.Digest.String(), "size": b.Size}
}

// manifest puts a manifest with one layer and returns its descriptor.
func (l *imageLayout) manifest(t *testing.T, layerType, layer string, subject map[string]any) map[string]any {
	t.Helper()
	m := map[string]any{
		"schemaVersion": 2, "mediaType": oci.TypeManifest,
		"config": l.blob(t, "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"amd64","os":"linux"}`)),
		"layers": []any{l.blob(t, layerType, []byte(layer))},
	}
	if subject != nil {
		m["subject"] = subject
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return l.blob(t, oci.TypeManifest, data)
}

// index writes index.json with these entries: a name, or "", and a descriptor in turn.
func (l *imageLayout) index(t *testing.T, entries ...any) {
	t.Helper()
	all := []map[string]any{}
	for i := 0; i < len(entries); i += 2 {
		e := map[string]any{}
		for k, v := range entries[i+1].(map[string]any) {
			e[k] = v
		}
		if name := entries[i].(string); name != "" {
			e["annotations"] = map[string]string{"org.opencontainers.image.ref.name": name}
		}
		all = append(all, e)
	}
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.TypeIndex, "manifests": all})
	if err != nil {
		t.Fatal(err)
	}
	l.file(t, "index.json", data)
}

const (
	layerType = "application/vnd.oci.image.layer.v1.tar"
	sbomType  = "application/vnd.example.sbom"
	sigType   = "application/vnd.dev.cosign.simplesigning.v1+json"
)

func hexOf(d map[string]any) string { return strings.TrimPrefix(d["digest"].(string), "sha256:") }

func exists(t *testing.T, dir, name string) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

// A tag that no reference names any more goes after a while, also where its digest has another name; a name that is
// given back in time stays.
func TestTagLeaves(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	app := l.manifest(t, layerType, "app", nil)
	l.index(t, "app:1", app, "app:candidate", app)
	a, b := reference(t, l.dir, "app:1"), reference(t, l.dir, "app:candidate")
	dir := filepath.Join(t.TempDir(), "tree")
	at := func(when time.Duration, refs ...artifact.Reference) *Result {
		return mustExport(t, Options{Dir: dir, References: refs, Keep: 48 * time.Hour, Now: now.Add(when)})
	}
	at(0, a, b)
	if res := at(time.Hour, a); res.LeavingTags != 1 || res.LeavingRoots != 0 || res.Removed != 0 {
		t.Errorf("at first: %+v", res)
	}
	before := state(t, dir)
	at(40*time.Hour, a)
	for name, was := range state(t, dir) {
		if before[name] != was {
			t.Errorf("a run within the time touched %s", name)
		}
	}
	if res := at(41*time.Hour, a, b); res.LeavingTags != 0 || exists(t, dir, marksPath) {
		t.Errorf("given back: %+v", res)
	}
	at(42*time.Hour, a)
	if res := at(89*time.Hour, a); res.LeavingTags != 1 || !exists(t, dir, "repositories/app/_tags/candidate") {
		t.Errorf("the time began when it was given: %+v", res)
	}
	if res := at(90*time.Hour, a); res.LeavingTags != 0 || res.Removed != 1 || exists(t, dir, "repositories/app/_tags/candidate") || exists(t, dir, marksPath) {
		t.Errorf("at last: %+v", res)
	}
	if tags := whole(t, dir); !slices.Equal(tags, []string{"1"}) {
		t.Errorf("tags %v", tags)
	}
}

// An apt tree goes, too, when exports write none any more.
func TestAptLeaves(t *testing.T) {
	t.Parallel()
	_, older, newer := two(t)
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{older, newer}, Apt: true, Keep: 48 * time.Hour, Now: now}
	mustExport(t, o)
	o.Apt, o.Now = false, now.Add(time.Hour)
	if res := mustExport(t, o); res.LeavingTags != 2 || !exists(t, dir, "apt/mirror:older") {
		t.Errorf("%+v", res)
	}
	o.Now = now.Add(49 * time.Hour)
	mustExport(t, o)
	trees, err := os.ReadDir(filepath.Join(dir, treesDir))
	if err != nil || len(trees) != 0 || exists(t, dir, "apt/mirror:older") {
		t.Errorf("trees %v, %v", trees, err)
	}
	if tags := whole(t, dir); len(tags) != 4 {
		t.Errorf("tags %v", tags)
	}
}

// A name that may be two images is removed at once: what it named may not be what is meant.
func TestAmbiguousLeavesAtOnce(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	l.index(t, "app:1", l.manifest(t, layerType, "app", nil))
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{reference(t, l.dir, "app:1")}, Keep: 48 * time.Hour, Now: now}
	mustExport(t, o)
	tr, err := openTree(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	e := &export{tree: tr, o: &o}
	c, err := tr.read(t.Context(), o.References[0], &o)
	if err != nil {
		t.Fatal(err)
	}
	documents := map[snapshot.Digest]bool{c.root: true}
	named := &naming{ambiguous: map[tagName]bool{{"app", "1"}: true}}
	if err := e.tidy(named, documents, e.readMarks()); err != nil {
		t.Fatal(err)
	}
	if exists(t, dir, "repositories/app/_tags/1") {
		t.Error("it is still there")
	}
}

// What refers to an image is listed as it is now. A referrer that went stays for a while by its digest, so that who has read the
// list before finds it; the list of an image that lost its last one goes.
func TestReferrersLeave(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	app := l.manifest(t, layerType, "app", nil)
	first, second := l.manifest(t, sbomType, "bom 1", app), l.manifest(t, sbomType, "bom 2", app)
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{reference(t, l.dir, "app:1")}, Keep: 48 * time.Hour}
	listed := func() string {
		data, err := os.ReadFile(filepath.Join(dir, referrersDir, hexOf(app)))
		if os.IsNotExist(err) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for i, step := range []struct {
		about []map[string]any
		gone  []map[string]any
	}{
		{[]map[string]any{first}, nil},
		{[]map[string]any{second}, nil},
		{nil, nil}, // two hours later both are within their time
		{nil, []map[string]any{first, second}},
	} {
		o.Now = now.Add(time.Duration(i) * time.Hour)
		if step.gone != nil {
			o.Now = now.Add(60 * time.Hour)
		}
		entries := []any{"app:1", app}
		for _, d := range step.about {
			entries = append(entries, "", d)
		}
		l.index(t, entries...)
		mustExport(t, o)
		list := listed()
		if (list == "") != (len(step.about) == 0) {
			t.Errorf("step %d: list %q", i, list)
		}
		for _, d := range []map[string]any{first, second} {
			if named := slices.ContainsFunc(step.about, func(a map[string]any) bool { return hexOf(a) == hexOf(d) }); strings.Contains(list, hexOf(d)) != named {
				t.Errorf("step %d: list %q, names %s: %v", i, list, hexOf(d), !named)
			}
		}
		for _, d := range step.gone {
			if exists(t, dir, "documents/sha256/"+hexOf(d)) {
				t.Errorf("step %d: %s is still there", i, hexOf(d))
			}
		}
		if there := exists(t, dir, "documents/sha256/"+hexOf(first)); there != (step.gone == nil) {
			t.Errorf("step %d: the first is there: %v", i, there)
		}
		if tags := whole(t, dir); !slices.Equal(tags, []string{"1"}) {
			t.Errorf("step %d: tags %v", i, tags)
		}
	}
}

// cosign finds a signature by the tag sha256-HEX.sig of the image's repository.
func TestCosignTags(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	app := l.manifest(t, layerType, "app", nil)
	tag := "sha256-" + hexOf(app) + ".sig"
	was := ""
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{reference(t, l.dir, "site/app:1")}, Now: now}
	for _, signature := range []string{"one", "two", ""} {
		entries := []any{"site/app:1", app}
		var sig map[string]any
		if signature != "" {
			sig = l.manifest(t, sigType, signature, nil)
			entries = append(entries, tag, sig)
		}
		l.index(t, entries...)
		mustExport(t, o)
		to, err := os.Readlink(filepath.Join(dir, "repositories/site/app/_tags", tag))
		switch {
		case signature == "" && !os.IsNotExist(err):
			t.Errorf("without a signature: %s, %v", to, err)
		case signature != "" && (err != nil || filepath.Base(to) != hexOf(sig) || to == was):
			t.Errorf("signature %s: %s, %v", signature, to, err)
		}
		was = to
		whole(t, dir)
	}
}

// Documents are on the disk before a tag leads to one.
func TestDocumentsBeforeTags(t *testing.T) {
	t.Parallel()
	_, older, _ := two(t)
	dir := filepath.Join(t.TempDir(), "tree")
	synced := map[string]bool{} // documents that were there at a sync
	o := Options{Dir: dir, References: []artifact.Reference{older}, Now: now}
	o.sync = func(int) error {
		if exists(t, dir, "repositories") {
			return nil // a tag may be there
		}
		names, err := filepath.Glob(filepath.Join(dir, "documents/sha256/*/*"))
		for _, name := range names {
			synced[name] = true
		}
		return err
	}
	mustExport(t, o)
	names, err := filepath.Glob(filepath.Join(dir, "documents/sha256/*/*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if !synced[name] {
			t.Errorf("%s was on no disk when its tag was made", name)
		}
	}
}

// What somebody else put among the tags is named, with where it lies: until it is gone nothing is removed.
func TestStrayTag(t *testing.T) {
	t.Parallel()
	_, older, _ := two(t)
	dir := filepath.Join(t.TempDir(), "tree")
	o := Options{Dir: dir, References: []artifact.Reference{older}, Now: now}
	mustExport(t, o)
	stray := filepath.Join(dir, tagName{"mirror", "stray"}.path())
	if err := os.WriteFile(stray, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), o); err == nil || !strings.Contains(err.Error(), stray+" is no tag, and nothing of an export's; take it out of the tree") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	mustExport(t, o)
}

func FuzzMarks(f *testing.F) {
	f.Add(formatMarks(map[mark]time.Time{{tagMark, tagName{"site/app", "1"}}: now, {aptMark, tagName{"mirror", "noble"}}: now}))
	f.Add([]byte("tag 2026-01-01T00:00:00+01:00 a:b\n"))
	f.Add([]byte(fmt.Sprintf("tag %s a\n", snapshot.FormatDate(now))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if all, err := parseMarks(data); err == nil && !bytes.Equal(formatMarks(all), data) {
			t.Errorf("%q is read as %q", data, formatMarks(all))
		}
	})
}
