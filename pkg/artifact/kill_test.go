package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// Law 5 at a registry: killed at any request, the tag names the old snapshot or
// the new one, whole; the rerun finishes.
func TestKilledAtEveryRequest(t *testing.T) {
	t.Parallel()
	files := synthFiles(4)
	old, next := takeOf(t, files), takeOf(t, changedFiles(synthFiles(6)))
	for at := 0; ; at++ {
		f := newFakeRegistry(t)
		ref := f.ref(t, "noble")
		mustPush(t, ref, old, PushOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		f.answer(func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n >= at {
				cancel()
				panic(http.ErrAbortHandler)
			}
			return false
		})
		_, err := Push(ctx, ref, next, PushOptions{Options: Options{Tuning: places.Tuning{Timing: remote.Timing{Backoff: 1}}}})
		cancel()
		f.answer(nil)
		if err == nil {
			if at < 30 {
				t.Errorf("only %d requests", at)
			}
			return
		}
		now := reopen(t, ref)
		if snapshottest.Equal(t.Context(), old, now) != nil && snapshottest.Equal(t.Context(), next, now) != nil {
			t.Errorf("killed at %d: the tag names something else", at)
		}
		mustPush(t, ref, next, PushOptions{})
		if err := snapshottest.Equal(t.Context(), next, reopen(t, ref)); err != nil {
			t.Errorf("killed at %d: after the rerun: %v", at, err)
		}
	}
}

// copyTree is what a power cut leaves if every write survives; writes still
// under temporary names are cut short, as those that do not.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed meanwhile
		} else if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if strings.Contains(rel, "mmoci-tmp-") {
			data = data[:len(data)/2]
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Law 5 in a layout and beside an archive: at every event of a push the directory is
// copied, as a kill would leave it. Under final names is nothing wrong, the old tag
// is whole, and a push into the copy finishes and cleans up.
func TestKilledAtEveryEvent(t *testing.T) {
	t.Parallel()
	old, next := takeOf(t, synthFiles(4)), takeOf(t, changedFiles(synthFiles(6)))
	for _, kind := range []string{"oci:", "oci-archive:"} {
		dir := filepath.Join(t.TempDir(), "there")
		refIn := func(dir string) Reference { return mustParse(t, kind+filepath.Join(dir, "x")+":noble") }
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mustPush(t, refIn(dir), old, PushOptions{})
		var mu sync.Mutex
		var copies []string
		mustPush(t, refIn(dir), next, PushOptions{Options: Options{Progress: func(Event) {
			mu.Lock()
			defer mu.Unlock()
			to := filepath.Join(t.TempDir(), "copy")
			copyTree(t, dir, to)
			copies = append(copies, to)
		}}})
		if len(copies) < 20 {
			t.Fatalf("%s %d copies", kind, len(copies))
		}
		for i, dir := range copies {
			ref := refIn(dir)
			if kind == "oci:" {
				checkFinalNames(t, ref.Name)
			}
			now := reopen(t, ref)
			if snapshottest.Equal(t.Context(), old, now) != nil && snapshottest.Equal(t.Context(), next, now) != nil {
				t.Errorf("%s event %d: the tag names something else", kind, i)
			}
			mustPush(t, ref, next, PushOptions{Recheck: i%2 == 0})
			if err := snapshottest.Equal(t.Context(), next, reopen(t, ref)); err != nil {
				t.Errorf("%s event %d: after the rerun: %v", kind, i, err)
			}
			checkNoLeftovers(t, dir)
		}
	}
}

func checkFinalNames(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, layoutBlobs))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, layoutBlobs, e.Name()))
		if err != nil || snapshot.Sum(data).Hex() != e.Name() {
			t.Errorf("final name %s has other bytes, %v", e.Name(), err)
		}
	}
}

func checkNoLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if strings.Contains(name, "mmoci-tmp-") {
			t.Errorf("left behind: %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A source that fails, lies or ends early at any file: no tag, no wrong file, and a rerun that finishes.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	files := synthFiles(6)
	good := takeOf(t, files)
	upstreamDown := errors.New("upstream is down")
	for kind, ref := range everyKind(t) {
		for at := range 12 {
			for how, want := range map[string]error{"fails": upstreamDown, "lies": snapshot.ErrIntegrity, "ends early": snapshot.ErrIntegrity, "is gone": snapshot.ErrNotExist} {
				n := 0
				var mu sync.Mutex
				bad := good.WithBlobs(func(b snapshot.Blobs) snapshot.Blobs {
					return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
						mu.Lock()
						n++
						now := n == at+1
						mu.Unlock()
						if now {
							return broken(b, blob, how, upstreamDown)
						}
						return b.Open(ctx, blob, 0)
					})
				})
				_, err := Push(t.Context(), ref, bad, PushOptions{Options: Options{Tuning: places.Tuning{Timing: remote.Timing{Backoff: 1}}}})
				if !errors.Is(err, want) {
					t.Fatalf("%s: %d %s: %v", kind, at, how, err)
				}
				if _, err := Resolve(t.Context(), ref, Options{}); !errors.Is(err, ErrNotFound) {
					t.Fatalf("%s: %d %s: the tag is set, %v", kind, at, how, err)
				}
				if kind == "layout" {
					checkFinalNames(t, ref.Name)
					checkNoLeftovers(t, ref.Name)
					if err := os.RemoveAll(ref.Name); err != nil { // so that the next try opens as many
						t.Fatal(err)
					}
				}
				if kind == "registry" {
					ref = newFakeRegistry(t).ref(t, "noble")
				}
			}
		}
		mustPush(t, ref, good, PushOptions{})
		if err := snapshottest.Equal(t.Context(), good, reopen(t, ref)); err != nil {
			t.Error(kind, err)
		}
	}
}

func broken(b snapshot.Blobs, blob snapshot.Blob, how string, down error) (*snapshot.Content, error) {
	c, err := b.Open(context.Background(), blob, 0)
	if err != nil {
		return nil, err
	}
	var data []byte
	if data, err = oci.ReadLimited(c.R, blob.Size); err != nil {
		return nil, err
	}
	switch how {
	case "fails":
		return nil, down
	case "is gone":
		return nil, snapshot.ErrNotExist
	case "lies":
		data = append([]byte{data[0] ^ 1}, data[1:]...)
	case "ends early":
		data = data[:len(data)-1]
	}
	return &snapshot.Content{R: io.NopCloser(bytes.NewReader(data))}, nil
}

// Pushes into one layout at the same time: every tag is there afterwards, and what other tools put there.
func TestConcurrentPushes(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	mustPush(t, ref, takeOf(t, synthFiles(1)), PushOptions{})
	foreign := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha512:` + strings.Repeat("0", 128) + `","size":7,"platform":{"os":"plan9"},"annotations":{"` + refName + `":"foreign"}}`
	name := filepath.Join(ref.Name, "index.json")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, []byte(strings.Replace(string(data), `"manifests":[`, `"manifests":[`+foreign+`,`, 1)))
	var wg sync.WaitGroup
	tags := []string{"a", "b", "c", "d", "e", "f"}
	for i, tag := range tags {
		wg.Go(func() {
			r := ref
			r.Tag = tag
			if _, err := Push(t.Context(), r, takeOf(t, synthFiles(20+i)), PushOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, tag := range tags {
		r := ref
		r.Tag = tag
		if err := snapshottest.Equal(t.Context(), takeOf(t, synthFiles(20+i)), reopen(t, r)); err != nil {
			t.Error(err)
		}
	}
	if data, err = os.ReadFile(name); err != nil || !strings.Contains(string(data), foreign) {
		t.Errorf("the foreign entry is gone: %s, %v", data, err)
	}
	all, err := Tags(t.Context(), ref, Options{})
	if err != nil || len(all) != 2*len(tags)+2 {
		t.Errorf("%d tags, %v", len(all), err)
	}
	checkNoLeftovers(t, ref.Name)
}

// A directory that is something else is not written to.
func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "thesis.tex"), nil)
	_, err := Push(t.Context(), mustParse(t, "oci:"+dir), takeOf(t, synthFiles(1)), PushOptions{})
	if err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Error(err)
	}
	file := filepath.Join(dir, "thesis.tex")
	writeFile(t, file, []byte("not a tar, but someone's work, and long enough to be read as one"))
	if _, err := Push(t.Context(), mustParse(t, "oci-archive:"+file), takeOf(t, synthFiles(1)), PushOptions{}); err == nil {
		t.Error("replaced")
	}
}
