package artifact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// changed is the same world the next day: one source differs.
func changedFiles(files map[string][]byte) map[string][]byte {
	next := maps.Clone(files)
	next["own/pool/main/s/src0001/src0001-0_1.1_amd64.deb"] = noise("tomorrow", 300)
	next["own/dists/own/Release"] = []byte("Suite: own\nDate: Sun, 22 Nov 2026 09:13:40 UTC\n")
	return next
}

// A new blob costs two requests; all else is a constant and one request per shard.
func TestRequestsOfFirstPush(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	s := takeOf(t, synthFiles(severalShards))
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, f.ref(t, "noble"), s, PushOptions{})
	counts := f.counts()
	blobs := countBlobs(p)
	if counts["POST upload"] != blobs || counts["PUT upload"] != blobs {
		t.Errorf("%d blobs: %v", blobs, counts)
	}
	const constant = 2*workers + 10
	if n := total(counts); n > 2*blobs+p.Shards()+constant {
		t.Errorf("%d blobs, %d shards: %d requests %v", blobs, p.Shards(), n, counts)
	}
}

// Law 3: nothing to do is O(1), a change costs what changed.
func TestRequestsOfLaterPushes(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	files := synthFiles(900)
	first := mustPush(t, ref, takeOf(t, files), PushOptions{})
	f.counts()

	again := mustPush(t, ref, takeOf(t, files), PushOptions{})
	counts := f.counts()
	if again.Changed || again.Uploaded != 0 || again.Root != first.Root || again.Reused == 0 {
		t.Errorf("second push: %+v", again)
	}
	if n := total(counts); n > 3 || counts["PUT manifest"] != 0 {
		t.Errorf("second push: %d requests %v", n, counts)
	}

	s := takeOf(t, changedFiles(files))
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	next := mustPush(t, ref, s, PushOptions{})
	counts = f.counts()
	// config is the same; statement, table, Release, the copy of it is the same blob, one .deb
	if next.Uploaded != 4 || counts["PUT upload"] != 4 || !next.Changed {
		t.Errorf("after a change: %+v, %v", next, counts)
	}
	// shards rewritten, core, root by digest and two tags
	if n := counts["PUT manifest"]; n > 2+1+3 {
		t.Errorf("%d of %d shards: %d manifests put", p.Shards(), p.Shards(), n)
	}
	if n := total(counts); n > 2*4+6+sampleSize+2*workers+30 {
		t.Errorf("after a change: %d requests %v", n, counts)
	}
	if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
		t.Error(err)
	}
	old, err := openSnapshot(t.Context(), mustParse(t, "oci:x"), Options{})
	if !errors.Is(err, ErrNotFound) {
		t.Error(old, err)
	}
	immutable := ref
	immutable.Tag = first.Immutable
	if got := reopen(t, immutable); got.Root != first.Root {
		t.Errorf("immutable tag names %s", got.Root)
	}
}

// Opening takes root, core, statement, table and then the file; the lock is read by who asks for it.
func TestRequestsOfOpen(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	mustPush(t, ref, takeOf(t, synthFiles(severalShards)), PushOptions{})
	f.counts()
	s := reopen(t, ref)
	file, err := s.Open(t.Context(), "own/pool/main/b/big/big_1_amd64.deb")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := drain(file); err != nil {
		t.Fatal(err)
	}
	if n := total(f.counts()); n != 5 {
		t.Errorf("%d requests", n)
	}
	if _, err := s.ReadLock(t.Context()); err != nil || total(f.counts()) != 1 {
		t.Errorf("lock: %v", err)
	}
	if _, err := Resolve(t.Context(), ref, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := total(f.counts()); n != 1 {
		t.Errorf("resolve: %d requests", n)
	}
}

// What the registry lost behind our back is noticed where it is looked for, and healed.
func TestLostBlobs(t *testing.T) {
	t.Parallel()
	files := synthFiles(500)
	s := takeOf(t, files)
	row, _ := s.Table.Find("own/pool/main/s/src0001/src0001-0_1.1_amd64.deb")
	for name, o := range map[string]PushOptions{"recheck": {Recheck: true}, "all lost": {}, "shard refused": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeRegistry(t)
			ref := f.ref(t, "noble")
			mustPush(t, ref, s, PushOptions{})
			push := takeOf(t, changedFiles(files))
			switch name {
			case "recheck": // the tag names the root already, one blob is gone
				f.forget(row.Digest.String())
				push = s
			case "all lost": // the sample finds out
				for d := range maps.Clone(f.blobs) {
					f.forget(d)
				}
			case "shard refused": // a neighbour of the changed file, which the sample may miss
				neighbour, _ := s.Table.Find("own/pool/main/s/src0002/src0002-0_1.2_amd64.deb")
				f.forget(neighbour.Digest.String())
			}
			mustPush(t, ref, push, o)
			if err := snapshottest.Equal(t.Context(), push, reopen(t, ref)); err != nil {
				t.Error(err)
			}
			g, err := ReadGraph(t.Context(), ref, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if missing, err := Missing(t.Context(), ref, g, Options{}); err != nil || len(missing) > 0 {
				t.Errorf("missing %v, %v", missing, err)
			}
		})
	}
}

