package layout

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Sizes that ustar cannot write.
func TestTarHeader(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, maxUstarSize, maxUstarSize + 1, 1 << 46} {
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

// Some copiers lose the tag: the only entry, if it has no name, is the latest.
func TestLostTag(t *testing.T) {
	t.Parallel()
	d := oci.Describe(oci.TypeIndex, snapshot.BlobOf([]byte("x")))
	unnamed := layoutEntry{Descriptor: d}
	for _, c := range []struct {
		entries []layoutEntry
		tag     string
		found   bool
	}{
		{[]layoutEntry{unnamed}, "latest", true},
		{[]layoutEntry{unnamed}, "noble", false},
		{[]layoutEntry{unnamed, unnamed}, "latest", false},
		{[]layoutEntry{{Descriptor: d, tag: "noble"}}, "latest", false},
		{[]layoutEntry{{Descriptor: d, tag: "noble"}, unnamed}, "noble", true},
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
			c, err := store.Open(t.Context(), snapshot.Blob{Digest: d, Size: e.size}, 0)
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

// index.json belongs to all tools: what is read must survive being written, twice the same.
func FuzzLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add([]byte(`{"manifests":[{"mediaType":"a/b","digest":"` + snapshot.Sum([]byte("hey\n")).String() + `","size":4,"annotations":{"` + annotationTag + `":"x","k":"v"}}],"annotations":{"a":"b"},"x":[1]}`))
	f.Add([]byte(`{"manifests":[{"digest":"sha512:00","platform":{}}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parseLayoutIndex(data)
		if err != nil {
			return
		}
		once, err := x.encode()
		if err != nil {
			t.Fatal(err)
		}
		y, err := parseLayoutIndex(once)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", data, once, err)
		}
		twice, err := y.encode()
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q, %v", once, twice, err)
		}
		if len(x.entries) != len(y.entries) || len(x.Tags()) != len(y.Tags()) {
			t.Fatalf("%d entries became %d", len(x.entries), len(y.entries))
		}
	})
}

// Batches are committed by age as well: nobody waits for the thousandth file.
func TestBatchByAge(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	w, err := NewWriter(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	data := []byte("x")
	b := snapshot.BlobOf(data)
	if err := w.PutDocument(t.Context(), oci.Describe(oci.TypeManifest, b), data); err != nil {
		t.Fatal(err)
	}
	for there := false; !there; { // ends with the test's own time, if never
		time.Sleep(10 * time.Millisecond)
		if there, err = w.Has(t.Context(), oci.Describe(oci.TypeManifest, b)); err != nil {
			t.Fatal(err)
		}
	}
}

// What other workers complete after a sync has failed gets no name either.
func TestCompleteAfterFailedSync(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	failed := false
	w, err := NewWriter(t.Context(), dir, Options{Sync: func(fd int) error {
		if failed {
			return unix.Syncfs(fd)
		}
		failed = true
		return syscall.EIO
	}})
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) error {
		d := oci.Describe(oci.TypeManifest, snapshot.BlobOf([]byte(text)))
		return w.PutDocument(t.Context(), d, []byte(text))
	}
	if err := put("before"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := w.commit(); !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	}
	if err := put("after"); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := w.Close(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if named, err := os.ReadDir(filepath.Join(dir, blobsDir)); err != nil || len(named) > 0 {
		t.Errorf("%d have names, %v", len(named), err)
	}
}

// TestNewByManyAtOnce makes a layout of one absent directory from many sides: each gets it.
func TestNewByManyAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 {
		dir := filepath.Join(t.TempDir(), "layout")
		errs := make(chan error)
		for range 8 {
			go func() { errs <- prepareLayout(dir) }()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
}
