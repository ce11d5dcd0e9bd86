package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const helloDigest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"

// tiny is the snapshot whose documents are the examples of SPEC section 14.
func tiny(t testing.TB) *Packed {
	t.Helper()
	p, err := Pack(takeOf(t, map[string][]byte{
		"own/dists/own/Release":                       []byte("Suite: own\nDate: Sat, 21 Nov 2026 09:13:40 UTC\n"),
		"own/dists/own/main/binary-amd64/Packages.gz": []byte("packages\n"),
		"own/dists/own/main/i18n/Translation-en":      nil,
		"own/pool/main/h/hello/hello_1-1_amd64.deb":   []byte("hello\n"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSpecExamples(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	p := tiny(t)
	for what, data := range map[string][]byte{
		"config": p.config, "core": p.core, "shard": p.shards[0].encode(), "root": p.root, "digest": []byte(p.Root().String()),
	} {
		if !bytes.Contains(spec, data) {
			t.Errorf("SPEC.md lacks the %s\n%s", what, data)
		}
	}
}

func TestParseDocuments(t *testing.T) {
	t.Parallel()
	p := tiny(t)
	if _, err := oci.ParseRoot(p.root); err != nil {
		t.Error(err)
	}
	if _, err := oci.ParseCore(p.core); err != nil {
		t.Error(err)
	}
	if _, err := oci.ParseShard(p.shards[0].encode()); err != nil {
		t.Error(err)
	}
	config, err := oci.ParseConfig(p.config)
	if err != nil || !config.Date.Equal(synthDate) || config.Encoder != 1 || config.Needs != "" {
		t.Error(config, err)
	}
}

// hostile are edits of good documents, each of which breaks one rule.
var hostile = []struct{ doc, old, new string }{
	{"root", `{"schemaVersion":2,`, `{"schemaVersion":1,`},
	{"root", `{"schemaVersion":2,`, `{ "schemaVersion":2,`},
	{"root", `{"schemaVersion":2,`, `{"schemaVersion":2,"schemaVersion":2,`},
	{"root", `{"schemaVersion":2,`, `{"SchemaVersion":2,`},
	{"root", `{"schemaVersion":2,`, `{"schemaVersion":2.0,`},
	{"root", `{"schemaVersion":2,`, `{`},
	{"root", `"manifests":`, `"layers":[],"manifests":`},
	{"root", `"manifests":`, `"subject":null,"manifests":`},
	{"root", `"manifests":`, `"annotations":{},"manifests":`},
	{"root", `"manifests":`, `"artifactType":"a/b","manifests":`},
	{"root", `"size":`, `"urls":[],"size":`},
	{"root", `"size":`, `"data":"","size":`},
	{"root", `"size":`, `"platform":{},"size":`},
	{"root", `"size":`, `"annotations":{},"size":`},
	{"root", `"size":`, `"artifactType":"` + oci.TypeShard + `","size":`},
	{"root", `"size":`, `"size":0`},
	{"root", `"size":`, `"size":-`},
	{"root", `"size":`, `"size":9999999`},
	{"root", `"size":`, `"size":1e3,"size":`},
	{"root", `sha256:`, `sha512:`},
	{"root", `sha256:`, `sha256:A`},
	{"root", `sha256:`, `SHA256:`},
	{"root", oci.TypeIndex, "application/vnd.docker.distribution.manifest.list.v2+json"},
	{"root", oci.TypeManifest, oci.TypeIndex},
	{"root", `]}`, `]}]`},
	{"root", `]}`, `]} `},
	{"root", `]}`, `],"manifests":[]}`},
	{"root", `]}`, `]}{}`},
	{"root", `]}`, ``},
	{"core", oci.TypeConfig, "application/vnd.oci.image.config.v1+json"},
	{"core", oci.TypeConfig, oci.TypeConfigStem + "2+json"},
	{"core", `"config":`, `"artifactType":"` + oci.TypeShard + `","config":`},
	{"core", `"config":`, `"manifests":[],"config":`},
	{"core", oci.TypeStatement, oci.TypeTable},
	{"core", oci.TypeTable, oci.TypeLock},
	{"core", oci.TypeRelease, oci.TypeOctets},
	{"core", `"layers":`, `"layers":[],"layers":`},
	{"core", `"layers":[`, `"layers":[{"mediaType":"` + oci.TypeStatement + `","digest":"` + helloDigest + `","size":5},`},
	{"core", `"layers":[{`, `"layers":[{"extra":1,`},
	{"shard", oci.TypeShard, "application/vnd.mmoci.shard.v2"},
	{"shard", oci.TypeEmpty, oci.TypeOctets},
	{"shard", `"size":2}`, `"size":3}`},
	{"shard", oci.TypeDeb, "application/vnd.oci.image.layer.v1.tar"},
	{"shard", `"layers":[`, `"layers":null,"x":[`},
	{"shard", `"config":`, `"subject":{},"config":`},
	{"config", `"encoder":1`, `"encoder":0`},
	{"config", `"encoder":1`, `"encoder":1,"host":"x"`},
	{"config", `"encoder":1`, `"encoder":1,"encoder":1`},
	{"config", `"encoder":1`, `"encoder":01`},
	{"config", `Z"`, `+00:00"`},
	{"config", `Z"`, `.5Z"`},
	{"config", `2026-11-21`, `2026-13-21`},
	{"config", `{"date"`, `{"Date"`},
	{"config", `}`, `}}`},
}

func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	p := tiny(t)
	docs := map[string][]byte{"root": p.root, "core": p.core, "shard": p.shards[0].encode(), "config": p.config}
	parse := map[string]func([]byte) error{
		"root":   func(b []byte) error { _, err := oci.ParseRoot(b); return err },
		"core":   func(b []byte) error { _, err := oci.ParseCore(b); return err },
		"shard":  func(b []byte) error { _, err := oci.ParseShard(b); return err },
		"config": func(b []byte) error { _, err := oci.ParseConfig(b); return err },
	}
	for _, h := range hostile {
		data := docs[h.doc]
		edited := bytes.Replace(data, []byte(h.old), []byte(h.new), 1)
		if bytes.Equal(edited, data) {
			t.Errorf("%s: no %q to replace", h.doc, h.old)
			continue
		}
		if err := parse[h.doc](edited); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s with %q for %q: %v", h.doc, h.new, h.old, err)
		}
	}
	for name, data := range docs {
		if err := parse[name](append(bytes.Repeat([]byte(" "), MaxDocument), data...)); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s of more than a MiB: %v", name, err)
		}
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	layers := func(n int) []oci.Descriptor {
		var ds []oci.Descriptor
		for i := range n {
			ds = append(ds, oci.Describe(oci.TypeOctets, snapshot.BlobOf(fmt.Append(nil, i))))
		}
		return ds
	}
	for n, good := range map[int]bool{0: false, 1: true, oci.MaxLayers: true, oci.MaxLayers + 1: false} {
		m := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor(), Layers: layers(n)}
		if _, err := oci.ParseShard(m.Encode()); (err == nil) != good {
			t.Errorf("%d layers: %v", n, err)
		}
	}
	twice := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor(), Layers: append(layers(2), layers(1)...)}
	if _, err := oci.ParseShard(twice.Encode()); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("a digest twice: %v", err)
	}
	core, err := oci.ParseCore(tiny(t).core)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		few := oci.Manifest{Config: core.Config, Layers: core.Layers[:n]}
		if _, err := oci.ParseCore(few.Encode()); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("a core of %d layers: %v", n, err)
		}
	}
	if _, err := oci.ParseRoot(oci.EncodeIndex(nil)); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("empty root: %v", err)
	}
}

