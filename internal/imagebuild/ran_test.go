package imagebuild

import (
	"archive/tar"
	"bytes"
	"context"
	"testing"
	"time"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// The files layer over what scripts made is the same whether they ran now or in an earlier build: directories that it repeats keep
// their times, those of a package and those that were made.
func TestFilesOverWhatRanBefore(t *testing.T) {
	cache, err := OpenCache(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	m := &maker{o: &Options{Cache: cache}, again: map[snapshot.Digest]func(context.Context) (layerMade, error){}}
	fresh := &rootfs.System{Entries: []rootfs.SystemEntry{
		{Entry: rootfs.Entry{Path: "etc", Type: tar.TypeDir, Mode: 0o755, ModTime: 1_600_000_000}},
		{Entry: rootfs.Entry{Path: "etc/web", Type: tar.TypeDir, Mode: 0o2750, UID: 33, GID: 34, Made: true}},
		{Entry: rootfs.Entry{Path: "etc/web/old"}, Whiteout: true},
		{Entry: rootfs.Entry{Path: "srv", Type: tar.TypeSymlink, Mode: 0o777, Link: "etc/web", ModTime: 1_600_000_001}},
	}}
	layer := image.Layer{MediaType: image.TypeLayer, Blob: snapshot.BlobOf([]byte("x")), DiffID: snapshot.Sum([]byte("x"))}
	m.keepRun("key", fresh, layer, &built{}, nil)
	kept, _, ok := m.ranBefore(t.Context(), "key", chosen{}, nil, nil, &built{})
	if !ok {
		t.Fatal("the run is not kept")
	}
	write := func(s *rootfs.System) []byte {
		top, err := filesLayer([]file{{path: "/srv/x", mode: 0o644, data: []byte("x")}}, newTree(true, nil, s))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := top.WriteLayer(&b, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(write(fresh), write(kept)) {
		t.Error("the files layer is another one over what an earlier run made")
	}
}
