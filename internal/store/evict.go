package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// After an eviction this many hundredths of the bound are left free, so that not each new file costs one.
	freeAfter = 10
	// The directory is read again when this many hundredths of the bound were added: other processes add, too.
	lookAfter = 5
)

var (
	errFull     = errors.New("the bound is reached and everything is in use")
	errRefused  = errors.New("the disk took no more a moment ago")
	errReadOnly = errors.New("the store cannot be written")
)

// reserve makes room for a blob that will be written.
func (s *Store) reserve(size int64) error {
	s.mu.Lock()
	switch {
	case s.own == nil:
		s.mu.Unlock()
		return errReadOnly
	case time.Since(s.refused) < refusedFor:
		s.mu.Unlock()
		return errRefused
	}
	if s.max > 0 && (s.total+size > s.max || s.added+size > s.max/100*lookAfter) {
		s.mu.Unlock()
		return s.evict(size)
	}
	s.take(size)
	s.mu.Unlock()
	return nil
}

// take counts a blob that will be written. The caller holds mu.
func (s *Store) take(size int64) {
	s.flight += size
	s.total += size
	s.added += size
}

func (s *Store) unreserve(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight -= size
	s.total -= size
}

// refuse stops writing for a while, after the disk took no more.
func (s *Store) refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused, s.stats.Refusing = time.Now(), why
}

// stored is a file on disk.
type stored struct {
	digest snapshot.Digest
	size   int64
	used   time.Time // when it was last opened by this process, or written
}

// scan lists the files under their final names.
func (s *Store) scan() ([]stored, error) {
	var files []stored
	root := filepath.Join(s.dir, blobsDir)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreGone(err)
		}
		digest, err := snapshot.ParseDigest("sha256:" + d.Name())
		if err != nil {
			return nil // not ours
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		files = append(files, stored{digest, info.Size(), info.ModTime()})
		return nil
	})
	return files, err
}

// ignoreGone drops the error of a file that another process evicted.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// evict reads the directory and removes what was not used for longest, until
// there is room for size bytes, which it takes. Files that are open, being verified or waiting for their batch stay.
func (s *Store) evict(size int64) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	// A file that is named between the listing and the count would be in neither.
	s.naming.Lock()
	defer s.naming.Unlock()
	files, err := s.scan()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added, s.total = 0, s.flight+s.waiting
	for _, f := range files {
		s.total += f.size
	}
	if s.total+size <= s.max {
		s.take(size)
		return nil
	}
	for i, f := range files {
		if e := s.entries[f.digest]; e != nil && e.used.After(f.used) {
			files[i].used = e.used
		}
	}
	slices.SortFunc(files, func(a, b stored) int { return a.used.Compare(b.used) })
	goal := s.max - s.max/100*freeAfter
	for _, f := range files {
		if s.total+size <= goal {
			break
		}
		s.remove(f)
	}
	if s.total+size > s.max {
		return errFull
	}
	s.take(size)
	return nil
}

// remove removes a file unless it is in use. The caller holds mu.
func (s *Store) remove(f stored) {
	e := s.entries[f.digest]
	if e != nil && (e.refs > 0 || e.job != nil || e.waiting) {
		return
	}
	if err := os.Remove(s.final(f.digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	delete(s.entries, f.digest)
	s.total -= f.size
	s.stats.Evicted++
}

// lock keeps other processes from evicting at the same time.
func (s *Store) lock() (func(), error) {
	return durable.Lock(context.Background(), filepath.Join(s.dir, lockFile), 0o644)
}
