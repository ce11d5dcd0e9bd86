// Command mmoci is an OCI-artifact-native mirror of Debian archives.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/internal/aptmethod"
	"example.org/mmoci/internal/builder"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
	"example.org/mmoci/internal/outcome"
	scratch "example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
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

// Exit codes, as the README lists them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitIntegrity   = 3
	exitNotFound    = 4
	exitExpired     = 5
	exitInterrupted = 130
)

// app is what every command shares: where it writes, and the common flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer                     // results and safeWriter
	terminal       io.Writer                     // stderr as it is, for dpkg and the line of progress, which use control characters
	shown          struct{ stdout, stderr bool } // on a terminal
	quiet, verbose bool
	events         bool               // stderr carries JSON lines
	server         *slog.Logger       // of serve: stderr carries its records; nil: another command
	bar            *terminal.Progress // nil: no transfer is shown
	registry       registryFlags
	connections    artifact.Connections // to registries, of all that one command does
}

// errFlags marks a command line that cobra could not read.
var errFlags = errors.New("usage")

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := terminal.NewResults(stdout)
	a := &app{stdin: stdin, stdout: out, stderr: terminal.NewSafeWriter(stderr), terminal: stderr}
	a.shown.stdout, a.shown.stderr = terminal.Is(stdout), terminal.Is(stderr)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.Lost()
	}
	if err == nil {
		return 0
	}
	code, text := exitCode(ctx, err), withRemedy(err, cmd.CommandPath())
	if code == exitInterrupted {
		text = interruption(cmd.CommandPath(), err)
	} else if instead := site.Instead(ctx, err, a.options()); instead != "" {
		text += "; " + instead
	}
	for _, f := range foreign.Rewritten(err) {
		text += "\n" + leaveRewritten(f)
	}
	switch {
	case a.server != nil:
		a.server.Error(text, "exit", code)
	case a.events:
		a.say("error", text, code)
	default:
		fmt.Fprintf(a.stderr, "mmoci: %s\n", message(text))
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

// exitCode is the one place where errors become exit codes.
func exitCode(ctx context.Context, err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var differs *differError
	switch {
	case ctx.Err() != nil && is(context.Canceled):
		return exitInterrupted
	case errors.As(err, &differs):
		return differs.code
	case is(outcome.ErrIntegrity):
		return exitIntegrity
	case is(errFlags, outcome.ErrUsage, document.ErrUsage, artifact.ErrReference, query.ErrInvalid):
		return exitUsage
	case is(outcome.ErrNotFound, artifact.ErrNotFound, resolve.ErrUnsatisfied):
		return exitNotFound
	case is(archive.ErrExpired):
		return exitExpired
	case is(fs.ErrNotExist):
		return exitUsage // a file that somebody named; what is missing at a place or upstream is ErrNotFound
	}
	return exitFailed
}

// message indents all lines of a text but the first, so that none of them looks like a line of ours.
func message(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mmoci",
		Short: "An OCI-artifact-native mirror of Debian archives",
		Long: `mmoci freezes Debian archives into content-addressed OCI artifacts, pushes them to any registry,
and pulls them to serve apt or to install packages on a bare host, verified from upstream's key down to the blob.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			if now := replacedFlags[cmd.CommandPath()+" --"+unknown.GetSpecifiedName()]; now != "" {
				return fmt.Errorf("%w: %w (%s does it)", errFlags, err, now)
			}
		}
		return fmt.Errorf("%w: %w (%s --help)", errFlags, err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say more on stderr")
	a.registry.flags(f)
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"In CI:", []*cobra.Command{a.initPlan(), a.key(), a.push(), a.lock(), a.image(), a.source(), a.doctor()}},
		{"On a host:", []*cobra.Command{a.pull(), a.install(), a.host()}},
		{"At a site:", []*cobra.Command{a.serve(), a.check(), a.policy(), a.copy(), a.tag(), a.export()}},
		{"Look:", []*cobra.Command{a.verify(), a.prove(), a.ls(), a.why(), a.diff()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.title
		}
		root.AddCommand(group.commands...)
	}
	root.SetHelpCommand(a.helpOn(root))
	root.InitDefaultCompletionCmd()
	usageArgs(root)
	return root
}

// replacedFlags maps flags that earlier versions had to what does their work now.
var replacedFlags = map[string]string{
	"mmoci push --recheck":    "--repair",
	"mmoci push --dry-run":    "--plan",
	"mmoci push --carry-from": "--bundle-from",
	"mmoci pull --install":    "mmoci install",
	"mmoci pull --mirror":     "--via",
	"mmoci install --mirror":  "--via",
	"mmoci serve --mirror":    "--via",
}

// helpOn is "mmoci help COMMAND"; an unknown COMMAND is a usage error.
func (a *app) helpOn(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell what a command does and which flags it has",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("%s has no command %q", cmd.CommandPath(), rest[0])
			}
			if err != nil {
				return fmt.Errorf("%w: %w (mmoci --help)", errFlags, err)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// usageArgs makes wrong arguments a usage error, below every command.
func usageArgs(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args, c.RunE = cobra.NoArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				if strings.Contains(err.Error(), "arg(s)") { // cobra counts them, and does not say which
					err = fmt.Errorf("%s given; want %s", terminal.Count(len(args), "argument"), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
				}
				return fmt.Errorf("%w: %w (%s --help)", errFlags, err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageArgs(sub)
	}
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
