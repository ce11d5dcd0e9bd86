package main

import (
	"io"
	"sync"
)

// maxUnwritten bounds the lines that wait to be written, in bytes; then requests wait for them.
const maxUnwritten = 1 << 20

// lineWriter writes what it is given soon, in another goroutine: at once while
// little happens, and many lines by one call while much does. Nothing is
// held back by a clock. Safe for concurrent use.
type lineWriter struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // of waiting or closed
	waiting []byte
	closed  bool
	ended   chan struct{}
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: w, ended: make(chan struct{})}
	l.changed.L = &l.mu
	go l.run()
	return l
}

// Write takes whole lines; that they cannot be written is nobody's to hear.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > maxUnwritten {
		l.changed.Wait()
	}
	if l.closed {
		return l.w.Write(p)
	}
	if l.waiting = append(l.waiting, p...); len(l.waiting) == len(p) {
		l.changed.Broadcast()
	}
	return len(p), nil
}

func (l *lineWriter) run() {
	defer close(l.ended)
	var writing []byte
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.waiting) == 0 && !l.closed {
			l.changed.Wait()
		}
		if len(l.waiting) == 0 {
			return
		}
		writing, l.waiting = l.waiting, writing[:0]
		l.changed.Broadcast()
		l.mu.Unlock()
		_, _ = l.w.Write(writing) // a log that nobody reads stops no server
		l.mu.Lock()
	}
}

// Close writes what waits.
func (l *lineWriter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.changed.Broadcast()
	l.mu.Unlock()
	<-l.ended
	return nil
}
