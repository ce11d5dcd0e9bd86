package main

import (
	"fmt"
	"io"
	"sync"
)

// results is standard output, where a command's result goes. It remembers the
// first failure to write, so that no command ends with exit code 0 whose result
// was lost, whatever of its writes it looked at. Safe for concurrent use.
type results struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

func (r *results) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if err != nil {
		r.mu.Lock()
		if r.err == nil {
			r.err = fmt.Errorf("the result could not be written: %w", err)
		}
		r.mu.Unlock()
	}
	return n, err
}

// lost is the first failure, nil if all was written.
func (r *results) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
