package static

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// benchFiles is how many files a release's main/amd64 has.
const benchFiles, benchSize = 63_440, 1000

// manyFiles is a layout of that many small files; nothing is asked of their content.
func manyFiles(b *testing.B) (layout string, ref artifact.Reference) {
	b.Helper()
	content := func(i uint32) []byte {
		data := make([]byte, benchSize)
		rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}).Read(data)
		return data
	}
	release := []byte("Suite: own\n")
	numbers := map[snapshot.Digest]uint32{}
	date := now
	rows := []snapshot.Row{{Path: "own/dists/own/Release", Size: int64(len(release)), Digest: snapshot.Sum(release)}}
	for i := range uint32(benchFiles) {
		blob := snapshot.BlobOf(content(i))
		numbers[blob.Digest] = i
		rows = append(rows, snapshot.Row{Path: fmt.Sprintf("own/pool/main/s/src%06d/bin%07d_1.0-1_amd64.deb", i/2, i), Size: blob.Size, Digest: blob.Digest})
	}
	s, err := snapshot.Take(snapshot.Frozen{
		Date: date, Encoder: 1, Files: rows, Lock: []byte("mmoci-lock-v1\ndate " + snapshot.FormatDate(date) + "\n"), Small: [][]byte{release},
		Archives: []snapshot.Archive{{Prefix: "own", Mode: snapshot.Curated, Class: snapshot.Site, Format: snapshot.FormatDeb, Suites: []snapshot.Suite{{
			Name: "own", Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: snapshot.BlobOf(release), Date: date, Path: "own/dists/own/Release"}},
		}}}},
		Blobs: snapshot.BlobsFunc(func(_ context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
			return &snapshot.Content{R: io.NopCloser(bytes.NewReader(content(numbers[blob.Digest])))}, nil
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	layout = filepath.Join(b.TempDir(), "layout")
	if ref, err = artifact.ParseReference("oci:" + layout + ":many"); err != nil {
		b.Fatal(err)
	}
	if _, err = artifact.Push(b.Context(), ref, s, artifact.PushOptions{}); err != nil {
		b.Fatal(err)
	}
	return layout, ref
}

// BenchmarkExport compares an export of a layout, and one that finds all there, with cp -al of the layout, in turn.
func BenchmarkExport(b *testing.B) {
	layout, ref := manyFiles(b)
	var peer, first, again time.Duration
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(filepath.Dir(layout), fmt.Sprint("tree", i))
		start := time.Now()
		if out, err := exec.Command("cp", "-al", layout, dir+"-cp").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		peer += time.Since(start)
		o := Options{Dir: dir, References: []artifact.Reference{ref}, Mode: Link}
		for _, took := range []*time.Duration{&first, &again} {
			start = time.Now()
			if _, err := Export(b.Context(), o); err != nil {
				b.Fatal(err)
			}
			*took += time.Since(start)
		}
		os.RemoveAll(dir)
		os.RemoveAll(dir + "-cp")
	}
	b.ReportMetric(peer.Seconds()/float64(b.N), "cp-s/op")
	b.ReportMetric(first.Seconds()/float64(b.N), "export-s/op")
	b.ReportMetric(again.Seconds()/float64(b.N), "again-s/op")
	b.ReportMetric(first.Seconds()/peer.Seconds(), "ratio")
}
