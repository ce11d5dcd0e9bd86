package place

import (
	"context"
	"sync"
	"time"

	"example.org/mmoci/pkg/artifact"
)

const (
	// tagsKept is how long the names of a place's tags are good for: anybody may
	// ask a server for snapshots that are not there, and a list may have many pages.
	tagsKept = 5 * time.Second
	// tagsTime bounds asking for them.
	tagsTime = time.Minute
)

// tagList are the names of a place's tags as it told them lately. Safe for concurrent use.
type tagList struct {
	mu     sync.Mutex
	asking chan struct{} // closed when the question that is under way is answered; nil: none is
	asked  time.Time     // when the answer was there
	names  []string
	err    error
}

// tagNames are the names of tags as they were tagsKept ago at most. Of any
// number of callers one asks, and it asks on when that one goes away.
func (s *Source) tagNames(ctx context.Context) ([]string, error) {
	l := &s.tags
	for {
		l.mu.Lock()
		if l.asking == nil && time.Since(l.asked) < tagsKept {
			defer l.mu.Unlock()
			return l.names, l.err
		}
		if l.asking == nil {
			l.asking = make(chan struct{})
			go s.askTags(context.WithoutCancel(ctx))
		}
		answered := l.asking
		l.mu.Unlock()
		select {
		case <-answered:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Source) askTags(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tagsTime)
	defer cancel()
	names, err := artifact.TagNames(ctx, s.Ref, s.Options)
	l := &s.tags
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.err, l.asked = names, err, time.Now()
	close(l.asking)
	l.asking = nil
}
