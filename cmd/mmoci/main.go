// Command mmoci is an OCI-artifact-native mirror of Debian archives.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/aptmethod"
	"example.org/mmoci/internal/builder"
	"example.org/mmoci/internal/config/foreign"
	scratch "example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
)

// How often the collector runs, unless GOGC and GOMEMLIMIT say otherwise: the peak of a push of 20,000 packages
// follows from the percentage, that of a whole release, which holds 130 MiB, from the limit.
const (
	gcPercent   = 70
	memoryLimit = 160 << 20

	methodMemory = 32 << 20 // of a method of apt's

	// Of image commands, which decompress and compress beside what they know of the packages. The process has
	// some 20 MiB of the program itself beside it; a snapshot of a whole release may hold more than the limit while it is planned.
	imageMemory    = 100 << 20
	imageGCPercent = 200 // of less than the limit: notes of packages, which are read and thrown away
)

func main() {
	scratch.Main()                  // this program starts itself for maintainer scripts
	builder.Main()                  // and to end a build with all that it started
	if aptmethod.Started(os.Args) { // apt starts it by another name
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(methodMemory)
		}
		if aptmethod.Run(context.Background(), aptmethod.Options{Stdin: os.Stdin, Stdout: os.Stdout}) != nil {
			os.Exit(100) // apt was told why
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	// A reader that closed our output is a failure to write like any other, and must not kill install half-way.
	// SIGPIPE is caught and not ignored: dpkg and maintainer scripts would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	percent, limit := gcPercent, int64(memoryLimit)
	if len(os.Args) > 1 && os.Args[1] == "image" {
		percent, limit = imageGCPercent, imageMemory
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := terminal.NewResults(stdout)
	a := &command.App{Stdin: stdin, Stdout: out, Stderr: terminal.NewSafeWriter(stderr), Terminal: stderr, Version: version()}
	a.Shown.Stdout, a.Shown.Stderr = terminal.Is(stdout), terminal.Is(stderr)
	root := commands(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(a.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.Lost()
	}
	if err == nil {
		return 0
	}
	code, text := command.ExitCode(ctx, err), command.WithRemedy(err, cmd.CommandPath())
	if code == command.ExitInterrupted {
		text = interruption(cmd.CommandPath(), err)
	} else if instead := site.Instead(ctx, err, a.Options()); instead != "" {
		text += "; " + instead
	}
	for _, f := range foreign.Rewritten(err) {
		text += "\n" + leaveRewritten(f)
	}
	switch {
	case a.Server != nil:
		a.Server.Error(text, "exit", code)
	case a.Events:
		a.Say("error", text, code)
	default:
		fmt.Fprintf(a.Stderr, "mmoci: %s\n", command.Message(text))
	}
	return code
}

// leaveRewritten writes what a refused input would be in the words of mmoci beside it, over nothing that is there, and
// says where it is: at the latest in what it returns.
func leaveRewritten(f foreign.File) string {
	out, err := os.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		if _, err = out.Write(f.Data); err == nil {
			err = out.Close()
		} else {
			out.Close()
		}
		if err != nil {
			os.Remove(f.Name)
		}
	} else if was, readErr := os.ReadFile(f.Name); readErr == nil && bytes.Equal(was, f.Data) {
		err = nil
	}
	if err != nil {
		return fmt.Sprintf("%s could not be written: %v; it would be %s:\n%s", f.Name, err, f.Use, f.Data)
	}
	return fmt.Sprintf("%s has it rewritten: %s", f.Name, f.Use)
}

// interruption is the message of an interrupted command: what it tagged, if it tags, and
// whether the same command goes on from there.
func interruption(command string, err error) string {
	text := "interrupted"
	var tagging *artifact.InterruptedTagging
	switch command {
	case "mmoci push", "mmoci copy", "mmoci tag promote", "mmoci tag rollback", "mmoci image build", "mmoci image update":
		text += "; nothing was tagged; the same command goes on from here"
		if errors.As(err, &tagging) {
			text = "interrupted; " + tagging.What + "; the same command goes on from here"
		}
	case "mmoci pull", "mmoci install", "mmoci host images", "mmoci export", "mmoci tag prune", "mmoci lock", "mmoci key rotate":
		text += "; the same command goes on from here"
	}
	return text
}

// release is the version of a release; its build sets it (scripts/release.sh).
var release string

// version is that of the release, else the module's, else the commit it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}
