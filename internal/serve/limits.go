package serve

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxPages bounds the pages that are made at once: they read whole tables.
	maxPages = 4
	// maxPageBytes bounds the pages that are made and not yet taken by their clients.
	maxPageBytes = 64 << 20
	// maxPerClient bounds the connections of one client, so that others find room: an
	// address, of IPv6 a network of /64. A trusted proxy speaks for many and has no bound.
	maxPerClient = 512
)

// turn waits until a page may be made; false if the client went away. It is
// over with leave, at the latest before the first byte is sent: a client that takes
// its page slowly must not keep others from theirs.
func (ex *exchange) turn() bool {
	select {
	case ex.s.pages.turn <- struct{}{}:
		ex.leave = sync.OnceFunc(func() { <-ex.s.pages.turn })
		return true
	case <-ex.r.Context().Done():
		return false
	}
}

// page answers with something that was made for this client and may be large.
func (ex *exchange) page(contentType string, body []byte) {
	if ex.leave != nil {
		ex.leave()
	}
	size := min(int64(len(body)), maxPageBytes)
	ctx, cancel := ex.patient()
	err := ex.s.sending.Acquire(ctx, size)
	cancel()
	if err != nil {
		ex.broken(http.StatusServiceUnavailable, "many pages are being sent now", err)
		return
	}
	defer ex.s.sending.Release(size)
	_ = http.NewResponseController(ex.w).SetWriteDeadline(time.Now().Add(idleWrite)) // of begin, what it waited is gone
	ex.text(http.StatusOK, contentType, body)
}

func newSending() *semaphore.Weighted { return semaphore.NewWeighted(maxPageBytes) }

// clients counts the connections of each client. Safe for concurrent use.
type clients struct {
	max    int
	exempt []netip.Prefix

	mu sync.Mutex
	by map[netip.Prefix]int
}

func newClients(limit int, exempt []netip.Prefix) *clients {
	return &clients{max: limit, exempt: exempt, by: map[netip.Prefix]int{}}
}

// take counts a connection from an address until it is released; false if there are too many.
func (c *clients) take(from net.Addr) (release func(), ok bool) {
	key, bounded := c.key(from)
	if !bounded {
		return func() {}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[key] >= c.max {
		return nil, false
	}
	c.by[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.by[key]--; c.by[key] == 0 {
			delete(c.by, key)
		}
	}, true
}

// key is whom a connection is counted for; false for one that is not: of a unix socket, of a trusted proxy.
func (c *clients) key(from net.Addr) (netip.Prefix, bool) {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range c.exempt {
		if p.Contains(addr) {
			return netip.Prefix{}, false
		}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	key, err := addr.Prefix(bits)
	return key, err == nil
}
