package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

var (
	// errRolledBack marks a snapshot that would show clients an older Date at a moving URL (law 8).
	errRolledBack = errors.New("tag moved back")
	// errFuture marks a snapshot that would bar everything honest after it.
	errFuture = errors.New("dated in the future")
	// errPrefixTwice marks two sources with an archive of one prefix.
	errPrefixTwice = errors.New("prefix served twice")
)

const (
	// resolveTimeout bounds the question which root a tag names.
	resolveTimeout = 10 * time.Second
	// openTimeout bounds opening a snapshot, its table of some MB included.
	openTimeout = 3 * time.Minute
	// missWait is how long a miss waits for the tag to be asked for.
	missWait = 10 * time.Second
	// missTokens and missRate bound how often misses alone make us ask: a
	// burst, and so many a second. An answer that was worth it costs nothing.
	missTokens = 20
	missRate   = 2
	// missPause is how long misses do not ask after an error.
	missPause = 5 * time.Second
)

// lane follows one source.
type lane struct {
	source Source
	turn   chan struct{} // holds one element while nobody asks

	mu      sync.Mutex
	started uint64          // questions asked so far
	refused snapshot.Digest // the root that the tag names and that is not followed
	refusal *refusal        // why; nil: what the tag named last is in force
	failing bool            // the last question ended in an error
	tokens  float64
	filled  time.Time // when tokens was last brought up to date
	pause   time.Time // misses wait until then
}

func newLane(src Source) *lane {
	l := &lane{source: src, turn: make(chan struct{}, 1), tokens: missTokens}
	l.turn <- struct{}{}
	return l
}

// first opens what a source names when the server starts. If that is refused,
// or the tag cannot be asked for, the snapshot that was served last is
// opened instead, if it is still to be had.
func (s *Server) first(ctx context.Context, i int) error {
	err := s.check(ctx, i)
	if err == nil || errors.Is(err, errPrefixTwice) {
		return err
	}
	root, ok := s.marks.root(s.lanes[i].source.Name())
	if !ok {
		return err
	}
	s.log.Warn("serving the snapshot served last", "reference", s.lanes[i].source.Name(), "root", root.String(), "because", err)
	if last := s.adopt(ctx, i, root, PrefetchNone); last != nil {
		return fmt.Errorf("%w; snapshot served last: %v", err, last)
	}
	s.tell(i, err)
	return nil
}

// Run follows the tags, and the rules file, until ctx ends. ListenAndServe does
// it too; a second call only waits.
func (s *Server) Run(ctx context.Context) error {
	if !s.following.CompareAndSwap(false, true) {
		<-ctx.Done()
		return nil
	}
	defer s.following.Store(false)
	var wg sync.WaitGroup
	for i := range s.lanes {
		wg.Go(func() { s.follow(ctx, i) })
	}
	wg.Go(func() { s.rules.watch(ctx) })
	wg.Wait()
	return nil
}

// Reload reads rules, certificate and credentials again and asks for every tag,
// as happens by itself now and then. What is bad leaves what was; answers under way go on.
func (s *Server) Reload(ctx context.Context) {
	s.log.Info("reloading")
	select {
	case s.rules.look <- struct{}{}:
	default: // it will look anyway
	}
	s.certs.lookNow()
	s.guard.lookNow()
	var wg sync.WaitGroup
	for i, l := range s.lanes {
		wg.Go(func() { s.ask(ctx, i, l.asked(), false) })
	}
	wg.Wait()
}

func (s *Server) follow(ctx context.Context, i int) {
	tick := time.NewTicker(s.o.Follow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.ask(ctx, i, s.lanes[i].asked(), false)
			s.forget()
		}
	}
}

// forget drops snapshots whose grace is over.
func (s *Server) forget() {
	s.adoptMu.Lock()
	defer s.adoptMu.Unlock()
	v := s.view.Load()
	if next := v.expired(s.now()); next != v {
		s.view.Store(next)
	}
}

