package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
)

// app is what every command shares: where it writes, and the common flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer                     // results and safeWriter
	terminal       io.Writer                     // stderr as it is, for dpkg and the line of progress, which use control characters
	shown          struct{ stdout, stderr bool } // on a terminal
	version        string                        // of this program
	quiet, verbose bool
	events         bool               // stderr carries JSON lines
	server         *slog.Logger       // of serve: stderr carries its records; nil: another command
	bar            *terminal.Progress // nil: no transfer is shown
	registry       registryFlags
	connections    artifact.Connections // to registries, of all that one command does
}

// message indents all lines of a text but the first, so that none of them looks like a line of ours.
func message(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// log writes one line for people to stderr, unless -q.
func (a *app) log(format string, args ...any) {
	switch {
	case a.quiet:
	case a.server != nil: // what a library has to say while it serves is that something is not as it should be
		a.server.Warn(fmt.Sprintf(format, args...))
	case a.events:
		a.say("log", fmt.Sprintf(format, args...), 0)
	default:
		a.bar.Above(func() { fmt.Fprintln(a.stderr, message(fmt.Sprintf(format, args...))) })
	}
}

// say writes a JSON line to stderr.
func (a *app) say(event, text string, exit int) {
	a.bar.Above(func() {
		_ = json.NewEncoder(a.stderr).Encode(struct {
			Event string `json:"event"`
			Text  string `json:"text"`
			Exit  int    `json:"exit,omitempty"`
		}{event, text, exit})
	})
}

// printJSON prints one document to stdout.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// progress starts to show a transfer; the caller ends it. What is logged meanwhile stands above its line.
func (a *app) progress() *terminal.Progress {
	a.bar = terminal.Start(a.terminal, a.quiet, a.events)
	return a.bar
}

// detail is log under -v only.
func (a *app) detail(format string, args ...any) {
	if a.verbose {
		a.log(format, args...)
	}
}

// registryFlags say how registries are reached.
type registryFlags struct {
	plainHTTP bool
	caFile    string
	workers   int
}

func (r *registryFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&r.plainHTTP, "plain-http", false, "reach the registry over http beyond loopback too")
	f.StringVar(&r.caFile, "ca-file", "", "PEM file of a CA to trust for the registry")
	f.IntVar(&r.workers, "workers", 0, "transfers at once (default 8)")
}

func (a *app) options() artifact.Options {
	return artifact.Options{
		PlainHTTP: a.registry.plainHTTP, CAFile: a.registry.caFile, Concurrency: a.registry.workers, Log: a.log, Connections: &a.connections,
	}
}
