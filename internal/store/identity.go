package store

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
)

// identity says that a file was not touched since it was hashed.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// renamed tells whether j is the same content after a rename, which changes ctime only.
func (i identity) renamed(j identity) bool {
	i.ctime, j.ctime = unix.Timespec{}, unix.Timespec{}
	return i == j
}

// removeLeft removes the directories of processes that ended without doing so.
func removeLeft(tmp, own string) error {
	dirs, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		dir := filepath.Join(tmp, d.Name())
		if dir == own {
			continue
		}
		if err := durable.RemoveUnlocked(dir); err != nil {
			return err
		}
	}
	return nil
}
