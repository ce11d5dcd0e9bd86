package durable

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	if _, err := Lock(t.Context(), name, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, name := range []string{name, dir} {
		unlock, err := Lock(t.Context(), name, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		gone := errors.New("gone home")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if _, err := Lock(ctx, name, 0o644); !errors.Is(err, gone) {
			t.Errorf("%s: a lock that is held: %v", name, err)
		}
		waited := make(chan error)
		go func() {
			unlock, err := Lock(t.Context(), name, 0o644)
			if err == nil {
				unlock()
			}
			waited <- err
		}()
		select {
		case err := <-waited:
			t.Errorf("%s: locked twice: %v", name, err)
		case <-time.After(50 * time.Millisecond):
			unlock()
			if err := <-waited; err != nil {
				t.Error(err)
			}
		}
	}
}

// A temporary directory goes as soon as its owner has closed it, and not before.
// It runs alone: a process that is being started holds a copy of every lock for an instant.
func TestRemoveUnlocked(t *testing.T) {
	f, err := MkdirTemp(t.TempDir(), TempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Name(), "part"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RemoveUnlocked(f.Name()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Name()); err != nil {
		t.Errorf("removed while in use: %v", err)
	}
	f.Close()
	if err := RemoveUnlocked(f.Name()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
