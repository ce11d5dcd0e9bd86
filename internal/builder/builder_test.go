package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/run"
)

func TestMain(m *testing.M) {
	run.Main()
	Main()
	if len(os.Args) == 5 && os.Args[1] == "builder" {
		if err := fake(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Println(err)
			os.Exit(7)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fake is a builder: what it does is its first argument.
func fake(what, in, out string) error {
	for _, f := range []string{"identity", "environment", "source/demo_1.dsc"} {
		if _, err := os.Stat(filepath.Join(in, f)); err != nil {
			return err
		}
	}
	deb, info := []byte("deb"), []byte("info")
	list := fmt.Sprintf(" %x %d demo_1_amd64.deb\n %x %d demo_1_amd64.buildinfo\n", sha256.Sum256(deb), len(deb), sha256.Sum256(info), len(info))
	version := "1"
	switch what {
	case "fail":
		fmt.Println("patching file src/x.c\nHunk #2 FAILED at 12.")
		return errors.New("no more")
	case "hang", "stray":
		// A grandchild in a session of its own, which nobody waits for.
		cmd := exec.Command(os.Args[0], "builder", "sleep", in, out)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Printf("pid %d\npid %d\n", os.Getpid(), cmd.Process.Pid)
		if what == "hang" {
			select {}
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "version":
		version = "2"
	case "missing":
		list += fmt.Sprintf(" %064d 1 other_1_amd64.deb\n", 0)
	case "path":
		list += fmt.Sprintf(" %064d 1 ../../x.deb\n", 0)
	case "twochanges":
		_ = os.WriteFile(filepath.Join(out, "x.changes"), nil, 0o644)
	case "nodeb":
		list = fmt.Sprintf(" %x %d demo_1_amd64.buildinfo\n", sha256.Sum256(info), len(info))
	case "extra":
		_ = os.WriteFile(filepath.Join(out, "build.log"), nil, 0o644)
		_ = os.Symlink("/etc/passwd", filepath.Join(out, "x.deb"))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	}
	if what == "bytes" {
		deb = []byte("DEB")
	}
	if what == "link" {
		if err := os.Symlink(filepath.Join(in, "identity"), filepath.Join(out, "demo_1_amd64.deb")); err != nil {
			return err
		}
	} else if err := os.WriteFile(filepath.Join(out, "demo_1_amd64.deb"), deb, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "demo_1_amd64.buildinfo"), info, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "demo_1_amd64.changes"), []byte("Source: demo\nVersion: "+version+"\nChecksums-Sha256:\n"+list), 0o644)
}

func job(t *testing.T) Job {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "demo_1.dsc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return Job{Identity: []byte("i"), Name: "demo", Version: "1", Date: time.Unix(1600000000, 0), Architecture: "amd64", What: "any", Profiles: []string{"nodoc"}, Options: []string{"terse"}, Env: []string{"A=b c"}, Source: dir}
}

func options(what string) Options {
	return Options{Command: []string{os.Args[0], "builder", what}}
}

func TestCommand(t *testing.T) {
	for _, what := range []string{"plain", "extra", "env"} {
		var said bytes.Buffer
		o, out := options(what), t.TempDir()
		o.Log = &said
		t.Setenv("SECRET_TOKEN", "x")
		r, err := Build(t.Context(), job(t), o, out)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Files, " "); got != "demo_1_amd64.buildinfo demo_1_amd64.changes demo_1_amd64.deb" {
			t.Errorf("%s: %s", what, got)
		}
		if there, _ := os.ReadDir(out); len(there) != 3 {
			t.Errorf("%s: %v is left", what, there)
		}
		if what != "env" {
			continue
		}
		for _, want := range []string{"SOURCE_DATE_EPOCH=1600000000\n", "DEB_BUILD_OPTIONS=terse nodoc\n", "DEB_BUILD_PROFILES=nodoc\n", "A=b c\n", "LC_ALL=C.UTF-8\n", "TZ=UTC\n"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("the builder does not see %s", want)
			}
		}
		if strings.Contains(said.String(), "SECRET_TOKEN") {
			t.Error("the builder sees this process's environment")
		}
	}
}

// What a builder leaves in OUT counts only as its .changes lists it, and only for the job.
func TestWrongOut(t *testing.T) {
	for what, says := range map[string]string{"version": "it is of demo 2", "missing": "other_1_amd64.deb, which is not there", "path": "Checksums-Sha256", "twochanges": "two .changes", "nodeb": "0 .debs", "bytes": "other bytes", "link": "not there"} {
		_, err := Build(t.Context(), job(t), options(what), t.TempDir())
		if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), job(t), options("plain"), dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("OUT is not empty: %v", err)
	}
}

func TestFailedBuilder(t *testing.T) {
	_, err := Build(t.Context(), job(t), options("fail"), t.TempDir())
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Why != "ended with status 7" || !strings.Contains(e.Output, "no more") || e.Detail != "a patch does not apply: src/x.c: Hunk #2 FAILED at 12." {
		t.Errorf("%v", err)
	}
	_, err = Build(t.Context(), job(t), Options{Command: []string{"/nonexistent/builder"}}, t.TempDir())
	if e, ok = errors.AsType[*Error](err); !ok || e.Why != "was not started" || !strings.Contains(e.Output, "no such file") {
		t.Errorf("%v", err)
	}
}

// pids waits until a builder has said its two numbers.
type pids struct {
	bytes.Buffer
	said chan []int
}

func (p *pids) Write(b []byte) (int, error) {
	p.Buffer.Write(b)
	var out []int
	for line := range strings.Lines(p.String()) {
		if n, ok := strings.CutPrefix(line, "pid "); ok && strings.HasSuffix(line, "\n") {
			pid, _ := strconv.Atoi(strings.TrimSpace(n))
			out = append(out, pid)
		}
	}
	if len(out) == 2 && p.said != nil {
		p.said <- out
		p.said = nil
	}
	return len(b), nil
}

func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(text, []byte("builder"))
}

// A builder that hangs is ended with all that it started, when its time is over and when it is not wanted any more;
// one that ends leaves nothing running.
func TestNothingIsLeftRunning(t *testing.T) {
	for _, what := range []string{"late", "cancelled", "ended"} {
		o := options("hang")
		if what == "ended" {
			o = options("stray")
		}
		said := make(chan []int, 1)
		o.Log = &pids{said: said}
		ctx, cancel := context.WithCancelCause(t.Context())
		if what == "late" {
			o.Timeout = 2 * time.Second
		}
		done := make(chan error, 1)
		go func() {
			_, err := Build(ctx, job(t), o, t.TempDir())
			done <- err
		}()
		var numbers []int
		var err error
		ended := false
		select {
		case numbers = <-said:
		case err = <-done:
			ended = true
		}
		if what == "cancelled" {
			cancel(context.Canceled)
		}
		if !ended {
			err = <-done
		}
		if len(numbers) == 0 && what != "late" {
			t.Fatalf("%s: the builder said nothing: %v", what, err)
		}
		switch e, ok := errors.AsType[*Error](err); {
		case what == "late" && (!ok || !strings.Contains(e.Why, "longer than 2s")):
			t.Errorf("%s: %v", what, err)
		case what == "cancelled" && !errors.Is(err, context.Canceled):
			t.Errorf("%s: %v", what, err)
		case what == "ended" && err != nil:
			t.Errorf("%s: %v", what, err)
		}
		for _, pid := range numbers {
			if running(pid) {
				t.Errorf("%s: process %d is left", what, pid)
			}
		}
		cancel(nil)
	}
	runtime.GC()
}
