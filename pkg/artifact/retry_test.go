package artifact

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// quick makes waits short; the bounds stay.
func quick() Options {
	return Options{Tuning: places.Tuning{Timing: remote.Timing{Backoff: time.Microsecond, Stall: 20 * time.Second}}}
}

// Every request of a push and of opening fails once, in each way that passes.
func TestEveryRequestFailsOnce(t *testing.T) {
	t.Parallel()
	files := synthFiles(3)
	s := takeOf(t, files)
	for how, fail := range map[string]func(w http.ResponseWriter, r *http.Request){
		"429": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0.001")
			w.WriteHeader(429)
		},
		"503": func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "UNAVAILABLE") },
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"408": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(408) },
		"upload forgotten": func(w http.ResponseWriter, r *http.Request) {
			if kindOf(r) == "upload" && r.Method == http.MethodPut {
				refuse(w, 404, "BLOB_UPLOAD_UNKNOWN")
				return
			}
			w.WriteHeader(500)
		},
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"reset after the body": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := newFakeRegistry(t)
			ref := f.ref(t, "noble")
			var mu sync.Mutex
			failed := map[string]bool{}
			posts := 0
			f.answer(func(w http.ResponseWriter, r *http.Request, n int) bool {
				key := r.Method + r.URL.Path
				mu.Lock()
				if r.Method == http.MethodPost {
					posts++
					key += fmt.Sprint(posts / 2) // every other
				} else if kindOf(r) == "upload" {
					key = r.URL.Query().Get("digest")
				}
				first := !failed[key]
				failed[key] = true
				mu.Unlock()
				if n > 0 && first {
					fail(w, r)
				}
				return n > 0 && first
			})
			o := quick()
			o.Concurrency = 1
			if _, err := Push(t.Context(), ref, s, PushOptions{Options: o}); err != nil {
				t.Fatal(err)
			}
			back, err := openSnapshot(t.Context(), ref, quick())
			if err != nil {
				t.Fatal(err)
			}
			if err := snapshottest.Equal(t.Context(), s, back); err != nil {
				t.Error(err)
			}
		})
	}
}

// What does not pass ends after a bounded number of tries, and says what and why.
func TestPermanentErrors(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(1))
	for code, c := range map[int]struct {
		says  string
		tries int64 // 0: any number
	}{
		401: {"docker login", 1}, 404: {"repository site/mirror not found", 1}, 403: {"may not do that", 1}, 405: {"does not allow", 1}, 413: {"client_max_body_size", 1},
		429: {"limits the rate", throttled + 1}, 500: {"HTTP 500", tries}, 501: {"HTTP 501", 1},
	} {
		f := newFakeRegistry(t)
		var posts atomic.Int64
		f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method != http.MethodPost {
				return false
			}
			posts.Add(1)
			refuse(w, code, "SOME_CODE")
			return true
		})
		o := quick()
		o.Concurrency = 1
		_, err := Push(t.Context(), f.ref(t, "noble"), s, PushOptions{Options: o})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "upload") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d: %v; want %q", code, err, c.says)
		}
		if n := posts.Load(); n != c.tries {
			t.Errorf("%d: %d tries, want %d", code, n, c.tries)
		}
	}
}

// A registry that wants to be left alone for longer than the bound is not waited for.
func TestRetryAfterTooLong(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("Retry-After", time.Now().Add(24*time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(429)
		return true
	})
	_, err := Open(t.Context(), f.ref(t, "noble"), quick())
	if err == nil || statusOf(err) != 429 {
		t.Error(err)
	}
	if n := total(f.counts()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A host that never answered is not tried again, one that did is.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	f.server.Close()
	_, err := Open(t.Context(), ref, quick())
	if err == nil || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "attempts)") {
		t.Errorf("tried again: %v", err)
	}
}

// breakOff answers a blob in pieces, each connection breaking after some bytes.
func breakOff(f *fakeRegistry, d snapshot.Digest, data []byte, ranges, stall bool) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.Hex()) {
			return false
		}
		from := 0
		if v := r.Header.Get("Range"); v != "" && ranges {
			if _, err := fmt.Sscanf(v, "bytes=%d-", &from); err != nil {
				panic(err)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		}
		f.mu.Lock()
		step := 40_000 + 10_000*f.n
		if stall {
			step *= 3 // one stall is enough
		}
		f.mu.Unlock()
		if _, err := w.Write(data[from:min(len(data), from+step)]); err != nil {
			return true
		}
		if from+step < len(data) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return true
			}
			if stall {
				<-r.Context().Done()
			}
			panic(http.ErrAbortHandler)
		}
		return true
	}
}

