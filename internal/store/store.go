// Package store is a verified, content-addressed directory: what is in it
// under its final name has been hashed. It has a size bound, survives kills
// and power cuts, and may be shared by several processes.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

// The directory:
//
//	blobs/sha256/XX/HEX   verified when it was renamed to this
//	tmp/PID-RANDOM/       of one process, which holds a lock on it: what is being fetched or waits for its batch
//	lock                  held while files are evicted

const (
	blobsDir = "blobs/sha256"
	tmpDir   = "tmp"
	lockFile = "lock"

	// streamFrom is the size from which readers do not wait for a blob to be
	// whole, in bytes. Below, waiting is shorter, and the file can be sent as it is.
	streamFrom = 1 << 20
	// maxFetches bounds the blobs that are fetched at once; further ones wait.
	maxFetches = 64
	// stallAfter is how long a fetch may bring nothing, if the options do not say.
	stallAfter = 30 * time.Second
	// refusedFor is how long nothing is written after the disk took no more.
	refusedFor = 10 * time.Second
)

// Options of a store; the zero value works.
type Options struct {
	MaxBytes int64         // 0: no bound
	Log      *slog.Logger  // nil: none
	Stall    time.Duration // how long a fetch may bring nothing; 0: 30 s. What is made here and not fetched may take its time
	// Write writes to the store's files; nil: (*os.File).Write. Tests fill disks with it.
	Write func(*os.File, []byte) (int, error)

	batch time.Duration // for tests; 0: batchTime
}

// Store is an open store. Safe for concurrent use, by several processes too.
type Store struct {
	o   Options
	dir string
	max int64
	own *os.File // own directory under tmp, locked; nil: the store cannot be written

	slots   chan struct{} // of fetches
	ended   context.Context
	end     context.CancelFunc
	jobs    sync.WaitGroup
	filled  chan struct{}                       // a batch began, or is full
	write   func(*os.File, []byte) (int, error) // Options.Write
	flusher sync.WaitGroup

	durable *durable.Syncer    // of dir; nil as own
	sync    func(fd int) error // unix.Syncfs, which durable calls; tests replace it, for it is slow. Guarded by mu

	naming sync.Mutex // held while files get their final names, and while these are listed and counted; before mu

	mu      sync.Mutex
	entries map[snapshot.Digest]*entry
	pending []pending // verified, under their temporary names
	refused time.Time
	names   uint64 // temporary names given so far
	flight  int64  // bytes reserved for blobs that are being fetched
	waiting int64  // bytes of the files that wait for their batch, the batch being flushed included
	total   int64  // bytes on disk as far as known, reserved ones included
	added   int64  // bytes since the directory was last read
	stats   Stats
	closed  bool
}

// Stats counts since the store was opened.
type Stats struct {
	Hits     int64 // opened from disk
	Fetched  int64 // blobs fetched and kept
	Bytes    int64 // of these
	Lost     int64 // of these, blobs that a failed sync lost before they were durable
	Failed   int64 // fetches that brought an error or wrong bytes
	Passed   int64 // passed through without being kept
	Corrupt  int64 // files on disk that were not what their name says
	Evicted  int64
	Cached   int64 // bytes on disk, as far as known; 0 without a bound
	ReadOnly bool  // since it was opened: blobs that it does not have are passed through
	Refusing error // why the disk took no more the last time: full, read-only, broken; nil: it did
	Failing  bool  // the last blob that the store did not have could not be fetched
}

// entry is what this process knows of a blob that was read.
type entry struct {
	blob    snapshot.Blob
	path    string   // where it is, if verified
	id      identity // the file as it was verified; zero: not verified
	waiting bool     // for its batch; until then it may be lost
	mark    durable.Mark
	refs    int       // open Contents
	used    time.Time // last opened
	job     *job      // fetching or verifying now
}

// Open opens or makes the store in dir. Files that ended processes left half done
// are removed. A directory that cannot be written is read from.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stall == 0 {
		o.Stall = stallAfter
	}
	if o.batch == 0 {
		o.batch = batchTime
	}
	s := &Store{
		o: o, dir: dir, max: o.MaxBytes, slots: make(chan struct{}, maxFetches),
		filled: make(chan struct{}, 1), entries: map[snapshot.Digest]*entry{}, write: (*os.File).Write, sync: unix.Syncfs,
	}
	if o.Write != nil {
		s.write = o.Write
	}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if s.max > 0 {
		files, err := s.scan()
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		for _, f := range files {
			s.total += f.size
		}
	}
	s.ended, s.end = context.WithCancel(context.Background())
	if s.own != nil {
		s.flusher.Go(s.flushing)
	}
	return s, nil
}

// prepare makes the directories. The store is read-only if they are there and
// cannot be written: no permission, read-only file system, full.
func (s *Store) prepare() error {
	err := s.makeDirs()
	if err == nil {
		s.own, err = durable.MkdirTemp(filepath.Join(s.dir, tmpDir), fmt.Sprintf("%d-", os.Getpid()))
	}
	if err == nil {
		s.durable, err = durable.Open(s.dir, func(fd int) error {
			s.mu.Lock()
			sync := s.sync
			s.mu.Unlock()
			return sync(fd)
		})
	}
	if err == nil {
		return removeLeft(filepath.Join(s.dir, tmpDir), s.own.Name())
	}
	info, statErr := os.Stat(filepath.Join(s.dir, blobsDir))
	if statErr != nil || !info.IsDir() {
		return err
	}
	s.stats.ReadOnly = true
	return nil
}

func (s *Store) makeDirs() error {
	return errors.Join(os.MkdirAll(filepath.Join(s.dir, blobsDir), 0o755), os.MkdirAll(filepath.Join(s.dir, tmpDir), 0o755))
}

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	if s.max > 0 {
		st.Cached = s.total
	}
	return st
}

// Close ends fetches under way, makes pending files durable and releases the
// directory. Contents that are open stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.end()
	s.jobs.Wait()
	s.flusher.Wait()
	if s.own == nil {
		return nil
	}
	err := s.flush()
	return errors.Join(err, os.RemoveAll(s.own.Name()), s.own.Close(), s.durable.Close())
}

func (s *Store) final(d snapshot.Digest) string {
	hex := d.Hex()
	return filepath.Join(s.dir, blobsDir, hex[:2], hex)
}

// entry finds or makes the entry of a blob. The caller holds mu.
func (s *Store) entry(b snapshot.Blob) *entry {
	e := s.entries[b.Digest]
	if e == nil {
		e = &entry{blob: b}
		s.entries[b.Digest] = e
	}
	return e
}

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
