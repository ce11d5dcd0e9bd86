package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	name := filepath.Join(dir, "f")
	for i, write := range []func(data []byte, mode os.FileMode) error{
		func(data []byte, mode os.FileMode) error { return WriteFile(name, data, mode) },
		func(data []byte, mode os.FileMode) error { return WriteFileIn(root, "f", data, mode) },
	} {
		for j, mode := range []os.FileMode{0o600, 0o666} {
			want := fmt.Sprint(i, j)
			if err := write([]byte(want), mode); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			info, serr := os.Stat(name)
			if err != nil || serr != nil || string(got) != want || info.Mode() != mode {
				t.Errorf("%d, %s: %q, %v, %v, %v", i, mode, got, info.Mode(), err, serr)
			}
		}
	}
	if left := names(t, dir); left != "f" {
		t.Errorf("the directory holds %s", left)
	}
	for name, want := range map[string]error{filepath.Join(dir, "no such directory", "f"): os.ErrNotExist, dir: syscall.EISDIR} {
		if err := WriteFile(name, nil, 0o644); !errors.Is(err, want) || !strings.Contains(err.Error(), name+": ") || strings.Contains(err.Error(), TempPrefix) {
			t.Error(err)
		}
	}
}

// What cannot be synced gets no name, and leaves nothing behind.
func TestWriteFileOnFailingDisk(t *testing.T) {
	t.Parallel()
	for failing, want := range []string{"old", "new"} { // the file's sync, the directory's
		dir := t.TempDir()
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		syncs := 0
		err := replace(disk{}, name, []byte("new"), 0o644, func(f *os.File) error {
			if syncs++; syncs > failing {
				return &os.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
			}
			return nil
		})
		if !errors.Is(err, syscall.EIO) || syncs != failing+1 {
			t.Errorf("sync %d failed: %v after %d syncs", failing, err, syncs)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("sync %d failed: %q, want %q (%v)", failing, got, want, err)
		}
		if left := names(t, dir); left != "f" {
			t.Errorf("sync %d failed: the directory holds %s", failing, left)
		}
	}
}

// TestWriteFileKilled kills a process that replaces a file again and again: the
// file is always whole, and of all that is there the rest has temporary names.
func TestWriteFileKilled(t *testing.T) {
	const env = "MMOCI_TEST_REPLACE"
	if name := os.Getenv(env); name != "" {
		for i := 0; ; i++ {
			data := bytes.Repeat([]byte{byte('a' + i%26)}, 1<<16+i%1000)
			if err := WriteFile(name, data, 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	for i := range 8 {
		os.Remove(name)
		child := exec.Command(os.Args[0], "-test.run=^TestWriteFileKilled$")
		child.Env = append(os.Environ(), env+"="+name)
		var said bytes.Buffer
		child.Stderr = &said
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if _, err := os.Stat(name); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(i*i) * time.Millisecond)
		child.Process.Kill()
		child.Wait()
		data, err := os.ReadFile(name)
		if err != nil || len(data) < 1<<16 || strings.Trim(string(data), string(data[:1])) != "" {
			t.Fatalf("killed: %d bytes, %v; %s", len(data), err, said.String())
		}
	}
	for _, left := range strings.Fields(names(t, dir)) {
		if left != "f" && !strings.HasPrefix(left, TempPrefix) {
			t.Errorf("left behind: %s", left)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}
