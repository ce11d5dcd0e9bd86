// Package transfer is the one way to move bytes over a network that fails: what
// is tried again, how often and after which pause, when a silent server is left, what
// an answer's header says about waiting and resuming, and what of a URL may stand in an error.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits bound the attempts at one request or file.
type Limits struct {
	Attempts int // in a row that fail, the first included
	Silent   int // of these, attempts that end in ErrStalled
	Refused  int // of these, attempts that end in a [Failure] that is Refused; 0: as any other
	// Throttled is how many answers 429 do not count as attempts. They are waited for
	// exactly as long as the server asks. 0: they count as any other.
	Throttled  int
	Backoff    time.Duration // the pause after the first failure, doubled after each
	MaxBackoff time.Duration // the longest pause that nobody asked for
	MaxAfter   time.Duration // the longest Retry-After; who asks for more is left at once
	MaxAsked   time.Duration // all pauses together that the server asked for; 0: no limit
}

// Failure is an error that may pass, so that another attempt is worth its while.
type Failure struct {
	Err       error
	After     time.Duration // as Retry-After says
	Asked     bool          // there is a Retry-After
	Throttled bool          // the status is 429
	Refused   bool          // nobody listens there, or no way leads there: that seldom passes
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the error without what the answer said beside it.
func (f *Failure) Unwrap() error { return f.Err }

// Attempts counts those at one request or file. Not safe for concurrent use.
type Attempts struct {
	Limits
	failures, silent, refused, throttled, pauses int
	asked                                        time.Duration
}

// Failed counts a failure. It returns the pause before the next attempt, or an
// error that wraps the failure's and says why there is none.
func (a *Attempts) Failed(f *Failure) (time.Duration, error) {
	a.failures++
	if errors.Is(f.Err, ErrStalled) {
		if a.silent++; a.silent >= a.Silent {
			return 0, a.gaveUp(f)
		}
	}
	if f.Refused && a.Refused > 0 {
		if a.refused++; a.refused >= a.Refused {
			return 0, a.gaveUp(f)
		}
	}
	if f.After > a.MaxAfter {
		return 0, fmt.Errorf("%w; it asks to wait %s, longer than %s", f.Err, f.After, a.MaxAfter)
	}
	obey := f.Throttled && a.Throttled > 0
	pause := min(a.Backoff<<min(a.pauses, 20), a.MaxBackoff)
	if f.Asked && obey {
		pause = f.After
	}
	pause = max(pause, f.After)
	a.pauses++
	if f.Asked || f.Throttled {
		if a.asked += pause; a.MaxAsked > 0 && a.asked > a.MaxAsked {
			return 0, fmt.Errorf("%w; it asks to wait again and again: %s in all", f.Err, a.asked.Round(time.Second))
		}
	}
	if obey {
		a.failures--
		if a.throttled++; a.throttled > a.Throttled {
			return 0, fmt.Errorf("%w (%d times)", f.Err, a.throttled)
		}
	}
	if a.failures >= a.Attempts {
		return 0, a.gaveUp(f)
	}
	return pause, nil
}

func (a *Attempts) gaveUp(f *Failure) error {
	if a.failures < 2 {
		return f.Err
	}
	return fmt.Errorf("%w (%d attempts)", f.Err, a.failures)
}

// Progress forgets the failures so far: what follows is as good as a new transfer.
func (a *Attempts) Progress() { *a = Attempts{Limits: a.Limits, asked: a.asked} }

// Sleep waits for d, or until ctx ends; it returns ctx's cause then.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
