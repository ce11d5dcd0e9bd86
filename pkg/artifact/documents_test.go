package artifact

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Each document that a push would write is given, byte for byte, and no other.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, sources := range []int{0, 900} {
		s := takeOf(t, synthFiles(sources))
		p, err := Pack(s)
		if err != nil {
			t.Fatal(err)
		}
		s.Root = p.Root()
		d, err := DocumentsOf(s)
		if err != nil {
			t.Fatal(err)
		}
		want := map[snapshot.Digest][]byte{p.Root(): p.root, snapshot.Sum(p.core): p.core}
		for i := range p.shards {
			want[p.shards[i].Digest] = p.shards[i].encode()
		}
		for digest, data := range want {
			got, mediaType, err := d.Document(digest)
			if err != nil || string(got) != string(data) {
				t.Errorf("%s: %d bytes instead of %d, %v", digest, len(got), len(data), err)
			}
			if isRoot := digest == p.Root(); (mediaType == oci.TypeIndex) != isRoot || !isRoot && mediaType != oci.TypeManifest {
				t.Errorf("%s: %s", digest, mediaType)
			}
		}
		for _, l := range p.tops {
			b, data, ok := d.CoreBlob(l.Digest)
			if !ok || b != l.Blob || data != nil && snapshot.BlobOf(data) != b {
				t.Errorf("%s: %v %v", l.Name(), b, ok)
			}
		}
		if _, data, ok := d.CoreBlob(oci.EmptyConfigDescriptor().Digest); !ok || string(data) != "{}" {
			t.Errorf("config of shards: %q %v", data, ok)
		}
		shardBlob := p.shards[0].layers[0].Digest
		if data, _, err := d.Document(shardBlob); data != nil || err != nil {
			t.Errorf("a file is no document: %v", err)
		}
		if _, _, ok := d.CoreBlob(shardBlob); ok {
			t.Error("a file of a shard is none of the core")
		}
	}
}

// A snapshot whose root is another one has no documents.
func TestDocumentsOfAnother(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(2))
	s.Root = snapshot.Sum([]byte("another"))
	if _, err := DocumentsOf(s); !errors.Is(err, snapshot.ErrIntegrity) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkDocuments says what a release costs: time, and bytes that stay.
func BenchmarkDocuments(b *testing.B) {
	for _, packages := range []int{63_440, 650_000} {
		b.Run(fmt.Sprint(packages), func(b *testing.B) {
			rows := release(packages, -1)
			data := []byte("Suite: own\nDate: Sat, 21 Nov 2026 09:13:40 UTC\n")
			rows = append(rows, snapshot.Row{Path: "own/dists/own/Release", Size: int64(len(data)), Digest: snapshot.Sum(data)})
			for i := range rows {
				if rows[i].Name != "" {
					rows[i].Path = "own" + rows[i].Path[len("debian"):]
				}
			}
			s, err := snapshot.Take(frozenOf(rows, blobsOf(map[string][]byte{"r": data})))
			if err != nil {
				b.Fatal(err)
			}
			p, err := Pack(s)
			if err != nil {
				b.Fatal(err)
			}
			s.Root = p.Root()
			shard := p.shards[len(p.shards)/2].Digest
			p, rows = nil, nil
			var d *Documents
			b.Run("make", func(b *testing.B) {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				for b.Loop() {
					if d, err = DocumentsOf(s); err != nil {
						b.Fatal(err)
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)), "kept-bytes")
			})
			b.Run("shard", func(b *testing.B) {
				for b.Loop() {
					if _, _, err := d.Document(shard); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
