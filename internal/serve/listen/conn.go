package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// apt prints the reason phrase of an error's status line and never its body,
// and net/http writes a phrase of its own. So the connection replaces the phrase
// as it is written. net/http still owns the connection, with everything that
// keep-alive, pipelining and draining need.

// maxReason bounds a reason phrase, in bytes.
const maxReason = 200

type statusLineKey struct{}

// statusLine is the phrase of the next status line on one connection. Handler
// and header are written by one goroutine, one answer after the other.
type statusLine struct {
	reason string
	tls    bool // of the connection: net/http cannot see it through ours
}

// withStatusLine is http.Server.ConnContext.
func withStatusLine(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(interface{ statusLine() *statusLine }); ok {
		return context.WithValue(ctx, statusLineKey{}, l.statusLine())
	}
	return ctx
}

// SetReason sets the phrase of the answer to r. On a connection that [Serve] did
// not accept the standard phrase stays.
func SetReason(r *http.Request, reason string) {
	if l, ok := r.Context().Value(statusLineKey{}).(*statusLine); ok {
		l.reason = phrase(reason)
	}
}

// Secure tells whether a request came over TLS.
func Secure(r *http.Request) bool {
	l, ok := r.Context().Value(statusLineKey{}).(*statusLine)
	return r.TLS != nil || ok && l.tls
}

// phrase keeps printable ASCII: nothing else may stand in a status line.
func phrase(reason string) string {
	b := make([]byte, 0, min(len(reason), maxReason))
	for _, c := range []byte(reason) {
		if len(b) == maxReason {
			break
		}
		if c < 0x20 || c > 0x7e {
			c = '?'
		}
		b = append(b, c)
	}
	return string(b)
}

var statusStart = []byte("HTTP/1.")

// statusDigits is where the phrase begins in "HTTP/1.1 404 Not Found".
const statusDigits = len("HTTP/1.1 404 ")

// replaced returns p with the phrase in its status line, if p begins with one and
// a phrase is set. net/http flushes at the end of each answer, so that a
// status line always begins a write.
func (l *statusLine) replaced(p []byte) ([]byte, bool) {
	if l.reason == "" || !bytes.HasPrefix(p, statusStart) || len(p) < statusDigits {
		return p, false
	}
	end := bytes.Index(p, []byte("\r\n"))
	if end < statusDigits {
		return p, false
	}
	q := make([]byte, 0, len(p)+len(l.reason))
	q = append(append(append(q, p[:statusDigits]...), l.reason...), p[end:]...)
	l.reason = ""
	return q, true
}

func (l *statusLine) write(c net.Conn, p []byte) (int, error) {
	q, replaced := l.replaced(p)
	n, err := c.Write(q)
	if !replaced {
		return n, err
	}
	if n == len(q) {
		return len(p), err
	}
	return 0, err // an error; how much of p went out is not known
}

// tcpConn is a TCP connection. It embeds the type, not net.Conn: net/http sends
// files through its ReadFrom, that is sendfile.
type tcpConn struct {
	*net.TCPConn
	line    statusLine
	release func()
}

func (c *tcpConn) statusLine() *statusLine     { return &c.line }
func (c *tcpConn) Write(p []byte) (int, error) { return c.line.write(c.TCPConn, p) }
func (c *tcpConn) Close() error                { defer c.release(); return c.TCPConn.Close() }

// otherConn is any other connection: unix socket, TLS.
type otherConn struct {
	net.Conn
	line    statusLine
	release func()
}

func (c *otherConn) statusLine() *statusLine     { return &c.line }
func (c *otherConn) Write(p []byte) (int, error) { return c.line.write(c.Conn, p) }
func (c *otherConn) Close() error                { defer c.release(); return c.Conn.Close() }

// listener wraps what it accepts, and accepts no more than free has room for,
// nor more of one client than clients allows. Both are shared by all listeners of a server.
type listener struct {
	net.Listener
	free       chan struct{}
	clients    *clients
	turnedAway func()
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	gone, ok := l.clients.take(c.RemoteAddr())
	for !ok {
		c.Close()
		l.turnedAway()
		if c, err = l.Listener.Accept(); err != nil {
			return nil, err
		}
		gone, ok = l.clients.take(c.RemoteAddr())
	}
	// One more connection than there is room for is accepted and waits here.
	l.free <- struct{}{}
	release := sync.OnceFunc(func() { <-l.free; gone() })
	if t, ok := c.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: t, release: release}, nil
	}
	_, secret := c.(*tls.Conn)
	return &otherConn{Conn: c, line: statusLine{tls: secret}, release: release}, nil
}

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

// take counts a connection from an address until it is released; false if the client has too many.
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

// key is the client that a connection is counted for; false if it is not counted: of a unix socket, of a trusted proxy.
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
