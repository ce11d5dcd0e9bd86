package durable

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckOutput tells, before the work that makes its content, why WriteOutput could not write a file.
func CheckOutput(name string) error {
	if isStream(name) {
		return access(name, unix.W_OK)
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: unix.EISDIR}
	}
	return access(filepath.Dir(name), unix.W_OK|unix.X_OK)
}

func access(name string, mode uint32) error {
	if err := unix.Access(name, mode); err != nil {
		return &fs.PathError{Op: "write to", Path: name, Err: err}
	}
	return nil
}

// WriteOutput is [WriteFile] for a file that a user names: a device or a pipe, such as /dev/stdout or /dev/null, is
// written to and not replaced.
func WriteOutput(name string, data []byte, mode os.FileMode) error {
	if isStream(name) {
		return os.WriteFile(name, data, mode)
	}
	return WriteFile(name, data, mode)
}

// isStream tells a device, a pipe, and a link to what this process has open, as /dev/stdout is one.
func isStream(name string) bool {
	if to, err := os.Readlink(name); err == nil && strings.HasPrefix(to, "/proc/self/fd/") {
		return true
	}
	st, err := os.Stat(name)
	return err == nil && st.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0
}
