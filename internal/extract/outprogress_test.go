package extract

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// tally adds up events as whoever shows them does. Safe for concurrent use.
type tally struct {
	mu                            sync.Mutex
	files, bytes                  int64 // Planned
	moved, doneBytes, thereBytes  int64
	started, done, there, strange int
	path                          map[snapshot.Digest]string
}

func (n *tally) event(e artifact.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.Kind {
	case artifact.Planned:
		n.files, n.bytes = int64(e.Files), e.Bytes
	case artifact.Started:
		n.started++
		if n.path == nil {
			n.path = map[snapshot.Digest]string{}
		}
		n.path[e.Digest] = e.Path
	case artifact.Moved:
		n.moved += e.Bytes
	case artifact.Done:
		n.done++
		n.doneBytes += e.Bytes
		if n.path[e.Digest] != e.Path {
			n.strange++
		}
	case artifact.Skipped:
		n.there++
		n.thereBytes += e.Bytes
	}
}

// What is told of a pull: all there is, what moves, and of a rerun what was
// there; the part of a file that a killed run left is neither work nor moved.
func TestFetchTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	big := bigDeb(t)
	var debs []signedDeb
	var all int64
	for _, name := range []string{"one", "two", "three"} {
		debs = append(debs, signedAs(name, "1.0", "amd64", testarchive.Package{Name: name, Version: "1.0", Architecture: "amd64", Size: 100_000}.Deb(t)))
	}
	debs = append(debs, big)
	for _, d := range debs {
		all += int64(len(d.deb))
	}
	dir := filepath.Join(t.TempDir(), "out")
	const part = 100_000
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, tempMark+debName("big", "1.0", "amd64")), big.deb[:part], 0o644); err != nil {
		t.Fatal(err)
	}
	fetch := func() *tally {
		n := &tally{}
		s := memoryBlobs(debs, func(_ snapshot.Blob, data []byte) io.Reader { return bytes.NewReader(data) })
		s = s.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { return artifact.Watched(b, n.event) })
		f := fetching(t, s, debs...)
		f.o.Progress = n.event
		if _, err := f.Fetch(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := fetch()
	if n.files != 4 || n.bytes != all-part || n.moved != all-part || n.doneBytes != all-part || n.started != 4 || n.done != 4 || n.there != 0 || n.strange != 0 {
		t.Errorf("first run, of %d bytes: %+v", all, n)
	}
	if n = fetch(); n.files != 4 || n.bytes != all || n.there != 4 || n.thereBytes != all || n.moved != 0 || n.started != 0 {
		t.Errorf("second run: %+v", n)
	}
}
