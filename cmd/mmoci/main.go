// Command mmoci is an OCI-artifact-native mirror of Debian archives.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// collectAt is how much the heap may grow between two collections, per cent.
// With Go's 100 a push of a release takes a third more memory and is hardly
// faster: what it takes is what it holds, not what it throws away.
const collectAt = 30

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