// recheck asks every source, because a by-hash name or pool file was not
// found, and returns when each answered a question that was put after the call.
func (s *Server) recheck(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	asked := make([]uint64, len(s.lanes))
	for i, l := range s.lanes {
		asked[i] = l.asked()
	}
	for i, l := range s.lanes {
		if !l.take(s.now()) {
			continue
		}
		// The question goes on when its time is over for this request: the next one may need the answer.
		done := make(chan struct{})
		go func() { defer close(done); s.ask(ctx, i, asked[i], true) }()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// await waits for the turn to ask; false if ctx ended before.
func (l *lane) await(ctx context.Context) (leave func(), ok bool) {
	select {
	case <-l.turn:
		return func() { l.turn <- struct{}{} }, true
	case <-ctx.Done():
		return nil, false
	}
}

// ask puts the question to source i, unless somebody put it after seen was
// read: of any number of callers that wait, one asks. A miss pays if it was in vain.
func (s *Server) ask(ctx context.Context, i int, seen uint64, miss bool) {
	l := s.lanes[i]
	leave, ok := l.await(ctx)
	if !ok {
		return
	}
	defer leave()
	if !l.ask(seen) {
		return
	}
	before := s.view.Load().current[i]
	// Detached from the request that asked: others wait for the answer too.
	err := s.check(context.WithoutCancel(ctx), i)
	l.answered(s.now(), miss && before == s.view.Load().current[i], err)
	s.tell(i, err)
}

// tell logs a change between going well and failing, not each failure.
func (s *Server) tell(i int, err error) {
	l := s.lanes[i]
	l.mu.Lock()
	was := l.failing
	l.failing = err != nil && !isRefusal(err)
	now := l.failing
	l.mu.Unlock()
	name := l.source.Name()
	if now {
		s.metrics.followErrors.WithLabelValues(name).Inc()
	}
	switch {
	case now && !was:
		s.log.Error("tag not followed", "reference", name, "error", err)
	case was && !now:
		s.log.Info("tag followed again", "reference", name)
	}
}

// check resolves the tag of source i and switches if it moved.
func (s *Server) check(ctx context.Context, i int) error {
	l := s.lanes[i]
	rctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	root, err := l.source.Resolve(rctx)
	cancel()
	if err != nil {
		return err
	}
	if h := s.view.Load().current[i]; h != nil && h.Root == root {
		l.refuse(root, nil)
		return nil
	}
	if r := l.refusedFor(root, s.now()); r != nil {
		return r
	}
	err = s.adopt(ctx, i, root, s.o.Prefetch)
	r, refused := errors.AsType[*refusal](err)
	if err == nil || refused {
		l.refuse(root, r)
	}
	if refused {
		s.metrics.refused.WithLabelValues(l.source.Name(), r.reason).Inc()
		s.log.Error("snapshot not followed", "reference", l.source.Name(), "root", root.String(), "reason", r.reason, "error", err)
	}
	return err
}

// refuse notes why the root that the tag names is not followed; nil: it is.
func (l *lane) refuse(root snapshot.Digest, r *refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.refusal = root, r
}

// refusedFor is why a root was not followed before and would not be now.
func (l *lane) refusedFor(root snapshot.Digest, now time.Time) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusal == nil || l.refused != root || (!l.refusal.until.IsZero() && !now.Before(l.refusal.until)) {
		return nil
	}
	return l.refusal
}

// adopt opens a root aside and switches to it whole. The marks are on disk
// before the first answer from it: killed in between, a restart refuses
// nothing but what is older.
func (s *Server) adopt(ctx context.Context, i int, root snapshot.Digest, first Prefetch) error {
	octx, cancel := context.WithTimeout(ctx, openTimeout)
	sn, err := s.lanes[i].source.Open(octx, root.String())
	cancel()
	if err != nil {
		return err
	}
	h := newHeld(sn)
	octx, cancel = context.WithTimeout(ctx, openTimeout)
	dates, err := s.vet(octx, s.lanes[i], h)
	cancel()
	if err != nil {
		return err
	}
	if err := s.prefetch(ctx, h, first); err != nil {
		return err
	}
	s.adoptMu.Lock()
	defer s.adoptMu.Unlock()
	v := s.view.Load()
	if prefix, other, found := v.conflict(i, h); found {
		return fmt.Errorf("%w: %q by %s and %s", errPrefixTwice, prefix, s.lanes[other].source.Name(), s.lanes[i].source.Name())
	}
	if err := s.marks.advance(step{s.lanes[i].source.Name(), root, h.Statement.Date, dates}); err != nil {
		return err
	}
	now := s.now()
	s.view.Store(v.with(i, h, now, now.Add(s.o.Grace)))
	s.log.Info("current snapshot", "reference", s.lanes[i].source.Name(), "snapshot", h.name, "root", root.String(), "files", h.Table.Len())
	return nil
}

// prefetch reads files before they are asked for; a store below keeps them.
func (s *Server) prefetch(ctx context.Context, h *held, what Prefetch) error {
	if what == PrefetchNone {
		return nil
	}
	for row := range h.Table.Rows() {
		if row.Size == 0 || (what == PrefetchIndices && lasting(row.Path)) {
			continue
		}
		if err := h.bring(ctx, row.Blob()); err != nil {
			return fmt.Errorf("prefetch %s: %w", row.Path, err)
		}
	}
	return nil
}

// bring reads a file, so that a store below has it.
func (h *held) bring(ctx context.Context, b snapshot.Blob) error {
	f, err := h.OpenBlob(ctx, b)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Seeker == nil {
		_, err = io.Copy(io.Discard, f)
	}
	return err
}

// state tells whether the last question ended in an error, and why what the tag names is not followed (nil: it is).
func (l *lane) state() (failing bool, why *refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing, l.refusal
}

func (l *lane) asked() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started
}

// ask counts a question, or tells that one was put since seen.
func (l *lane) ask(seen uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started != seen {
		return false
	}
	l.started++
	return true
}

// take tells whether a miss may ask now.
func (l *lane) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.filled.IsZero() {
		l.tokens = min(missTokens, l.tokens+now.Sub(l.filled).Seconds()*missRate)
	}
	l.filled = now
	return l.tokens >= 1 && !now.Before(l.pause)
}

// answered takes a token for a miss's question that was in vain.
func (l *lane) answered(now time.Time, vain bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if vain {
		l.tokens--
	}
	if err != nil && !isRefusal(err) {
		l.pause = now.Add(missPause)
	}
}
