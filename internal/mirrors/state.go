package mirrors

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Kind is a kind of fault.
type Kind string

const (
	Dead      Kind = "dead"      // it cannot be reached, or breaks off
	Slow      Kind = "slow"      // it does not answer in time, or stalls
	Refuses   Kind = "refuses"   // it answers with an error
	Redirects Kind = "redirects" // it sends elsewhere, which is not followed
	Itself    Kind = "itself"    // it is this server
	Wrong     Kind = "wrong"     // it has something else under a digest; it is left for that blob
	Missing   Kind = "missing"   // it lacks a blob; it is left for that blob
)

// Kinds are all of them.
var Kinds = []Kind{Dead, Slow, Refuses, Redirects, Itself, Wrong, Missing}

// Fault is why a mirror is left.
type Fault struct {
	Kind Kind
	Err  error
}

func (f *Fault) Error() string { return string(f.Kind) + ": " + f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

const (
	tickEvery = 250 * time.Millisecond
	// inUse is how long after the last redirect a mirror is looked at every beat.
	inUse = 30 * time.Second
	beat  = time.Second
	// firstComeback is how long a mirror is left at least; it doubles with each look that fails, up to lastComeback.
	firstComeback = time.Second
	lastComeback  = time.Minute
	// lacksAgain is how long the log says nothing more about blobs that a mirror lacks.
	lacksAgain = time.Minute
)

// state is what is known of a mirror. Safe for concurrent use.
type state struct {
	id, seed uint64
	hashing  chan struct{} // has an element for each blob that is read whole
	out      atomic.Pointer[Fault]
	strict   atomic.Bool  // it had wrong bytes once: sizes tell nothing
	answered atomic.Int64 // Unix nanoseconds of when it answered last
	usedAt   atomic.Int64 // and of when a client was sent there last
	last     atomic.Pointer[snapshot.Blob]
	looks    atomic.Int64
	sent     atomic.Int64
	bytes    atomic.Int64
	beating  atomic.Bool // a look by the set itself is under way

	mu     sync.Mutex
	faults map[Kind]int64
	// Of one that was left: the look that must go well, and when it is due.
	retry      snapshot.Blob
	retryBytes bool // of the bytes
	next       time.Time
	wait       time.Duration
	// Of what it lacks: how many blobs since the log said so.
	lacking int
	saidAt  time.Time
}

func newState(id uint64, name string) *state {
	return &state{id: id, seed: seedOf(name), hashing: make(chan struct{}, maxHashing), faults: map[Kind]int64{}}
}

func (t *state) fault() *Fault { return t.out.Load() }
func (t *state) nth() int64    { return t.looks.Add(1) }

func (t *state) answeredWithin(d time.Duration, now time.Time) bool {
	return now.UnixNano()-t.answered.Load() < int64(d)
}

func (t *state) used(b snapshot.Blob, now time.Time) {
	t.sent.Add(1)
	t.bytes.Add(b.Size)
	t.usedAt.Store(now.UnixNano())
	if last := t.last.Load(); last == nil || last.Digest != b.Digest {
		t.last.Store(&b)
	}
}

func (t *state) count(k Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults[k]++
}

func (t *state) status(m Mirror) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := Status{Mirror: m, Fault: t.fault(), Sent: t.sent.Load(), Bytes: t.bytes.Load(), Faults: map[Kind]int64{}, strict: t.strict.Load()}
	for k, n := range t.faults {
		st.Faults[k] = n
	}
	return st
}

// leave takes a mirror out of use, and says so once. The look that found the fault has to go well before it is used again.
func (s *Set) leave(m *member, f *Fault, b snapshot.Blob, bytes bool) {
	t := m.state
	t.mu.Lock()
	defer t.mu.Unlock()
	now := s.o.now()
	if t.out.Load() != nil {
		return
	}
	t.faults[f.Kind]++
	t.retry, t.retryBytes, t.wait = b, bytes, s.o.firstWait
	t.next = now.Add(t.wait)
	t.out.Store(f)
	s.o.Log.Warn("mirror left", "mirror", m.Name, "url", m.URL.String(), "fault", string(f.Kind), "error", f.Err.Error(), "digest", b.Digest.String())
}

