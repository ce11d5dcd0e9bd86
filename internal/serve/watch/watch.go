// Package watch reads files again when they change, so that a server need not be
// restarted. It looks at them when told to: no event is missed on any file system.
package watch

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// File is the value of some files, read again when one of them changed. Files
// that cannot be read or parsed leave the value as it was. Safe for concurrent use.
type File[T any] struct {
	files    []string
	maxBytes int64 // of each
	parse    func(contents [][]byte) (T, error)
	report   func(value T, err error)

	value  atomic.Pointer[T]
	broken atomic.Pointer[error] // why the files as they are now give no value; nil: they are the value

	mu     sync.Mutex
	last   [][]byte // what was read last, good or bad
	failed string   // the error that was reported last; "" if the files could be read
}

// Open reads the files; here a bad one is an error. parse makes the value of their
// contents, each of at most maxBytes. report is called when the files changed, with the new
// value or the error, and once for files that cannot be read.
func Open[T any](maxBytes int64, parse func([][]byte) (T, error), report func(T, error), files ...string) (*File[T], error) {
	w := &File[T]{files: files, maxBytes: maxBytes, parse: parse, report: report}
	contents, err := w.read()
	if err != nil {
		return nil, err
	}
	value, err := parse(contents)
	if err != nil {
		return nil, err
	}
	w.last = contents
	w.value.Store(&value)
	return w, nil
}

// Get returns the value; of a nil File the zero value.
func (w *File[T]) Get() T {
	if w == nil {
		var none T
		return none
	}
	return *w.value.Load()
}

// Failing returns why the files, as they were when they were looked at last, give no value;
// nil if they are the value, and of a nil File.
func (w *File[T]) Failing() error {
	if w == nil {
		return nil
	}
	if err := w.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Look reads the files again.
func (w *File[T]) Look() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	contents, err := w.read()
	if err != nil {
		if w.failed != err.Error() { // not at each look
			w.failed = err.Error()
			w.broken.Store(&err)
			w.report(w.Get(), err)
		}
		return
	}
	unread := w.failed != ""
	w.failed = ""
	same := true
	for i, data := range contents {
		same = same && bytes.Equal(data, w.last[i])
	}
	if same && !unread {
		return
	}
	w.last = contents
	value, err := w.parse(contents)
	if err == nil {
		w.value.Store(&value)
		w.broken.Store(nil)
	} else {
		w.broken.Store(&err)
	}
	w.report(value, err)
}

func (w *File[T]) read() ([][]byte, error) {
	var contents [][]byte
	for _, name := range w.files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, w.maxBytes+1))
		f.Close()
		if err != nil {
			return nil, err
		}
		if int64(len(data)) > w.maxBytes {
			return nil, fmt.Errorf("%s: more than %d bytes", name, w.maxBytes)
		}
		contents = append(contents, data)
	}
	return contents, nil
}
