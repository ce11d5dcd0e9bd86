// Command mmoci is an OCI-artifact-native mirror of Debian archives.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // who asks a second time need not wait for what is being ended in order
	// A reader of our output that went away is told as any other failure to write; and install must not die of it half-way.
	// (To be notified and not to ignore it: what is ignored stays so in dpkg and maintainer scripts.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		tuneCollector()
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
