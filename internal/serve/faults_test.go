package serve

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	places "example.org/mmoci/internal/place"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
)

// faulty is a server in front of a store in front of a registry that can be
// made to misbehave: everything but apt is the real thing.
type faulty struct {
	t        *testing.T
	registry *testregistry.Registry
	ref      artifact.Reference
	state    string
	files    map[string][]byte // by target
	fallback *places.Fallback
	full     *atomic.Bool // the store's disk
	store    *store.Store
	server   *Server
	base     string
}

const faultRepo = "site/mirror"

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{t: t, registry: testregistry.New(t, testregistry.Options{}), state: t.TempDir(), full: &atomic.Bool{}, files: map[string][]byte{}}
	debs := map[string][]byte{}
	for _, name := range []string{"held-small", "small"} {
		debs["docker/pool/p/"+name+"_1_amd64.deb"] = bytesOf(name, sizeOfSmall)
	}
	for _, name := range []string{"held-large", "large"} {
		debs["docker/pool/p/"+name+"_1_amd64.deb"] = bytesOf(name, 3<<20)
	}
	for path, data := range debs {
		f.files["/"+path] = data
	}
	ref, err := artifact.ParseReference(f.registry.Host() + "/" + faultRepo + ":noble")
	if err != nil {
		t.Fatal(err)
	}
	f.ref = ref
	if _, err := artifact.Push(t.Context(), ref, spec{date: day(1), debs: debs}.take(t, newMemoryBlobs()), artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs the server; what its context ends with the test.
func (f *faulty) start(o Options, bound int64) {
	f.t.Helper()
	kept, err := store.Open(filepath.Join(f.state, "store"), store.Options{MaxBytes: bound, Write: fillable(f.full)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { kept.Close() }) // after the server has ended
	f.store, o.Store, o.StateDir = kept, kept.Stats, f.state
	o.Patience = cmp.Or(o.Patience, 300*time.Millisecond)
	o.smallFiles = -1    // the store is to be seen
	o.Follow = time.Hour // tests ask
	o.Sources = []Source{&places.Source{Ref: f.ref, Through: kept.Through, Keep: filepath.Join(f.state, "snapshots"), Fallback: f.fallback}}
	f.server, f.base = run(f.t, o, false)
}

// get is right bytes and nil, or no complete answer but an error's.
func (f *faulty) get(target string) (ok bool) {
	f.t.Helper()
	a := ask(f.t, f.base, "GET", target)
	switch {
	case a.status == 200 && a.err == nil:
		if want := f.files[target]; want != nil && !bytes.Equal(a.body, want) {
			f.t.Errorf("%s: wrong bytes, completed", target)
		}
		return true
	case a.status == 200: // broken off
		return false
	case a.status >= 500 && len(a.body) > 0 && a.header.Get("Retry-After") != "":
		return false
	}
	f.t.Errorf("%s: %d %s, body %.100q, %v", target, a.status, a.phrase, a.body, a.err)
	return false
}

func (f *faulty) eventually(target string) {
	f.t.Helper()
	for !f.get(target) {
		select {
		case <-f.t.Context().Done():
			f.t.Fatalf("%s: never served again", target)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// reported looks whether /readyz and the metrics say that the registry is away.
func (f *faulty) reported(away bool) {
	f.t.Helper()
	ready := ask(f.t, f.base, "GET", "/readyz")
	if ready.status != 200 {
		f.t.Errorf("readyz: %d %s", ready.status, ready.body)
	}
	if said := strings.Contains(string(ready.body), "cannot be followed now"); away && !said {
		f.t.Errorf("readyz: %s", ready.body)
	}
	if away && counted(f.t, f.server, "mmoci_snapshot_follow_failing") != 1 {
		f.t.Error("metrics do not tell that the tag cannot be followed")
	}
}

// A registry that is gone, at first for the running server, then for one that starts.
func TestRegistryGone(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := *f
	first.start(Options{}, 0)
	first.eventually("/docker/pool/p/held-large_1_amd64.deb")
	first.eventually("/docker/dists/bookworm/Release")
	f.registry.Close()
	first.server.ask(ctx, 0, first.server.followers[0].asked(), false)
	first.eventually("/docker/pool/p/held-large_1_amd64.deb")
	if first.get("/docker/pool/p/large_1_amd64.deb") {
		t.Error("while running: what is not held")
	}
	first.reported(true)
	if err := first.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := *f
	again.start(Options{Patience: defaultPatience}, 0)
	again.eventually("/docker/pool/p/held-large_1_amd64.deb")
	again.eventually("/docker/dists/bookworm/Release")
	if again.get("/docker/pool/p/large_1_amd64.deb") {
		t.Error("after a restart: what is not held")
	}
	again.reported(true)
	if a := ask(t, again.base, "GET", "/snapshot/20200101T000000Z-0123456789ab/docker/dists/bookworm/Release"); a.status != 502 || len(a.body) == 0 {
		t.Errorf("an ID that nobody can be asked for: %d %s", a.status, a.body)
	}
}

// An ID that the registry does not know is no fault of its.
func TestUnknownID(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.start(Options{Patience: defaultPatience}, 0)
	for _, id := range []string{"20200101T000000Z-0123456789ab", "noble-20200101T000000Z-0123456789ab", "sha256:" + strings.Repeat("1", 64)} {
		if a := ask(t, f.base, "GET", "/snapshot/"+id+"/docker/dists/bookworm/Release"); a.status != 404 || !strings.Contains(a.phrase, "no snapshot") {
			t.Errorf("%s: %d %s", id, a.status, a.phrase)
		}
	}
	if a := ask(t, f.base, "GET", "/snapshot/sha256:"+strings.Repeat("0", 64)+"/docker/dists/bookworm/Release"); a.status != 404 || !strings.Contains(a.phrase, "is not a digest") {
		t.Errorf("a placeholder: %d %s", a.status, a.phrase)
	}
	if a := ask(t, f.base, "GET", "/snapshot/"+f.server.view.Load().current[0].name+"/docker/dists/bookworm/Release"); a.status != 200 {
		t.Errorf("the current one: %d %s", a.status, a.phrase)
	}
}

// What happens to the store's directory happens to nobody's download.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	damage := map[string]func(*testing.T, string){
		"deleted": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"corrupted": func(t *testing.T, dir string) { eachFile(t, dir, func([]byte) []byte { return []byte("rot") }) },
		"one bit": func(t *testing.T, dir string) {
			eachFile(t, dir, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"cut": func(t *testing.T, dir string) { eachFile(t, dir, func(b []byte) []byte { return b[:len(b)/2] }) },
	}
	for name, do := range damage {
		for _, away := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t)
				f.start(Options{}, 0)
				for target := range f.files {
					f.eventually(target)
				}
				settled(t, filepath.Join(f.state, "store", "tmp"))
				do(t, filepath.Join(f.state, "store"))
				if away {
					f.registry.Fault(func(testregistry.Request, int) testarchive.Broken { return testarchive.Broken{Status: 503} })
				}
				for target := range f.files {
					if f.get(target) && away {
						t.Errorf("%s: served out of nothing", target)
					}
				}
				f.registry.Fault(nil)
				for target := range f.files {
					f.eventually(target)
				}
			})
		}
	}
}

func eachFile(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
		return os.WriteFile(path, change(data), 0o444)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// settled waits until the store has given every file its final name: one that
// is named meanwhile would escape its damage.
func settled(t *testing.T, dir string) {
	t.Helper()
	for { // ends with the test's own time, if never
		waiting := 0
		err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
				waiting++
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if waiting == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A store too small for anything hands through.
func TestStoreTooSmall(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.start(Options{}, 1000)
	for target := range f.files {
		f.eventually(target)
	}
	if st := f.store.Stats(); st.Passed == 0 || st.Cached > 1000 {
		t.Errorf("stats %+v", st)
	}
}
