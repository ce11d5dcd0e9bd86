package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/serve/dates"
	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// errPrefixTwice marks two sources with an archive of one prefix.
var errPrefixTwice = errors.New("prefix served twice")

const (
	// resolveTimeout bounds resolving a tag.
	resolveTimeout = 10 * time.Second
	// openTimeout bounds opening a snapshot, its table of some MB included.
	openTimeout = 3 * time.Minute
	// missWait is how long a request for a file that is not here waits for the tag to be resolved.
	missWait = 10 * time.Second
	// missTokens and missRate bound how often such requests alone resolve tags: a
	// burst, and so many a second. One that finds a new snapshot costs nothing.
	missTokens = 20
	missRate   = 2
	// missPause is how long such requests do not resolve after an error.
	missPause = 5 * time.Second
	// keysAgain is after how long a statement that did not verify is verified again.
	keysAgain = time.Minute
	// fillEvery is how often files of the first snapshot that could not be fetched are tried again, at least.
	fillEvery = 5 * time.Second
)

// follower follows the tag of one source. Safe for concurrent use.
type follower struct {
	source Source
	turn   chan struct{} // holds one element while nobody resolves

	pending atomic.Pointer[served] // a newcomer that is answered from soon: its files are being fetched

	mu      sync.Mutex
	started uint64          // times that the tag was resolved so far
	refused snapshot.Digest // the root that the tag names and that is not served
	refusal *dates.Refusal  // why; nil: what the tag named last is served
	failing bool            // the tag could not be resolved, or its snapshot not read, the last time
	tokens  float64         // of misses
	filled  time.Time       // when tokens was last brought up to date
	pause   time.Time       // misses wait until then
}

func newFollower(src Source) *follower {
	f := &follower{source: src, turn: make(chan struct{}, 1), tokens: missTokens}
	f.turn <- struct{}{}
	return f
}

// first serves what a source names when the server starts. If that is refused, or
// the tag cannot be resolved, the snapshot that was served last is opened
// instead, if the source still has it.
func (s *Server) first(ctx context.Context, i int) error {
	err := s.check(ctx, i)
	if err == nil || errors.Is(err, errPrefixTwice) {
		return err
	}
	root, ok := s.dates.Root(s.followers[i].source.Name())
	if !ok {
		return err
	}
	s.o.Log.Warn("serving the snapshot served last", "reference", s.followers[i].source.Name(), "root", root.String(), "because", err)
	if last := s.adopt(ctx, i, root); last != nil {
		return fmt.Errorf("%w; snapshot served last: %v", err, last)
	}
	s.report(i, err)
	return nil
}

// follow resolves the tag of source i again and again, until ctx ends.
func (s *Server) follow(ctx context.Context, i int) {
	tick := time.NewTicker(s.o.Follow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.ask(ctx, i, s.followers[i].asked(), false)
			s.forget()
		}
	}
}

// forget drops snapshots whose grace is over.
func (s *Server) forget() {
	s.switching.Lock()
	defer s.switching.Unlock()
	v := s.view.Load()
	if next := v.expired(s.o.Now()); next != v {
		s.view.Store(next)
	}
}

