package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// errSignal is the cause of an interrupted context, as a signal's is: it is a context.Canceled.
var errSignal = fmt.Errorf("interrupt signal received: %w", context.Canceled)

// interruption ends a context at the n-th thing that happens: a read of the source, an event of the writer, a request
// to a registry, a look at the context.
type interruption struct {
	context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	left  int
	count int
	when  time.Time // zero: it has not come yet
}

func interruptAt(t *testing.T, n int) *interruption {
	i := &interruption{left: n}
	i.Context, i.cancel = context.WithCancelCause(t.Context())
	return i
}

func (i *interruption) happens() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count++
	if i.left--; i.left == 0 {
		i.when = time.Now()
		i.cancel(errSignal)
	}
}

func (i *interruption) Err() error {
	i.happens()
	return i.Context.Err()
}

func (i *interruption) Done() <-chan struct{} {
	i.happens()
	return i.Context.Done()
}

// watched is a snapshot of which each read happens.
func (i *interruption) watched(s *snapshot.Snapshot) *snapshot.Snapshot {
	return s.WithBlobs(func(rest snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			i.happens()
			c, err := rest.Open(ctx, b, 0)
			if err == nil {
				c.R = happening{c.R, i}
			}
			return c, err
		})
	})
}

type happening struct {
	io.ReadCloser
	i *interruption
}

func (h happening) Read(p []byte) (int, error) {
	h.i.happens()
	return h.ReadCloser.Read(p)
}

// Law 13: at whatever instant a push or a copy is interrupted, to whatever kind of place, it ends with the interruption as
// its error, soon, and the tag names what it named; the rerun completes. It may end well only if the tag has moved.
func TestInterruptedWriter(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("SEED=%d", seed)
	old, next := takeOf(t, synthFiles(4)), takeOf(t, changedFiles(synthFiles(24)))
	for _, kind := range []string{"layout", "archive", "registry"} {
		for _, verb := range []string{"push", "copy"} {
			t.Run(verb+" to "+kind, func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, 1))
				instants := 17 // of each kind: a hundred in all
				if os.Getenv("E2E_LONG") != "" {
					instants = 170
				}
				w := interruptedWriter{kind: kind, copies: verb == "copy", old: old, next: next}
				undisturbed := w.at(t, 0)
				if undisturbed < 100 {
					t.Fatalf("only %d things happen", undisturbed)
				}
				for range instants {
					w.at(t, 1+rng.IntN(undisturbed))
				}
				if w.interrupted < instants/2 {
					t.Errorf("only %d of %d were interrupted", w.interrupted, instants)
				}
			})
		}
	}
}

type interruptedWriter struct {
	kind        string
	copies      bool
	old, next   *snapshot.Snapshot
	interrupted int
}

// at runs one writer, interrupted at the n-th thing that happens, 0: never; it tells how many things happened.
func (w *interruptedWriter) at(t *testing.T, n int) int {
	t.Helper()
	var f *fakeRegistry
	var ref Reference
	switch w.kind {
	case "layout":
		ref = layoutRef(t)
	case "archive":
		ref = archiveRef(t)
	case "registry":
		f = newFakeRegistry(t)
		ref = f.ref(t, "noble")
		defer f.server.Close()
	}
	if ref.Kind != Registry {
		defer os.RemoveAll(ref.Name)
	}
	before := mustPush(t, ref, w.old, PushOptions{}).Root
	src := layoutRef(t)
	defer os.RemoveAll(src.Name)
	if w.copies {
		mustPush(t, src, w.next, PushOptions{})
	}
	i := interruptAt(t, n)
	defer i.cancel(nil)
	o := Options{Progress: func(Event) { i.happens() }, Tuning: places.Tuning{Timing: remote.Timing{Backoff: 1}, Checkpoint: time.Nanosecond}}
	if f != nil {
		f.answer(func(http.ResponseWriter, *http.Request, int) bool { i.happens(); return false })
	}
	write := func(ctx context.Context, s *snapshot.Snapshot, o Options) error {
		if w.copies {
			_, err := Copy(ctx, src, ref, PushOptions{Options: o})
			return err
		}
		_, err := Push(ctx, ref, s, PushOptions{Options: o})
		return err
	}
	err := write(i, i.watched(w.next), o)
	took := time.Since(i.when)
	if f != nil {
		f.answer(nil)
	}
	now := reopen(t, ref)
	moved := now.Root != before
	switch {
	case err == nil && !moved:
		t.Errorf("interrupted at %d: no error, and the tag names the old snapshot", n)
	case err != nil && moved && (took < tagGrace || !strings.Contains(err.Error(), "may be set")): // a busy registry does not answer in time
		t.Errorf("interrupted at %d: the tag has moved, and the error is %v", n, err)
	case err != nil && !errors.Is(err, context.Canceled):
		t.Errorf("interrupted at %d: %v", n, err)
	case err != nil:
		w.interrupted++
		if took > obeyed {
			t.Errorf("interrupted at %d: it took %s", n, took)
		}
	}
	if moved {
		if err := snapshottest.Equal(t.Context(), w.next, now); err != nil {
			t.Errorf("interrupted at %d: the tag names what is not whole: %v", n, err)
		}
	}
	if err := write(t.Context(), w.next, Options{}); err != nil {
		t.Fatalf("interrupted at %d: the rerun: %v", n, err)
	}
	if err := snapshottest.Equal(t.Context(), w.next, reopen(t, ref)); err != nil {
		t.Errorf("interrupted at %d: after the rerun: %v", n, err)
	}
	return i.count
}

// Interrupted while it waits for the answer to its tag, a writer waits a moment longer, and then says what is true.
func TestInterruptedAtTheTag(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		f := newFakeRegistry(t)
		ref := f.ref(t, "noble")
		before := mustPush(t, ref, takeOf(t, synthFiles(2)), PushOptions{}).Root
		ctx, cancel := context.WithCancelCause(t.Context())
		var interrupted time.Time
		f.answer(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/noble") {
				interrupted = time.Now()
				cancel(errSignal)
				if !answers {
					_, _ = io.Copy(io.Discard, r.Body) // or nobody sees that the client has gone
					<-r.Context().Done()
					return true
				}
			}
			return false
		})
		_, err := Push(ctx, ref, takeOf(t, synthFiles(3)), PushOptions{})
		took := time.Since(interrupted)
		f.answer(nil)
		said := err != nil && errors.Is(err, context.Canceled) && strings.Contains(err.Error(), "may be set")
		switch {
		case err == nil && answers:
			if reopen(t, ref).Root == before {
				t.Error("no error, and the tag names the old snapshot")
			}
		case !said || took < tagGrace: // a busy registry does not answer in time, either
			t.Errorf("it answers: %t; after %s: %v", answers, took, err)
		}
	}
}

// tagGrace is how long a writer waits for the answer to a tag.
const tagGrace = 300 * time.Millisecond

// obeyed is within what time an interruption is obeyed; the machine that tests may be busy.
const obeyed = 5 * time.Second
