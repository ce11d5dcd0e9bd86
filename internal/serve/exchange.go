package serve

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// idleWrite is how long a client may take to accept the next piece of an answer.
const idleWrite = time.Minute

// exchange is one request with its answer, and what the access log will say of it.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	start time.Time

	status   int
	bytes    int64 // of the body, sent
	archive  string
	snapshot string
	pkg      snapshot.Package
	rule     string
	from     string // where the body's bytes come from
	cause    error  // why the answer broke off, or was no good one

	leave     func()      // ends the turn of a page; nil: none was taken
	patience  *time.Timer // runs until the header goes out
	impatient atomic.Bool // it ran out
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *exchange {
	// An error only says that the writer is none of net/http's (tests).
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(idleWrite))
	return &exchange{s: s, w: w, r: r, start: time.Now()}
}

// end records the request. It runs while an abort unwinds, too.
func (ex *exchange) end() {
	took := time.Since(ex.start)
	ex.s.metrics.request(ex, took)
	if ex.s.o.Access == nil {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("client", ex.client()),
		slog.String("method", ex.r.Method),
		slog.String("path", ex.r.URL.Path),
		slog.String("snapshot", ex.snapshot),
		slog.String("archive", ex.archive),
		slog.String("package", ex.pkg.Name),
		slog.String("version", ex.pkg.Version),
		slog.String("architecture", ex.pkg.Architecture),
		slog.String("source", ex.pkg.Source),
		slog.Int("status", ex.status),
		slog.Int64("bytes", ex.bytes),
		slog.String("from", ex.from),
		slog.String("rule", ex.rule),
		slog.Float64("seconds", took.Seconds()),
		slog.String("agent", ex.r.UserAgent()),
		{}, // error
	}
	n := len(attrs) - 1
	if ex.cause != nil {
		attrs[n] = slog.String("error", ex.cause.Error())
		n++
	}
	ex.s.o.Access.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs[:n]...)
}

// client is the address of who asked: the peer, or whom a trusted proxy names.
func (ex *exchange) client() string {
	host, _, err := net.SplitHostPort(ex.r.RemoteAddr)
	if err != nil {
		host = ex.r.RemoteAddr // a unix socket has none
	}
	if !ex.trustedPeer(host) {
		return host
	}
	hops := strings.Split(strings.Join(ex.r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		host = hop
		if !ex.trustedPeer(hop) {
			break
		}
	}
	return host
}

func (ex *exchange) trustedPeer(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range ex.s.o.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// base is the URL that clients reach this server at, without final slash.
func (ex *exchange) base() string {
	if b := ex.s.o.BaseURL; b != "" {
		return strings.TrimSuffix(b, "/")
	}
	scheme := "http"
	if l, ok := ex.r.Context().Value(statusLineKey{}).(*statusLine); ex.r.TLS != nil || (ok && l.tls) {
		scheme = "https"
	}
	peer, _, _ := net.SplitHostPort(ex.r.RemoteAddr)
	if p := ex.r.Header.Get("X-Forwarded-Proto"); (p == "http" || p == "https") && ex.trustedPeer(peer) {
		scheme = p
	}
	return scheme + "://" + plainHost(ex.r.Host)
}

// plainHost keeps what a host and port are made of: the text goes into a file
// that apt reads.
func plainHost(host string) string {
	for _, c := range []byte(host) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(".-_:[]", c) >= 0) {
			return "localhost"
		}
	}
	if host == "" {
		return "localhost"
	}
	return host
}

// permitted asks the policy. A no is answered with the rule's reason in the
// status line, where apt prints it.
func (ex *exchange) permitted(pkg snapshot.Package) bool {
	d := ex.s.rules.decide(pkg, ex.archive)
	ex.rule = d.Rule
	if d.Allow {
		return true
	}
	ex.s.metrics.denied.WithLabelValues(ex.archive).Inc()
	ex.fail(http.StatusForbidden, d.Reason)
	return false
}

// fail answers with an error whose reason stands in the status line and the
// body: apt prints the one, and retries an unavailable server only if there is
// the other.
func (ex *exchange) fail(status int, reason string) {
	setReason(ex.r, reason)
	h := ex.w.Header()
	h.Set("Cache-Control", "no-cache")
	ex.text(status, "text/plain; charset=utf-8", []byte(reason+"\n"))
}

// broken answers for what lies behind this server and did not do its part.
func (ex *exchange) broken(status int, reason string, cause error) {
	ex.cause = cause
	ex.s.log.Error("not served", "path", ex.r.URL.Path, "status", status, "error", cause)
	ex.w.Header().Set("Retry-After", "5")
	ex.fail(status, reason)
}

// text answers with a small body.
func (ex *exchange) text(status int, contentType string, body []byte) {
	h := ex.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	ex.status = status
	ex.w.WriteHeader(status)
	if ex.r.Method == http.MethodHead {
		return
	}
	n, err := ex.w.Write(body)
	ex.bytes += int64(n)
	ex.cause = cmpErr(ex.cause, err)
}

func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
