package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Limits of an index. The longest line of Debian's indices has 76 thousand
// bytes; a Release, which is one stanza, less than a million.
const (
	MaxLine   = 1 << 20  // bytes of a line, without its newline
	MaxStanza = 16 << 20 // bytes of a stanza
	MaxFields = 256      // fields of a stanza
)

// What is wrong with a stanza.
var (
	errNoColon      = errors.New("line without a colon")
	errFieldName    = errors.New("malformed field name")
	errContinuation = errors.New("continuation line before the first field")
	errDuplicate    = errors.New("field occurs twice")
	errNUL          = errors.New("NUL byte")
	errLineLong     = fmt.Errorf("line over %d bytes", MaxLine)
	errStanzaLong   = fmt.Errorf("stanza over %d bytes", MaxStanza)
	errFieldsMany   = fmt.Errorf("more than %d fields", MaxFields)
)

// StanzaError tells what makes a stanza malformed, and where.
type StanzaError struct {
	Line    int    // line of the fault, counted from 1
	Offset  int    // byte offset at which the stanza begins
	Package string // value of its field Package, if that can be had
	Field   string // field the fault is in, if it is in one
	Err     error  // the fault
}

func (e *StanzaError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d: ", e.Line)
	if e.Package != "" {
		fmt.Fprintf(&b, "package %q: ", e.Package)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, "field %q: ", e.Field)
	}
	return b.String() + e.Err.Error()
}

func (e *StanzaError) Unwrap() error { return e.Err }

// Stanzas yields each stanza of an index that is wholly in memory, or a
// *StanzaError with line number for one that is malformed (duplicate field,
// line without colon, NUL, a line over the limit), and goes on with the next.
// The stanzas are views of data. A Scanner tells byte offsets too.
func Stanzas(data []byte) iter.Seq2[Stanza, error] {
	return func(yield func(Stanza, error) bool) {
		sc := NewScanner(data)
		for {
			s, err := sc.Next()
			if err == io.EOF || !yield(s, err) {
				return
			}
		}
	}
}

// Scanner reads the stanzas of an index that is wholly in memory.
//
// Stanzas are separated by lines that are empty or hold only blanks (deb822(5)
// allows it; apt would join there, dpkg refuse). Like apt it takes lines that
// end with CR LF; the CR stays in the stanza and is trimmed off values.
// Comments are for source control files only: a line "# ..." is an error.
type Scanner struct {
	data   []byte
	pos    int // what is read next
	line   int // lines before pos
	nul    int // offset of the first NUL at or behind the stanza, len(data) if none
	offset int // where the last stanza began
	first  int // its first line

	fields []fieldName // of the stanza being read
	fault  *StanzaError
}

// fieldName is the folded hash of a field's name and where it stands.
type fieldName struct {
	hash       uint64
	start, end int
}

// NewScanner scans data, which it neither copies nor modifies.
func NewScanner(data []byte) *Scanner { return &Scanner{data: data, nul: -1} }

// Offset is the byte offset of the stanza that Next returned or refused last.
func (sc *Scanner) Offset() int { return sc.offset }

// Line is the number, from 1, of that stanza's first line.
func (sc *Scanner) Line() int { return sc.first }

// Next returns the next stanza, a *StanzaError for a malformed one (the next
// call goes on with the stanza after it), or io.EOF.
func (sc *Scanner) Next() (Stanza, error) {
	sc.fields, sc.fault = sc.fields[:0], nil
	inside := false
	data := sc.data
	for sc.pos < len(data) {
		start, end := sc.pos, len(data)
		if i := bytes.IndexByte(data[start:], '\n'); i >= 0 {
			end = start + i
		}
		c := byte('\n')
		if start < end {
			c = data[start]
		}
		if c <= ' ' && blankLine(data[start:end]) {
			if inside {
				break // the separator is read, or skipped, by the next call
			}
			sc.pos = min(end+1, len(data))
			sc.line++
			continue
		}
		if !inside {
			inside = true
			sc.offset, sc.first = start, sc.line+1
		}
		sc.line++
		sc.pos = min(end+1, len(data))
		if sc.fault == nil {
			sc.check(start, end)
		}
	}
	if !inside {
		return nil, io.EOF
	}
	return sc.finish()
}

// finish ends the stanza between offset and pos.
func (sc *Scanner) finish() (Stanza, error) {
	s := Stanza(sc.data[sc.offset:sc.pos:sc.pos])
	if sc.nul < sc.offset { // the one known lies behind us
		sc.nul = len(sc.data)
		if i := bytes.IndexByte(sc.data[sc.offset:], 0); i >= 0 {
			sc.nul = sc.offset + i
		}
	}
	switch {
	case sc.fault != nil:
	case sc.nul < sc.pos:
		sc.fail(sc.first+bytes.Count(sc.data[sc.offset:sc.nul], []byte{'\n'}), "", errNUL)
	case len(s) > MaxStanza:
		sc.fail(sc.first, "", errStanzaLong)
	default:
		return s, nil
	}
	if len(s) <= MaxStanza {
		name := s.Get("Package")
		sc.fault.Package = strings.Clone(name[:min(len(name), maxExcerpt)])
	}
	return nil, sc.fault
}

// fail notes the stanza's first fault.
func (sc *Scanner) fail(line int, field string, err error) {
	sc.fault = &StanzaError{Line: line, Offset: sc.offset, Field: strings.Clone(field), Err: err}
}

// check validates the line data[start:end], the last that was counted. This is
// the inner loop of reading an index.
func (sc *Scanner) check(start, end int) {
	line := sc.data[start:end]
	if len(line) > MaxLine {
		sc.fail(sc.line, "", errLineLong)
		return
	}
	if isBlank(line[0]) {
		if len(sc.fields) == 0 {
			sc.fail(sc.line, "", errContinuation)
		}
		return
	}
	hash, n := hashName(line)
	colon := n
	for colon < len(line) && isBlank(line[colon]) {
		colon++
	}
	switch {
	case colon == len(line) || line[colon] != ':' && bytes.IndexByte(line, ':') < 0:
		sc.fail(sc.line, "", errNoColon)
		return
	case line[colon] != ':' || n == 0 || line[0] == '-' || line[0] == '#':
		sc.fail(sc.line, "", errFieldName)
		return
	case len(sc.fields) == MaxFields:
		sc.fail(sc.line, "", errFieldsMany)
		return
	}
	if sc.known(hash, line[:n]) {
		sc.fail(sc.line, view(line[:n]), errDuplicate)
		return
	}
	sc.fields = append(sc.fields, fieldName{hash, start, start + n})
}

// known tells whether the stanza has a field of this name already.
func (sc *Scanner) known(hash uint64, name []byte) bool {
	for _, f := range sc.fields {
		if f.hash == hash && f.end-f.start == len(name) && equalFold(sc.data[f.start:f.end], view(name)) {
			return true
		}
	}
	return false
}

// hashName hashes the field name that begins a line, in lower case, and gives
// its length: up to the colon or the first byte that no field name has.
func hashName(line []byte) (hash uint64, n int) {
	hash = 14695981039346656037 // FNV-1a, 64 bits
	for n < len(line) {
		c := line[n]
		if c == ':' || c-'!' > '~'-'!' {
			break
		}
		hash = (hash ^ uint64(lower(c))) * 1099511628211
		n++
	}
	return hash, n
}

// blankLine tells whether a line, its newline left out, separates stanzas.
func blankLine(line []byte) bool {
	for _, c := range line {
		if !isBlank(c) && c != '\r' {
			return false
		}
	}
	return true
}
