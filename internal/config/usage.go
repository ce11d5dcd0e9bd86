package config

import (
	"errors"
	"fmt"

	"example.org/mmoci/internal/transfer"
)

// ErrUsage marks configuration that cannot be used (exit code 2).
var ErrUsage = errors.New("configuration")

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

// usage makes an [ErrUsage] at a position. What is formatted is redacted.
func usage(at Position, format string, args ...any) error {
	msg := fmt.Errorf(format, args...)
	return &usageError{at, transfer.Redact(msg.Error()), errors.Unwrap(msg)}
}
