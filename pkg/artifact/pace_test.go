package artifact

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Eight uploads together keep the pace.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{rate: 100_000}
		start := time.Now()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for sent := 0; sent < 50_000; {
					n := p.chunk(32 << 10)
					if err := p.wait(t.Context(), n); err != nil {
						t.Error(err)
						return
					}
					sent += n
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took < 3800*time.Millisecond || took > 4200*time.Millisecond {
			t.Errorf("400 kB at 100 kB/s took %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx, 1_000_000); err == nil {
			t.Error("a push that was interrupted waits")
		}
	})
	var none *pace
	if none.chunk(77) != 77 || none.wait(t.Context(), math.MaxInt) != nil {
		t.Error("no pace holds back")
	}
}
