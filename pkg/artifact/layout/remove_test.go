package layout

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// What somebody's manifest has as a layer, and an image index as a manifest, is followed as a manifest.
func TestRemoveFollowsManifestsThatAreLayers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(mediaType, data string) string {
		b := snapshot.BlobOf([]byte(data))
		if err := os.WriteFile(blobPath(dir, b.Digest), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return string(oci.AppendDescriptor(nil, oci.Describe(mediaType, b)))
	}
	manifest := func(config, layer string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, oci.TypeManifest, config, layer)
	}
	inner := manifest(put(oci.TypeEmpty, "{}"), put("application/octet-stream", "inner"))
	copied := put(oci.TypeManifest, manifest(put(oci.TypeEmpty, "{}"), put("application/octet-stream", inner)))
	index := put(oci.TypeIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, oci.TypeIndex, put(oci.TypeManifest, inner)))
	for name, text := range map[string]string{
		"oci-layout": layoutMarker,
		indexFile:    fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s,%s]}`, copied, index),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Remove(t.Context(), oci.Reference{Kind: oci.Layout, Name: dir}, nil, nil)
	if err != nil || r.Files != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
