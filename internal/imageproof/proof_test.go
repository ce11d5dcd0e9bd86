package imageproof

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/images"
	"example.org/mmoci/pkg/snapshot"
)

func partOf(t *testing.T, im *Image, title string) []byte {
	t.Helper()
	data, err := im.Part(t.Context(), title)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func packages() []testarchive.Package {
	return []testarchive.Package{
		{Name: "libc6", Version: "2.36-9", Architecture: "amd64", Source: "glibc", Content: map[string]string{"lib/libc.so.6": "libc"}},
		{Name: "web", Version: "1.0-1", Architecture: "amd64", Fields: [][2]string{{"Depends", "libc6"}}, Content: map[string]string{"usr/sbin/web": "program", "etc/web.conf": "x"}, ControlFiles: map[string]string{"postinst": "#!/bin/sh\nadduser web\n"}},
		{Name: "base-passwd", Version: "3.6.1", Architecture: "amd64", Content: map[string]string{"usr/share/base-passwd/passwd.master": "root::0:0:root:/root:/bin/bash\n", "usr/share/base-passwd/group.master": "root:*:0:\n"}},
	}
}

func site(t *testing.T, pkgs ...testarchive.Package) (*snapshot.Snapshot, prove.Trust) {
	t.Helper()
	a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{Dir: "bookworm", Date: world.Date.AddDate(0, 0, -1), Packages: pkgs}}}
	dir := testarchive.MemoryDir(t)
	a.Build(t).Write(t, filepath.Join(dir, "debian"))
	key := filepath.Join(dir, "debian.asc")
	if err := os.WriteFile(key, testarchive.DebianKey().Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := &config.Plan{Archives: []config.Archive{{Prefix: "debian", Suites: []string{"bookworm"}, Components: []string{"main"}, Architectures: []string{"amd64"}, URLs: []string{filepath.Join(dir, "debian")}, SignedBy: key, All: true}}}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	frozen.Snapshot.Root = snapshot.Sum([]byte("root"))
	return frozen.Snapshot, prove.Trust{Upstream: map[string]*pgp.Keyring{"debian": world.Ring(t, testarchive.DebianKey())}, Named: []string{"debian"}, Now: world.Now}
}

// made is an image in a registry, of which everything can be changed.
type made struct {
	registry *testregistry.Registry
	ref      artifact.Reference
	snapshot *snapshot.Snapshot
	trust    prove.Trust
}

func build(t *testing.T, signed bool, compression string) *made {
	t.Helper()
	m := &made{registry: testregistry.New(t, testregistry.Options{})}
	m.ref = artifact.Reference{Kind: artifact.Registry, Name: m.registry.Host() + "/site/web", Tag: "1"}
	m.snapshot, m.trust = site(t, packages()...)
	dir := t.TempDir()
	text := "packages: [web]\narch: amd64\nsync: [{src: web.conf, dest: /etc/web.conf}, {src: www, dest: /srv, recursive: yes}]\nconfig: {entrypoint: [/usr/sbin/web]}\nlayers: {compression: " + compression + "}\n"
	for name, data := range map[string]string{"image.yaml": text, "web.conf": "ours", "www/run": "#!", "www/sub/a": "a"} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "www/run"), 0o755), os.Symlink("run", filepath.Join(dir, "www/link"))); err != nil {
		t.Fatal(err)
	}
	plan, err := imageplan.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := imagebuild.Options{Plan: plan, Snapshot: m.snapshot, Trust: m.trust}
	if signed {
		o.Signer = world.SignerOf(t, testarchive.SiteKey())
	}
	m.build(t, o)
	return m
}

