package aptmethod

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/transfer"
)

const (
	aptRetries  = 3                // Acquire::Retries
	aptMaxDelay = 30 * time.Second // Acquire::Retries::Delay::Maximum
	// aptSlack is how much later than this method apt may know of an answer, and have verified a signature and asked for what that leads to.
	aptSlack = 2 * time.Second
)

// retries keeps answers back, so that apt does not hang while it waits before it asks again for what failed for a moment.
//
// apt from 2.4 to 3.0.2 looks only at the first of the files that it wants of a host, to see whether one is due. The indices that a
// signature file leads to come before those that wait, and are not begun while nothing of this host is under way: then nothing ever
// is. So what may lead to more is answered when the waiting is over, whereupon apt begins what waited, and then all; and
// apt is made to wait when all that signature files led to is under way. Safe for concurrent use.
type retries struct {
	most  int           // how often apt asks again
	delay time.Duration // before the first time; then doubled. 0: it does not wait

	mu      sync.Mutex
	told    map[string]int // how often each URI failed for a moment
	until   time.Time      // when apt has waited for all that failed so far
	settled time.Time      // when apt has asked for all that signature files led to so far
}

func newRetries(c config) *retries {
	r := &retries{most: aptRetries, delay: time.Second, told: map[string]int{}}
	if n, err := strconv.Atoi(c.get("Acquire::Retries")); err == nil {
		r.most = n
	}
	if slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(c.get("Acquire::Retries::Delay"))) {
		r.delay = 0
	}
	return r
}

// answer sends the last answer to a request as soon as it may be sent, unless ctx ends before. transient tells a failure that apt may try again.
func (r *retries) answer(ctx context.Context, q *request, transient bool, send func()) {
	for {
		r.mu.Lock()
		n := r.told[q.uri]
		again := transient && n < r.most && r.delay > 0
		left := time.Until(r.until)
		if again {
			left = time.Until(r.settled)
		}
		if left <= 0 && ctx.Err() == nil {
			send() // with the lock: nobody has apt wait between the look and this
			switch now := time.Now(); {
			case again:
				r.told[q.uri]++
				if until := now.Add(min(r.delay<<min(n, 10), aptMaxDelay) + aptSlack); until.After(r.until) {
					r.until = until
				}
			case q.sha256.IsZero(): // as of all signature files
				r.settled = now.Add(aptSlack)
			}
		}
		r.mu.Unlock()
		if left <= 0 || transfer.Sleep(ctx, left) != nil {
			return
		}
	}
}
