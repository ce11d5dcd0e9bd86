package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// manyRows is n small packages in sources of about two, with a Release.
func manyRows(n, size int) []snapshot.Row {
	release := []byte("Suite: own\n")
	rows := []snapshot.Row{{Path: "own/dists/own/Release", Size: int64(len(release)), Digest: snapshot.Sum(release)}}
	for i := range n {
		rows = append(rows, snapshot.Row{
			Path: fmt.Sprintf("own/pool/main/%c/src%06d/bin%07d_1.0-1_amd64.deb", 'a'+rune(i/2%26), i/2, i),
			Size: int64(size), Digest: snapshot.Sum(fmt.Appendf(nil, "%d", i)),
			Package: snapshot.Package{Name: fmt.Sprintf("bin%07d", i), Version: "1.0-1", Architecture: "amd64", Source: fmt.Sprintf("src%06d", i/2)},
		})
	}
	return rows
}

func BenchmarkPack(b *testing.B) {
	for _, n := range []int{63_440, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := snapshot.Take(frozenOf(manyRows(n, 20_000), nil))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p, err := Pack(s)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(p.Shards()), "shards")
				b.ReportMetric(float64(p.Size()), "root-bytes")
			}
		})
	}
}

// fileWorld is n files of the given size on disk, unverified, as an upstream directory is.
func fileWorld(b *testing.B, n, size int) *snapshot.Snapshot {
	b.Helper()
	dir := b.TempDir()
	files := map[snapshot.Digest]string{}
	release := []byte("Suite: own\n")
	rows := []snapshot.Row{{Path: "own/dists/own/Release", Size: int64(len(release)), Digest: snapshot.Sum(release)}}
	for i := range n {
		data := noise(fmt.Sprint(i), size)
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, data, 0o644); err != nil {
			b.Fatal(err)
		}
		row := snapshot.Row{Path: fmt.Sprintf("own/pool/main/s/src%06d/bin%07d_1.0-1_amd64.deb", i/2, i), Size: int64(size), Digest: snapshot.Sum(data)}
		files[row.Digest] = name
		rows = append(rows, row)
	}
	f := frozenOf(rows, snapshot.BlobsFunc(func(_ context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
		file, err := os.Open(files[blob.Digest])
		if err != nil {
			return nil, err
		}
		return &snapshot.Content{R: file}, nil
	}))
	f.Small = [][]byte{release}
	s, err := snapshot.Take(f)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

const benchFiles, benchSize = 20_000, 20_000

func BenchmarkLayoutPush(b *testing.B) {
	s := fileWorld(b, benchFiles, benchSize)
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		mustPush(b, mustParse(b, "oci:"+filepath.Join(dir, "layout")), s, PushOptions{})
	}
}

// The floor: the same files read, hashed and written, nothing else.
func BenchmarkHashAndWrite(b *testing.B) {
	s := fileWorld(b, benchFiles, benchSize)
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		for row := range s.Table.Rows() {
			f, err := s.OpenBlob(b.Context(), row.Blob())
			if err != nil {
				b.Fatal(err)
			}
			data, err := io.ReadAll(f)
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
			if err := os.WriteFile(filepath.Join(dir, row.Digest.Hex()), data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkLayoutPushUnchanged(b *testing.B) {
	s := fileWorld(b, benchFiles, benchSize)
	ref := mustParse(b, "oci:"+filepath.Join(b.TempDir(), "layout"))
	mustPush(b, ref, s, PushOptions{})
	for b.Loop() {
		if p := mustPush(b, ref, s, PushOptions{}); p.Changed {
			b.Fatal("changed")
		}
	}
}
