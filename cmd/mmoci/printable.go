package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// printable makes text that came from outside (what a registry, an upstream or
// a mirror answered, a name in a table or a layout, a user ID of a key) safe for a
// terminal: control characters but line feed and tab, and those that turn the
// direction of writing, become escapes of JSON's form, which stay what they
// are within JSON. All else is left as it is, also bytes that are no UTF-8 but may be of a file name.
//
// It stands in one place, before standard output and standard error, so that no message can be without it.
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
		case r == '\n' || r == '\t' || !controls(r):
			out = append(out, rest[:n]...)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		rest = rest[n:]
	}
	return out
}

// controls tells what a terminal obeys instead of showing.
func controls(r rune) bool {
	isControl := r < 0x20 || 0x7f <= r && r <= 0x9f // C0, DEL and C1
	isDirection := r == 0x061c || r == 0x200e || r == 0x200f || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
	isLine := r == 0x2028 || r == 0x2029
	return isControl || isDirection || isLine
}

// told is standard error for what this program says itself. What dpkg says, and
// the line of progress, go past it: they mean their control characters.
type told struct{ w io.Writer }

func (t told) Write(p []byte) (int, error) {
	if _, err := t.w.Write(printable(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// oneLine puts a text of several lines, such as an error with what a registry
// answered, into one, so that no part of it looks like a line of ours.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
