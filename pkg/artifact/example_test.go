package artifact_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// A snapshot of two files goes into a layout, and a file of it is read from there.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "mmoci-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	s, err := tiny()
	if err != nil {
		log.Fatal(err)
	}
	ref, err := artifact.ParseReference("oci:" + filepath.Join(dir, "layout") + ":bookworm")
	if err != nil {
		log.Fatal(err)
	}
	pushed, err := artifact.Push(ctx, ref, s, artifact.PushOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pushed.Root)

	// Anybody can write to a layout: with the root's digest, nobody can change what is opened.
	sealed, err := artifact.Open(ctx, pushed.Reference, artifact.Options{})
	if err != nil {
		log.Fatal(err)
	}
	opened, err := sealed.Unseal(nil)
	if err != nil {
		log.Fatal(err)
	}
	f, err := opened.Open(ctx, "site/pool/main/h/hello/hello_1_all.deb")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(os.Stdout, f); err != nil { // ends in an error if the bytes are wrong
		log.Fatal(err)
	}
	// Output:
	// sha256:6b49a7be46e262fd597b2390bedbabc6d8d8814411e67a8ab7c54a3dcd490a3a
	// hello
}

// tiny is an unsigned snapshot of one archive with one package.
func tiny() (*snapshot.Snapshot, error) {
	date := time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)
	release, deb := []byte("Suite: bookworm\nDate: Sat, 21 Nov 2026 09:13:40 UTC\n"), []byte("hello\n")
	return snapshot.Take(snapshot.Frozen{
		Date: date, Encoder: 1,
		Archives: []snapshot.Archive{{
			Prefix: "site", Mode: snapshot.Curated, Class: snapshot.Site, Format: "deb",
			Suites: []snapshot.Suite{{Name: "bookworm", Files: []snapshot.SuiteFile{{
				Role: snapshot.Release, Path: "site/dists/bookworm/Release", Blob: snapshot.BlobOf(release), Date: date,
			}}}},
		}},
		Files: []snapshot.Row{
			{Path: "site/dists/bookworm/Release", Size: int64(len(release)), Digest: snapshot.Sum(release)},
			{Path: "site/pool/main/h/hello/hello_1_all.deb", Size: int64(len(deb)), Digest: snapshot.Sum(deb)},
		},
		Lock:  []byte("mmoci-lock-v1\ndate 2026-11-21T09:13:40Z\narchive site curated site\n"),
		Small: [][]byte{release, deb},
	})
}
