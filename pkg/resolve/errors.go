package resolve

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrUnsatisfied marks a package or dependency that the archives cannot give (exit code 4).
var ErrUnsatisfied = errors.New("unsatisfied")

// ErrQuery marks a query that cannot be read (exit code 2).
var ErrQuery = errors.New("query")

// QueryError is what is wrong with a query. It wraps ErrQuery.
type QueryError struct {
	Query   string // the text as it was given
	Column  int    // where, in characters from 1
	Message string // what, for people
}

// Error is "query: column 7: message", and below it the query with a caret
// under that column.
func (e *QueryError) Error() string {
	return fmt.Sprintf("%v: column %d: %s\n  %s\n  %s^", ErrQuery, e.Column, e.Message,
		printable(e.Query), strings.Repeat(" ", e.Column-1))
}

// Unwrap gives ErrQuery.
func (e *QueryError) Unwrap() error { return ErrQuery }

// queryError places a message at a byte offset of the query.
func queryError(query string, offset int, format string, args ...any) *QueryError {
	return &QueryError{
		Query:   query,
		Column:  utf8.RuneCountInString(query[:min(offset, len(query))]) + 1,
		Message: fmt.Sprintf(format, args...),
	}
}

// printable replaces what a terminal might act on, one character for one, so
// that the caret stays below its place.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
