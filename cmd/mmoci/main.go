// Command mmoci is an OCI-artifact-native mirror of Debian archives.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// How often the collector runs, unless GOGC and GOMEMLIMIT say otherwise: the peak of a push of 20,000 packages
// follows from the percentage, that of a whole release, which holds 130 MiB, from the limit.
const (
	gcPercent   = 70
	memoryLimit = 160 << 20
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // who asks a second time need not wait for what is being ended in order
	// A reader of our output that went away is told as any other failure to write; and install must not die of it half-way.
	// (To be notified and not to ignore it: what is ignored stays so in dpkg and maintainer scripts.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
