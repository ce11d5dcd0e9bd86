package durable

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Syncer makes the files of one file system durable, many at a time.
//
// The rule that every writer keeps:
//
//  1. Open the Syncer before the first file is written. The kernel tells a
//     failed write only to those who had the file system open when it happened.
//  2. Take a Mark before a file is created, and write the file under a temporary name.
//  3. Call Sync. If it returns nil and Lost(mark) is false, the file is on
//     disk: give it its final name.
//  4. If Sync fails, or Lost(mark) is true, what the file holds is not known
//     any more: remove it, believe nothing that was learnt of it (its digest,
//     its length), and write it anew from where it came. Never call Sync again
//     for the same bytes: after a failed write the kernel takes them for
//     written, tells the error once, and the next Sync returns nil.
//  5. Until then whoever reads the file hashes what is read: its bytes may
//     already be lost, and nobody was told yet.
//
// A failed Sync loses every file whose Mark is older than its end, also of
// those that are still being written: it is not known whose bytes the error was about.
//
// Linux tells of failed writes here since 5.8; an older one never does.
//
// Safe for concurrent use.
type Syncer struct {
	dir    *os.File
	sync   func(fd int) error
	turn   sync.Mutex    // one sync at a time
	failed atomic.Uint64 // syncs that failed so far
}

// Mark is an instant in the life of a Syncer.
type Mark uint64

// Open returns a Syncer of the file system that dir is on. sync is what makes it
// durable, nil: syncfs(2). Tests fail disks with it.
func Open(dir string, sync func(fd int) error) (*Syncer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if sync == nil {
		sync = unix.Syncfs
	}
	return &Syncer{dir: f, sync: sync}, nil
}

// Mark returns the present instant. It is taken before a file is created.
func (s *Syncer) Mark() Mark { return Mark(s.failed.Load()) }

// Lost tells whether a Sync failed since the mark was taken.
func (s *Syncer) Lost(m Mark) bool { return uint64(m) != s.failed.Load() }

// Sync makes everything durable that was written before the call, names too.
// Its error names the directory.
func (s *Syncer) Sync() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	err := s.sync(int(s.dir.Fd()))
	if err != nil {
		s.failed.Add(1)
		return &os.PathError{Op: "sync", Path: s.dir.Name(), Err: err}
	}
	return nil
}

// Close releases the directory. Sync fails afterwards.
func (s *Syncer) Close() error { return s.dir.Close() }
