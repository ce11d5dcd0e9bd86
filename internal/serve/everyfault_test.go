package serve

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/condition"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
)

// fault is a registry or a store that does not do its part.
type fault struct {
	name     string
	registry func(r testregistry.Request, n int) testarchive.Broken // nil: well
	stopped  bool                                                   // the registry is gone
	disk     func(*testing.T, *faulty)                              // what happens to the store
	lost     bool                                                   // what was held is so no more
	comes    bool                                                   // what is not held comes nevertheless
	ready    []string                                               // said by /readyz, one of each line's; nil: that all is well
	counts   []string                                               // metrics of which one of each line's is above 0
}

func always(b testarchive.Broken) func(testregistry.Request, int) testarchive.Broken {
	return func(testregistry.Request, int) testarchive.Broken { return b }
}

// halves gives the first half of a blob, and afterwards nothing more of it.
func halves(r testregistry.Request, n int) testarchive.Broken {
	if r.Kind != "blob" && r.Kind != "storage" {
		return testarchive.Broken{}
	}
	return testarchive.Broken{CutAfter: halfOfSmall, Reset: n > 1}
}

const (
	sizeOfSmall = 4_000
	halfOfSmall = sizeOfSmall / 2

	notFollowed  = "the tag cannot be followed now"
	notFetched   = "the last file that the store did not have could not be fetched"
	notKept      = "the store's disk takes no more"
	tooLate      = "a client was sent away"
	followGauge  = "mmoci_snapshot_follow_failing"
	fetchGauge   = "mmoci_store_fetch_failing"
	lateCount    = "mmoci_late_total"
	refuseGauge  = "mmoci_store_refusing"
	readOnlyName = "tmp" // of the store's directory for what is being fetched
)

// diskFull lets the store's disk take no more.
func diskFull(_ *testing.T, f *faulty) { f.full.Store(true) }

// diskReadOnly puts a file where new files would be made, which stops the system's root, too.
func diskReadOnly(t *testing.T, f *faulty) {
	dir := filepath.Join(f.state, "store", readOnlyName)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o444); err != nil {
		t.Fatal(err)
	}
}

func diskCorrupted(t *testing.T, f *faulty) {
	eachFile(t, filepath.Join(f.state, "store"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
}

func diskDeleted(t *testing.T, f *faulty) {
	if err := os.RemoveAll(filepath.Join(f.state, "store")); err != nil {
		t.Fatal(err)
	}
}

func everyFault() []fault {
	gone := always(testarchive.Broken{Status: 500})
	// What is tried again may not be given up yet, while clients are sent away.
	const notHad, notHadCount = notFetched + "|" + tooLate, fetchGauge + "|" + lateCount
	away, counted := []string{notFollowed, notHad}, []string{followGauge, "mmoci_follow_errors_total", notHadCount}
	return []fault{
		{name: "registry stopped", stopped: true, ready: away, counts: counted},
		{name: "registry slow", registry: always(testarchive.Broken{Rate: 1 << 10}), ready: []string{tooLate}, counts: []string{lateCount}},
		{name: "registry resetting", registry: always(testarchive.Broken{Reset: true}), ready: away, counts: counted},
		{name: "registry 500", registry: gone, ready: away, counts: counted},
		{name: "registry 429", registry: always(testarchive.Broken{Status: 429, RetryAfter: "1"}), ready: away, counts: counted},
		{name: "registry wrong bytes", registry: always(testarchive.Broken{Flip: true}), ready: []string{notFetched}, counts: []string{fetchGauge, "mmoci_corrupt_total"}},
		{name: "registry half bytes", registry: halves, ready: []string{notHad}, counts: []string{notHadCount}},

		{name: "store full", disk: diskFull, comes: true, ready: []string{notKept}, counts: []string{refuseGauge, "mmoci_store_passed_total"}},
		{name: "store full, registry 500", disk: diskFull, registry: gone, ready: away, counts: counted},
		{name: "store read-only", disk: diskReadOnly, comes: true, ready: []string{notKept}, counts: []string{refuseGauge, "mmoci_store_passed_total"}},
		{name: "store read-only, registry 500", disk: diskReadOnly, registry: gone, ready: away, counts: counted},
		{name: "store corrupted", disk: diskCorrupted, lost: true, comes: true, counts: []string{"mmoci_store_corrupt_total"}},
		{name: "store corrupted, registry 500", disk: diskCorrupted, registry: gone, lost: true, ready: away, counts: []string{followGauge, "mmoci_store_corrupt_total"}},
		{name: "store deleted", disk: diskDeleted, lost: true, comes: true, counts: []string{"mmoci_store_fetched_total"}},
		{name: "store deleted, registry 500", disk: diskDeleted, registry: gone, lost: true, ready: away, counts: counted},
	}
}

// Whatever the registry or the store's disk does: what is held is served, what
// is not gets a prompt error with a body, nothing wrong is completed, and
// /readyz and the metrics tell. When it is over, all is well.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for _, c := range everyFault() {
		// All at once, however few may be parallel: they wait more than they do.
		wg.Go(func() { t.Run(c.name, c.test) })
	}
	wg.Wait()
}

