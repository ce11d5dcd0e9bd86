package debsource

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Limits of a patch.
const (
	MaxPatch   = 64 << 20 // bytes
	maxHunks   = 1 << 20
	maxHunk    = 1 << 24 // lines that a hunk may say it has
	maxPatched = 64 << 20
)

// section is what a patch does to one file.
type section struct {
	old, new string // without their first component; "" for /dev/null
	line     int    // of its "---" in the patch
	hunks    []hunk
}

// hunk is a part of a unified diff. Its lines end in a newline, unless the file does not.
type hunk struct {
	number         int // in its section, from 1
	line           int // of its "@@" in the patch
	start          int // first line in the old file, from 1; 0 of an empty one
	from, to       [][]byte
	prefix, suffix int // lines of context at its ends
}

// parsePatch reads a unified diff as patch -p1 -u does (POSIX, patch): text around it is passed
// over. What patch cannot do, or programs do otherwise, is an error: binary parts and renames.
func parsePatch(data []byte) ([]section, error) {
	if len(data) > MaxPatch {
		return nil, fmt.Errorf("over %d bytes", MaxPatch)
	}
	p := &patchReader{lines: bytes.SplitAfter(data, []byte("\n"))}
	if n := len(p.lines); n > 0 && len(p.lines[n-1]) == 0 {
		p.lines = p.lines[:n-1]
	}
	var out []section
	for p.at < len(p.lines) {
		line := string(p.lines[p.at])
		switch {
		case strings.HasPrefix(line, "GIT binary patch"):
			return nil, p.fault("a binary part, which patch cannot apply")
		case strings.HasPrefix(line, "rename from ") || strings.HasPrefix(line, "copy from "):
			return nil, p.fault("a renamed or copied file; write the patch without renames (git diff --no-renames)")
		case strings.HasPrefix(line, "--- ") && p.at+1 < len(p.lines) && bytes.HasPrefix(p.lines[p.at+1], []byte("+++ ")):
			s, err := p.section()
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		default:
			p.at++
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no unified diff in it")
	}
	return out, nil
}

type patchReader struct {
	lines [][]byte
	at    int
	hunks int
}

func (p *patchReader) fault(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{p.at + 1}, args...)...)
}

func (p *patchReader) section() (s section, err error) {
	s.line = p.at + 1
	if s.old, err = patchedName(string(p.lines[p.at][4:])); err != nil {
		return s, p.fault("%w", err)
	}
	p.at++
	if s.new, err = patchedName(string(p.lines[p.at][4:])); err != nil {
		return s, p.fault("%w", err)
	}
	p.at++
	if s.old == "" && s.new == "" {
		return s, p.fault("neither the old nor the new file has a name")
	}
	for p.at < len(p.lines) && bytes.HasPrefix(p.lines[p.at], []byte("@@ -")) {
		h, err := p.hunk()
		if err != nil {
			return s, err
		}
		h.number = len(s.hunks) + 1
		s.hunks = append(s.hunks, h)
	}
	if len(s.hunks) == 0 {
		return s, p.fault("no hunk for %s", s.name())
	}
	return s, nil
}

// name is what the section is called in messages.
func (s *section) name() string {
	if s.new != "" {
		return s.new
	}
	return s.old
}

// patchedName is the file of a "---" or "+++" line, without the first component; "" of /dev/null.
func patchedName(line string) (string, error) {
	name, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
	if name == "/dev/null" {
		return "", nil
	}
	if strings.HasPrefix(name, `"`) {
		unquoted, err := strconv.Unquote(name)
		if err != nil {
			return "", fmt.Errorf("file name %.100s", name)
		}
		name = unquoted
	}
	_, rest, ok := strings.Cut(name, "/")
	if !ok || rest == "" || !cleanName(rest) {
		return "", fmt.Errorf("file name %.100q: patches are applied with -p1, names are a/DIR/FILE and b/DIR/FILE", name)
	}
	return rest, nil
}

// cleanName tells whether a name leads nowhere but into the tree.
func cleanName(name string) bool {
	return name != "" && name[0] != '/' && path.Clean(name) == name && name != "." && name != ".." && !strings.HasPrefix(name, "../") && strings.IndexByte(name, 0) < 0
}

