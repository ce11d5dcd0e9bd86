package command

import (
	"context"
	"errors"
	"io/fs"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// Exit codes, as the README lists them.
const (
	ExitFailed      = 1
	ExitUsage       = 2
	ExitIntegrity   = 3
	ExitNotFound    = 4
	ExitExpired     = 5
	ExitInterrupted = 130
)

// ErrFlags marks a command line that cobra could not read.
var ErrFlags = errors.New("usage")

// ExitCode is the one place where errors become exit codes.
func ExitCode(ctx context.Context, err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var differs *CodedError
	switch {
	case ctx.Err() != nil && is(context.Canceled):
		return ExitInterrupted
	case errors.As(err, &differs):
		return differs.Code
	case is(outcome.ErrIntegrity):
		return ExitIntegrity
	case is(ErrFlags, outcome.ErrUsage, document.ErrUsage, artifact.ErrReference, query.ErrInvalid):
		return ExitUsage
	case is(outcome.ErrNotFound, artifact.ErrNotFound, resolve.ErrUnsatisfied):
		return ExitNotFound
	case is(archive.ErrExpired):
		return ExitExpired
	case is(fs.ErrNotExist):
		return ExitUsage // a file that somebody named; what is missing at a place or upstream is ErrNotFound
	}
	return ExitFailed
}

// Exit codes of lock --check.
const (
	ExitDiffers     = 10 // lock and configuration differ; also two snapshots, of diff --exit-code
	ExitLockMissing = 11 // upstream lacks something of it
	ExitLockBoth    = 12
)

// CodedError is an outcome that has an exit code of its own: of a comparison, or of many things of which each was told.
type CodedError struct {
	Text string
	Code int
}

func (e *CodedError) Error() string { return e.Text }
