package static

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
)

// A tag that moves is exported again, an error in between is logged once and passes, and the end of the context is no error.
func TestFollow(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	first, second := l.manifest(t, layerType, "one", nil), l.manifest(t, layerType, "two", nil)
	l.index(t, "app:1", first)
	dir := filepath.Join(t.TempDir(), "tree")
	logged := make(chan string, 1000)
	results := make(chan *Result)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		o := Options{Dir: dir, References: []artifact.Reference{reference(t, l.dir, "app:1")}, Keep: time.Hour,
			Log: func(format string, args ...any) { logged <- fmt.Sprintf(format, args...) }}
		ended <- Follow(ctx, o, Following{Every: 10 * time.Millisecond, Done: func(r *Result) error { results <- r; return nil }})
	}()
	next := func() *Result {
		t.Helper()
		select {
		case r := <-results:
			return r
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatal("no export")
		}
		return nil
	}
	if r := next(); r.Moved != 1 {
		t.Errorf("at first: %+v", r)
	}
	for range 20 {
		select {
		case r := <-results:
			t.Fatalf("exported although nothing moved: %+v", r)
		case <-time.After(10 * time.Millisecond):
		}
	}
	index := filepath.Join(l.dir, "index.json")
	if err := os.Rename(index, index+".away"); err != nil {
		t.Fatal(err)
	}
	text := <-logged
	if !strings.Contains(text, "tried again every 10ms") {
		t.Errorf("logged %q", text)
	}
	time.Sleep(100 * time.Millisecond)
	if n := len(logged); n > 0 {
		t.Errorf("the same error is logged %d times more", n)
	}
	if err := os.Rename(index+".away", index); err != nil {
		t.Fatal(err)
	}
	if r := next(); r.Moved != 0 {
		t.Errorf("after the error: %+v", r)
	}
	l.index(t, "app:1", second)
	if r := next(); r.Moved != 1 {
		t.Errorf("moved: %+v", r)
	}
	if to, err := os.Readlink(filepath.Join(dir, "repositories/app/_tags/1")); err != nil || filepath.Base(to) != hexOf(second) {
		t.Errorf("the tag leads to %s, %v", to, err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

// What was left long enough ago goes though no tag moves; an error of who is told ends it.
func TestFollowQuiet(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	l.index(t, "app:1", l.manifest(t, layerType, "one", nil))
	o := Options{Dir: filepath.Join(t.TempDir(), "tree"), References: []artifact.Reference{reference(t, l.dir, "app:1")}}
	n, full := 0, errors.New("full")
	err := Follow(t.Context(), o, Following{Every: time.Millisecond, quiet: time.Nanosecond, Done: func(*Result) error {
		if n++; n == 3 {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) {
		t.Error(err)
	}
	o.References[0].Tag = "none:1"
	if err := Follow(t.Context(), o, Following{Every: time.Hour}); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("a tag that is not there: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o.Dir, o.References[0].Tag = dir, "app:1"
	if err := Follow(t.Context(), o, Following{Every: time.Hour}); !errors.Is(err, outcome.ErrUsage) {
		t.Errorf("a directory that is something else: %v", err)
	}
}

// An export that is interrupted is told.
func TestFollowInterrupted(t *testing.T) {
	t.Parallel()
	layout, older, _ := two(t)
	_ = layout
	ctx, cancel := context.WithCancelCause(t.Context())
	why := fmt.Errorf("signal: %w", context.Canceled)
	o := Options{Dir: filepath.Join(t.TempDir(), "tree"), References: []artifact.Reference{older}, Progress: func(artifact.Event) { cancel(why) }}
	if err := Follow(ctx, o, Following{Every: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