// build puts an image under the tag.
func (m *made) build(t *testing.T, o imagebuild.Options) {
	t.Helper()
	im, err := imagebuild.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Put(t.Context(), m.ref, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (m *made) verify(t *testing.T, site *pgp.Keyring) ([]Proof, error) {
	t.Helper()
	im, err := Read(t.Context(), m.ref, Options{Site: site})
	if err != nil {
		return nil, err
	}
	return im.Verify(t.Context(), VerifyOptions{Snapshot: m.snapshot, Trust: m.trust})
}

func TestVerify(t *testing.T) {
	for _, compression := range []string{"gzip", "zstd", "none"} {
		m := build(t, true, compression)
		ring := world.Ring(t, testarchive.SiteKey())
		proofs, err := m.verify(t, ring)
		if err != nil {
			t.Fatalf("%s: %v", compression, err)
		}
		if want := (Proof{Architecture: "amd64", Proved: 2, Generated: 1, Files: 1}); len(proofs) != 1 || !reflect.DeepEqual(proofs[0], want) {
			t.Errorf("%s: %+v, want %+v", compression, proofs, want)
		}
		im, err := Read(t.Context(), m.ref, Options{Site: ring})
		if err != nil {
			t.Fatal(err)
		}
		if im.Signer != testarchive.SiteKey().Fingerprint() {
			t.Errorf("signed by %q", im.Signer)
		}
		if err := im.Rebuild(t.Context(), VerifyOptions{Snapshot: m.snapshot, Trust: m.trust}, nil); err != nil {
			t.Error(err)
		}
		// A later snapshot with the same packages beside others proves it, too, and makes the same.
		m.snapshot, m.trust = site(t, append(packages(), testarchive.Package{Name: "libc6", Version: "2.37-1", Architecture: "amd64"})...)
		if _, err := m.verify(t, ring); err != nil {
			t.Errorf("by a later snapshot: %v", err)
		}
		if err := im.Rebuild(t.Context(), VerifyOptions{Snapshot: m.snapshot, Trust: m.trust}, nil); err != nil {
			t.Error(err)
		}
	}
}

// The account has a line for each script of each package.
func TestAccount(t *testing.T) {
	im, err := Read(t.Context(), build(t, false, "gzip").ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if im.Signer != "" {
		t.Errorf("signed by %q", im.Signer)
	}
	want := []account.Line{
		{Package: "libc6", Version: "2.36-9", Script: "-", What: account.None},
		{Package: "web", Version: "1.0-1", Script: "postinst", What: account.NotRun, Detail: "it has code of its own"},
	}
	got := im.Account["amd64"]
	if len(got) != 4 || !slices.Equal(got[:2], want) || got[2].What != account.Made {
		t.Errorf("account %+v", got)
	}
}

// Whoever has no key of the site's, and can write whatever they like to the registry.
// Several may say something of one image, as when two sites build the same: whoever has a key gets what is said under it, in whichever order
// they said it, and what others say beside it is nothing to him.
func TestSeveralSayOf(t *testing.T) {
	for _, signed := range []bool{true, false} { // the first
		m := build(t, signed, "gzip")
		im, err := Read(t.Context(), m.ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := im.PlanIn(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		o := imagebuild.Options{Plan: plan, Snapshot: m.snapshot, Trust: m.trust, Lock: im.Lock}
		if !signed {
			if _, err := m.verify(t, world.Ring(t, testarchive.SiteKey())); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "is not signed") {
				t.Errorf("nobody signed it: %v", err)
			}
			o.Signer = world.SignerOf(t, testarchive.SiteKey())
		}
		m.build(t, o)
		o.Signer = world.SignerOf(t, testarchive.DockerKey())
		m.build(t, o)
		for _, key := range []*testarchive.Key{testarchive.SiteKey(), testarchive.DockerKey()} {
			got, err := Read(t.Context(), m.ref, Options{Site: world.Ring(t, key)})
			if err != nil || got.Signer != world.SignerOf(t, key).Public().Fingerprints()[0] || got.Reference.Digest != im.Reference.Digest {
				t.Errorf("signed first %t: %v, %+v", signed, err, got)
			}
			if _, err := m.verify(t, world.Ring(t, key)); err != nil {
				t.Errorf("signed first %t: %v", signed, err)
			}
		}
		if _, err := m.verify(t, world.Ring(t, testarchive.DebianKey())); err == nil {
			t.Error("what others say is taken for the word of who said nothing")
		}
		if n := len(im.image.Referrers); n != 1 {
			t.Errorf("%d said something before", n)
		}
		if now, err := Read(t.Context(), m.ref, Options{}); err != nil || len(now.image.Referrers) != 3 {
			t.Errorf("without a key: %v, %d said something", err, len(now.image.Referrers))
		}
	}
}

func TestThefts(t *testing.T) {
	ring := world.Ring(t, testarchive.SiteKey())
	t.Run("flipped byte", func(t *testing.T) {
		m := build(t, true, "gzip")
		im, err := Read(t.Context(), m.ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for n, want := range []string{"skeleton", "package libc6 2.36-9 amd64", "package web 1.0-1 amd64", "system", "files"} {
			digest := im.archs[0].layers[n].Digest.String()
			m.registry.FlipBlob(t, "site/web", digest)
			if _, err := m.verify(t, ring); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
			m.registry.FlipBlob(t, "site/web", digest)
		}
		if _, err := m.verify(t, ring); err != nil {
			t.Errorf("flipped back: %v", err)
		}
		m.registry.DeleteBlob("site/web", im.archs[0].layers[2].Digest.String())
		if _, err := m.verify(t, ring); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "web 1.0-1 amd64: integrity: the image is there in part only") {
			t.Errorf("a layer is lost: %v", err)
		}
	})
	for name, c := range map[string]struct {
		change func(t *testing.T, layers [][]byte) [][]byte
		config func(c map[string]any)
		wants  []string
	}{
		"a layer of another package in its place": {change: func(t *testing.T, l [][]byte) [][]byte { l[1] = l[2]; return l }, wants: []string{"the layer of package libc6 2.36-9 amd64"}},
		"two layers change places":                {change: func(t *testing.T, l [][]byte) [][]byte { l[1], l[2] = l[2], l[1]; return l }, wants: []string{"the layer of package"}},
		"another program in a package": {change: func(t *testing.T, l [][]byte) [][]byte {
			l[2] = bytes.Replace(l[2], []byte("program"), []byte("badgram"), 1)
			return l
		}, wants: []string{"the layer of package web 1.0-1 amd64", "/usr/sbin/web has other bytes"}},
		"a file in the system layer": {change: func(t *testing.T, l [][]byte) [][]byte { l[3] = added(t, l[3], "usr/bin/backdoor", 0o4755); return l }, wants: []string{"the layer of system", "/usr/bin/backdoor is not expected"}},
		"a file in the files layer":  {change: func(t *testing.T, l [][]byte) [][]byte { l[4] = added(t, l[4], "etc/cron.d/x", 0o644); return l }, wants: []string{"the layer of files", "/etc/cron.d/x is not expected"}},
		"a layer more":               {change: func(t *testing.T, l [][]byte) [][]byte { return append(l, added(t, nil, "x", 0o644)) }, wants: []string{"is none of the plan's"}},
		"a layer less":               {change: func(t *testing.T, l [][]byte) [][]byte { return l[:4] }, wants: []string{"the layer of files is missing"}},
		"another entrypoint":         {config: func(c map[string]any) { c["config"].(map[string]any)["Entrypoint"] = []string{"/bin/sh"} }, wants: []string{"its config (entrypoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := build(t, false, "none")
			m.forge(t, c.change, c.config)
			_, err := m.verify(t, nil)
			if !errors.Is(err, outcome.ErrIntegrity) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %s", err, want)
				}
			}
			if _, err := m.verify(t, ring); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "is not signed") {
				t.Errorf("with the site's key: %v", err)
			}
		})
	}
	t.Run("signed by another", func(t *testing.T) {
		m := build(t, true, "gzip")
		if _, err := m.verify(t, world.Ring(t, testarchive.DockerKey())); err == nil {
			t.Error("somebody else's signature is taken")
		}
	})
	t.Run("nothing is said", func(t *testing.T) {
		m := build(t, true, "gzip")
		for tag := range m.registry.Tags("site/web") {
			if strings.HasPrefix(tag, "sha256-") {
				m.registry.SetTag("site/web", tag, "sha256:"+strings.Repeat("0", 64))
			}
		}
		if _, err := m.verify(t, nil); err == nil {
			t.Error("an image of which nothing is said is taken")
		}
	})
	// The site's own word, of another image.
	t.Run("replayed", func(t *testing.T) {
		m := build(t, true, "none")
		im, err := Read(t.Context(), m.ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		signed := partOf(t, im, "statement.txt")
		m.forge(t, func(t *testing.T, l [][]byte) [][]byte { l[3] = added(t, l[3], "usr/bin/backdoor", 0o4755); return l }, nil, signed...)
		if _, err := m.verify(t, ring); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "the statement is of image") {
			t.Errorf("got %v", err)
		}
	})
	// What is signed is meant as a whole: another plan, lock or account beside the signature is found.
	for _, part := range []string{"image.yaml", "files.tar", "image.lock", "account-amd64.txt", "layers.txt", "notes.txt", "sbom.spdx.json", "sbom.cdx.json", "provenance.json"} {
		t.Run("another "+part, func(t *testing.T) {
			m := build(t, true, "gzip")
			im, err := Read(t.Context(), m.ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m.companion(t, im, func(title string, data []byte) []byte {
				if title == part {
					return append(bytes.Clone(data), '\n')
				}
				return data
			})
			if _, err := m.verify(t, ring); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), part) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	old, now := &imagelock.Lock{}, &imagelock.Lock{}
	p := func(name, version, bytes string) imagelock.Package {
		return imagelock.Package{Name: name, Version: version, Architecture: "amd64", Deb: snapshot.BlobOf([]byte(bytes))}
	}
	old.Architectures = []imagelock.Architecture{{Name: "amd64", Packages: []imagelock.Package{p("a", "1", "a"), p("b", "1", "b"), p("c", "1", "c"), p("d", "1:1", "d")}}}
	now.Architectures = []imagelock.Architecture{{Name: "amd64", Packages: []imagelock.Package{p("a", "2", "a2"), p("b", "1", "other"), p("d", "1:1", "d"), p("e", "1", "e")}}, {Name: "arm64", Packages: []imagelock.Package{p("a", "1", "a")}}}
	var got []string
	for _, c := range Changes(old, now) {
		got = append(got, c.Architecture+": "+c.String())
	}
	if want := []string{"amd64: a 1 -> 2", "amd64: b 1 (another .deb)", "amd64: - c 1", "amd64: + e 1", "arm64: + a 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	im := &Image{Lock: old}
	if len(im.Has("d", "")) != 1 || len(im.Has("d", "2")) != 0 || len(im.Has("d", "1:2")) != 1 || len(im.Has("x", "")) != 0 {
		t.Error("Has")
	}
}

// An update makes the image of the same plan from a newer snapshot.
func TestAgain(t *testing.T) {
	m := build(t, true, "gzip")
	im, err := Read(t.Context(), m.ref, Options{Site: world.Ring(t, testarchive.SiteKey())})
	if err != nil {
		t.Fatal(err)
	}
	pkgs := packages()
	pkgs[0].Version = "2.36-9+deb12u1"
	m.snapshot, m.trust = site(t, pkgs...)
	made, err := im.Again(t.Context(), imagebuild.Options{Snapshot: m.snapshot, Trust: m.trust})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if c := Changes(im.Lock, made.Lock); len(c) != 1 || c[0].String() != "libc6 2.36-9 -> 2.36-9+deb12u1" {
		t.Errorf("changes %v", c)
	}
	if made.Architectures[0].Layers[2].Digest.String() != im.archs[0].layers[2].Digest.String() || len(made.Architectures[0].Layers) != 5 {
		t.Error("the layer of a package that stayed is another one")
	}
}

// added is a tar with one entry more at its end.
func added(t *testing.T, data []byte, name string, mode int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for r := tar.NewReader(bytes.NewReader(data)); len(data) > 0; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type memory map[snapshot.Digest][]byte

func (m memory) Open(_ context.Context, b snapshot.Blob, offset int64) (*snapshot.Content, error) {
	data, ok := m[b.Digest]
	if !ok {
		return nil, snapshot.ErrNotExist
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data[offset:]))}, nil
}

// forge puts another image of the same plan under the tag, with a statement of its own that nobody signed, or with one that is given.
func (m *made) forge(t *testing.T, change func(*testing.T, [][]byte) [][]byte, config func(map[string]any), statement ...byte) {
	t.Helper()
	im, err := Read(t.Context(), m.ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var layers [][]byte
	for _, l := range im.archs[0].layers {
		data, err := im.read(t.Context(), l.Blob)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, data)
	}
	if change != nil {
		layers = change(t, layers)
	}
	var c map[string]any
	if err := json.Unmarshal(im.archs[0].config, &c); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		config(c)
	}
	blobs := memory{}
	add := func(data []byte, mediaType string) map[string]any {
		b := snapshot.BlobOf(data)
		blobs[b.Digest] = data
		return map[string]any{"mediaType": mediaType, "digest": b.Digest.String(), "size": b.Size}
	}
	var ids []string
	var list []any
	for _, l := range layers {
		ids = append(ids, snapshot.Sum(l).String())
		list = append(list, add(l, image.TypeLayer))
	}
	c["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids}
	text := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if config == nil { // as mmoci writes it, but for the layers
		old := string(im.archs[0].config)
		from, to := strings.Index(old, `"diff_ids":[`), strings.Index(old, `]},"history"`)
		c = nil
		_ = json.Unmarshal([]byte(old[:from]+`"diff_ids":`+string(text(ids))+old[to+1:]), &c)
	}
	manifest := text(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": add(text(c), "application/vnd.oci.image.config.v1+json"), "layers": list})
	entry := add(manifest, "application/vnd.oci.image.manifest.v1+json")
	entry["platform"] = map[string]any{"os": "linux", "architecture": "amd64"}
	index := text(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{entry}})
	m.put(t, im, index, [][]byte{manifest}, blobs, statement)
}

// put puts an index with a companion of the parts of another, and a statement that fits it.
func (m *made) put(t *testing.T, im *Image, index []byte, documents [][]byte, blobs memory, signed []byte) {
	t.Helper()
	a := image.Attachment{ArtifactType: imagebuild.TypeCompanion, Subject: image.Part{MediaType: "application/vnd.oci.image.index.v1+json", Data: index}}
	statement := "mmoci-image-statement-v1\ndate 2026-01-13T00:00:00Z\nimage " + snapshot.BlobOf(index).String() + "\nsnapshot " + im.Lock.Snapshot.String() + "\n"
	for _, name := range []string{"image.yaml", "files.tar", "image.lock", "account-amd64.txt", "layers.txt", "notes.txt", "sbom.spdx.json", "sbom.cdx.json", "provenance.json"} {
		data := partOf(t, im, name)
		a.Layers = append(a.Layers, image.Attached{Part: image.Part{MediaType: "text/plain", Data: data}, Title: name})
		statement += "part " + name + " " + snapshot.BlobOf(data).String() + "\n"
		blobs[snapshot.Sum(data)] = data
	}
	mediaType := imagebuild.TypeStatement
	if signed != nil {
		statement, mediaType = string(signed), imagebuild.TypeSignedStatement
	}
	a.Layers = append(a.Layers, image.Attached{Part: image.Part{MediaType: mediaType, Data: []byte(statement)}, Title: "statement.txt"})
	blobs[snapshot.Sum([]byte(statement))] = []byte(statement)
	blobs[snapshot.Sum([]byte("{}"))] = []byte("{}")
	doc, err := a.Document()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := images.New(t.Context(), index, documents, [][]byte{doc.Data}, blobs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.Put(t.Context(), forged, m.ref, "", artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
}

// companion replaces what is said of the image by other parts under the same signature.
func (m *made) companion(t *testing.T, im *Image, edit func(title string, data []byte) []byte) {
	t.Helper()
	_, index, _ := m.registry.Manifest("site/web", "1")
	for tag, digest := range m.registry.Tags("site/web") {
		if !strings.HasPrefix(tag, "sha256-") {
			continue
		}
		_, list, _ := m.registry.Manifest("site/web", digest)
		var l struct {
			Manifests []struct {
				Digest string `json:"digest"`
			} `json:"manifests"`
		}
		if err := json.Unmarshal(list, &l); err != nil {
			t.Fatal(err)
		}
		_, doc, _ := m.registry.Manifest("site/web", l.Manifests[0].Digest)
		var old titled
		if err := json.Unmarshal(doc, &old); err != nil {
			t.Fatal(err)
		}
		a := image.Attachment{ArtifactType: imagebuild.TypeCompanion, Subject: image.Part{MediaType: "application/vnd.oci.image.index.v1+json", Data: index}}
		for _, part := range old.Layers {
			data, _ := m.registry.Blob("site/web", part.Digest)
			data = edit(part.Annotations["org.opencontainers.image.title"], data)
			m.registry.PutBlob("site/web", data)
			a.Layers = append(a.Layers, image.Attached{Part: image.Part{MediaType: part.MediaType, Data: data}, Title: part.Annotations["org.opencontainers.image.title"]})
		}
		forged, err := a.Document()
		if err != nil {
			t.Fatal(err)
		}
		d := m.registry.PutManifest("site/web", "", forged.MediaType, forged.Data)
		list = []byte(strings.ReplaceAll(string(list), l.Manifests[0].Digest, d))
		list = []byte(strings.ReplaceAll(string(list), `"size":`+itoa(len(doc)), `"size":`+itoa(len(forged.Data))))
		m.registry.PutManifest("site/web", tag, "application/vnd.oci.image.index.v1+json", list)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// A lock that says that scripts were run, which this program cannot do, takes layers out of the comparison, and says so; the config stays in it.
func TestLockOfScriptsThatCannotRun(t *testing.T) {
	claim := func(m *made) {
		im, err := Read(t.Context(), m.ref, Options{})
		if err != nil {
			t.Fatal(err)
		}
		lock := bytes.Replace(partOf(t, im, "image.lock"), []byte("scripts none"), []byte("scripts run"), 1)
		m.companion(t, im, func(title string, data []byte) []byte {
			switch title {
			case "image.lock":
				return lock
			case "statement.txt":
				return bytes.Replace(data, []byte(snapshot.BlobOf(partOf(t, im, "image.lock")).String()), []byte(snapshot.BlobOf(lock).String()), 1)
			}
			return data
		})
	}
	m := build(t, false, "none")
	claim(m)
	proofs, err := m.verify(t, nil)
	if want := (Proof{Architecture: "amd64", Proved: 2, Unproved: []string{"system", "files"}}); err != nil || len(proofs) != 1 || !reflect.DeepEqual(proofs[0], want) {
		t.Errorf("%+v, %v; want %+v", proofs, err, want)
	}
	m = build(t, false, "none")
	m.forge(t, nil, func(c map[string]any) { c["config"].(map[string]any)["Entrypoint"] = []string{"/bin/sh"} })
	claim(m)
	if _, err := m.verify(t, nil); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "its config (entrypoint") {
		t.Errorf("another entrypoint: %v", err)
	}
}
