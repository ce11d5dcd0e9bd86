package artifact

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// The same snapshot gives the same archive, byte for byte, in the order oci-layout, index.json, blobs.
func TestArchiveIsDeterministic(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(30))
	var first []byte
	for _, workers := range []int{1, 8} {
		ref := archiveRef(t)
		mustPush(t, ref, s, PushOptions{Options: Options{Concurrency: workers}})
		data, err := os.ReadFile(ref.Name)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, data) {
			t.Error("two archives differ")
		}
		first = data
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(first))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 || h.Mode != 0o644 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		if n := len(names); n > 2 && names[n-1] >= h.Name {
			t.Errorf("%s after %s", h.Name, names[n-1])
		}
		names = append(names, h.Name)
	}
	if names[0] != "oci-layout" || names[1] != "index.json" {
		t.Errorf("%v", names[:2])
	}
}

// Archives as other tools write them: another order, directories, "./" before names.
func TestForeignTar(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(3))
	ref := layoutRef(t)
	mustPush(t, ref, s, PushOptions{})
	name := filepath.Join(t.TempDir(), "x.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(ref.Name)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := snapshottest.Equal(t.Context(), s, reopen(t, mustParse(t, "oci-archive:"+name+":noble"))); err != nil {
		t.Error(err)
	}
}
