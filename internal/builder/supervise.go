package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childName is the name under which this program starts itself to supervise a builder.
const childName = "mmoci-builder"

// supervised is a program that is to leave nothing running.
type supervised struct {
	Args, Env []string
	Dir       string
	// Files, unless empty, is a directory with files subuid and subgid that the program sees in the
	// place of those in /etc. Symlinks to what else /etc has are added to it.
	Files string
}

var prepared atomic.Bool

// Main supervises a builder if this process was started for that, and does not return then. A
// program that calls [Build] must call Main before all else.
func Main() {
	prepared.Store(true)
	if len(os.Args) != 2 || os.Args[0] != childName {
		return
	}
	var s supervised
	if err := json.Unmarshal([]byte(os.Args[1]), &s); err != nil {
		fail(err)
	}
	if err := unix.CloseRange(4, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fail(err)
	}
	unix.CloseOnExec(3)
	code, err := s.attend(os.NewFile(3, "control"))
	if err != nil {
		fail(err)
	}
	os.Exit(code)
}

// notStarted is the exit code of a supervisor that could not do its work. dpkg, sbuild and shells have others.
const notStarted = 113

func fail(err error) {
	_, _ = unix.Write(2, []byte(err.Error()+"\n"))
	os.Exit(notStarted)
}

// attend runs the program until it ends, or control does: that is when who asked for it has gone.
// Whatever else the program started is ended then, too: it becomes a child of this process.
func (s *supervised) attend(control io.Reader) (code int, err error) {
	runtime.LockOSThread() // its mounts are the program's
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	if err := s.mountFiles(); err != nil {
		return 0, err
	}
	syscall.Umask(0o022)
	path, err := lookPath(s.Args[0], s.Env)
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(path, s.Args, &syscall.ProcAttr{Dir: s.Dir, Env: s.Env, Files: []uintptr{null.Fd(), 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.Args[0], err)
	}
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, control)
		over.Store(true)
		for {
			killChildren()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	code = -1
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // no child is left
			if over.Load() {
				code = 1
			}
			return code, nil
		case got == pid:
			if code = status.ExitStatus(); status.Signaled() {
				code = 128 + int(status.Signal())
			}
			go func() {
				for {
					killChildren()
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
	}
}

// killChildren kills the children of this process. Their own become children of this process then,
// or end with the first process of their namespace.
func killChildren() {
	self := os.Getpid()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// PID (NAME) STATE PARENT ..; a name may have parentheses and blanks.
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(f) < 2 || f[1] != strconv.Itoa(self) || f[0] == "Z" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// mountFiles puts the files over those of /etc, in a mount namespace of this process's own. It is a directory that is mounted, with
// symlinks to all else: a file that is mounted over another goes when that one is replaced, as useradd replaces subuid.
func (s *supervised) mountFiles() error {
	if s.Files == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := s.mountOver("/etc"); err != nil {
		return fmt.Errorf("/etc of its own: %w", err)
	}
	return nil
}

func (s *supervised) mountOver(etc string) error {
	entries, err := os.ReadDir(etc)
	if err != nil {
		return err
	}
	whole := s.Files + ".whole"
	if err := os.Mkdir(whole, 0o755); err != nil { //nolint:gosec // programs of all ids look through it
		return err
	}
	if err := unix.Mount(etc, whole, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(whole, e.Name())
		if e.Type()&os.ModeSymlink != 0 {
			if to, err = os.Readlink(to); err != nil {
				return err
			}
		}
		if err := os.Symlink(to, filepath.Join(s.Files, e.Name())); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return unix.Mount(s.Files, etc, "", unix.MS_BIND, "")
}

// lookPath finds a program by the PATH of an environment.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, e := range env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			p := filepath.Join(dir, name)
			if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// supervise runs a program to its end, or until ctx is cancelled. Nothing that it started is left
// then. said gets what it says; an error of said ends it.
func supervise(ctx context.Context, s supervised, said io.Writer) error {
	if !prepared.Load() {
		return fmt.Errorf("%w: this program does not call Main of this package", ErrCannot)
	}
	arg, err := json.Marshal(s)
	if err != nil {
		return err
	}
	controlIn, control, err := os.Pipe()
	if err != nil {
		return err
	}
	defer control.Close()
	defer controlIn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{childName, string(arg)}
	cmd.Env = []string{}
	to := &failing{w: said, failed: cancel}
	cmd.Stdout, cmd.Stderr = to, to
	cmd.ExtraFiles = []*os.File{controlIn}
	// The supervisor is told by the pipe's end, and ends when nothing is left.
	cmd.Cancel = control.Close
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		switch {
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case ok && exit.ExitCode() == notStarted:
			return errors.New("was not started")
		case ok:
			return fmt.Errorf("ended with status %d", exit.ExitCode())
		}
		return err
	}
	return nil
}

// failing takes all, and tells of the first error.
type failing struct {
	w      io.Writer
	failed context.CancelCauseFunc
	err    error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.err == nil {
		if _, f.err = f.w.Write(p); f.err != nil {
			f.failed(f.err)
		}
	}
	return len(p), nil
}
