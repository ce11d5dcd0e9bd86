package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/foreign"
	"example.org/mmoci/pkg/resolve/query"
)

// All is the line of a list, and the value of packages:, that asks for everything.
const All = "all"

// ReadList reads a list of packages: one query a line, "#" begins a comment,
// blank lines and blanks around a query do not count.
func ReadList(name string) ([]Query, error) {
	data, err := document.ReadFile(name, document.MaxList)
	if err != nil {
		return nil, err
	}
	if err := foreign.List(name, data); err != nil {
		return nil, err
	}
	return ParseList(name, data)
}

// ParseList reads the text of a list, normalised. With an error come the lines that could be read.
func ParseList(name string, data []byte) ([]Query, error) {
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

// WholeOrList tells whether a list asks for everything ("all" alone). An
// empty list is an error: what is meant must be written.
func WholeOrList(name string, qs []Query) (whole bool, err error) {
	if len(qs) == 0 {
		return false, document.Errorf(document.At(name, 1), "no package in the list; name at least one, or write the line %q to take the whole component", All)
	}
	for _, q := range qs {
		if q.Text != All {
			continue
		}
		if len(qs) > 1 {
			return false, document.Errorf(q.Position, "%q stands beside other packages; it takes everything, so keep it alone or remove it", All)
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

// AddMissing adds to a list what it has not.
func AddMissing(list *[]string, more []string) {
	for _, s := range more {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
}

// ValidQueries tells which of the queries cannot be read.
func ValidQueries(queries []Query) error {
	var faults document.Faults
	for _, q := range queries {
		if _, err := query.Parse(q.Text); err != nil {
			faults.Add(document.Errorf(q.Position, "%w", err))
		}
	}
	return faults.Err()
}
