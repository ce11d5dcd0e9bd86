// Package sums reads and writes lists of digests as sha256sum of GNU coreutils does: SHA256SUMS.
package sums

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxSize bounds a list, in bytes. Debian's largest has some 100 kB.
const MaxSize = 10_000_000

// maxFaults is how many wrong lines an error names.
const maxFaults = 10

// ErrMalformed marks a text that is no such list.
var ErrMalformed = errors.New("malformed list of digests")

// Line is a file of a list.
type Line struct {
	Name   string // as the list has it, escapes undone
	Digest [32]byte
	Number int // of the line, from 1; 0: it was not read
}

// Parse reads a list in either form of sha256sum: "HEX  NAME" (or "HEX *NAME"), and with --tag "SHA256 (NAME) = HEX".
// Names with a backslash or a line break are escaped as sha256sum escapes them. Empty lines, comments (#) and lines
// that are tagged with another digest do not count. A name that stands twice with one digest counts once; with two it
// is an error. Errors wrap [ErrMalformed] and name the lines.
func Parse(text []byte) ([]Line, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%w: over the limit of %d bytes", ErrMalformed, MaxSize)
	}
	var out []Line
	var faults []string
	first := map[string]Line{}
	n, others := 0, 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		l, other, err := parseLine(line)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("line %d: %s", n, err))
			if len(faults) == maxFaults {
				return nil, fmt.Errorf("%w: %s", ErrMalformed, strings.Join(faults, "; "))
			}
			continue
		case other:
			others++
			continue
		}
		l.Number = n
		was, again := first[l.Name]
		switch {
		case !again:
			first[l.Name] = l
			out = append(out, l)
		case was.Digest != l.Digest:
			faults = append(faults, fmt.Sprintf("line %d: %q has another digest on line %d", n, l.Name, was.Number))
		}
	}
	if len(faults) == 0 && len(out) == 0 && others > 0 {
		faults = append(faults, "it has digests of other kinds alone; SHA256 is needed")
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, strings.Join(faults, "; "))
	}
	return out, nil
}

// parseLine reads one line; other tells one that is tagged with another digest.
func parseLine(line string) (l Line, other bool, err error) {
	if !utf8.ValidString(line) {
		return l, false, errors.New("no UTF-8 text")
	}
	rest, escaped := strings.CutPrefix(line, `\`)
	name, digest := "", ""
	if tag, tail, ok := strings.Cut(rest, " ("); ok && isTag(tag) {
		i := strings.LastIndex(tail, ") = ")
		if i < 0 {
			return l, false, errors.New("no digest behind the name")
		}
		if tag != "SHA256" {
			return l, true, nil
		}
		name, digest = tail[:i], tail[i+len(") = "):]
	} else {
		i := strings.IndexByte(rest, ' ')
		if i < 0 || i+2 > len(rest) || rest[i+1] != ' ' && rest[i+1] != '*' {
			return l, false, fmt.Errorf("%.80q is neither HEX  NAME nor SHA256 (NAME) = HEX", line)
		}
		name, digest = rest[i+2:], rest[:i]
	}
	sum, err := hex.DecodeString(digest)
	switch {
	case err != nil:
		return l, false, fmt.Errorf("%.80q is no digest in hexadecimal digits", digest)
	case len(sum) != len(l.Digest):
		return l, false, fmt.Errorf("a digest of %d hexadecimal digits; SHA256 has %d", len(digest), 2*len(l.Digest))
	}
	copy(l.Digest[:], sum)
	if escaped {
		if name, err = unescape(name); err != nil {
			return l, false, err
		}
	}
	if name == "" {
		return l, false, errors.New("no name")
	}
	l.Name = name
	return l, false, nil
}

// isTag tells the names of digests that stand before a name in parentheses.
func isTag(s string) bool {
	switch {
	case s == "", len(s) > 16:
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != 'a' && r != 'b' && r != 'k' && r != 'e' && r != 'l'
	})
}

// unescape undoes what sha256sum writes for a backslash, a line feed and a carriage return.
func unescape(name string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '\\' {
			b.WriteByte(name[i])
			continue
		}
		i++
		switch {
		case i == len(name):
			return "", errors.New("the name ends within an escape")
		case name[i] == '\\':
			b.WriteByte('\\')
		case name[i] == 'n':
			b.WriteByte('\n')
		case name[i] == 'r':
			b.WriteByte('\r')
		default:
			return "", fmt.Errorf(`the escape \%c in the name is none of sha256sum's`, name[i])
		}
	}
	return b.String(), nil
}

// Format writes a list in the form "HEX  NAME", in order of name. Parse of it gives the lines back.
func Format(lines []Line) []byte {
	lines = slices.Clone(lines)
	slices.SortFunc(lines, func(a, b Line) int { return strings.Compare(a.Name, b.Name) })
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	var b bytes.Buffer
	for _, l := range lines {
		name := escape.Replace(l.Name)
		if name != l.Name {
			b.WriteByte('\\')
		}
		fmt.Fprintf(&b, "%x  %s\n", l.Digest, name)
	}
	return b.Bytes()
}
