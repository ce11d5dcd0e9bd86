// Package command is what the commands of mmoci share: where they write, flags, trust and keys, the opening of a snapshot, exit
// codes, and the remedies that name a flag.
package command

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

// App is what every command shares: where it writes, and the common flags.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer                     // results and safeWriter
	Terminal       io.Writer                     // stderr as it is, for dpkg and the line of progress, which use control characters
	Shown          struct{ Stdout, Stderr bool } // on a terminal
	Version        string                        // of this program
	Quiet, Verbose bool
	Events         bool               // stderr carries JSON lines
	Server         *slog.Logger       // of serve: stderr carries its records; nil: another command
	Bar            *terminal.Progress // nil: no transfer is shown
	Registry       registryFlags
	connections    artifact.Connections // to registries, of all that one command does
}

// Message indents all lines of a text but the first, so that none of them looks like a line of ours.
func Message(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// Log writes one line for people to stderr, unless -q.
func (a *App) Log(format string, args ...any) {
	switch {
	case a.Quiet:
	case a.Server != nil: // what a library has to say while it serves is that something is not as it should be
		a.Server.Warn(fmt.Sprintf(format, args...))
	case a.Events:
		a.Say("log", fmt.Sprintf(format, args...), 0)
	default:
		a.Bar.Above(func() { fmt.Fprintln(a.Stderr, Message(fmt.Sprintf(format, args...))) })
	}
}

// Say writes a JSON line to stderr.
func (a *App) Say(event, text string, exit int) {
	a.Bar.Above(func() {
		_ = json.NewEncoder(a.Stderr).Encode(struct {
			Event string `json:"event"`
			Text  string `json:"text"`
			Exit  int    `json:"exit,omitempty"`
		}{event, text, exit})
	})
}

// PrintJSON prints one document to stdout.
func (a *App) PrintJSON(v any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Progress starts to show a transfer; the caller ends it. What is logged meanwhile stands above its line.
func (a *App) Progress() *terminal.Progress {
	a.Bar = terminal.Start(a.Terminal, a.Quiet, a.Events)
	return a.Bar
}

// Detail is log under -v only.
func (a *App) Detail(format string, args ...any) {
	if a.Verbose {
		a.Log(format, args...)
	}
}

// registryFlags say how registries are reached.
type registryFlags struct {
	PlainHTTP bool
	caFile    string
	workers   int
}

func (r *registryFlags) Flags(f *pflag.FlagSet) {
	f.BoolVar(&r.PlainHTTP, "plain-http", false, "reach the registry over http beyond loopback too")
	f.StringVar(&r.caFile, "ca-file", "", "PEM file of a CA to trust for the registry")
	f.IntVar(&r.workers, "workers", 0, "transfers at once (default 8)")
}

func (a *App) Options() artifact.Options {
	return artifact.Options{
		PlainHTTP: a.Registry.PlainHTTP, CAFile: a.Registry.caFile, Concurrency: a.Registry.workers, Log: a.Log, Connections: &a.connections,
	}
}