// The core's blobs are asked for, whatever is believed: not every registry looks.
func TestLostCoreBlob(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.lenient = true
	ref := f.ref(t, "noble")
	files := synthFiles(3)
	mustPush(t, ref, takeOf(t, files), PushOptions{})
	next := takeOf(t, changedFiles(files))
	p, err := Pack(next)
	if err != nil {
		t.Fatal(err)
	}
	f.forget(p.tops[0].Digest.String()) // the config is that of yesterday
	f.forget(p.tops[3].Digest.String()) // so is the lock
	mustPush(t, ref, next, PushOptions{})
	if err := readEverything(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// The previous root vanishes while a push relies on it, and blobs with it: all are asked for before the tag moves.
func TestPreviousVanishes(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	files := synthFiles(700)
	old := mustPush(t, ref, takeOf(t, files), PushOptions{})
	next := takeOf(t, changedFiles(files))
	p, err := Pack(next)
	if err != nil {
		t.Fatal(err)
	}
	core := snapshot.Sum(p.core).Hex()
	var mu sync.Mutex
	gone := false
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, core) && !gone {
			gone = true
			for _, s := range p.shards {
				f.forget(s.layers[len(s.layers)-1].Digest.String())
			}
		}
		if gone && strings.HasSuffix(r.URL.Path, old.Root.Hex()) {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
			return true
		}
		return false
	})
	mustPush(t, ref, next, PushOptions{})
	if err := snapshottest.Equal(t.Context(), next, reopen(t, ref)); err != nil {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	s := takeOf(t, synthFiles(20))
	mustPush(t, ref, s, PushOptions{})
	g, err := ReadGraph(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	row, _ := s.Table.Find("own/pool/main/s/src0001/src0001-0_1.1_amd64.deb")
	f.forget(row.Digest.String())
	missing, err := Missing(t.Context(), ref, g, Options{})
	if err != nil || len(missing) != 1 || missing[0] != row.Blob() {
		t.Errorf("missing %v, %v", missing, err)
	}
	back := reopen(t, ref)
	if _, err := back.Open(t.Context(), row.Path); !errors.Is(err, snapshot.ErrNotExist) || !strings.Contains(err.Error(), row.Path) {
		t.Errorf("open of a lost blob: %v", err)
	}
}

// A push that was interrupted is resumed: what arrived is not sent again.
func TestResume(t *testing.T) {
	t.Parallel()
	files := synthFiles(700)
	s := takeOf(t, files)
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	blobs := countBlobs(p)
	for _, at := range []int{3, blobs, 2 * blobs} {
		f := newFakeRegistry(t)
		ref := f.ref(t, "noble")
		ctx, cancel := context.WithCancel(t.Context())
		f.answer(func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n == at+2*workers {
				cancel()
			}
			return false
		})
		if _, err := Push(ctx, ref, s, PushOptions{}); err == nil {
			t.Fatalf("at %d: not interrupted", at)
		}
		f.answer(nil)
		first := f.counts()["PUT upload"]
		mustPush(t, ref, s, PushOptions{})
		counts := f.counts()
		if again := first + counts["PUT upload"] - blobs; again > workers {
			t.Errorf("at %d: %d blobs sent twice", at, again)
		}
		if asked := counts["HEAD blob"]; asked > first+3*oci.MaxLayers+2*workers {
			t.Errorf("at %d: %d were sent, %d asked for", at, first, asked)
		}
		if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// Checkpoints appear during a push and are gone after it.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	s := takeOf(t, synthFiles(900))
	var mu sync.Mutex
	put, deleted := map[string]bool{}, map[string]bool{}
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if kindOf(r) != "manifest" || !strings.Contains(r.URL.Path, "-ckpt-") {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		tag := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch r.Method {
		case http.MethodPut:
			put[tag] = true
		case http.MethodDelete:
			deleted[tag] = true
		}
		return false
	})
	pushed := mustPush(t, ref, s, PushOptions{Options: Options{Tuning: places.Tuning{Checkpoint: 1}}})
	want := fmt.Sprintf("noble-ckpt-%s-0", pushed.Root.Hex()[:12])
	if !put[want] || len(put) < 2 || !maps.Equal(put, deleted) {
		t.Errorf("put %v, deleted %v, want %s among them", put, deleted, want)
	}
	tags, err := Tags(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(tags) != 2 || tags[0].Name != "noble" || tags[1].Name != pushed.Immutable || !tags[1].Date.Equal(synthDate) || tags[1].Digest != pushed.Root {
		t.Errorf("tags %v", tags)
	}
}

// A tag that may not be moved, and a registry that forbids DELETE.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	files := synthFiles(3)
	first := mustPush(t, ref, takeOf(t, files), PushOptions{})
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/noble") {
			refuse(w, http.StatusBadRequest, "TAG_IMMUTABLE")
			return true
		}
		return false
	})
	mustPush(t, ref, takeOf(t, files), PushOptions{Options: Options{}, Recheck: true})
	_, err := Push(t.Context(), ref, takeOf(t, changedFiles(files)), PushOptions{})
	if err == nil || !strings.Contains(err.Error(), "does not let it be moved") {
		t.Errorf("moving: %v", err)
	}
	if got, err := Resolve(t.Context(), ref, Options{}); err != nil || got != first.Root {
		t.Errorf("tag names %s, %v", got, err)
	}
}

