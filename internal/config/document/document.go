// Package document reads the files that people write: YAML as nodes with their places, so that each
// error names file and line, and no secret.
package document

import (
	"errors"
	"fmt"

	"example.org/mmoci/internal/transfer"
)

// ErrUsage marks configuration that cannot be used (exit code 2).
var ErrUsage = errors.New("configuration")

// Position is a place in an input, for messages: "mmoci.yaml:12", "--package".
type Position struct {
	File string
	Line int // 0: not a file
}

// At returns the position of a line of a file.
func At(file string, line int) Position { return Position{file, line} }

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// usageError is an [ErrUsage] with the place it was found at. Its text is one line and holds no secret.
type usageError struct {
	at  Position
	msg string
	err error // the cause, may be nil
}

func (e *usageError) Error() string {
	if e.at.File == "" {
		return e.msg
	}
	return e.at.String() + ": " + e.msg
}

func (e *usageError) Is(target error) bool { return target == ErrUsage }
func (e *usageError) Unwrap() error        { return e.err }

// Errorf makes an [ErrUsage] at a position. What is formatted is redacted.
func Errorf(at Position, format string, args ...any) error {
	msg := fmt.Errorf(format, args...)
	return &usageError{at, transfer.Redact(msg.Error()), errors.Unwrap(msg)}
}