// recheck resolves the tag of every source, because a by-hash name or pool file
// was not found. It returns when each was resolved after the call, or missWait is over.
func (s *Server) recheck(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	asked := make([]uint64, len(s.followers))
	for i, f := range s.followers {
		asked[i] = f.asked()
	}
	for i, f := range s.followers {
		if f.pending.Load() != nil || !f.mayAsk(s.o.Now()) {
			continue // a newcomer is known already, or there were too many
		}
		// It goes on when this request waits no longer: the next one may need the answer.
		done := make(chan struct{})
		go func() { defer close(done); s.ask(ctx, i, asked[i], true) }()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// ask resolves the tag of source i, unless somebody did since seen was read: of
// any number of callers that wait, one does. A miss pays if it was in vain.
func (s *Server) ask(ctx context.Context, i int, seen uint64, miss bool) {
	f := s.followers[i]
	select {
	case <-f.turn:
	case <-ctx.Done():
		return
	}
	defer func() { f.turn <- struct{}{} }()
	if !f.begin(seen) {
		return
	}
	before := s.view.Load().current[i]
	if miss {
		ctx = context.WithoutCancel(ctx) // not bound to the request that asked: others wait for the answer too
	}
	err := s.check(ctx, i)
	if ctx.Err() != nil {
		return // the server ends
	}
	f.answered(s.o.Now(), miss && before == s.view.Load().current[i], err)
	s.report(i, err)
}

// report logs a change between going well and failing, not each failure.
func (s *Server) report(i int, err error) {
	f := s.followers[i]
	f.mu.Lock()
	was := f.failing
	f.failing = err != nil && !isRefusal(err)
	now := f.failing
	f.mu.Unlock()
	name := f.source.Name()
	if now {
		s.metrics.FollowErrors.WithLabelValues(name).Inc()
	}
	switch {
	case now && !was:
		s.o.Log.Error("tag not followed", "reference", name, "error", err)
	case was && !now:
		s.o.Log.Info("tag followed again", "reference", name)
	}
}

// check resolves the tag of source i and switches if it moved.
func (s *Server) check(ctx context.Context, i int) error {
	f := s.followers[i]
	resolving, cancel := context.WithTimeout(ctx, resolveTimeout)
	root, err := f.source.Resolve(resolving)
	cancel()
	if err != nil {
		return err
	}
	if h := s.view.Load().current[i]; h != nil && h.Root == root {
		f.refuse(root, nil)
		return nil
	}
	if r := f.refusedFor(root, s.o.Now()); r != nil {
		return r
	}
	err = s.adopt(ctx, i, root)
	r, refused := errors.AsType[*dates.Refusal](err)
	if err == nil || refused {
		f.refuse(root, r)
	}
	if refused {
		s.metrics.Refused.WithLabelValues(f.source.Name(), r.Reason).Inc()
		s.o.Log.Error("snapshot not followed", "reference", f.source.Name(), "root", root.String(), "reason", r.Reason, "error", err)
	}
	return err
}

// refuse notes why the root that the tag names is not served; nil: it is.
func (f *follower) refuse(root snapshot.Digest, r *dates.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused, f.refusal = root, r
}

// refusedFor returns why a root was refused, if it would be refused again now.
func (f *follower) refusedFor(root snapshot.Digest, now time.Time) *dates.Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal == nil || f.refused != root || (!f.refusal.Until.IsZero() && !now.Before(f.refusal.Until)) {
		return nil
	}
	return f.refusal
}

// adopt opens a root and switches to it whole. The Dates are on disk before the
// first answer from it: killed in between, a restart refuses nothing but what is older.
func (s *Server) adopt(ctx context.Context, i int, root snapshot.Digest) error {
	f := s.followers[i]
	name := f.source.Name()
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	sn, err := f.source.Open(opening, root.String())
	cancel()
	if err != nil {
		return err
	}
	h := s.hold(i, sn)
	newcomer := dates.Newcomer{Reference: name, Snapshot: sn}
	if err := s.verify(f, h); err != nil {
		r := &dates.Refusal{Reason: "signature", Err: err}
		if s.o.ReadSiteKeys != nil {
			r.Until = s.o.Now().Add(keysAgain) // the key may be put there after the snapshot
		}
		return r
	}
	checking, cancel := context.WithTimeout(ctx, openTimeout)
	err = s.dates.Check(checking, newcomer)
	cancel()
	if err != nil {
		return err
	}
	if s.view.Load().current[i] != nil {
		f.pending.Store(h)
		defer f.pending.Store(nil)
		if err := prefetch.Fetch(ctx, h.Snapshot, s.o.Prefetch, h.fetched); err != nil {
			return fmt.Errorf("snapshot %s is not switched to: %w", h.name, err)
		}
	}
	s.switching.Lock()
	defer s.switching.Unlock()
	v := s.view.Load()
	if prefix, other, found := v.conflict(i, h); found {
		return fmt.Errorf("%w: %q by %s and %s", errPrefixTwice, prefix, s.followers[other].source.Name(), name)
	}
	if err := s.dates.Advance(newcomer); err != nil {
		return err
	}
	now := s.o.Now()
	h.since = now
	s.view.Store(v.with(i, h, now, now.Add(s.o.Grace)))
	s.o.Log.Info("current snapshot", "reference", name, "snapshot", h.name, "root", root.String(), "files", h.Table.Len())
	return nil
}

// settle fetches the indices of the first snapshots, as far as that is a matter of seconds.
func (s *Server) settle(ctx context.Context) {
	if s.o.Prefetch == prefetch.None {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.o.settle, settleTime))
	defer cancel()
	for _, h := range s.view.Load().current {
		if h != nil {
			_ = prefetch.Fetch(ctx, h.Snapshot, prefetch.Indices, h.fetched) // fill goes on
		}
	}
}

