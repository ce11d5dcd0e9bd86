package artifact

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"

	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// everyKind gives a reference of each kind, all of them empty.
func everyKind(t *testing.T) map[string]Reference {
	t.Helper()
	return map[string]Reference{
		"layout":   layoutRef(t),
		"archive":  archiveRef(t),
		"registry": newFakeRegistry(t).ref(t, "noble"),
	}
}

// severalShards is of how many sources synthFiles makes three shards. Over a real registry each blob takes its time.
const severalShards = 250

// Law 1: Open(Push(s)) equals s through every kind of place, with one root digest.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	files := synthFiles(severalShards)
	s := takeOf(t, files)
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if p.Shards() != 3 {
		t.Fatalf("%d shards", p.Shards())
	}
	for kind, ref := range everyKind(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			pushed := mustPush(t, ref, s, PushOptions{})
			if !pushed.Changed || pushed.Root != p.Root() {
				t.Fatalf("pushed %s, changed %t; packed %s", pushed.Root, pushed.Changed, p.Root())
			}
			if want := countBlobs(p); pushed.Blobs != want || pushed.Uploaded != want {
				t.Errorf("%d blobs, %d uploaded, want %d", pushed.Blobs, pushed.Uploaded, want)
			}
			back := reopen(t, ref)
			if err := snapshottest.Equal(t.Context(), s, back); err != nil {
				t.Fatal(err)
			}
			if back.Root != p.Root() {
				t.Errorf("root %s", back.Root)
			}
			snapshottest.Test(t, back, files)
			testGraph(t, pushed.Reference, p)
		})
	}
}

// testGraph compares what is there with what was packed.
func testGraph(t *testing.T, ref Reference, p *Packed) {
	t.Helper()
	g, err := ReadGraph(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Manifests) != p.Shards()+2 || g.Manifests[0].Digest != p.Root() {
		t.Errorf("%d manifests, want %d", len(g.Manifests), p.Shards()+2)
	}
	if len(g.Files) != countBlobs(p) {
		t.Errorf("%d files, want %d", len(g.Files), countBlobs(p))
	}
	missing, err := Missing(t.Context(), ref, g, Options{})
	if err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
	d, err := Resolve(t.Context(), ref, Options{})
	if err != nil || d != p.Root() {
		t.Errorf("resolved to %s, %v", d, err)
	}
}

// Every kind to every kind.
func TestCopy(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(40))
	for from, src := range everyKind(t) {
		root := mustPush(t, src, s, PushOptions{}).Root
		for to, dst := range everyKind(t) {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				copied, err := Copy(t.Context(), src, dst, PushOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if copied.Root != root || !copied.Changed {
					t.Errorf("copied %s, want %s", copied.Root, root)
				}
				if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
					t.Error(err)
				}
				again, err := Copy(t.Context(), src, dst, PushOptions{})
				if err != nil || again.Changed || again.Uploaded != 0 {
					t.Errorf("second copy: %+v, %v", again, err)
				}
			})
		}
	}
}

// The reference says how firmly the snapshot is believed.
func TestPinned(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	pushed := mustPush(t, ref, takeOf(t, synthFiles(3)), PushOptions{})
	byDigest := pushed.Reference
	byDigest.Tag = ""
	for r, pinned := range map[oci.Reference]bool{ref: false, pushed.Reference: true, byDigest: true} {
		sealed, err := Open(t.Context(), r, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if sealed.Pinned != pinned {
			t.Errorf("%s: pinned %t", r, sealed.Pinned)
		}
	}
}

// The golden digest fails when the bytes of any document change.
func TestGoldenRoot(t *testing.T) {
	const want = "sha256:452a2d07098e0d480e64a679da15a1d67732e23169a3a316bff74861991623bd"
	s := takeOf(t, synthFiles(600))
	for _, procs := range []int{1, 8} {
		old := runtime.GOMAXPROCS(procs)
		p, err := Pack(s)
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		if p.Root().String() != want {
			t.Errorf("root with GOMAXPROCS=%d: %s, want %s", procs, p.Root(), want)
		}
	}
}

// A reader that is not ours finds all of it valid.
func TestOtherReader(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(30))
	ref := layoutRef(t)
	pushed := mustPush(t, ref, s, PushOptions{})
	index, err := ggcr.ImageIndexFromPath(ref.Name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Digest.String() != pushed.Root.String() {
			t.Fatalf("index.json names %s", d.Digest)
		}
		root, err := index.ImageIndex(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		validateIndex(t, root)
	}
}

// validateIndex reads all of an index by another library and hashes it (its
// own validate package would need a module that nothing else needs).
func validateIndex(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := image.Digest(); err != nil || got != d.Digest {
			t.Fatalf("manifest %s: %s, %v", d.Digest, got, err)
		}
		if config, err := image.RawConfigFile(); err != nil || len(config) < 2 {
			t.Fatalf("config of %s: %q, %v", d.Digest, config, err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			want, err := l.Digest()
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || r.Close() != nil || snapshot.Sum(data).String() != want.String() {
				t.Errorf("layer %s: %v", want, err)
			}
		}
	}
}

// In place: a file that was hashed once is handed out as it is, until it changes.
func TestLayoutInPlace(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	s := takeOf(t, synthFiles(3))
	mustPush(t, ref, s, PushOptions{})
	sealed, err := Open(t.Context(), ref, Options{Tuning: places.Tuning{Layout: layout.Options{Settle: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := sealed.Unseal(nil)
	if err != nil {
		t.Fatal(err)
	}
	const path = "own/pool/main/b/big/big_1_amd64.deb"
	inPlace := func() bool {
		f, err := back.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Seeker != nil {
			return true
		}
		if err := drain(f); err != nil {
			t.Fatal(err)
		}
		return false
	}
	if inPlace() {
		t.Error("in place before it was hashed")
	}
	if !inPlace() {
		t.Error("hashed again")
	}
	row, _ := back.Table.Find(path)
	touch(t, blobFile(ref, row.Digest))
	if inPlace() {
		t.Error("in place after its times changed")
	}
	if !inPlace() {
		t.Error("hashed again")
	}
}

func blobFile(ref Reference, d snapshot.Digest) string {
	return filepath.Join(ref.Name, layoutBlobs, d.Hex())
}

func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func touch(t *testing.T, name string) {
	t.Helper()
	if err := os.Chtimes(name, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
}
