// Package outcome names the ways in which a command can end, and how it is told on the way.
package outcome

import (
	"context"
	"errors"

	"example.org/mmoci/pkg/archive"
)

var (
	// ErrIntegrity is [archive.ErrIntegrity]: stop and look (exit code 3).
	ErrIntegrity = archive.ErrIntegrity
	// ErrExpired is [archive.ErrExpired]: genuine, and too old (exit code 5).
	ErrExpired = archive.ErrExpired
	// ErrUsage marks a question that cannot be asked so (exit code 2).
	ErrUsage = errors.New("usage")
	// ErrNotFound marks something asked for that is not there (exit code 4).
	ErrNotFound = errors.New("not found")
	// ErrRefused marks a request that would undo something, with the way to insist (exit code 1).
	ErrRefused = errors.New("refused")
)

// Log takes one line for people; nil is silence.
type Log func(format string, args ...any)

func (l Log) Printf(format string, args ...any) {
	if l != nil {
		l(format, args...)
	}
}

// During is a log that says nothing once ctx has ended.
func (l Log) During(ctx context.Context) Log {
	return func(format string, args ...any) {
		if ctx.Err() == nil {
			l.Printf(format, args...)
		}
	}
}