// fill fetches the files of the first snapshot of source i, which is answered from before it has them, until ctx ends.
func (s *Server) fill(ctx context.Context, i int) {
	current := func() (*snapshot.Snapshot, *prefetch.Progress) {
		if h := s.view.Load().current[i]; h != nil {
			return h.Snapshot, h.fetched
		}
		return nil, nil
	}
	prefetch.Fill(ctx, s.o.Prefetch, min(s.o.Follow, fillEvery), current, func(sn *snapshot.Snapshot, err error) {
		s.o.Log.Error("not all files of the current snapshot can be fetched; they will be tried again", "root", sn.Root.String(), "error", err)
	})
}

// lacking is why the server is not ready to answer from h yet: indices that are not here. tolerated is why it
// is all the same, because they have been missing for too long. Both "": it has all.
func (s *Server) lacking(h *served) (why, tolerated string) {
	if s.o.Prefetch == prefetch.None {
		return "", ""
	}
	why = h.fetched.Lacking()
	if s.o.Now().Sub(h.since) < s.o.ReadyAfter {
		return why, ""
	}
	return "", why
}

// pendingFile finds a lasting file in a newcomer that is about to be switched to: a replica is ahead, and its
// client came here for the rest.
func (s *Server) pendingFile(p, prefix string) (*served, snapshot.Row, bool) {
	for _, f := range s.followers {
		if h := f.pending.Load(); h != nil && h.archive(prefix) != nil {
			if row, ok := h.Table.Resolve(h.Statement, p); ok {
				return h, row, true
			}
		}
	}
	return nil, snapshot.Row{}, false
}

// verify verifies the statement under the site's key, where one is configured.
// A reference by digest is a pin and needs no signature, but must not have a foreign one.
func (s *Server) verify(f *follower, h *served) error {
	ring := s.siteRing.Load()
	if ring == nil || (!h.Signed && f.source.Pinned()) {
		return nil
	}
	if !h.Signed {
		return errors.New("the statement is not signed, but trust names the site's key")
	}
	if s.o.ReadSiteKeys != nil {
		// A rotation writes the files that trust names: they say who is believed, and what new hosts get.
		now, err := s.o.ReadSiteKeys()
		if err != nil {
			s.o.Log.Warn("the site's keys cannot be read anew", "error", err)
		} else {
			ring = now
		}
	}
	if _, _, err := pgp.VerifyClearsigned(h.StatementBytes, pgp.Trust{Keyring: ring}); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	if old := s.siteRing.Swap(ring); !slices.Equal(old.Fingerprints(), ring.Fingerprints()) {
		if armor, err := ring.Armor(); err == nil && len(s.o.SiteKey) > 0 {
			s.siteKey.Store(&web.Key{Armor: armor, Fingerprints: ring.Fingerprints()}) // hosts set up from here on need the new one
		}
		s.o.Log.Info("site's keys read anew", "fingerprints", ring.Fingerprints())
	}
	return nil
}

// isRefusal tells whether an error is about a snapshot itself, not about reading it.
func isRefusal(err error) bool { _, ok := errors.AsType[*dates.Refusal](err); return ok }

// health tells whether the tag could not be resolved the last time, and why what it names is not served; nil: it is.
func (f *follower) health() (failing bool, why *dates.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failing, f.refusal
}

// asked counts how often the tag was resolved so far.
func (f *follower) asked() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started
}

// begin counts that the tag is resolved now; false if it was since seen was read.
func (f *follower) begin(seen uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.started != seen {
		return false
	}
	f.started++
	return true
}

// mayAsk tells whether a miss may resolve the tag now.
func (f *follower) mayAsk(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.filled.IsZero() {
		f.tokens = min(missTokens, f.tokens+now.Sub(f.filled).Seconds()*missRate)
	}
	f.filled = now
	return f.tokens >= 1 && !now.Before(f.pause)
}

// answered ends what begin began, and takes a token for a miss that was in vain.
func (f *follower) answered(now time.Time, vain bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if vain {
		f.tokens--
	}
	if err != nil && !isRefusal(err) {
		f.pause = now.Add(missPause)
	}
}
