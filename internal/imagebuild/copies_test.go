package imagebuild

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// TestCopies: who opens a copy waits until it is there, or until it is known that it never will be; then, and for all that nobody
// expects, the snapshot is asked.
func TestCopies(t *testing.T) {
	ctx := context.Background()
	first, second, third := snapshot.Blob{Digest: snapshot.Sum([]byte("1")), Size: 1}, snapshot.Blob{Digest: snapshot.Sum([]byte("2")), Size: 1}, snapshot.Blob{Digest: snapshot.Sum([]byte("3")), Size: 1}
	text := func(s string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
	}
	var c copies
	if _, err := c.opened(ctx, first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where nobody expects one: %v", err)
	}
	c.expect([]snapshot.Blob{first, second})
	c.add(third, text("another"))
	if _, err := c.opened(ctx, third); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of one that nobody expects: %v", err)
	}
	type answer struct {
		text string
		err  error
	}
	wait := func(ctx context.Context, b snapshot.Blob) chan answer {
		got := make(chan answer, 1)
		go func() {
			r, err := c.opened(ctx, b)
			if err != nil {
				got <- answer{err: err}
				return
			}
			defer r.Close()
			data, err := io.ReadAll(r)
			got <- answer{string(data), err}
		}()
		return got
	}
	one, two := wait(ctx, first), wait(ctx, second)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if a := <-wait(cancelled, first); !errors.Is(a.err, context.Canceled) {
		t.Errorf("waiting without end: %v", a.err)
	}
	c.add(first, text("copy"))
	c.add(first, text("of a second root"))
	if a := <-one; a.err != nil || a.text != "copy" {
		t.Errorf("waited for: %q, %v", a.text, a.err)
	}
	c.drop()
	if a := <-two; !errors.Is(a.err, fs.ErrNotExist) {
		t.Errorf("never made: %v", a.err)
	}
	if _, err := c.opened(ctx, first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("when the root is gone: %v", err)
	}
	c.drop()
}

// TestGroupedIsNotPacked: of packages that share a layer a note is made and no layer of their own, until somebody asks for one; a note with
// a layer serves both.
func TestGroupedIsNotPacked(t *testing.T) {
	dir := t.TempDir()
	cache, err := layercache.Open(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	unpacked := func() (n int) {
		t.Helper()
		notes, err := filepath.Glob(filepath.Join(dir, "notes", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range notes {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(text), "unpacked ") {
				n++
			}
		}
		return n
	}
	grouped := options(t, webPlan+"layers: {max: 5}\n", webFiles())
	grouped.Cache = cache
	var debs *counting
	grouped.Snapshot = grouped.Snapshot.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs { debs = countingOf(grouped.Snapshot, b); return debs })
	single := grouped
	single.Plan = load(t, webPlan, webFiles())
	put := func(o Options) [2]snapshot.Digest { // the image, and what is said of it
		t.Helper()
		im := mustBuild(t, o)
		put(t, im, artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(t.TempDir(), "layout"), Tag: "v1"})
		return [2]snapshot.Digest{im.Digest(), snapshot.Sum(im.companion.manifest.Data)}
	}
	first := put(grouped)
	if n := unpacked(); n != 3 { // web and web-data; base-passwd, which is none of the image
		t.Errorf("%d notes without a layer, want 3", n)
	}
	before := debs.n.Load()
	put(single)
	if n := debs.n.Load() - before; n != 2 {
		t.Errorf("%d .debs are read for layers of their own, want 2", n)
	}
	if n := unpacked(); n != 1 {
		t.Errorf("%d notes without a layer, want 1", n)
	}
	before = debs.n.Load()
	if again := put(grouped); again != first {
		t.Errorf("%s is not %s", again, first)
	}
	if n := debs.n.Load() - before; n != 0 {
		t.Errorf("with notes of layers %d .debs are read", n)
	}
}
