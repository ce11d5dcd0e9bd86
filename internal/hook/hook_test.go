package hook

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/outcome"
)

// script is a shell script as a program.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func found(t *testing.T, text string) (*Hook, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	h, err := Find(script(t, text), &out)
	if err != nil {
		t.Fatal(err)
	}
	return h, &out
}

func TestTell(t *testing.T) {
	h, out := found(t, "cat; echo said >&2\n")
	if err := h.Tell(t.Context(), map[string]int{"a": 1}); err != nil || out.String() != "{\"a\":1}\nsaid\n" {
		t.Errorf("%q, %v", out, err)
	}
	h, _ = found(t, "exit 7\n") // it reads nothing
	if err := h.Tell(t.Context(), strings.Repeat("x", 1<<20)); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("a program that fails: %v", err)
	}
	if _, err := Find(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, outcome.ErrUsage) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// What runs too long is ended with what it started, and so is what runs when the command is interrupted.
func TestEnded(t *testing.T) {
	for _, deaf := range []string{"", "trap '' TERM\n"} {
		mark := filepath.Join(t.TempDir(), "alive")
		text := deaf + "(" + strings.TrimSuffix(deaf, "\n") + "\nwhile :; do echo x >>" + mark + "; sleep 0.05; done) &\nwait; sleep 600\n"
		h, _ := found(t, text)
		h.Timeout = 200 * time.Millisecond
		err := h.Tell(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), "not ready within 200ms") {
			t.Errorf("too long: %v", err)
		}
		stopped(t, mark)

		h, _ = found(t, text)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("signal")
		time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
		if err := h.Tell(ctx, nil); !errors.Is(err, why) {
			t.Errorf("interrupted: %v", err)
		}
		stopped(t, mark)
	}
}

// stopped waits until nobody writes to a file any more.
func stopped(t *testing.T, name string) {
	t.Helper()
	size := func() int64 {
		info, err := os.Stat(name)
		if err != nil {
			return -1
		}
		return info.Size()
	}
	for range 100 {
		was := size()
		time.Sleep(300 * time.Millisecond)
		if size() == was {
			return
		}
	}
	t.Error("what the program started goes on")
}

func TestWho(t *testing.T) {
	if by := Who(); by.User == "" {
		t.Errorf("%+v", by)
	}
}
