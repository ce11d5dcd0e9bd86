package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// tree is a file system by names without first slash.
type tree interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	Lstat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	ReadFile(name string) ([]byte, error)
	Remove(name string) error
	RemoveAll(name string) error
	Rename(from, to string) error
}

// files is where the host's files are. Below a root directory nothing is read
// or written by way of a link that leads out of it: such a directory may be
// another system's, whose links mean its own files and not ours.
func (h *Host) files() (tree, error) {
	if h.Root == "" {
		return here{}, nil
	}
	if h.opened == nil {
		root, err := os.OpenRoot(h.Root)
		if err != nil {
			return nil, fmt.Errorf("root directory %s: %w", h.Root, errors.Unwrap(err))
		}
		h.opened = root
	}
	return h.opened, nil
}

// here is this machine, where a link means what it says.
type here struct{}

func (here) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile("/"+name, flag, perm)
}
func (here) Lstat(name string) (fs.FileInfo, error)       { return os.Lstat("/" + name) }
func (here) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll("/"+name, perm) }
func (here) ReadFile(name string) ([]byte, error)         { return os.ReadFile("/" + name) }
func (here) Remove(name string) error                     { return os.Remove("/" + name) }
func (here) RemoveAll(name string) error                  { return os.RemoveAll("/" + name) }
func (here) Rename(from, to string) error                 { return os.Rename("/"+from, "/"+to) }

// readDir lists a directory in order of name.
func readDir(t tree, name string) ([]fs.DirEntry, error) {
	d, err := t.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadDir(-1)
}

// MakeDir makes a directory of the host and returns its path for others to
// write to; not by way of a link that leads out of the root directory.
func (h *Host) MakeDir(name string) (string, error) {
	t, err := h.files()
	if err != nil {
		return "", err
	}
	if err := t.MkdirAll(name, 0o755); err != nil {
		return "", err
	}
	return h.Path(name), nil
}

// RemoveDir removes a directory of the host with what it holds.
func (h *Host) RemoveDir(name string) error {
	t, err := h.files()
	if err != nil {
		return err
	}
	return t.RemoveAll(name)
}

// ReadStatus reads what dpkg says is installed.
func (h *Host) ReadStatus() ([]byte, error) {
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	return t.ReadFile(statusFile)
}
