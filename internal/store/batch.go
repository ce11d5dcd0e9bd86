package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// A batch of files is made durable by one syncfs before they get their
	// names: when it is this large, or when its first file waited so long.
	batchFiles = 1000
	batchTime  = 2 * time.Second
)

// pending is a file that waits for its batch.
type pending struct {
	e    *entry
	path string
	size int64
}

// keep makes a verified temporary file known. From here on it is held, though not yet under its final name.
func (s *store) keep(e *entry, f *os.File) error {
	id, err := identify(f)
	if err != nil {
		return errors.Join(errNotKept, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.path, e.id, e.waiting, e.used = f.Name(), id, true, time.Now()
	s.pending = append(s.pending, pending{e, e.path, e.blob.Size})
	s.flight -= e.blob.Size
	s.waiting += e.blob.Size
	s.stats.Fetched++
	s.stats.Bytes += e.blob.Size
	if len(s.pending) == 1 || len(s.pending) == batchFiles {
		select {
		case s.filled <- struct{}{}:
		default:
		}
	}
	return nil
}

// flushing flushes a batch when it is due, until the store is closed.
func (s *store) flushing() {
	due := time.NewTimer(batchTime)
	due.Stop()
	for {
		select {
		case <-s.ended.Done():
			due.Stop()
			return // Close flushes the rest, after the last job
		case <-s.filled:
			s.mu.Lock()
			n := len(s.pending)
			s.mu.Unlock()
			if n < batchFiles {
				due.Reset(batchTime)
				continue
			}
		case <-due.C:
		}
		// An error leaves the files under their temporary names; the next batch tries again.
		if s.flush() != nil {
			due.Reset(batchTime)
		}
	}
}

// flush makes the pending files durable, then gives them their names. Killed
// before, the files are gone with the process; killed between, some have
// their names and are whole.
func (s *store) flush() error {
	s.mu.Lock()
	batch, sync := s.pending, s.sync
	s.pending = nil
	s.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := sync(int(s.own.Fd()))
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending = append(batch, s.pending...)
		s.stats.Refusing = true
		return err
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	for _, p := range batch {
		s.name(p)
	}
	return nil
}

// name renames a file to its final name. The rename changes its ctime and
// nothing else; whoever opens it meanwhile waits for the new identity. A file
// that gets no name is removed: it would be on disk and in no count.
func (s *store) name(p pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, to := p.e, s.final(p.e.blob.Digest)
	s.waiting -= p.size
	if e.path != p.path { // it was fetched again meanwhile
		s.drop(p)
		return
	}
	e.waiting = false
	if e.id == (identity{}) { // found changed or missing
		s.drop(p)
		return
	}
	err := os.Rename(p.path, to)
	if errors.Is(err, fs.ErrNotExist) { // the first with these two digits
		if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			err = os.Rename(p.path, to)
		}
	}
	if err != nil {
		e.id, s.stats.Refusing = identity{}, true
		s.drop(p)
		return
	}
	s.stats.Refusing = false
	id, err := identityOf(to)
	if err != nil || !id.renamed(e.id) {
		e.id = identity{}
		return
	}
	e.path, e.id = to, id
}

// drop removes a temporary file that gets no name. The caller holds mu.
func (s *store) drop(p pending) {
	os.Remove(p.path)
	s.total -= p.size
}

func identityOf(path string) (identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	return identify(f)
}
