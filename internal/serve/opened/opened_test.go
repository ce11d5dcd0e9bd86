package opened

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// numbers opens "1" to "99"; each is as large as it says.
func numbers(opens *atomic.Int64) func(context.Context, string) (int, error) {
	return func(_ context.Context, id string) (n int, err error) {
		opens.Add(1)
		if _, err := fmt.Sscan(id, &n); err != nil || n > 99 {
			return 0, fmt.Errorf("%s: %w", id, snapshot.ErrNotExist)
		}
		return n, nil
	}
}

// What was used last stays, within the number and the size.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		max  int64
		size func(int) int64
		use  []int
		want []int
	}{
		{"by number", 0, func(int) int64 { return 1 }, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 17, 18}, []int{1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}},
		{"by size", 10, func(n int) int64 { return int64(n) }, []int{3, 4, 3, 5}, []int{3, 5}},
		{"larger than all", 10, func(n int) int64 { return int64(n) }, []int{3, 11}, nil},
	} {
		var opens atomic.Int64
		cache := New(Options[int]{Open: numbers(&opens), Size: c.size, MaxBytes: c.max})
		for _, n := range c.use {
			if got, err := cache.Open(t.Context(), fmt.Sprint(n)); err != nil || got != n {
				t.Fatalf("%s: %d: %d, %v", c.name, n, got, err)
			}
		}
		kept := cache.Kept()
		slices.Sort(kept)
		if !slices.Equal(kept, c.want) {
			t.Errorf("%s: %v, want %v", c.name, kept, c.want)
		}
	}
}

// Whoever asks for the same meanwhile shares the opening of it, and a client that goes away does not end it.
func TestOnce(t *testing.T) {
	t.Parallel()
	var opens atomic.Int64
	begin := make(chan struct{})
	open := numbers(&opens)
	cache := New(Options[int]{Size: func(int) int64 { return 1 }, Open: func(ctx context.Context, id string) (int, error) {
		<-begin
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return open(ctx, id)
	}})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Open(gone, "7"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that went away: %v", err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if n, err := cache.Open(t.Context(), "7"); n != 7 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	close(begin)
	all.Wait()
	if n := opens.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

// What is not there is not looked for at once again, and any other error is none to remember.
func TestAbsent(t *testing.T) {
	t.Parallel()
	var opens atomic.Int64
	var now atomic.Int64
	fail := errors.New("no route to host")
	open := numbers(&opens)
	cache := New(Options[int]{
		Size: func(int) int64 { return 1 }, Now: func() time.Time { return time.Unix(now.Load(), 0) },
		Open: func(ctx context.Context, id string) (int, error) {
			n, err := open(ctx, id)
			if id == "broken" {
				err = fail
			}
			return n, err
		},
	})
	ask := func(id string, want error, n int64) {
		t.Helper()
		if _, err := cache.Open(t.Context(), id); !errors.Is(err, want) || opens.Load() != n {
			t.Errorf("%s: %v after %d", id, err, opens.Load())
		}
	}
	ask("none", snapshot.ErrNotExist, 1)
	ask("none", snapshot.ErrNotExist, 1)
	ask("broken", fail, 2)
	ask("broken", fail, 3)
	now.Store(11)
	ask("none", snapshot.ErrNotExist, 4)
	if kept := cache.Kept(); len(kept) > 0 {
		t.Errorf("%v", kept)
	}
}
