package aptmethod

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// runMethod in the environment makes the test program a method of apt's.
const runMethod = "MMOCI_TEST_APT_METHOD"

func TestMain(m *testing.M) {
	if os.Getenv(runMethod) == "" {
		os.Exit(m.Run())
	}
	if err := Run(context.Background(), Options{Stdin: os.Stdin, Stdout: os.Stdout, Root: os.Getenv(runMethod), Drop: func(string) error { return nil }}); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// TestLargeSnapshot: of a snapshot with as many packages as a release has, an update asks for little and stays small, also
// where apt asks by names that only the table knows.
func TestLargeSnapshot(t *testing.T) {
	const packages, indexSize = 63_440, 9 << 20
	release := []byte("Suite: own\n")
	index := make([]byte, indexSize) // as large as Packages.xz of a release
	rand.NewChaCha8([32]byte{1}).Read(index)
	deb := []byte("all packages have the same bytes, so that this test is short")
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rows := []snapshot.Row{
		{Path: "own/dists/own/Release", Size: int64(len(release)), Digest: snapshot.Sum(release)},
		{Path: "own/dists/own/main/binary-amd64/Packages.xz", Size: indexSize, Digest: snapshot.Sum(index)},
	}
	for i := range packages {
		rows = append(rows, snapshot.Row{Path: fmt.Sprintf("own/pool/main/s/src%06d/bin%07d_1.0-1_amd64.deb", i/2, i), Size: int64(len(deb)), Digest: snapshot.Sum(deb)})
	}
	contents := map[snapshot.Digest][]byte{snapshot.Sum(index): index, snapshot.Sum(deb): deb}
	s, err := snapshot.Take(snapshot.Frozen{
		Date: date, Encoder: 1, Files: rows, Lock: []byte("mmoci-lock-v1\ndate " + snapshot.FormatDate(date) + "\n"), Small: [][]byte{release},
		Archives: []snapshot.Archive{{Prefix: "own", Mode: snapshot.Curated, Class: snapshot.Site, Format: snapshot.FormatDeb, Suites: []snapshot.Suite{{
			Name: "own", Files: []snapshot.SuiteFile{{Role: snapshot.Release, Blob: snapshot.BlobOf(release), Date: date, Path: "own/dists/own/Release"}},
		}}}},
		Blobs: snapshot.BlobsFunc(func(_ context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			return &snapshot.Content{R: io.NopCloser(bytes.NewReader(contents[b.Digest]))}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := testregistry.New(t, testregistry.Options{})
	name := strings.TrimPrefix(r.URL, "http://") + "/site/mirror:t"
	ref, err := artifact.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Push(t.Context(), ref, s, artifact.PushOptions{Options: artifact.Options{Anonymous: true}}); err != nil {
		t.Fatal(err)
	}
	r.Requests()

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), runMethod+"="+t.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	if _, err := readMessage(answers); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "601 Configuration\nConfig-Item: APT::Sandbox::User=root\n\n"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	get := func(path string, fields ...string) {
		t.Helper()
		text := "600 URI Acquire\nURI: oci+http://" + name + "/" + path + "\nFilename: " + filepath.Join(dir, "file") + "\n"
		for _, f := range fields {
			text += f + "\n"
		}
		if _, err := io.WriteString(in, text+"\n"); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := readMessage(answers)
			if err != nil {
				t.Fatal(err)
			}
			if m.code == codeStart {
				continue
			}
			if m.code != codeDone {
				t.Fatalf("%s: %+v", path, m)
			}
			break
		}
		if err := os.Remove(filepath.Join(dir, "file")); err != nil {
			t.Fatal(err)
		}
	}
	get("own/dists/own/Release")
	get("own/dists/own/main/binary-amd64/by-hash/SHA256/"+snapshot.Sum(index).Hex(), "Expected-SHA256: "+snapshot.Sum(index).Hex(), fmt.Sprint("Expected-Checksum-FileSize: ", indexSize))
	if asked := r.Requests(); len(asked) > 6 {
		t.Errorf("an update asked %d times: %v", len(asked), asked)
	}
	get("own/dists/own/main/binary-amd64/Packages.xz") // by the table
	if asked := r.Requests(); len(asked) > 2 {
		t.Errorf("a name that the table knows: %d questions: %v", len(asked), asked)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB at most", kib)
	if most := 64 << 10; kib > most && !raceDetector {
		t.Errorf("%d KiB of memory, more than %d", kib, most)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