// hunk reads "@@ -1,3 +1,4 @@" and the lines that it counts.
func (p *patchReader) hunk() (h hunk, err error) {
	if p.hunks++; p.hunks > maxHunks {
		return h, p.fault("over %d hunks", maxHunks)
	}
	h.line = p.at + 1
	ranges, _, ok := strings.Cut(strings.TrimPrefix(string(p.lines[p.at]), "@@ -"), " @@")
	old, changed, both := strings.Cut(ranges, " +")
	if !ok || !both {
		return h, p.fault("malformed hunk header")
	}
	start, from, err := lineRange(old)
	if err != nil {
		return h, p.fault("malformed hunk header: %w", err)
	}
	_, to, err := lineRange(changed)
	if err != nil {
		return h, p.fault("malformed hunk header: %w", err)
	}
	h.start = start
	p.at++
	changes := false
	for len(h.from) < from || len(h.to) < to {
		if p.at == len(p.lines) {
			return h, p.fault("the patch ends within a hunk")
		}
		line := p.lines[p.at]
		kind := line[0]
		switch {
		case kind == '\n' || kind == '\r': // an empty line of context that lost its blank
			kind, line = ' ', append([]byte(" "), line...)
		case kind != ' ' && kind != '+' && kind != '-' && kind != '\\':
			return h, p.fault("malformed line in a hunk")
		}
		p.at++
		if kind == '\\' {
			continue // it belongs to the line before, see unended
		}
		text := line[1:]
		if p.unended() {
			text = bytes.TrimSuffix(text, []byte("\n"))
		}
		if kind != '+' {
			h.from = append(h.from, text)
		}
		if kind != '-' {
			h.to = append(h.to, text)
		}
		switch {
		case kind != ' ':
			changes, h.suffix = true, 0
		case changes:
			h.suffix++
		default:
			h.prefix++
		}
		if len(h.from) > from || len(h.to) > to {
			return h, p.fault("the hunk has more lines than its header says")
		}
	}
	if p.at < len(p.lines) && p.lines[p.at][0] == '\\' {
		p.at++
	}
	return h, nil
}

// unended tells whether the line before is followed by "\ No newline at end of file".
func (p *patchReader) unended() bool { return p.at < len(p.lines) && p.lines[p.at][0] == '\\' }

// lineRange reads START or START,COUNT.
func lineRange(s string) (start, count int, err error) {
	a, b, ok := strings.Cut(s, ",")
	if start, err = strconv.Atoi(a); err != nil || start < 0 || start > maxHunk {
		return 0, 0, fmt.Errorf("%.40q", s)
	}
	count = 1
	if ok {
		if count, err = strconv.Atoi(b); err != nil || count < 0 || count > maxHunk {
			return 0, 0, fmt.Errorf("%.40q", s)
		}
	}
	return start, count, nil
}

// apply applies a section to the content of its file. It finds hunks as patch does without fuzz:
// every line of context counts; the place nearest to the one said wins; a hunk with less context
// before it than behind it is at the begin of the file, one with less behind it at the end
// (GNU patch, locate_hunk). The error is the hunk that fits nowhere.
func (s *section) apply(content []byte) ([]byte, *hunk) {
	lines := bytes.SplitAfter(content, []byte("\n"))
	if n := len(lines); len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	}
	var out bytes.Buffer
	done, offset := 0, 0 // lines of the old file that are written; how far the last hunk was away
	for i := range s.hunks {
		h := &s.hunks[i]
		at := h.locate(lines, done, offset)
		if at < 0 {
			return nil, h
		}
		offset = at - h.guess()
		for _, l := range lines[done:at] {
			out.Write(l)
		}
		for _, l := range h.to {
			out.Write(l)
		}
		done = at + len(h.from)
	}
	for _, l := range lines[done:] {
		out.Write(l)
	}
	return out.Bytes(), nil
}

// guess is where the hunk says that it is, from 0. One without old lines stands behind its line.
func (h *hunk) guess() int {
	if len(h.from) == 0 {
		return h.start
	}
	return h.start - 1
}

// locate is where the hunk fits, not before line done; -1 if nowhere.
func (h *hunk) locate(lines [][]byte, done, offset int) int {
	guess := h.guess() + offset
	last := len(lines) - len(h.from)
	switch {
	case len(h.from) == 0:
		if guess < done || guess > len(lines) {
			return -1
		}
		return guess
	case h.prefix < h.suffix && h.start <= 1:
		if done == 0 && h.fits(lines, 0) {
			return 0
		}
		return -1
	case h.suffix < h.prefix:
		if last >= done && h.fits(lines, last) {
			return last
		}
		return -1
	}
	guess = max(done, min(guess, last)) // so that the search ends with the file
	for d := 0; guess+d <= last || guess-d >= done; d++ {
		if at := guess + d; at >= done && at <= last && h.fits(lines, at) {
			return at
		}
		if at := guess - d; d > 0 && at >= done && at <= last && h.fits(lines, at) {
			return at
		}
	}
	return -1
}

func (h *hunk) fits(lines [][]byte, at int) bool {
	if at+len(h.from) > len(lines) {
		return false
	}
	for i, l := range h.from {
		if !bytes.Equal(l, lines[at+i]) {
			return false
		}
	}
	return true
}
