package main

import (
	"fmt"
	"io"
	"sync"
)

// results is standard output, where a command's result goes, printable. It remembers the
// first failure to write, so that no command ends with exit code 0 whose result
// was lost, whatever of its writes it looked at. Safe for concurrent use.
type results struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

func (r *results) Write(p []byte) (int, error) {
	if _, err := r.w.Write(printable(p)); err != nil {
		r.mu.Lock()
		if r.err == nil {
			r.err = fmt.Errorf("the result could not be written: %w", err)
		}
		r.mu.Unlock()
		return 0, err
	}
	return len(p), nil
}

// lost is the first failure, nil if all was written.
func (r *results) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