func (c fault) test(t *testing.T) {
	f := newFaulty(t)
	f.start(Options{}, 0)
	held := []string{"/docker/pool/p/held-small_1_amd64.deb", "/docker/pool/p/held-large_1_amd64.deb", "/docker/dists/bookworm/Release"}
	for _, target := range held {
		f.eventually(target)
	}
	settled(t, filepath.Join(f.state, "store", "tmp"))
	f.begin(c)
	for _, target := range held {
		if !f.prompt(target) && !c.lost {
			t.Errorf("%s: held and not served", target)
		}
	}
	f.without(c)
	f.follow(t)
	f.says(c.ready)
	for _, names := range c.counts {
		if !slices.ContainsFunc(strings.Split(names, "|"), func(name string) bool { return counted(t, f.server, name) > 0 }) {
			t.Errorf("metrics: %s is not above 0", names)
		}
	}
	if !c.stopped {
		f.over(c)
	}
}

// begin lets the fault happen.
func (f *faulty) begin(c fault) {
	f.registry.Fault(c.registry)
	if c.stopped {
		f.registry.Close()
	}
	if c.disk != nil {
		c.disk(f.t, f)
	}
}

// without asks for what is not held: whole and in part, small and large.
func (f *faulty) without(c fault) {
	f.t.Helper()
	const small, large = "/docker/pool/p/small_1_amd64.deb", "/docker/pool/p/large_1_amd64.deb"
	for _, target := range []string{small, large} {
		if f.prompt(target) && !c.comes {
			f.t.Errorf("%s: served out of nothing", target)
		}
		if c.comes {
			f.eventually(target)
		}
	}
	if a := ask(f.t, f.base, "GET", small); !c.comes && (a.status < 500 || len(a.body) == 0 || a.phrase == http.StatusText(a.status)) {
		f.t.Errorf("%s: %d %s, %q", small, a.status, a.phrase, a.body)
	}
	for _, part := range []string{"bytes=10-19", "bytes=100-2999999", "bytes=3000000-"} {
		a := ask(f.t, f.base, "GET", large, "Range", part)
		var from, to int
		want := f.files[large]
		switch {
		case a.status == 206 && a.err == nil:
			if from, to = parsePart(f.t, part, len(want)); !bytes.Equal(a.body, want[from:to]) {
				f.t.Errorf("%s: wrong bytes, completed", part)
			}
		case a.status != 206 && (a.status < 500 || len(a.body) == 0):
			f.t.Errorf("%s: %d, %q", part, a.status, a.body)
		}
	}
}

func parsePart(t *testing.T, header string, size int) (from, to int) {
	t.Helper()
	p, kind := condition.ParseRange(header, int64(size))
	if kind != condition.PartOfFile {
		t.Fatal(header)
	}
	return int(p.Start), int(p.Start + p.Length)
}

// tooLong is what no answer may take: less than apt would wait for.
const tooLong = 25 * time.Second

// prompt is get, and that in time.
func (f *faulty) prompt(target string) bool {
	f.t.Helper()
	start := time.Now()
	ok := f.get(target)
	if took := time.Since(start); took > tooLong {
		f.t.Errorf("%s: answered after %s", target, took)
	}
	return ok
}

// follow asks for the tag as Run does.
func (f *faulty) follow(t *testing.T) {
	f.server.ask(t.Context(), 0, f.server.followers[0].asked(), false)
}

// says looks at what /readyz tells, and that it sends nobody away.
func (f *faulty) says(wants []string) {
	f.t.Helper()
	a := ask(f.t, f.base, "GET", "/readyz")
	if a.status != 200 {
		f.t.Errorf("readyz: %d %s", a.status, a.body)
	}
	for _, want := range wants {
		if !slices.ContainsFunc(strings.Split(want, "|"), func(s string) bool { return strings.Contains(string(a.body), s) }) {
			f.t.Errorf("readyz does not say: %s\n%s", want, a.body)
		}
	}
	for _, not := range []string{notFollowed, notFetched, notKept} { // tooLate is said by slow machines
		if len(wants) == 0 && strings.Contains(string(a.body), not) {
			f.t.Errorf("readyz: %s", a.body)
		}
	}
}

// over ends the fault: everything comes, and nothing is complained of any more.
func (f *faulty) over(c fault) {
	f.t.Helper()
	f.registry.Fault(nil)
	f.full.Store(false)
	if path := filepath.Join(f.state, "store", readOnlyName); c.disk != nil {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			if err := os.Remove(path); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	for target := range f.files {
		if c.name == "registry slow" && strings.Contains(target, "/large") {
			continue // still under way, at that pace
		}
		f.eventually(target)
	}
	f.follow(f.t)
	eventually(f.t, func() bool { // the store tries its disk again after a while
		for _, gauge := range []string{followGauge, fetchGauge, refuseGauge} {
			if counted(f.t, f.server, gauge) != 0 {
				f.get("/docker/dists/bookworm/main/binary-amd64/Packages.gz")
				f.get("/docker/pool/p/small_1_amd64.deb")
				return false
			}
		}
		return true
	})
}

// fillable is a disk that is full when full says so.
func fillable(full *atomic.Bool) func(*os.File, []byte) (int, error) {
	return func(f *os.File, p []byte) (int, error) {
		if full.Load() {
			return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return f.Write(p)
	}
}
