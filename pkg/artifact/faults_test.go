package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// silence is how long a stalled request waits, and patience for how long its client does, longer than a busy machine takes for an answer.
const (
	silence  = 10 * patience
	patience = 500 * time.Millisecond
)

// faults are the ways in which a request goes wrong, each with what the error says in the end if it never gets better.
func faults() map[string]struct {
	broken testarchive.Broken
	says   []string
} {
	return map[string]struct {
		broken testarchive.Broken
		says   []string
	}{
		"429":   {testarchive.Broken{Status: 429, RetryAfter: "0"}, []string{"limits the rate"}},
		"500":   {testarchive.Broken{Status: 500}, []string{"HTTP 500"}},
		"reset": {testarchive.Broken{Reset: true}, []string{"closed the connection", "reset", "EOF"}},
		"stall": {testarchive.Broken{Stall: silence, Reset: true}, []string{"stalled"}},
	}
}

// oneByOne lets one transfer run at a time, so that the n-th request is the same one each time.
func oneByOne() Options {
	return Options{Concurrency: 1, Anonymous: true, Tuning: places.Tuning{Timing: remote.Timing{Backoff: time.Microsecond}}}
}

// faultedSite is a strict registry with an old snapshot, to be replaced by a next one.
type faultedSite struct {
	registry  *testregistry.Registry
	ref       Reference
	o         Options
	old, next *snapshot.Snapshot
}

func newFaultedSite(t *testing.T, o Options) *faultedSite {
	t.Helper()
	r := testregistry.New(t, testregistry.Options{})
	s := &faultedSite{
		registry: r, ref: mustParse(t, r.Host()+"/site/mirror:noble"), o: o,
	}
	s.old, s.next = faultedDays()
	mustPush(t, s.ref, s.old, PushOptions{Options: oneByOne()})
	return s
}

// faultedDays are the snapshots of all faulted sites: what the tag names, and what is pushed.
var faultedDays = sync.OnceValues(func() (old, next *snapshot.Snapshot) {
	take := func(files map[string][]byte) *snapshot.Snapshot {
		s, err := snapshot.Take(frozenOf(synthRows(files), blobsOf(files)))
		if err != nil {
			panic(err)
		}
		return s
	}
	return take(synthFiles(2)), take(changedFiles(synthFiles(3)))
})

// breakAt lets requests go wrong: from the at-th on, so many; hit counts them.
func (s *faultedSite) breakAt(at, many int, b testarchive.Broken) (hit *atomic.Int64) {
	hit = &atomic.Int64{}
	var n atomic.Int64
	s.registry.Fault(func(testregistry.Request, int) testarchive.Broken {
		if i := int(n.Add(1)) - 1; i < at || i >= at+many {
			return testarchive.Broken{}
		}
		hit.Add(1)
		time.Sleep(b.Stall)
		return b
	})
	return hit
}

const (
	forEver = 1 << 30
	lanes   = 8 // indices at once: they mostly wait
)

// At every request in turn, a registry answers 429 or 500, resets or stalls: once, and then the push, or pull, comes to the
// right end all the same; or for ever, and then it ends in an error that says what was wrong, is none of integrity or "not
// found" (so that the exit code is 1), and leaves what the tag named.
func TestFaultAtEveryRequest(t *testing.T) {
	t.Parallel()
	for how, f := range faults() {
		for _, many := range []int{1, forEver} {
			for what, run := range map[string]func(*faultedSite, context.Context, func() *atomic.Int64) (int64, error){
				"push": (*faultedSite).push, "pull": (*faultedSite).pull,
			} {
				t.Run(fmt.Sprintf("%s, %s for %d", what, how, many), func(t *testing.T) {
					t.Parallel()
					e := everyRequest{many: many, broken: f.broken, says: f.says, run: run}
					if n := e.all(t); n < 10 || what == "push" && n < 25 {
						t.Errorf("only %d requests", n)
					}
				})
			}
		}
	}
}

// everyRequest is what goes wrong, and when.
type everyRequest struct {
	many   int
	broken testarchive.Broken
	says   []string
	run    func(*faultedSite, context.Context, func() *atomic.Int64) (hit int64, err error)
}

// all goes on until no request is left to go wrong, and tells how many there were at least. It takes every third request,
// from one that SEED chooses; with E2E_LONG=1 every one.
func (e everyRequest) all(t *testing.T) int {
	o := oneByOne()
	if e.broken.Stall > 0 {
		bears := patience
		if e.many == 1 {
			bears = silence / 2 // the other requests are answered, and a busy machine takes its time
		}
		o.Tuning.Timing.Stall, o.Tuning.Timing.Answer = bears, bears
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = s
	}
	every := 3
	if os.Getenv("E2E_LONG") != "" {
		every = 1
	}
	t.Logf("SEED=%d", seed)
	for first := int(seed % uint64(every)); ; first += lanes * every {
		var ends [lanes]bool
		var wait sync.WaitGroup
		for i := range lanes {
			s, at := newFaultedSite(t, o), first+i*every
			wait.Go(func() {
				defer s.registry.CloseClientConnections()
				var err error
				if ends[i], err = e.at(t.Context(), s, at); err != nil {
					t.Errorf("request %d: %v", at, err)
				}
			})
		}
		wait.Wait()
		if i := slices.Index(ends[:], true); i >= 0 {
			return first + (i-1)*every + 1
		}
	}
}