// A broken or stalled download goes on where it broke, with or without Range.
func TestResumedDownload(t *testing.T) {
	t.Parallel()
	files := synthFiles(1)
	s := takeOf(t, files)
	const path = "own/pool/main/b/big/big_1_amd64.deb"
	for name, c := range map[string]struct{ ranges, stall bool }{"range": {true, false}, "no range": {false, false}, "stall": {true, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeRegistry(t)
			ref := f.ref(t, "noble")
			mustPush(t, ref, s, PushOptions{})
			o := quick()
			if c.stall {
				o.Tuning.Timing.Stall = 2 * time.Second
			}
			back, err := openSnapshot(t.Context(), ref, o)
			if err != nil {
				t.Fatal(err)
			}
			f.counts()
			f.answer(breakOff(f, snapshot.Sum(files[path]), files[path], c.ranges, c.stall))
			file, err := back.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got, err := io.ReadAll(file)
			if err != nil || snapshot.Sum(got) != snapshot.Sum(files[path]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if n := f.counts()["GET blob"]; n < 2 {
				t.Errorf("%d requests: it did not break", n)
			}
		})
	}
}

// A connection that became too slow is left for another, where the rest is had from.
func TestSlowConnection(t *testing.T) {
	t.Parallel()
	files := synthFiles(1)
	const path, burst = "own/pool/main/b/big/big_1_amd64.deb", 50_000
	f := testregistry.New(t, testregistry.Options{})
	ref := mustParse(t, f.Host()+"/site/mirror:noble")
	mustPush(t, ref, takeOf(t, files), PushOptions{})
	o := quick()
	o.Tuning.Timing.Slow = 300 * time.Millisecond
	back, err := openSnapshot(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	f.Fault(func(r testregistry.Request, n int) testarchive.Broken {
		if r.Kind == "blob" && n == 1 {
			return testarchive.Broken{Rate: 200, Burst: burst}
		}
		return testarchive.Broken{}
	})
	f.Requests()
	file, err := back.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	start := time.Now()
	got, err := io.ReadAll(file)
	if err != nil || snapshot.Sum(got) != snapshot.Sum(files[path]) || len(got) <= 2*burst {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := f.Requests().Count("GET", "blob"); n != 2 {
		t.Errorf("%d requests in %s", n, time.Since(start))
	}
}

// A server that sends nothing is given up after bounded tries.
func TestStalledForEver(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	s := takeOf(t, synthFiles(1))
	f.answer(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodPost {
			<-r.Context().Done()
			return true
		}
		return false
	})
	o := quick()
	o.Tuning.Timing.Stall = 20 * time.Millisecond
	_, err := Push(t.Context(), ref, s, PushOptions{Options: o})
	if !errors.Is(err, transfer.ErrStalled) {
		t.Error(err)
	}
}

// A registry that takes connections and never answers is left after two tries of
// the time without a byte, whatever it is asked, and the error says how long it was.
func TestSilentRegistry(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Tuning.Timing.Stall, o.Tuning.Timing.Answer = time.Second, 1200*time.Millisecond // longer than a busy machine takes
	o.Concurrency = 1
	puts := func(kind string) func(r *http.Request) bool {
		return func(r *http.Request) bool { return r.Method == http.MethodPut && kindOf(r) == kind }
	}
	push := func(ref Reference) error {
		ref.Tag = "next"
		_, err := Push(t.Context(), ref, takeOf(t, synthFiles(2)), PushOptions{Options: o})
		return err
	}
	always := func(*http.Request) bool { return true }
	large := func(r *http.Request) bool { return puts("manifest")(r) && r.ContentLength > 1<<10 } // is looked through for longer
	for what, c := range map[string]struct {
		silent func(*http.Request) bool
		do     func(ref Reference) error
		says   string
	}{
		"open":     {always, func(ref Reference) error { _, err := Open(t.Context(), ref, o); return err }, "stalled: no answer for 1s"},
		"resolve":  {always, func(ref Reference) error { _, err := Resolve(t.Context(), ref, o); return err }, "stalled: no answer for 1s"},
		"tags":     {always, func(ref Reference) error { _, err := Tags(t.Context(), ref, o); return err }, "stalled: no answer for 1s"},
		"blob":     {puts("upload"), push, "stalled: no answer for 1s"},
		"manifest": {large, push, "stalled: no answer for 1.2s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFakeRegistry(t)
			ref := f.ref(t, "noble")
			mustPush(t, ref, takeOf(t, synthFiles(1)), PushOptions{})
			var asked atomic.Int64
			f.answer(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
				if !c.silent(r) {
					return false
				}
				asked.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				return true
			})
			began := time.Now()
			err := c.do(ref)
			if !errors.Is(err, transfer.ErrStalled) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "(2 attempts); "+ref.Host()+" takes connections and is silent") {
				t.Error(err)
			}
			if n := asked.Load(); n < 1 || n > 2 { // a busy machine may give a request up before the registry has read it
				t.Errorf("asked %d times", n)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
