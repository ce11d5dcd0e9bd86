package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.org/mmoci/internal/durable"
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
	mark durable.Mark // of before it was created
}

// keep makes a verified temporary file known: from here on it is cached, though not yet under its final name.
func (s *Store) keep(e *entry, f *os.File, mark durable.Mark) error {
	id, err := identify(f)
	if err != nil {
		return errors.Join(errNotKept, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.path, e.id, e.waiting, e.mark, e.used = f.Name(), id, true, mark, time.Now()
	s.pending = append(s.pending, pending{e, e.path, e.blob.Size, mark})
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

// flushing flushes each batch when it is due, until the store is closed.
func (s *Store) flushing() {
	due := time.NewTimer(s.o.batch)
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
				due.Reset(s.o.batch)
				continue
			}
		case <-due.C:
		}
		_ = s.flush() // the log and Stats tell
	}
}

// flush makes the pending files durable, then gives them their names. Killed
// before, the files are gone with the process; killed between, some have
// their names and are whole. After a failed sync none of them gets its name: what
// they hold is not known any more (package durable), they are fetched anew.
func (s *Store) flush() error {
	batch := s.taken()
	if len(batch) == 0 {
		return nil
	}
	err := s.durable.Sync()
	if err != nil {
		batch = append(batch, s.taken()...) // verified meanwhile, and lost too
		s.refuse(err)
		s.o.Log.Error("store: files not kept, they will be fetched anew", "files", len(batch), "error", err)
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	for _, p := range batch {
		s.name(p)
	}
	return err
}

// taken takes the files that wait for a batch.
func (s *Store) taken() []pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.pending
	s.pending = nil
	return batch
}

// name renames a file to its final name. The rename changes its ctime and
// nothing else; whoever opens it meanwhile waits for the new identity. A file
// that gets no name is removed: it would be on disk and in no count.
func (s *Store) name(p pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, to := p.e, s.final(p.e.blob.Digest)
	s.waiting -= p.size
	if e.path != p.path { // it was fetched again meanwhile
		s.drop(p)
		return
	}
	e.waiting = false
	if s.durable.Lost(p.mark) {
		e.id = identity{}
		s.stats.Lost++
	}
	if e.id == (identity{}) { // lost, or found changed or missing
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
		e.id, s.stats.Refusing = identity{}, err
		s.drop(p)
		return
	}
	s.stats.Refusing = nil
	id, err := identityOf(to)
	if err != nil || !id.renamed(e.id) {
		e.id = identity{}
		return
	}
	e.path, e.id = to, id
}

// drop removes a temporary file that gets no name. The caller holds mu.
func (s *Store) drop(p pending) {
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
