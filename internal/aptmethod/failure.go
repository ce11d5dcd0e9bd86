package aptmethod

import (
	"context"
	"sync"
	"time"

	"example.org/mmoci/pkg/artifact/remote"
)

// keepFailure is how long a registry that did not answer is not asked again: apt asks for each file of each suite, several
// times, and every question waits for its own end.
const keepFailure = 5 * time.Second

// failure is what a source failed by, as long as it has not answered in this run: one that has, and is out of order for a
// moment, is asked again by each request. The zero value is a source that was not asked yet. Safe for concurrent use.
type failure struct {
	mu       sync.Mutex
	answered bool
	err      error
	at       time.Time
}

// kept is the error of a moment ago; nil: ask.
func (f *failure) kept() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answered || time.Since(f.at) >= keepFailure {
		return nil
	}
	return f.err
}

// note takes the end of a question.
func (f *failure) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	reason := ""
	if err != nil {
		reason, _ = networkReason(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil || remote.Status(err) != 0:
		f.answered = true
	case reason != "":
		f.err, f.at = err, time.Now()
	}
}

// fetch is [fetch] from a source.
func (src *source) fetch(ctx context.Context, f fetching) error {
	if err := src.failed.kept(); err != nil {
		return err
	}
	err := fetch(ctx, src.repository, f)
	src.failed.note(ctx, err)
	return err
}
