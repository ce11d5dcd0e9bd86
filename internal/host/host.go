// Package host changes a host: it runs dpkg, writes .sources and keys, and
// decides what the host believes of a mirror. Everything else in mmoci leaves the machine as it is.
package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrDpkg marks a failure of dpkg itself; its own words went to Out.
	ErrDpkg = errors.New("dpkg")
	// ErrBusy marks a host on which another package manager is at work.
	ErrBusy = errors.New("busy")
	// ErrNotRoot marks a change that needs root's rights.
	ErrNotRoot = errors.New("root is needed")
)

// Host is a machine, or the root directory of one. The zero value is this
// machine. Not safe for concurrent use; [Host.Begin] keeps other programs out.
type Host struct {
	Root string    // directory, absolute; "" is "/"
	Out  io.Writer // what dpkg and maintainer scripts say; nil: nowhere
	UID  int       // of the caller (os.Geteuid)

	opened *os.Root // Root, once it was needed
}

// Path returns the path of a file of the host, named without its first slash, for
// messages and other programs. This package itself reads and writes through files.
func (h *Host) Path(name string) string {
	if h.Root == "" {
		return "/" + name
	}
	return filepath.Join(h.Root, name)
}

// StatusFile is where dpkg keeps what is installed (dpkg(1), FILES).
func (h *Host) StatusFile() string { return h.Path(statusFile) }

const statusFile = "var/lib/dpkg/status"

// Writable refuses a change that cannot succeed, before anything is fetched for it.
func (h *Host) Writable() error {
	if h.Root == "" && h.UID != 0 {
		return fmt.Errorf("%w to change this host", ErrNotRoot)
	}
	if err := unix.Access(h.Path(""), unix.X_OK); err != nil {
		return fmt.Errorf("root directory %s: %w", h.Path(""), err)
	}
	return nil
}

// lock takes the lock that package managers take before they read the status
// (/var/lib/dpkg/lock-frontend), so that nothing changes between resolving and
// dpkg's last call. ErrBusy if another one has it.
func (h *Host) lock() (unlock func(), err error) {
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	f, err := t.OpenFile("var/lib/dpkg/lock-frontend", os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has none (no directory %s)", ErrDpkg, h.Path(""), filepath.Dir(h.StatusFile()))
	}
	if err != nil {
		return nil, fmt.Errorf("dpkg's lock: %w", err)
	}
	if err := take(f); err != nil {
		f.Close()
		return nil, err
	}
	// A dpkg whose caller was killed goes on, with this lock alone.
	inner, err := t.OpenFile("var/lib/dpkg/lock", os.O_RDWR|os.O_CREATE, 0o640)
	if err == nil {
		err = take(inner)
		inner.Close() // and with it the lock, which dpkg takes by itself
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// A lock of others is tried for one second: a killed process has ended by then.
const (
	lockTries = 20
	lockPause = 50 * time.Millisecond
)

func take(f *os.File) (err error) {
	for range lockTries {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != unix.EAGAIN && err != unix.EACCES {
			break
		}
		time.Sleep(lockPause)
	}
	if err == unix.EAGAIN || err == unix.EACCES {
		return fmt.Errorf("%w: another package manager, or a dpkg that still works, holds %s; run this again when it has ended", ErrBusy, f.Name())
	}
	if err != nil {
		return fmt.Errorf("dpkg's lock %s: %w", f.Name(), err)
	}
	return nil
}

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

// files gives access to the host's files. Below a root directory no link that
// leads out of it is followed: the directory may be another system's, whose links
// mean its own files and not ours.
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

// here is this machine, where every link may be followed.
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

// ReadStatus reads what dpkg says is installed.
func (h *Host) ReadStatus() ([]byte, error) {
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	return t.ReadFile(statusFile)
}
