package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/snapshot"
)

// Names in a layout, as image-spec has them, and what a registry is asked at most, as package remote has it.
const (
	layoutBlobs   = "blobs/sha256"
	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`
	refName       = "org.opencontainers.image.ref.name"

	workers   = 8  // at once
	tries     = 6  // of one request
	throttled = 30 // answers 429 to one request, which do not count as tries
)

var synthDate = time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)

// noise is size bytes that only depend on the name.
func noise(name string, size int) []byte {
	seed := sha256.Sum256([]byte(name))
	b := make([]byte, (size+7)/8*8)
	rng := rand.NewChaCha8(seed)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:size]
}

// synthFiles is a small world with all that matters to this package: signature
// files, an empty file, one content under two paths, a blob longer than the
// held back tail, a directory of more files than a shard takes.
func synthFiles(sources int) map[string][]byte {
	files := map[string][]byte{
		"own/dists/own/Release":                          []byte("Suite: own\nDate: Sat, 21 Nov 2026 09:13:40 UTC\n"),
		"own/dists/own/main/binary-amd64/Packages.gz":    noise("packages", 5000),
		"own/dists/own/main/i18n/Translation-en":         {},
		"own/pool/main/b/big/big_1_amd64.deb":            noise("big", 3*snapshot.HoldBack+17),
		"own/pool/main/s/same/same-a_1_all.deb":          []byte("one content, two names"),
		"own/pool/main/s/same/same-b_1_all.deb":          []byte("one content, two names"),
		"own/pool/main/s/same/same_1.tar.xz":             noise("tar", 700),
		"own/pool/main/r/release/copy-of-release_1.data": []byte("Suite: own\nDate: Sat, 21 Nov 2026 09:13:40 UTC\n"),
	}
	for i := range sources {
		for j := range 1 + i%3 {
			name := fmt.Sprintf("src%04d-%d_1.%d_amd64.deb", i, j, i)
			files[fmt.Sprintf("own/pool/main/s/src%04d/%s", i, name)] = noise(name, 100+(i*37+j)%900)
		}
	}
	return files
}

// synthRows describes files.
func synthRows(files map[string][]byte) []snapshot.Row {
	var rows []snapshot.Row
	for _, path := range slices.Sorted(maps.Keys(files)) {
		data := files[path]
		rows = append(rows, snapshot.Row{Path: path, Size: int64(len(data)), Digest: snapshot.Sum(data)})
	}
	return rows
}

// blobsOf serves files from memory, as an upstream would.
func blobsOf(files map[string][]byte) snapshot.Blobs {
	byDigest := map[snapshot.Digest][]byte{}
	for _, data := range files {
		byDigest[snapshot.Sum(data)] = data
	}
	return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
		data, ok := byDigest[b.Digest]
		if !ok {
			return nil, fmt.Errorf("blob %s: %w", b.Digest, snapshot.ErrNotExist)
		}
		return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}, ctx.Err()
	})
}

// frozenOf is an unsigned snapshot of one archive "own" over rows with a Release.
func frozenOf(rows []snapshot.Row, blobs snapshot.Blobs) snapshot.Frozen {
	const release = "own/dists/own/Release"
	i := slices.IndexFunc(rows, func(r snapshot.Row) bool { return r.Path == release })
	return snapshot.Frozen{
		Date: synthDate, Encoder: 1,
		Archives: []snapshot.Archive{{
			Prefix: "own", Mode: snapshot.Curated, Class: snapshot.Site, Format: "deb",
			Suites: []snapshot.Suite{{Name: "own", Files: []snapshot.SuiteFile{{
				Role: snapshot.Release, Blob: rows[i].Blob(), Date: synthDate, Path: release,
			}}}},
		}},
		Files: rows,
		Lock:  []byte("mmoci-lock-v1\ndate 2026-11-21T09:13:40Z\narchive own curated site\n"),
		Blobs: blobs,
	}
}

func takeOf(t testing.TB, files map[string][]byte) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Take(frozenOf(synthRows(files), blobsOf(files)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustParse(t testing.TB, s string) Reference {
	t.Helper()
	r, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustPush(t testing.TB, ref Reference, s *snapshot.Snapshot, o PushOptions) Pushed {
	t.Helper()
	p, err := Push(t.Context(), ref, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reopen opens and unseals.
func reopen(t testing.TB, ref Reference) *snapshot.Snapshot {
	t.Helper()
	s, err := openSnapshot(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSnapshot(ctx context.Context, ref Reference, o Options) (*snapshot.Snapshot, error) {
	sealed, err := Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return sealed.Unseal(nil)
}

func layoutRef(t testing.TB) Reference {
	t.Helper()
	return mustParse(t, "oci:"+filepath.Join(testarchive.MemoryDir(t), "layout")+":noble")
}

func archiveRef(t testing.TB) Reference {
	t.Helper()
	return mustParse(t, "oci-archive:"+filepath.Join(testarchive.MemoryDir(t), "snapshot.tar")+":noble")
}

// countBlobs counts the distinct blobs of an artifact, manifests not among them.
func countBlobs(p *Packed) (n int) {
	for range p.layers() {
		n++
	}
	return n
}

// writeIndex makes a directory a layout with one tag.
func writeIndex(t *testing.T, dir, tag, mediaType string, root []byte) {
	t.Helper()
	b := snapshot.BlobOf(root)
	writeFile(t, filepath.Join(dir, "oci-layout"), []byte(layoutVersion))
	writeFile(t, filepath.Join(dir, "index.json"), fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{%q:%q}}]}`,
		mediaType, b.Digest, b.Size, refName, tag))
}
