package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked marks a lock that somebody else holds: another process, or another
// open file of this one.
var ErrLocked = errors.New("locked by another process")

// lockPause is between two tries to get a lock that somebody else holds.
const lockPause = 10 * time.Millisecond

// Lock takes the lock of a file, or of a directory, and waits for it as long as
// ctx lasts; the error wraps ctx's cause then. A file that is not there is created
// with the permissions of mode, but for mode 0. The lock is kept until unlock is
// called or the process ends, and says nothing to those who do not ask for it.
func Lock(ctx context.Context, name string, mode os.FileMode) (unlock func(), err error) {
	flags := os.O_RDWR // NFS locks only what is open for writing
	if mode != 0 {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flags, mode)
	if err != nil { // a directory, or on a disk that cannot be written
		if there, again := os.Open(name); again == nil {
			f, err = there, nil
		}
	}
	if err != nil {
		return nil, err
	}
	for {
		if err = TryLock(f); err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, ErrLocked) {
			select {
			case <-time.After(lockPause):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
}

// TryLock takes the lock of an open file or directory, until that is closed.
// ErrLocked if somebody else holds it.
func TryLock(f *os.File) error {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrLocked
		default:
			return err
		}
	}
}

// MkdirTemp makes a directory for temporary files, as [os.MkdirTemp] does, and
// opens it. It is locked until it is closed, so that [RemoveUnlocked] tells it from one
// that a killed process left. Where directories cannot be locked (NFS), none is ever removed so.
func MkdirTemp(dir, pattern string) (*os.File, error) {
	name, err := os.MkdirTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := TryLock(f); errors.Is(err, ErrLocked) {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// RemoveUnlocked removes a temporary file, or a directory with what it holds,
// unless somebody holds its lock, or it cannot be opened.
func RemoveUnlocked(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if TryLock(f) != nil {
		return nil
	}
	return os.RemoveAll(name)
}