func TestRefusedTargets(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(1))
	for _, r := range []string{"registry.example.org/a:" + strings.Repeat("t", oci.MaxAlias+1), "oci:x@" + snapshot.Sum(nil).String(), "registry.example.org/a@" + snapshot.Sum(nil).String()} {
		if _, err := Push(t.Context(), mustParse(t, r), s, PushOptions{}); !errors.Is(err, ErrReference) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// Every place says what is not there.
func TestNotFound(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(1))
	for kind, ref := range everyKind(t) {
		for _, filled := range []bool{false, true} {
			if filled {
				mustPush(t, ref, s, PushOptions{})
			}
			other, digest := ref, ref
			other.Tag = "jammy"
			digest.Digest = snapshot.Sum([]byte("nothing"))
			for _, r := range []Reference{other, digest} {
				if _, err := Open(t.Context(), r, Options{}); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s, filled %t: open %s: %v", kind, filled, r, err)
				}
				if _, err := Resolve(t.Context(), r, Options{}); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s, filled %t: resolve %s: %v", kind, filled, r, err)
				}
			}
		}
	}
}

// Events add up to the outcome.
func TestProgress(t *testing.T) {
	t.Parallel()
	for kind, ref := range everyKind(t) {
		var mu sync.Mutex
		sum := map[oci.EventKind]int64{}
		count := map[oci.EventKind]int{}
		o := PushOptions{Options: Options{Progress: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Path == "" && e.Kind == Done {
				return // a manifest, or a blob of the core
			}
			sum[e.Kind] += e.Bytes
			count[e.Kind]++
		}}}
		pushed := mustPush(t, ref, takeOf(t, synthFiles(20)), o)
		if count[oci.Started] != pushed.Uploaded || sum[oci.Started] != pushed.Bytes || count[oci.Tagged] == 0 {
			t.Errorf("%s: %v %v, pushed %+v", kind, count, sum, pushed)
		}
	}
}

// The immutable tag is set even if only it is missing.
func TestImmutableTagIsRestored(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	s := takeOf(t, synthFiles(2))
	pushed := mustPush(t, ref, s, PushOptions{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, f.server.URL+"/v2/site/mirror/manifests/"+pushed.Immutable, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	mustPush(t, ref, s, PushOptions{})
	tags, err := Tags(t.Context(), ref, Options{})
	if err != nil || len(tags) != 2 {
		t.Errorf("tags %v, %v", tags, err)
	}
}

func TestTagDate(t *testing.T) {
	t.Parallel()
	d := snapshot.Sum(nil)
	tag := oci.ImmutableTag("noble", synthDate.In(time.FixedZone("x", 3600)), d)
	if tag != "noble-20261121T091340Z-"+d.Hex()[:12] || !oci.TagDate(tag).Equal(synthDate) {
		t.Errorf("%s, %s", tag, oci.TagDate(tag))
	}
	for _, other := range []string{"noble", "noble-20261121T091340Z", "noble-20261321T091340Z-" + d.Hex()[:12], checkpointTag("noble", d, 3)} {
		if !oci.TagDate(other).IsZero() {
			t.Errorf("%s has date %s", other, oci.TagDate(other))
		}
	}
	if longest := oci.ImmutableTag(strings.Repeat("t", oci.MaxAlias), synthDate, d); !oci.ValidTag(longest) || len(longest) != oci.MaxTag {
		t.Errorf("%d characters", len(longest))
	}
	if longest := checkpointTag(strings.Repeat("t", oci.MaxAlias), d, 99_999); !oci.ValidTag(longest) {
		t.Errorf("%d characters", len(longest))
	}
}

// TestKnownDigestOfAnotherSize: a registry takes a manifest with any size for a blob that it has,
// so what the previous snapshot has under a digest counts with its size alone.
func TestKnownDigestOfAnotherSize(t *testing.T) {
	t.Parallel()
	const path = "own/pool/main/s/same/same_1.tar.xz"
	for kind, ref := range everyKind(t) {
		files := synthFiles(2)
		before := mustPush(t, ref, takeOf(t, files), PushOptions{})
		rows := synthRows(files)
		for i := range rows {
			if rows[i].Path == path {
				rows[i].Size++
			}
		}
		claims, err := snapshot.Take(frozenOf(rows, blobsOf(files)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Push(t.Context(), ref, claims, PushOptions{}); !errors.Is(err, snapshot.ErrIntegrity) {
			t.Errorf("%s: %v", kind, err)
		}
		if now, err := Resolve(t.Context(), ref, Options{}); err != nil || now != before.Root {
			t.Errorf("%s: the tag names %s, %v", kind, now, err)
		}
	}
}
