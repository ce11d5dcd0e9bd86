package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
)

// lost COMMAND..: with a standard output that is full the command must end with
// exit code 1 and the write error.
func cmdLost(ts *testscript.TestScript, neg bool, args []string) {
	lose(ts, neg, args, "no space left on device", `"$@" >/dev/full 2>lost.err; echo $? >lost.code`)
}

// left COMMAND..: likewise with one whose reader went away.
func cmdLeft(ts *testscript.TestScript, neg bool, args []string) {
	lose(ts, neg, args, "broken pipe", `rm -f lost.left; { until [ -e lost.left ]; do sleep 0.01; done; "$@" 2>lost.err; echo $? >lost.code; } | { exec <&-; echo >lost.left; }`)
}

func lose(ts *testscript.TestScript, neg bool, args []string, why, script string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: lost|left COMMAND..")
	}
	ts.Check(ts.Exec("sh", append([]string{"-c", script, "sh"}, args...)...))
	said := ts.ReadFile("lost.err")
	if code := strings.TrimSpace(ts.ReadFile("lost.code")); code != "1" || !strings.Contains(said, why) {
		ts.Fatalf("exit code %s, want 1 and %q: %s", code, why, said)
	}
}

// silent are commands that print no result, with the reason.
var silent = map[string]string{
	"mmoci serve":        "its output is a log; TestLogThatIsFull",
	"mmoci host wait":    "it only waits",
	"mmoci tag rollback": "needs a second snapshot; it prints as promote does",
}

// full is a standard output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestLogThatIsFull: a server goes on without its log, and says at the end that it is not whole.
func TestLogThatIsFull(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--state", filepath.Join(dir, "state"), "--wait", "oci:" + filepath.Join(dir, "none")},
			strings.NewReader(""), full{}, pw)
		pw.Close()
	}()
	url, err := listening(pr)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		resp, err := http.Get(url + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp, err = http.Get(url + "/nothing"); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	cancel()
	if got := <-code; got != command.ExitFailed {
		t.Errorf("exit code %d, want %d", got, command.ExitFailed)
	}
}

// TestEveryResult: no command is without its line in results.txt.
func TestEveryResult(t *testing.T) {
	script, err := os.ReadFile("testdata/script/results.txt")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		line := "(?m)^lost " + regexp.QuoteMeta(c.CommandPath()) + "( |$)"
		if !c.HasSubCommands() && silent[c.CommandPath()] == "" && !regexp.MustCompile(line).Match(script) {
			t.Errorf("no line for %q", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(commands(&command.App{}))
}

// TestBudgets holds the number of commands and of modules that the program asks for itself. A new one takes the
// place of an old one, or the budget is raised with a reason. scripts/e2e/63-release.sh holds the size of the program.
func TestBudgets(t *testing.T) {
	// image: container images of packages are a use of a snapshot that no other command has.
	// export: a tree of files is a place that any web server serves, which no other command writes.
	// source: what is built of a source is found by its identity, which is no snapshot and no image.
	const maxCommands, maxModules = 24, 24
	if n := len(commands(&command.App{}).Commands()); n > maxCommands {
		t.Errorf("%d top-level commands, more than %d", n, maxCommands)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		if strings.HasPrefix(line, "\t") && !strings.Contains(line, "// indirect") {
			direct++
		}
	}
	if direct == 0 || direct > maxModules {
		t.Errorf("%d direct modules, budget %d", direct, maxModules)
	}
}

// TestDocumented: the README names every command, and no page names a flag that there is not.
func TestDocumented(t *testing.T) {
	pages, err := filepath.Glob("../../artifacts/docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	flags := map[string]bool{}
	for _, f := range strings.Fields("--download-only --default-sig-expire --address --quick-generate-key --armor --export " +
		"--variant --dearmor --method --host --root --dist --section --nosource --progress --diff --rsync-extra " +
		"--force-depends --configure --pending --remove --exclude --delete-after --safe-links") { // of rsync, apt-get, gpg, crane, debootstrap, debmirror, dpkg, update-alternatives
		flags[f] = true
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## Commands\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		if c.HasParent() && c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" && c.Parent().Name() != "completion" {
			if !regexp.MustCompile("`([^`]* )?" + c.Name() + "( [^`]*)?`").MatchString(section) {
				t.Errorf("the README's table of commands lacks %q", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(commands(&command.App{}))
	for _, page := range append(pages, "../../README.md", "../../artifacts/SPEC.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(string(text), -1) {
			if !flags[f] {
				t.Errorf("%s names %s, which no command has", page, f)
			}
		}
	}
}

// TestExitCodes: the README's table of exit codes is that of this program, and
// exits.txt has a case of each.
func TestExitCodes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/script/exits.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## Exit codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(section, -1) {
		code, _ := strconv.Atoi(m[1])
		got = append(got, code)
		if code == command.ExitInterrupted {
			continue // interrupted commands have tests of their own
		}
		if !regexp.MustCompile("(?m)^code "+m[1]+" ").Match(script) && code != 0 {
			t.Errorf("exits.txt has no case of %d", code)
		}
	}
	if want := []int{0, command.ExitFailed, command.ExitUsage, command.ExitIntegrity, command.ExitNotFound, command.ExitExpired, command.ExitInterrupted}; !slices.Equal(got, want) {
		t.Errorf("the README has %v, the program %v", got, want)
	}
}
