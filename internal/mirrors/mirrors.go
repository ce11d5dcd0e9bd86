// Package mirrors sends clients of a server to mirrors for blobs: who they are, which of them has a blob, and how they are.
//
// A mirror is believed nothing. A client is sent there for a blob once the blob was looked at there, its bytes or, where the
// mirror is told to be reliable, its size; and while the mirror answers. What a client is sent to is checked by the client, too: it
// knows the digest. So a mirror that is the same to everybody can at most fail a client once, and see which blobs it wants; one that
// answers this server and not a client, by intent or by a firewall between them, is found out by nobody here.
package mirrors

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// FrontHeader is in what a front asks of mirrors, so that one that is the front itself, under whatever name, is found out.
const FrontHeader = "X-Mmoci-Front"

const (
	// defaultPatience is how long a client waits until a mirror was looked at.
	defaultPatience = 250 * time.Millisecond
	// aliveFor is how long a mirror counts as answering after it did: two beats. Clients that are sent to one that vanished meanwhile
	// wait for their own timeouts.
	aliveFor = 2 * beat
	// comesBack is how long a client that asks again for what it was sent away for is one that may have failed there: the
	// blob is looked at once more, but not more often than every again, for many clients may have one address.
	comesBack = time.Minute
	again     = 25 * time.Millisecond
	// hashAgain is how old what is known of the bytes may be then.
	hashAgain = time.Minute
	// maxTried is how many mirrors are looked at for one request.
	maxTried = 3
	// How long a verdict holds. What is wrong stays so until somebody mends it.
	wholeFor   = 10 * time.Minute
	missingFor = time.Minute
	wrongFor   = 30 * time.Minute
	// sampled is how many blobs come between two of a reliable mirror that are hashed, and how many verdicts on bytes end
	// between two that are found by hashing again.
	sampled = 20

	maxLooking = 64      // looks at mirrors at once
	maxHashing = 4       // blobs that are read whole from one mirror at once
	maxRecent  = 1 << 16 // redirects that are remembered for clients that come back
	maxHosts   = 64      // names of the front that refusals are logged for
)

// Options of a set; the zero value works.
type Options struct {
	Log *slog.Logger
	// Patience is how long a client waits for a mirror that has to be looked at first; then the front serves it
	// itself, and the look goes on. 0 means 250 ms.
	Patience time.Duration
	// Transport reaches the mirrors; nil: one of this set's own.
	Transport http.RoundTripper

	// For tests.
	now       func() time.Time
	stall     time.Duration // how long a mirror may be silent; 0: stallAfter
	tick      time.Duration // 0: tickEvery
	firstWait time.Duration // before a mirror that was left is looked at again; 0: firstComeback
	aliveFor  time.Duration // 0: aliveFor
}

// Set is a list of mirrors and what is known of them. Safe for concurrent use.
type Set struct {
	o       Options
	id      string // of this front, in FrontHeader
	client  *http.Client
	members atomic.Pointer[[]*member]
	known   *generations[knownKey, knowledge]
	recent  *generations[uint64, time.Time]
	hash    maphash.Seed
	looking chan struct{}

	mu      sync.Mutex
	ids     uint64
	checks  map[knownKey]*check
	refused map[string]bool // mirror and host that a refusal was logged for
}

// member is a mirror of the set. The part that a new list may change is a value of its own.
type member struct {
	Mirror
	*state
}

