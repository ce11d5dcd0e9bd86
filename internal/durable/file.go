// Package durable writes files so that they survive a kill and a power cut, and
// knows what a failed sync means: one file ([WriteFile]), many ([Syncer]), and
// the lock that keeps two writers apart ([Lock]).
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// TempPrefix begins the names of temporary files. Whoever lists a directory
// leaves them out; whoever owns it may remove those that a killed writer left.
const TempPrefix = ".mmoci-tmp-"

// WriteFile replaces the file name in one step: whoever opens it reads the old
// bytes or the new ones, never a part. On return the new ones, and the name, are durable. The file
// has exactly the permissions of mode, whatever the umask.
//
// Killed anywhere, the old file is whole, and a temporary one may be left beside
// it. After an error the old file is whole too, unless the error is from the sync
// of the directory: then the new one has the name, and a power cut may take it back.
func WriteFile(name string, data []byte, mode os.FileMode) error {
	return replace(disk{}, name, data, mode, (*os.File).Sync)
}

// WriteFileIn is WriteFile in a directory tree that is never left.
func WriteFileIn(t Tree, name string, data []byte, mode os.FileMode) error {
	return replace(t, name, data, mode, (*os.File).Sync)
}

// Tree is a directory tree that files are replaced in; an [os.Root] is one.
type Tree interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	Rename(from, to string) error
	Remove(name string) error
}

// disk is the file system by its ordinary names.
type disk struct{}

func (disk) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(name string) error     { return os.Remove(name) }

// replace does the work of WriteFile. Tests fail disks with sync.
func replace(t Tree, name string, data []byte, mode os.FileMode, sync func(*os.File) error) error {
	dir := filepath.Dir(name)
	aside := filepath.Join(dir, fmt.Sprintf("%s%016x", TempPrefix, rand.Uint64()))
	f, err := t.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return named(name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = t.Rename(aside, name)
	}
	if err != nil {
		return errors.Join(named(name, err), t.Remove(aside))
	}
	return syncDir(t, dir, sync)
}

// named is an error about the temporary file as one about the file that somebody asked for.
func named(name string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write", Path: name, Err: pe.Err}
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		if err = le.Err; errors.Is(err, syscall.EEXIST) { // so a rename says it
			err = syscall.EISDIR
		}
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return err
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error { return syncDir(disk{}, dir, (*os.File).Sync) }

func syncDir(t Tree, dir string, sync func(*os.File) error) error {
	f, err := t.OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(sync(f), f.Close())
}
