package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// script is a server whose answers are given in order, request by request;
// when they are used up it answers like a mirror. It remembers what it was asked.
type script struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]string // path with its first slash, to content
	answers  []http.HandlerFunc
	requests []*http.Request
}

func newScript(t *testing.T, files map[string]string, answers ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{files: files, answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	h := s.mirror
	if len(s.answers) > 0 {
		h, s.answers = s.answers[0], s.answers[1:]
	}
	s.mu.Unlock()
	h(w, r)
}

func (s *script) mirror(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"v1"`)
	http.ServeContent(w, r, "", time.Unix(1e9, 0), strings.NewReader(content))
}

// asked lists the requests so far, as "URI" or "URI Range".
func (s *script) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.requests {
		out = append(out, strings.TrimSpace(r.RequestURI+" "+r.Header.Get("Range")))
	}
	return out
}

func (s *script) request(i int) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[i]
}

// status answers a status with a short body.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, http.StatusText(code), code)
	}
}

// reset closes the connection without an answer.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// cut sends the first n bytes of content, announced in full, and closes the connection.
func cut(content string, n int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", itoa(len(content)))
		w.Header().Set("ETag", `"v1"`)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, content[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// whole sends all of content with 200, whatever Range says.
func whole(content string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", itoa(len(content)))
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, content)
	}
}

func itoa(n int) string {
	var b []byte
	for ; n > 0 || len(b) == 0; n /= 10 {
		b = append(b, byte('0'+n%10))
	}
	slices.Reverse(b)
	return string(b)
}

// pauses records what would have been slept.
type pauses struct {
	mu   sync.Mutex
	list []time.Duration
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, d)
	return ctx.Err()
}

func (p *pauses) all() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// open makes an upstream that does not wait and reads no credentials of the machine.
func open(t *testing.T, o Options) (*Upstream, *pauses) {
	t.Helper()
	p := &pauses{}
	if o.Sleep == nil {
		o.Sleep = p.sleep
	}
	if o.AuthFile == "" {
		o.AuthFile = write(t, "auth", "")
	}
	o.Log = t.Logf
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u, p
}

func read(u *Upstream, path string, size int64) (string, error) {
	r, err := u.Open(context.Background(), path, size)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

// only dials one address; there is no network behind any other.
func only(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		if to != addr {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
}
