package oci

import (
	"reflect"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func aManifest(layers int) []byte {
	m := Manifest{ArtifactType: TypeShard, Config: EmptyConfigDescriptor()}
	for i := range layers {
		m.Layers = append(m.Layers, Describe(TypeDeb, snapshot.BlobOf([]byte{byte(i), 1})))
	}
	return m.Encode()
}

// What is scanned is what JSON says, and all that Encode writes is scanned.
func TestScanManifest(t *testing.T) {
	for n := range 5 {
		var want jsonManifest
		data := aManifest(n)
		if err := decodeStrict(data, &want); err != nil {
			t.Fatal(err)
		}
		got, ok := scanManifest(string(data))
		if !ok || len(got.Layers) != n || n > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%d layers: %v, %v", n, got, ok)
		}
	}
	good := string(aManifest(2))
	for _, bad := range []string{
		"", good[1:], good[:len(good)-1], good + " ", good + good, strings.Replace(good, `,"layers"`, `, "layers"`, 1), strings.Replace(good, "},{", "}{", 1),
		strings.Replace(good, "},{", "},,{", 1), strings.Replace(good, "[{", "[,{", 1), strings.Replace(good, "}]", "},]", 1), strings.Replace(good, `"size":2`, `"size":x`, 1),
		strings.Replace(good, "shard", `sh\u0061rd`, 1), strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":3`, 1),
	} {
		if j, ok := scanManifest(bad); ok {
			t.Errorf("%.80s: %v", bad, j)
		}
	}
}

// Whatever is scanned, and is written so, is what JSON says.
func FuzzScanManifest(f *testing.F) {
	for n := range 3 {
		f.Add(aManifest(n))
	}
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + TypeManifest + `","config":{"mediaType":"a\"","digest":"b","size":01},"layers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all := func(int, string) int64 { return 1 << 40 }
		got, err := parseManifest("manifest", data, all)
		if err != nil {
			return
		}
		var want jsonManifest
		if err := decodeStrict(data, &want); err != nil {
			t.Fatalf("taken, and no JSON: %v: %q", err, data)
		}
		if got.ArtifactType != want.ArtifactType || got.Config.MediaType != want.Config.MediaType || len(got.Layers) != len(want.Layers) {
			t.Fatalf("%v, and JSON says %v", got, want)
		}
		for i, l := range got.Layers {
			if w := want.Layers[i]; l.MediaType != w.MediaType || l.Digest.String() != w.Digest || l.Size != w.Size {
				t.Fatalf("%v, and JSON says %v", l, w)
			}
		}
	})
}