// New returns a set without mirrors.
func New(o Options) *Set {
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	o.stall, o.tick = cmp.Or(o.stall, stallAfter), cmp.Or(o.tick, tickEvery)
	o.firstWait, o.aliveFor = cmp.Or(o.firstWait, firstComeback), cmp.Or(o.aliveFor, aliveFor)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: o.stall, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: o.stall, ResponseHeaderTimeout: o.stall, DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 4,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	s := &Set{
		o: o, id: rand.Text(), hash: maphash.MakeSeed(),
		known: newGenerations[knownKey, knowledge](maxKnown), recent: newGenerations[uint64, time.Time](maxRecent),
		looking: make(chan struct{}, maxLooking), checks: map[knownKey]*check{}, refused: map[string]bool{},
		client: &http.Client{
			Transport: o.Transport,
			// What a mirror redirects to is somebody else's, or of this network, and is not looked at.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.members.Store(&[]*member{})
	return s
}

// Update replaces the mirrors. What is known of one that stays is kept.
func (s *Set) Update(all []Mirror) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.members.Load()
	members := make([]*member, len(all))
	for i := range all {
		m := &member{Mirror: all[i]}
		if at := slices.IndexFunc(old, func(o *member) bool { return same(&o.Mirror, &m.Mirror) }); at >= 0 {
			m.state = old[at].state
		} else {
			s.ids++
			m.state = newState(s.ids, m.Name)
		}
		members[i] = m
	}
	s.members.Store(&members)
}

// ID is what this front says in [FrontHeader].
func (s *Set) ID() string { return s.id }

// Want is what a client asks for.
type Want struct {
	Blob snapshot.Blob
	// Client is the address of the client, and Host how it calls the front, with a port or without one.
	Client, Host string
	// Secure tells that the client speaks HTTPS to the front.
	Secure bool
	// Prefix and Architecture are those of a pool file that apt asks for; "" below /v2/.
	Prefix, Architecture string
	// Repository is the name of a request below /v2/; "" of one by apt.
	Repository string
}

// Choice is a mirror that has the blob.
type Choice struct{ Mirror, URL string }

// Choose returns the mirror to send a client to; false: the front is to serve the blob itself. It returns within [Options].Patience.
// Of the mirrors that carry the blob it takes the first, in an order of the digest's own that is the same at all fronts with the
// same list, which has the blob and answers.
func (s *Set) Choose(ctx context.Context, w Want) (Choice, bool) {
	members := *s.members.Load()
	if len(members) == 0 {
		return Choice{}, false
	}
	now := s.o.now()
	seen := maphash.Comparable(s.hash, recentKey{w.Client, w.Blob.Digest})
	last, repeated := s.recent.get(seen)
	repeated = repeated && now.Sub(last) < comesBack
	var room [maxTried]*member
	tried := room[:0]
	patience := time.Duration(-1) // no timer yet
	var timeout <-chan time.Time
	for len(tried) < maxTried {
		m := s.best(members, w, tried)
		if m == nil {
			break
		}
		tried = append(tried, m)
		if s.sharesCredentials(m, w.Host) || m.Check == Redirect && repeated {
			continue
		}
		k, _ := s.known.get(knownKey{m.id, w.Blob.Digest})
		holds := k.verdict != unknown && now.Before(k.until)
		if holds && k.verdict != whole {
			continue
		}
		rehash := repeated && (!k.bytes || !k.hashed.After(last) && now.Sub(k.hashed) > hashAgain)
		failed := rehash || repeated && !k.at.After(last) && now.Sub(k.at) > again
		if holds && m.answeredWithin(s.o.aliveFor, now) && !failed {
			return s.sent(m, w, seen), true
		}
		if patience < 0 {
			patience = s.o.Patience
			t := time.NewTimer(patience)
			defer t.Stop()
			timeout = t.C
		}
		c := s.check(m, w.Blob, rehash || s.hashes(m, k))
		if c == nil {
			break
		}
		select {
		case <-c.done:
			if c.verdict == whole && m.fault() == nil {
				return s.sent(m, w, seen), true
			}
		case <-timeout:
			return Choice{}, false
		case <-ctx.Done():
			return Choice{}, false
		}
	}
	return Choice{}, false
}

type recentKey struct {
	client string
	digest snapshot.Digest
}

// sent notes that a client is sent to a mirror.
func (s *Set) sent(m *member, w Want, seen uint64) Choice {
	now := s.o.now() // after the look that found the blob
	s.recent.set(seen, now)
	m.used(w.Blob, now)
	return Choice{Mirror: m.Name, URL: m.blob(w.Blob.Digest.Hex())}
}

// hashes tells whether the next look at a blob is one at its bytes.
func (s *Set) hashes(m *member, k knowledge) bool {
	if k.verdict == whole && k.bytes { // it was right: mostly it is enough that it is there
		return m.nth()%sampled == 0
	}
	return m.Check == Bytes || m.strict.Load()
}

// best is the mirror that comes first for a blob among those that may have it and were not tried; nil if there is none.
func (s *Set) best(members []*member, w Want, tried []*member) (best *member) {
	highest := 0.0
	for _, m := range members {
		if m.fault() != nil || !m.carries(w) || slices.Contains(tried, m) {
			continue
		}
		if score := m.score(w.Blob.Digest); best == nil || score > highest {
			best, highest = m, score
		}
	}
	return best
}

// carries tells whether a mirror's entry says that it has what is wanted, in a way that the client follows.
func (m *Mirror) carries(w Want) bool {
	if w.Repository != "" {
		return len(m.Repositories) == 0 || slices.ContainsFunc(m.Repositories, func(glob string) bool {
			ok, _ := path.Match(glob, w.Repository)
			return ok
		})
	}
	if m.URL.Scheme == "http" && w.Secure { // apt follows no redirect from https to http
		return false
	}
	return (len(m.Prefixes) == 0 || slices.Contains(m.Prefixes, w.Prefix)) &&
		(len(m.Architectures) == 0 || w.Architecture == "all" || slices.Contains(m.Architectures, w.Architecture))
}

// score orders mirrors by rendezvous hashing: each has an independent draw for each blob, and comes first in proportion to its
// weight. One that comes or goes moves its own share and nothing else.
func (m *member) score(d snapshot.Digest) float64 {
	x := binary.LittleEndian.Uint64(d[:8]) ^ m.seed
	// The finaliser of splitmix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	u := (float64(x>>11) + 0.5) / (1 << 53)
	return float64(m.Weight) / -math.Log(u)
}

func seedOf(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:8])
}

// sharesCredentials tells whether a client would keep its password when it is sent from host to the mirror, and that is not
// meant. It says so in the log once for each host.
func (s *Set) sharesCredentials(m *member, host string) bool {
	if m.SharesCredentials {
		return false
	}
	u := url.URL{Host: host}
	if !sharesHost(u.Hostname(), m.URL.Hostname()) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := m.Name + " " + strings.ToLower(u.Hostname()); !s.refused[key] && len(s.refused) < maxHosts {
		s.refused[key] = true
		s.o.Log.Warn("mirror not used: clients that log in here would send it their password, because its host name is this server's or below it; "+
			"give it another name, or say shares-credentials: yes", "mirror", m.Name, "url", m.URL.String(), "host", host)
	}
	return true
}

// Status is how a mirror is.
type Status struct {
	Mirror
	// Fault is why no client is sent there now; nil: it is used.
	Fault *Fault
	// Sent and Bytes are the redirects and the size of their blobs.
	Sent, Bytes int64
	// Faults counts what was found, by kind.
	Faults map[Kind]int64

	strict bool // it had wrong bytes
}

// Status returns how the mirrors are, in the order of the list.
func (s *Set) Status() []Status {
	var all []Status
	for _, m := range *s.members.Load() {
		all = append(all, m.status(m.Mirror))
	}
	return all
}
