package serve

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/registry"
	"example.org/mmoci/internal/serve/listen"
	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/pkg/snapshot"
)

// idleWrite is how long a client may take to accept the next piece of an answer.
const idleWrite = time.Minute

const plainText = "text/plain; charset=utf-8"

// request is one request with its answer, and what the access log will say of it.
type request struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	start time.Time

	address  string // of the client, once it was asked for
	status   int
	bytes    int64 // of the body, sent
	archive  string
	snapshot string
	pkg      snapshot.Package
	rule     string
	direct   bool             // no redirect
	mirror   string           // that the client is sent to
	v2       *registryRequest // nil: not below /v2/
	from     string           // where the bytes of the body come from
	cause    error            // why the answer was broken off, or is an error

	patience  *time.Timer // runs until the header goes out
	impatient atomic.Bool // it ran out
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *request {
	req := &request{s: s, w: w, r: r, start: time.Now()}
	req.extend(idleWrite)
	return req
}

// extend gives the client until then to accept what is written next.
func (req *request) extend(d time.Duration) {
	// An error only says that the writer is none of net/http's (tests).
	_ = http.NewResponseController(req.w).SetWriteDeadline(time.Now().Add(d))
}

// end records the request, also one that was broken off by a panic.
func (req *request) end() {
	took := time.Since(req.start)
	req.s.metrics.Request(req.counted(), req.r.Method, req.status, req.bytes, took)
	if req.s.o.Access == nil {
		return
	}
	record := logs.Request{
		Client: req.client(), Method: req.r.Method, Path: req.r.URL.Path, Snapshot: req.snapshot, Archive: req.archive, Package: req.pkg,
		Status: req.status, Bytes: req.bytes, From: req.from, Mirror: req.mirror, Rule: req.rule, Seconds: took.Seconds(), Agent: req.r.UserAgent(), Err: req.cause,
	}
	if req.v2 != nil {
		record.Registry = &req.v2.Registry
	}
	record.Log(req.s.o.Access)
}

// counted is the archive that a request is counted by: of those served now, so that
// no client makes up labels; "" for none.
func (req *request) counted() string {
	switch {
	case req.v2 != nil:
		return ofRegistry
	case req.archive != "" && req.s.view.Load().known(req.archive):
		return req.archive
	}
	return ""
}

// recovered ends a request that a defect of this program ended, and says so in the
// log: with 500, or by breaking off what was begun. An answer that was broken off on purpose goes on to net/http.
func (req *request) recovered() {
	defect := recover()
	if defect == nil {
		return
	}
	if defect == http.ErrAbortHandler {
		panic(defect)
	}
	req.cause = fmt.Errorf("panic: %v", defect)
	req.s.metrics.Panics.Inc()
	req.s.o.Log.Error("a defect of the program ended a request", "path", req.r.URL.Path, "error", req.cause, "stack", string(debug.Stack()))
	if req.status != 0 {
		panic(http.ErrAbortHandler)
	}
	clear(req.w.Header())
	req.fail(http.StatusInternalServerError, "a defect of the server; its log says more")
}

// client is the address of the client: the peer, or the one that a trusted proxy names.
func (req *request) client() string {
	if req.address == "" {
		req.address = req.clientOf(req.peer())
	}
	return req.address
}

func (req *request) clientOf(peer string) string {
	host := peer
	if !req.trusted(peer) {
		return host
	}
	hops := req.r.Header.Values("X-Forwarded-For")
	for _, list := range slices.Backward(hops) {
		for more := true; more; {
			var hop string
			if i := strings.LastIndexByte(list, ','); i >= 0 {
				list, hop = list[:i], list[i+1:]
			} else {
				hop, more = list, false
			}
			hop = strings.TrimSpace(hop)
			addr, err := netip.ParseAddr(hop)
			if err != nil {
				return host
			}
			if host = hop; !req.trustedAddr(addr) {
				return host
			}
		}
	}
	return host
}

// peer is the address at the other end of the connection.
func (req *request) peer() string {
	host, _, err := net.SplitHostPort(req.r.RemoteAddr)
	if err != nil {
		return req.r.RemoteAddr // a unix socket has none
	}
	return host
}

func (req *request) trusted(peer string) bool {
	if len(req.s.o.TrustedProxies) == 0 {
		return false
	}
	addr, err := netip.ParseAddr(peer)
	return err == nil && req.trustedAddr(addr)
}

func (req *request) trustedAddr(addr netip.Addr) bool {
	return slices.ContainsFunc(req.s.o.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

// base is the URL that clients reach this server at, without final slash.
func (req *request) base() string {
	if b := req.s.o.BaseURL; b != "" {
		return strings.TrimSuffix(b, "/")
	}
	scheme := "http"
	if req.secure() {
		scheme = "https"
	}
	return scheme + "://" + plainHost(req.r.Host)
}

// secure tells whether clients reach this server by https.
func (req *request) secure() bool {
	if b := req.s.o.BaseURL; b != "" {
		return strings.HasPrefix(b, "https:")
	}
	if p := req.r.Header.Get("X-Forwarded-Proto"); (p == "http" || p == "https") && req.trusted(req.peer()) {
		return p == "https"
	}
	return listen.Secure(req.r)
}

// plainHost returns a Host header if it consists of what hosts and ports have: the
// text goes into a file that apt reads.
func plainHost(host string) string {
	if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") != "" {
		return "localhost"
	}
	return host
}

// patient is the request's context, with an end for what must be read from a
// registry before there is an answer.
func (req *request) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(req.r.Context(), req.s.o.Patience)
}

// fail answers with an error. The reason is in the status line, which apt prints,
// and in the body, without which apt does not ask an unavailable server again.
func (req *request) fail(status int, reason string) {
	listen.SetReason(req.r, reason)
	h := req.w.Header()
	h.Set("Cache-Control", "no-cache")
	if req.v2 != nil {
		req.text(status, "application/json", registry.ErrorBody(status, req.v2.code, reason))
		return
	}
	if req.errorPage(status, reason) {
		return
	}
	req.text(status, plainText, []byte(reason+"\n"))
}

// broken answers with an error of a registry or a disk behind this server; the client may ask again.
func (req *request) broken(status int, reason string, cause error) {
	req.cause = cause
	req.s.o.Log.Error("not served", "path", req.r.URL.Path, "status", status, "error", cause)
	req.w.Header().Set("Retry-After", "5")
	req.fail(status, reason)
}

// text answers with a small body.
func (req *request) text(status int, contentType string, body []byte) {
	h := req.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	req.status = status
	req.w.WriteHeader(status)
	if req.r.Method == http.MethodHead {
		return
	}
	n, err := req.w.Write(body)
	req.bytes += int64(n)
	req.cause = cmp.Or(req.cause, err)
}