// back takes a mirror into use again.
func (s *Set) back(m *member) {
	t := m.state
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out.Swap(nil) != nil {
		s.o.Log.Info("mirror back", "mirror", m.Name, "url", m.URL.String())
	}
}

// lacks notes that a mirror has not got a blob. The log says so at once, and then how many more there were.
func (s *Set) lacks(m *member, b snapshot.Blob) {
	t := m.state
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults[Missing]++
	t.lacking++
	now := s.o.now()
	if now.Sub(t.saidAt) < lacksAgain {
		return
	}
	s.o.Log.Warn("mirror lacks blobs", "mirror", m.Name, "url", m.URL.String(), "fault", string(Missing), "blobs", t.lacking, "digest", b.Digest.String())
	t.lacking, t.saidAt = 0, now
}

// Run looks at mirrors that are in use, so that clients are not sent to one that died, and at those that were left, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	tick := time.NewTicker(s.o.tick)
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.o.now()
		for _, m := range *s.members.Load() {
			b, bytes, due := m.due(now)
			if !due || !m.beating.CompareAndSwap(false, true) {
				continue
			}
			under.Go(func() {
				defer m.beating.Store(false)
				s.beat(ctx, m, b, bytes)
			})
		}
	}
}

// due tells whether a mirror is to be looked at, and at what.
func (t *state) due(now time.Time) (b snapshot.Blob, bytes, due bool) {
	if t.fault() != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.retry, t.retryBytes, !now.Before(t.next)
	}
	last := t.last.Load()
	if last == nil || now.UnixNano()-t.usedAt.Load() > int64(inUse) || t.answeredWithin(beat, now) {
		return b, false, false
	}
	return *last, false, true
}

// beat looks at a mirror: is it back, is it still there?
func (s *Set) beat(ctx context.Context, m *member, b snapshot.Blob, bytes bool) {
	left := m.fault() != nil
	v, f := s.look(ctx, m, b, bytes)
	if ctx.Err() != nil {
		return
	}
	switch {
	case f == nil:
		s.learn(m, b, v, bytes)
		s.back(m)
	case left:
		t := m.state
		t.mu.Lock()
		defer t.mu.Unlock()
		t.wait = min(2*t.wait, lastComeback)
		t.next = s.o.now().Add(t.wait)
		if was := t.out.Load(); was != nil && was.Kind != f.Kind {
			t.faults[f.Kind]++
			t.out.Store(f)
			s.o.Log.Warn("mirror still left", "mirror", m.Name, "fault", string(f.Kind), "error", f.Err.Error())
		}
	default:
		s.leave(m, f, b, bytes)
	}
}

// learn notes what was found of a blob at a mirror that answers.
func (s *Set) learn(m *member, b snapshot.Blob, v verdict, bytes bool) {
	now := s.o.now()
	m.answered.Store(now.UnixNano())
	key := knownKey{m.id, b.Digest}
	before, _ := s.known.get(key)
	k := knowledge{verdict: v, at: now, hashed: now, bytes: bytes}
	if !bytes && v == whole && before.verdict == whole {
		k.bytes, k.hashed = before.bytes, before.hashed
	}
	switch v {
	case whole:
		k.until = now.Add(wholeFor)
	case missing:
		k.until = now.Add(missingFor)
		if before.verdict != missing {
			s.lacks(m, b)
		}
	case wrong:
		k.until = now.Add(wrongFor)
		m.strict.Store(true)
		if before.verdict != wrong {
			m.count(Wrong)
			s.o.Log.LogAttrs(context.Background(), slog.LevelError, "mirror has wrong bytes; it is left for this blob, and others are hashed before clients are sent there",
				slog.String("mirror", m.Name), slog.String("url", m.URL.String()), slog.String("fault", string(Wrong)), slog.String("digest", b.Digest.String()))
		}
	}
	s.known.set(key, k)
}
