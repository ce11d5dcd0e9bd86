package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWriteOutput: what is no file on a disk is written to and stays what it is; what cannot be written is told before.
func TestWriteOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := unix.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(in("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	open, err := os.Create(in("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for name, to := range map[string]string{"stdout": "/proc/self/fd/" + strconv.Itoa(int(open.Fd())), "null": os.DevNull} {
		if err := os.Symlink(to, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pipe", "stdout", "null", "new"} {
		before, _ := os.Lstat(in(name))
		if err := errors.Join(CheckOutput(in(name)), WriteOutput(in(name), []byte("text"), 0o644)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(in(name)); err != nil || before != nil && !os.SameFile(before, after) {
			t.Errorf("%s was replaced: %v, %v", name, after, err)
		}
	}
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := reader.Read(got); err != nil || string(got) != "text" {
		t.Errorf("through the pipe came %q, %v", got, err)
	}
	for _, name := range []string{"open", "new"} {
		if got, err := os.ReadFile(in(name)); err != nil || string(got) != "text" {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	if err := CheckOutput(in("none/f")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), in("none")) {
		t.Errorf("below a directory that is not there: %v", err)
	}
	if err := CheckOutput(dir); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
}
