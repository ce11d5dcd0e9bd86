package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// A server's live heap is a few MiB, and the collector would run many times a
	// second under load; it may wait for this much garbage.
	garbage = 8 << 20
	// leastHeap is what the live heap is taken for at least: a percentage of little
	// would be out of proportion when it grows before the next look.
	leastHeap = 4 << 20
	// tuneEvery is how often the live heap is looked at: it changes with the snapshots held.
	tuneEvery = 30 * time.Second
)

// tuneCollector lets the collector run when the heap has doubled, as ever, or
// when there are 8 MiB of garbage, whichever is later. It returns when ctx ends.
func tuneCollector(ctx context.Context) {
	runtime.GC() // else nothing is known of the live heap yet
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	for {
		metrics.Read(live)
		held := max(live[0].Value.Uint64(), leastHeap)
		debug.SetGCPercent(int(max(100, garbage*100/held)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
