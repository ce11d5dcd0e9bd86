package main

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
	exitFailed      = 1
	exitUsage       = 2
	exitIntegrity   = 3
	exitNotFound    = 4
	exitExpired     = 5
	exitInterrupted = 130
)

// errFlags marks a command line that cobra could not read.
var errFlags = errors.New("usage")

// exitCode is the one place where errors become exit codes.
func exitCode(ctx context.Context, err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var differs *differError
	switch {
	case ctx.Err() != nil && is(context.Canceled):
		return exitInterrupted
	case errors.As(err, &differs):
		return differs.code
	case is(outcome.ErrIntegrity):
		return exitIntegrity
	case is(errFlags, outcome.ErrUsage, document.ErrUsage, artifact.ErrReference, query.ErrInvalid):
		return exitUsage
	case is(outcome.ErrNotFound, artifact.ErrNotFound, resolve.ErrUnsatisfied):
		return exitNotFound
	case is(archive.ErrExpired):
		return exitExpired
	case is(fs.ErrNotExist):
		return exitUsage // a file that somebody named; what is missing at a place or upstream is ErrNotFound
	}
	return exitFailed
}

// Exit codes of lock --check.
const (
	exitDiffers     = 10 // lock and configuration differ; also two snapshots, of diff --exit-code
	exitLockMissing = 11 // upstream lacks something of it
	exitLockBoth    = 12
)

// differError is an outcome that has an exit code of its own: of a comparison, or of many things of which each was told.
type differError struct {
	text string
	code int
}

func (e *differError) Error() string { return e.text }