// at lets one request go wrong; ended tells that there are not so many.
func (e everyRequest) at(ctx context.Context, s *faultedSite, at int) (ended bool, err error) {
	hit, err := e.run(s, ctx, func() *atomic.Int64 { return s.breakAt(at, e.many, e.broken) })
	s.registry.Fault(nil)
	switch {
	case hit == 0 && err != nil:
		return true, fmt.Errorf("nothing was broken: %w", err)
	case hit == 0:
		return true, nil
	case err != nil && e.many == 1:
		return false, fmt.Errorf("it went wrong once: %w", err)
	case err != nil:
		if vague := e.clear(err); vague != nil {
			return false, vague
		}
	}
	return false, s.settled(ctx, err == nil)
}

// clear holds an error to what people and scripts need of it.
func (e everyRequest) clear(err error) error {
	for _, other := range []error{ErrNotFound, snapshot.ErrIntegrity, snapshot.ErrNotExist, ErrReference} {
		if errors.Is(err, other) {
			return fmt.Errorf("not of exit code 1: %w", err)
		}
	}
	said := slices.ContainsFunc(e.says, func(s string) bool { return strings.Contains(err.Error(), s) })
	if !said || strings.Contains(err.Error(), "\n") {
		return fmt.Errorf("%w; should say one of %q, in one line", err, e.says)
	}
	return nil
}

// settled holds that the tag names the next snapshot, whole, if all went well, else the old one or the next; and that a
// push afterwards comes to the right end.
func (s *faultedSite) settled(ctx context.Context, well bool) error {
	isNext := s.is(ctx, s.next, Options{Anonymous: true})
	if isNext == nil {
		return nil
	}
	if well {
		return isNext
	}
	if err := s.is(ctx, s.old, Options{Anonymous: true}); err != nil {
		return fmt.Errorf("the tag names something else: %w", err)
	}
	if _, err := Push(ctx, s.ref, s.next, PushOptions{Options: Options{Anonymous: true}}); err != nil {
		return fmt.Errorf("the rerun: %w", err)
	}
	return s.is(ctx, s.next, Options{Anonymous: true})
}

// is opens what the tag names and compares every file of it.
func (s *faultedSite) is(ctx context.Context, want *snapshot.Snapshot, o Options) error {
	back, err := openSnapshot(ctx, s.ref, o)
	if err != nil {
		return err
	}
	return snapshottest.Equal(ctx, want, back)
}

func (s *faultedSite) push(ctx context.Context, broken func() *atomic.Int64) (int64, error) {
	p, err := Pack(s.next)
	if err != nil {
		return 0, err
	}
	hit := broken()
	done, err := p.Push(ctx, s.ref, PushOptions{Options: s.o})
	if err == nil && done.Root != p.Root() {
		err = fmt.Errorf("pushed %s, want %s", done.Root, p.Root())
	}
	return hit.Load(), err
}

func (s *faultedSite) pull(ctx context.Context, broken func() *atomic.Int64) (int64, error) {
	if _, err := Push(ctx, s.ref, s.next, PushOptions{Options: Options{Anonymous: true}}); err != nil {
		return 0, err
	}
	hit := broken()
	err := s.is(ctx, s.next, s.o)
	return hit.Load(), err
}

// distribution v2 answers a manifest whose blob somebody else puts at this moment that the blob's digest is invalid and the
// blob unknown: that passes. A blob that is not there is sent, and asked for once only.
func TestBlobBeingLinked(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(6))
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	seen := map[string]int{}
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPut || kindOf(r) != "manifest" {
			return false
		}
		f.mu.Lock()
		seen[r.URL.Path]++
		n := seen[r.URL.Path]
		f.mu.Unlock()
		if n > 2 {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"},` +
			`{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"sha256:0"}]}`))
		return true
	})
	pushed := mustPush(t, ref, s, PushOptions{Options: Options{Tuning: places.Tuning{Timing: remote.Timing{Backoff: 1}}}})
	f.answer(nil)
	if heads := f.counts()["HEAD blob"]; heads > pushed.Blobs {
		t.Errorf("%d blobs were asked for", heads)
	}
	if len(seen) < 5 {
		t.Errorf("only %d manifests were refused", len(seen))
	}
	if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
		t.Error(err)
	}
}
