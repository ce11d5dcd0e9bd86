package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Vacant tells whether [PutDir] can give a directory this name: nothing has it, or a directory without files, and not the working directory.
func Vacant(name string) error {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.IsDir() {
		err = errors.New(name + " is there, and no directory")
	}
	if err != nil {
		return err
	}
	if here, err := os.Stat("."); err == nil && os.SameFile(fi, here) {
		return errors.New(name + " is the working directory; name a new one")
	}
	entries, err := os.ReadDir(name)
	if err == nil && len(entries) > 0 {
		err = errors.New(name + " is not empty")
	}
	return err
}

// PutDir gives the directory made, whose files are durable, a name that is [Vacant]. Nothing but an empty directory ever makes room for it.
func PutDir(made, name string) error {
	if err := syscall.Rmdir(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "replace", Path: name, Err: err}
	}
	if err := os.Rename(made, name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(filepath.Clean(name)))
}
