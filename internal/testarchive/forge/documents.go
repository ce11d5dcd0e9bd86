package forge

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Documents are an artifact's parts in a layout, to be edited and put back
// consistently: whoever names an edited one is edited too.
type Documents struct {
	Root, Core, Shard, Config []byte // Shard is the first of them
	// Declared, if not 0, is the size that index.json says the root has.
	Declared int64
}

// EditDocuments changes the documents of the only root in a layout.
func EditDocuments(t testing.TB, ref artifact.Reference, edit func(d *Documents)) {
	t.Helper()
	root, err := artifact.Resolve(t.Context(), ref, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := layout{t, ref.Name}
	d := Documents{Root: l.read(root.String())}
	names := digestsIn(d.Root)
	d.Core, d.Shard = l.read(names[0]), l.read(names[1])
	config := digestsIn(d.Core)[0]
	d.Config = l.read(config)
	was := d
	edit(&d)
	d.Core = l.replace(d.Core, was.Config, d.Config)
	d.Root = l.replace(d.Root, was.Core, d.Core)
	d.Root = l.replace(d.Root, was.Shard, d.Shard)
	index := filepath.Join(ref.Name, "index.json")
	data, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	data = l.replace(data, was.Root, d.Root)
	if d.Declared != 0 {
		data = bytes.ReplaceAll(data, size(d.Root), []byte(`"size":`+itoa(d.Declared)))
	}
	if err := os.WriteFile(index, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

type layout struct {
	t   testing.TB
	dir string
}

func (l layout) name(d snapshot.Digest) string {
	return filepath.Join(l.dir, "blobs/sha256", d.Hex())
}

func (l layout) read(digest string) []byte {
	l.t.Helper()
	d, err := snapshot.ParseDigest(digest)
	if err != nil {
		l.t.Fatal(err)
	}
	data, err := os.ReadFile(l.name(d))
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

// replace writes a changed blob and lets doc name it in place of the old one.
func (l layout) replace(doc, was, is []byte) []byte {
	l.t.Helper()
	if bytes.Equal(was, is) {
		return doc
	}
	name := l.name(snapshot.Sum(is))
	if err := os.WriteFile(name, is, 0o644); err != nil && !errors.Is(err, os.ErrExist) {
		l.t.Fatal(err)
	}
	old := []byte(snapshot.Sum(was).String())
	if !bytes.Contains(doc, old) {
		return doc // the edit took the name away
	}
	// Digest and size stand side by side, in whatever form.
	doc = bytes.ReplaceAll(doc, append(append([]byte(`"`), old...), append([]byte(`",`), size(was)...)...),
		append([]byte(`"`+snapshot.Sum(is).String()+`",`), size(is)...))
	return bytes.ReplaceAll(doc, old, []byte(snapshot.Sum(is).String()))
}

func size(data []byte) []byte { return []byte(`"size":` + itoa(int64(len(data)))) }

// digestsIn lists the digests in a document, in order.
func digestsIn(doc []byte) []string {
	var out []string
	for _, part := range strings.Split(string(doc), `"digest":"`)[1:] {
		digest, _, _ := strings.Cut(part, `"`)
		out = append(out, digest)
	}
	return out
}

// WriteUnchecked is Write for a snapshot that no writer of ours would take: its files go into the layout as they are.
func WriteUnchecked(t testing.TB, s *snapshot.Snapshot, dir, tag string) artifact.Reference {
	t.Helper()
	packed, err := artifact.Pack(s)
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	c := *s
	c.Root = packed.Root()
	docs, err := artifact.DocumentsOf(&c)
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	l := layout{t, dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rootData, mediaType, err := docs.Document(c.Root)
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	put(l.name(c.Root), rootData)
	for _, child := range digestsIn(rootData) {
		d, err := snapshot.ParseDigest(child)
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := docs.Document(d)
		if err != nil {
			t.Fatal(err)
		}
		put(l.name(d), data)
		for _, name := range digestsIn(data) {
			if d, err := snapshot.ParseDigest(name); err == nil {
				if _, data, ok := docs.CoreBlob(d); ok {
					put(l.name(d), data)
				}
			}
		}
	}
	blobs := []snapshot.Blob{s.Statement.Lock}
	for row := range s.Table.Rows() {
		blobs = append(blobs, row.Blob())
	}
	for _, b := range blobs {
		if b.Size == 0 {
			continue
		}
		data, err := s.ReadBlob(t.Context(), b, 64<<20)
		if err != nil {
			t.Fatalf("forge: %v", err)
		}
		put(l.name(b.Digest), data)
	}
	put(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+mediaType+`","digest":"`+c.Root.String()+`",`+
		string(size(rootData))+`,"annotations":{"org.opencontainers.image.ref.name":"`+tag+`"}}]}`))
	return artifact.Reference{Kind: artifact.Layout, Name: dir, Tag: tag}
}