// What is not ours is named; a newer version says so.
func TestLook(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mediaType, root, core, want string }{
		{oci.TypeManifest, `{"mediaType":"` + oci.TypeManifest + `","config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[]}`, "", "a container image"},
		{"application/vnd.docker.distribution.manifest.v2+json", `{"config":{"mediaType":"application/vnd.docker.container.image.v1+json"},"layers":[]}`, "", "a container image"},
		{oci.TypeManifest, `{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[]}`, "", "a Helm chart"},
		{oci.TypeManifest, `{"artifactType":"a/b","config":{"mediaType":"` + oci.TypeEmpty + `"},"layers":[]}`, "", `an artifact of type "a/b"`},
		{"application/vnd.docker.distribution.manifest.list.v2+json", `{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`, "", "an image index"},
		{oci.TypeIndex, `{"manifests":[]}`, `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[]}`, "an image index over a container image"},
		{oci.TypeIndex, `{"manifests":[]}`, `{"manifests":[]}`, "an image index over"},
		{oci.TypeIndex, `{"manifests":[]}`, `{"config":{"mediaType":"` + oci.TypeConfigStem + `7+json"},"layers":[]}`, `snapshot format "7" needs a newer mmoci`},
		{"text/html", `<html>`, "", "no JSON"},
	} {
		err := lookRoot(c.mediaType, []byte(c.root))
		if err == nil && c.core != "" {
			err = lookCore([]byte(c.core), "")
		}
		if !errors.Is(err, ErrNotOurs) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.root, err, c.want)
		}
	}
	for mediaType, root := range map[string]string{
		oci.TypeIndex:    `{"manifests":[],"layers":[]}`,
		oci.TypeManifest: `{"mediaType":"` + oci.TypeIndex + `","manifests":[]}`,
	} {
		if err := lookRoot(mediaType, []byte(root)); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s as %s: %v", root, mediaType, err)
		}
	}
}

func fuzzDocument(f *testing.F, seed func(*Packed) []byte, parse func([]byte) ([]byte, error)) {
	f.Add(seed(tiny(f)))
	for _, h := range hostile {
		f.Add(bytes.Replace(seed(tiny(f)), []byte(h.old), []byte(h.new), 1))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := parse(data)
		if err != nil {
			if !errors.Is(err, snapshot.ErrIntegrity) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("%q was accepted; it is %q", data, again)
		}
	})
}

func FuzzRoot(f *testing.F) {
	fuzzDocument(f, func(p *Packed) []byte { return p.root }, func(b []byte) ([]byte, error) {
		ds, err := oci.ParseRoot(b)
		return oci.EncodeIndex(ds), err
	})
}

func encodeParsed(parse func([]byte) (*oci.Manifest, error)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		m, err := parse(b)
		if err != nil {
			return nil, err
		}
		return m.Encode(), nil
	}
}

func FuzzCore(f *testing.F) {
	fuzzDocument(f, func(p *Packed) []byte { return p.core }, encodeParsed(oci.ParseCore))
}

func FuzzShard(f *testing.F) {
	fuzzDocument(f, func(p *Packed) []byte { return p.shards[0].encode() }, encodeParsed(oci.ParseShard))
}

func FuzzConfig(f *testing.F) {
	fuzzDocument(f, func(p *Packed) []byte { return p.config }, func(b []byte) ([]byte, error) {
		c, err := oci.ParseConfig(b)
		return c.Encode(), err
	})
}
