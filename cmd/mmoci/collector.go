package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// collectAt is how much the heap may grow between two collections, per cent of
	// what is live. With Go's 100 a push of a release takes a third more memory and
	// is hardly faster: what it takes is what it holds, not what it throws away.
	collectAt = 30
	// garbage may gather in any case, bytes: what is live is a few MiB in most
	// commands and in a server, and the collector would run many times a second.
	garbage = 16 << 20
	// firstHeap is what Go takes the live heap for before it has been collected, bytes.
	firstHeap = 4 << 20
)

// tuneCollector lets the collector run when there are garbage bytes of garbage or
// collectAt per cent, whichever is later; it looks again after each collection.
func tuneCollector() {
	debug.SetGCPercent(collectPercent(firstHeap))
	afterCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		debug.SetGCPercent(collectPercent(live[0].Value.Uint64()))
	})
}

// collectPercent is the GC percentage for a heap of so many live bytes.
func collectPercent(live uint64) int {
	return max(collectAt, int(garbage*100/max(live, 1<<20)))
}

// afterCollection calls f after each collection: that is when an object which
// nobody holds is finalized.
func afterCollection(f func()) {
	type canary struct{ _ *int } // with a pointer, so that it is not batched with others
	runtime.SetFinalizer(&canary{}, func(*canary) {
		f()
		afterCollection(f)
	})
}
