// Package terminal makes what a program says fit for people and terminals: printable text,
// sizes and counts, the progress of a transfer.
package terminal

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// Size prints bytes for people, in decimal units as disks and networks count.
func Size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Count is a number with its noun: 1 suite, 2 suites.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printable makes text that came from outside (what a registry, an upstream or
// a mirror answered, a name in a table or a layout, a user ID of a key) safe for a
// terminal: control characters but line feed and tab, and those that turn the
// direction of writing, become escapes of JSON's form, which stay what they
// are within JSON. All else is left as it is, also bytes that are no UTF-8 but may be of a file name.
//
// Results and safeWriter apply it to all that is written, so no message can bypass it.
func printable(p []byte) []byte {
	clean := 0
	for clean < len(p) && (0x20 <= p[clean] && p[clean] < 0x7f || p[clean] == '\n' || p[clean] == '\t') {
		clean++
	}
	if clean == len(p) {
		return p
	}
	out := append(make([]byte, 0, len(p)+16), p[:clean]...)
	for rest := p[clean:]; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && n == 1 && 0x80 <= rest[0] && rest[0] <= 0x9f:
			out = fmt.Appendf(out, `\u%04x`, rest[0]) // a control character of terminals of eight bits
		case r == '\n' || r == '\t' || !IsControl(r):
			out = append(out, rest[:n]...)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		rest = rest[n:]
	}
	return out
}

// IsControl reports whether a terminal obeys a character instead of showing it.
func IsControl(r rune) bool {
	isControl := r < 0x20 || 0x7f <= r && r <= 0x9f // C0, DEL and C1
	isDirection := r == 0x061c || r == 0x200e || r == 0x200f || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
	isLine := r == 0x2028 || r == 0x2029
	return isControl || isDirection || isLine
}

// safeWriter makes what this program writes to standard error printable. dpkg and the line of
// progress write past it, because they need their control characters.
type safeWriter struct{ w io.Writer }

// NewSafeWriter returns a writer to w.
func NewSafeWriter(w io.Writer) io.Writer { return safeWriter{w} }

func (t safeWriter) Write(p []byte) (int, error) {
	if _, err := t.w.Write(printable(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// OneLine puts a text of several lines, such as an error with what a registry
// answered, into one, so that no part of it looks like a line of ours.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Results is standard output, where the result of a command goes, printable. It remembers the
// first failed write, so that a command whose result was lost does not end with
// exit code 0, even if it ignored the error. Safe for concurrent use.
type Results struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

// NewResults returns Results that are written to w.
func NewResults(w io.Writer) *Results { return &Results{w: w} }

func (r *Results) Write(p []byte) (int, error) {
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

// Lost returns the first error, nil if all was written.
func (r *Results) Lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// maxUnwritten bounds the lines that wait to be written, in bytes; then requests wait for them.
const maxUnwritten = 1 << 20

// LineWriter writes what it is given soon, in another goroutine: at once while
// little happens, and many lines by one call while much does. Nothing is
// held back by a clock. Safe for concurrent use.
type LineWriter struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // of waiting or closed
	waiting []byte
	closed  bool
	ended   chan struct{}
}

func NewLineWriter(w io.Writer) *LineWriter {
	l := &LineWriter{w: w, ended: make(chan struct{})}
	l.changed.L = &l.mu
	go l.run()
	return l
}

// Write takes whole lines. It does not report that they could not be written.
func (l *LineWriter) Write(p []byte) (int, error) {
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

func (l *LineWriter) run() {
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
func (l *LineWriter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.changed.Broadcast()
	l.mu.Unlock()
	<-l.ended
	return nil
}
