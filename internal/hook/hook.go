// Package hook tells a program of the site's what a command has done.
package hook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"syscall"
	"time"

	"example.org/mmoci/internal/outcome"
)

// Timeout is how long a program may take: it may well carry files somewhere.
const Timeout = 10 * time.Minute

// killDelay is how long a program may go on after it was told to end.
const killDelay = 2 * time.Second

// Hook is a program that is told of events. It gets one event on standard input, a line of JSON.
type Hook struct {
	Program string
	Output  io.Writer     // what it says on standard output and standard error; nil: that is lost
	Timeout time.Duration // 0: [Timeout]
}

// Find returns the hook of a program by its path, or by a name in PATH. outcome.ErrUsage: it is not there, or cannot be run.
func Find(program string, output io.Writer) (*Hook, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: hook: %w", outcome.ErrUsage, err)
	}
	return &Hook{Program: path, Output: output}, nil
}

// Tell runs the program and waits for its end: an exit code other than 0 is an error. When the time is over or ctx ends, the program and what
// it started in its process group are ended.
func (h *Hook) Tell(ctx context.Context, event any) error {
	text, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("hook %s: event: %w", h.Program, err)
	}
	within := cmp.Or(h.Timeout, Timeout)
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(bounded, h.Program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(text, '\n')), h.Output, h.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		h.killed(cmd)
		return fmt.Errorf("hook %s: %w", h.Program, context.Cause(ctx))
	case bounded.Err() != nil:
		h.killed(cmd)
		return fmt.Errorf("hook %s: not ready within %s", h.Program, within)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well; something that it started keeps its output open
	case err != nil:
		return fmt.Errorf("hook %s: %w", h.Program, err)
	}
	return nil
}

// killed ends what is left of a program that was told to end.
func (h *Hook) killed(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nothing may be left
	}
}

// By names who runs a command, by this machine's word.
type By struct {
	User string `json:"user"`
	Host string `json:"host"`
}

// Who is the user of this process.
func Who() By {
	by := By{User: fmt.Sprint(os.Getuid())}
	if u, err := user.Current(); err == nil && u.Username != "" {
		by.User = u.Username
	}
	by.Host, _ = os.Hostname() // "" if the kernel does not say
	return by
}
