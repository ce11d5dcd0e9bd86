package atsite

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A line of a program is one record, in whatever pieces its bytes come.
func TestLogLines(t *testing.T) {
	text := "first\nsecond, in pieces\n\nlast without an end"
	want := []string{"first", "second, in pieces", "", "last without an end"}
	for size := 1; size <= len(text); size++ {
		var got []string
		l := &logLines{log: func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if written, err := l.Write([]byte(rest[:n])); written != n || err != nil {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		l.end()
		l.end()
		if !slices.Equal(got, want) {
			t.Errorf("pieces of %d bytes: %q", size, got)
		}
	}
	// Without any end of a line, memory is bounded.
	var got []string
	l := &logLines{log: func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }}
	for range 3 * maxLine / 1024 {
		l.Write([]byte(strings.Repeat("x", 1024)))
	}
	if l.end(); len(got) != 3 || cap(l.rest) > 4*maxLine {
		t.Errorf("%d lines, %d bytes kept", len(got), cap(l.rest))
	}
}
