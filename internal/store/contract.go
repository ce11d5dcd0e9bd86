package store

import "example.org/mmoci/pkg/snapshot"

// Options of a store; the zero value works.
type Options struct {
	MaxBytes int64 // 0: no bound
}

// Store is an open store. Safe for concurrent use.
type Store struct{ store }
type store struct{}

// Open opens or makes the store in dir.
func Open(dir string, o Options) (*Store, error) { panic("contract") }

// Through reads blobs from the store, and what it has not from next, keeping
// it: a blob is fetched once however many ask for it at the same time.
func (s *Store) Through(next snapshot.Blobs) snapshot.Blobs { panic("contract") }

// Close flushes what is pending.
func (s *Store) Close() error { panic("contract") }
