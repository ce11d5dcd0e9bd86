package snapshot_test

import (
	"context"
	"fmt"
	"io"
	"time"

	. "example.org/mmoci/pkg/snapshot"
)

// A snapshot is taken of an archive's files. Each is opened through its digest,
// so that wrong bytes end in an error.
func Example() {
	date := time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)
	release, tool := []byte("Suite: own\n"), []byte("the bytes of a .deb")
	path := RolePath("own", "own", Release)
	s, err := Take(Frozen{
		Date: date, Encoder: 1, Lock: []byte("mmoci-lock-v1\n"),
		Archives: []Archive{{Prefix: "own", Mode: Curated, Class: Site, Format: FormatDeb, Suites: []Suite{{Name: "own",
			Files: []SuiteFile{{Role: Release, Blob: BlobOf(release), Date: date, Path: path}}}}}},
		Files: []Row{
			{Path: path, Size: int64(len(release)), Digest: Sum(release)},
			{Path: "own/pool/main/t/tool/tool_1_all.deb", Size: int64(len(tool)), Digest: Sum(tool),
				Package: Package{Name: "tool", Version: "1", Architecture: "all", Source: "tool"}},
		},
		Small: [][]byte{release, tool},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for row := range s.Table.Rows() {
		f, err := s.Open(context.Background(), row.Path)
		if err != nil {
			fmt.Println(err)
			return
		}
		data, err := io.ReadAll(f)
		fmt.Println(row.Path, row.Digest.String()[:15], len(data), err)
		f.Close()
	}
	// Output:
	// own/dists/own/Release sha256:05846b56 11 <nil>
	// own/pool/main/t/tool/tool_1_all.deb sha256:909c64be 19 <nil>
}
