package main

import (
	"runtime"
	"testing"
	"time"
)

func TestCollectPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 1600}, {1 << 20, 1600}, {firstHeap, 400}, {16 << 20, 100}, {100 << 20, collectAt}, {8 << 30, collectAt}} {
		if got := collectPercent(c.live); got != c.want {
			t.Errorf("%d bytes: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// It is called after the second collection as after the first.
func TestAfterCollection(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1)
	afterCollection(func() {
		select {
		case called <- struct{}{}:
		default:
		}
	})
	for range 3 {
		for done := false; !done; {
			runtime.GC()
			select {
			case <-called:
				done = true
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
