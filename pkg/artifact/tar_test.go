package artifact

import (
	"archive/tar"
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/pkg/snapshot"
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
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 || h.Mode != tarMode {
			t.Errorf("%s: %+v", h.Name, h)
		}
		if n := len(names); n > 2 && names[n-1] >= h.Name {
			t.Errorf("%s after %s", h.Name, names[n-1])
		}
		names = append(names, h.Name)
	}
	if names[0] != layoutFile || names[1] != indexFile {
		t.Errorf("%v", names[:2])
	}
}

// Sizes that ustar cannot write.
func TestTarHeader(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, maxUstarSize, maxUstarSize + 1, maxFile} {
		block, err := tarHeader(blobsDir+"/"+snapshot.Sum(nil).Hex(), size)
		if err != nil {
			t.Fatal(err)
		}
		h, err := tar.NewReader(bytes.NewReader(block)).Next()
		if err != nil || h.Size != size {
			t.Errorf("%d: %+v, %v", size, h, err)
		}
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

// Some copiers lose the tag: the only entry, if it has no name, is the latest.
func TestLostTag(t *testing.T) {
	t.Parallel()
	d := describe(typeIndex, snapshot.BlobOf([]byte("x")))
	unnamed := layoutEntry{descriptor: d}
	for _, c := range []struct {
		entries []layoutEntry
		tag     string
		found   bool
	}{
		{[]layoutEntry{unnamed}, "latest", true},
		{[]layoutEntry{unnamed}, "noble", false},
		{[]layoutEntry{unnamed, unnamed}, "latest", false},
		{[]layoutEntry{{descriptor: d, tag: "noble"}}, "latest", false},
		{[]layoutEntry{{descriptor: d, tag: "noble"}, unnamed}, "noble", true},
		{[]layoutEntry{{}}, "latest", false},
	} {
		if _, found := (&layoutIndex{entries: c.entries}).find(c.tag); found != c.found {
			t.Errorf("%d entries, %s: %t", len(c.entries), c.tag, found)
		}
	}
}

func FuzzTar(f *testing.F) {
	// Each new input is made smaller for up to a minute otherwise, byte by byte and pair by pair, and little else is done.
	if err := flag.Set("test.fuzzminimizetime", "100x"); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range map[string]string{layoutFile: layoutMarker, indexFile: `{"manifests":[]}`, blobsDir + "/" + snapshot.Sum([]byte("hello\n")).Hex(): "hello\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: tarMode}); err != nil {
			f.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			f.Fatal(err)
		}
	}
	w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		store, err := scanTar("x", bytes.NewReader(data))
		if err != nil {
			return
		}
		for d, e := range store.blobs {
			c, err := store.Open(t.Context(), snapshot.Blob{Digest: d, Size: e.size})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(snapshot.NewReader(c.R, snapshot.Blob{Digest: d, Size: e.size}))
			if err == nil && snapshot.Sum(got) != d {
				t.Fatalf("%s read as %q", d, got)
			}
		}
	})
}
