package artifact

import (
	"context"
	"sync"
	"time"
)

// pace holds all uploads of one push together to so many bytes a second.
type pace struct {
	rate int64 // bytes a second; 0: no limit

	mu   sync.Mutex
	next time.Time // when what was let through so far is due
}

// burst is what may go at once after a pause, in time.
const burst = 100 * time.Millisecond

// chunk bounds one read, so that a slow pace is not mistaken for a stall.
func (p *pace) chunk(n int) int {
	if p == nil || p.rate <= 0 {
		return n
	}
	return int(min(int64(n), max(p.rate/4, 512)))
}

// wait lets n bytes through, when it is their turn.
func (p *pace) wait(ctx context.Context, n int) error {
	if p == nil || p.rate <= 0 || n <= 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-burst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	pause := p.next.Sub(now)
	p.mu.Unlock()
	if pause <= 0 {
		return nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
