package deb

import (
	"bytes"
	"iter"
	"strings"
	"unsafe"
)

// Stanza is one record of an index, byte for byte, without the empty line that
// ends it (deb822(5)). It is a view of the caller's bytes. It ends with the
// newline of its last line, which the last stanza of a file may lack; Append
// writes it either way.
//
// The strings that its methods give are views of the same bytes: they must not
// be modified while a string is in use, and a string keeps all of them in
// memory (strings.Clone what is to outlive an index). Safe for concurrent use.
type Stanza []byte

// Get returns the value of a field, its name in any letter case, with
// continuation lines joined by "\n" as they stand and the surrounding blanks
// trimmed; "" if there is none. A field that occurs twice is an error when the
// stanza is scanned, so Get need not look on after the first. Values reads
// several fields faster.
func (s Stanza) Get(field string) string {
	if field == "" {
		return ""
	}
	for rest := []byte(s); len(rest) > len(field); {
		switch c := rest[len(field)]; {
		case c != ':' && !isBlank(c), !equalFold(rest[:len(field)], field):
		default:
			name, value, _ := cutField(rest)
			if len(name) == len(field) {
				return value
			}
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
	}
	return ""
}

// Values reads several fields in one pass: into[i] becomes what Get(fields[i])
// gives. into must be at least as long as fields.
func (s Stanza) Values(into []string, fields ...string) {
	into = into[:len(fields)]
	clear(into)
	for name, value := range s.Fields() {
		for i, f := range fields {
			if len(f) == len(name) && into[i] == "" && strings.EqualFold(f, name) {
				into[i] = value
			}
		}
	}
}

// Fields yields name and value of every field in the order of the stanza. The
// name is spelled as in the stanza. Lines that belong to no field are left out.
func (s Stanza) Fields() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := []byte(s); len(rest) > 0; {
			name, value, n := cutField(rest)
			if name != "" && !yield(name, value) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Source is the source package and its version, "Source: name (version)"
// (deb-control(5)); each falls back to the binary package's own.
func (s Stanza) Source() (name, version string) {
	var v [3]string
	s.Values(v[:], "Source", "Package", "Version")
	name, rest, _ := strings.Cut(v[0], "(")
	name = strings.TrimSpace(name)
	version, _, closed := strings.Cut(rest, ")")
	version = strings.TrimSpace(version)
	if !closed || version == "" {
		version = v[2]
	}
	if name == "" {
		name = v[1]
	}
	return name, version
}

// Append appends the stanza as an index holds it to dst: its lines, the last
// one ended, and an empty line.
func (s Stanza) Append(dst []byte) []byte {
	dst = append(dst, s...)
	if len(s) > 0 && s[len(s)-1] != '\n' {
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}

// cutField reads the field at the begin of b, n bytes with its continuation
// lines. The name is "" if the first line is not "name: value".
func cutField(b []byte) (name, value string, n int) {
	eol := len(b)
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		eol, n = i, i+1
	} else {
		n = eol
	}
	colon := bytes.IndexByte(b[:eol], ':')
	if colon <= 0 || isSpace(b[0]) {
		return "", "", n
	}
	for n < len(b) && isBlank(b[n]) {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			n = len(b)
			break
		}
		n += i + 1
	}
	return view(trimSpace(b[:colon])), view(trimSpace(b[colon+1 : n])), n
}

// trimSpace drops white space at both ends as isSpace has it.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares a field name with b in ASCII letter case.
func equalFold(b []byte, name string) bool {
	for i := range len(name) {
		if lower(b[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

// lower folds an ASCII letter.
func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// view is b as a string that shares its memory: an index of 50 MB is read
// field by field without a copy. Stanza's comment carries the obligation.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}
