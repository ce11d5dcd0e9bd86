package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
)

// all is the line of a list, and the value of packages:, that asks for everything.
const all = "all"

// readList reads a list of packages: one query a line, "#" begins a comment,
// blank lines and blanks around a query do not count.
func readList(name string) ([]Query, error) {
	data, err := document.ReadFile(name, document.MaxList)
	if err != nil {
		return nil, err
	}
	if err := foreign.List(name, data); err != nil {
		return nil, err
	}
	return parseList(name, data)
}

// parseList reads the text of a list, normalised. With an error come the lines that could be read.
func parseList(name string, data []byte) ([]Query, error) {
	if !utf8.Valid(data) {
		return nil, document.Errorf(document.At(name, 1), "not UTF-8 text")
	}
	var out []Query
	var faults document.Faults
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		q := strings.TrimSpace(withoutComment(text))
		if q == "" {
			continue
		}
		if strings.ContainsFunc(q, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			faults.Add(document.Errorf(document.At(name, line), "holds a control character"))
			continue
		}
		out = append(out, Query{Text: q, Position: document.At(name, line)})
	}
	return out, faults.Err()
}

// withoutComment cuts a line at "#" that begins it or follows a blank, unless
// it stands in quotes: patterns of queries may hold one.
func withoutComment(line string) string {
	var quote rune
	before := ' '
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			// Only at the start of a value: "Name (~ 'x')", not "it's".
			if before == ' ' || before == '(' {
				quote = r
			}
		case r == '#' && unicode.IsSpace(before):
			return line[:i]
		}
		before = r
	}
	return line
}

// wholeOrList tells whether a list asks for everything ("all" alone). An
// empty list is an error: what is meant must be written.
func wholeOrList(name string, qs []Query) (whole bool, err error) {
	if len(qs) == 0 {
		return false, document.Errorf(document.At(name, 1), "no package in the list; name at least one, or write the line %q to take the whole component", all)
	}
	for _, q := range qs {
		if q.Text != all {
			continue
		}
		if len(qs) > 1 {
			return false, document.Errorf(q.Position, "%q stands beside other packages; it takes everything, so keep it alone or remove it", all)
		}
		return true, nil
	}
	return false, nil
}

// describe names a position and an archive for messages that name two.
func (a *Archive) describe() string {
	if a.Position.File == "" {
		return "archive " + a.Prefix
	}
	return fmt.Sprintf("archive %s (%s)", a.Prefix, a.Position)
}
