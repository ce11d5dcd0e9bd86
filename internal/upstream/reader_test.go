package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func noise(n int) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

var body = noise(100_000)

// TestRecovers holds that whatever a server does wrong for a while, the
// caller gets the bytes of the file.
func TestRecovers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		size    int64
		answers []http.HandlerFunc
		asked   []string // after the first
		slept   []time.Duration
	}{
		{"nothing wrong", 100_000, nil, nil, nil},
		{"size unknown", -1, nil, nil, nil},
		{"reset twice", 100_000, []http.HandlerFunc{reset, reset}, []string{"/f", "/f"}, []time.Duration{500 * time.Millisecond, time.Second}},
		{"503", 100_000, []http.HandlerFunc{status(503)}, []string{"/f"}, []time.Duration{500 * time.Millisecond}},
		{"429 with Retry-After", -1, []http.HandlerFunc{status(429, "Retry-After", "7")}, []string{"/f"}, []time.Duration{7 * time.Second}},
		{"Retry-After as date", -1, []http.HandlerFunc{status(503, "Retry-After", "Sat, 21 Nov 2026 09:00:09 GMT", "Date", "Sat, 21 Nov 2026 09:00:00 GMT")},
			[]string{"/f"}, []time.Duration{9 * time.Second}},
		{"Retry-After as long as is waited", -1, []http.HandlerFunc{status(429, "Retry-After", "120")}, []string{"/f"}, []time.Duration{MaxRetryAfter}},
		{"Retry-After of nonsense", -1, []http.HandlerFunc{status(429, "Retry-After", "-3")}, []string{"/f"}, []time.Duration{500 * time.Millisecond}},
		{"cut, resumed", 100_000, []http.HandlerFunc{cut(body, 40_000)}, []string{"/f bytes=40000-"}, []time.Duration{500 * time.Millisecond}},
		{"cut, resumed, size unknown", -1, []http.HandlerFunc{cut(body, 40_000)}, []string{"/f bytes=40000-"}, []time.Duration{500 * time.Millisecond}},
		{"cut, Range ignored", 100_000, []http.HandlerFunc{cut(body, 40_000), whole(body)}, []string{"/f bytes=40000-"}, []time.Duration{500 * time.Millisecond}},
		{"cut, 500, resumed", 100_000, []http.HandlerFunc{cut(body, 40_000), status(500)},
			[]string{"/f bytes=40000-", "/f bytes=40000-"}, []time.Duration{500 * time.Millisecond, time.Second}},
		{"cut before the end", 100_000, []http.HandlerFunc{cut(body, 99_999)}, []string{"/f bytes=99999-"}, []time.Duration{500 * time.Millisecond}},
		{"no frame, cut", 100_000, []http.HandlerFunc{raw("HTTP/1.0 200 OK\r\n\r\n" + body[:50_000])}, []string{"/f bytes=50000-"}, []time.Duration{500 * time.Millisecond}},
		{"no frame, whole", -1, []http.HandlerFunc{raw("HTTP/1.0 200 OK\r\n\r\n" + body)}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, map[string]string{"/f": body}, tt.answers...)
			u, p := open(t, Options{URLs: []string{s.URL}})
			got, err := read(u, "f", tt.size)
			if err != nil {
				t.Fatal(err)
			}
			if got != body {
				t.Errorf("%d other bytes", len(got))
			}
			if want := append([]string{"/f"}, tt.asked...); !slices.Equal(s.asked(), want) {
				t.Errorf("asked %q, want %q", s.asked(), want)
			}
			if !slices.Equal(p.all(), tt.slept) {
				t.Errorf("slept %v, want %v", p.all(), tt.slept)
			}
			if got := u.Served()[0]; got.Files != 1 || got.Bytes < 100_000 {
				t.Errorf("served %+v", got)
			}
		})
	}
}

// raw sends bytes as they are and closes the connection.
func raw(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = rw.WriteString(s)
		_ = rw.Flush()
		c.Close()
	}
}

// TestGivesUp holds what is final, and how it is said.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	repeat := func(h http.HandlerFunc, n int) []http.HandlerFunc { return slices.Repeat([]http.HandlerFunc{h}, n) }
	for _, tt := range []struct {
		name    string
		path    string
		size    int64
		answers []http.HandlerFunc
		is      error
		says    string
		asks    int
	}{
		{"404", "gone", -1, nil, ErrNotFound, "/gone: not found upstream", 1},
		{"410", "f", -1, repeat(status(410), 1), ErrNotFound, "/f: not found upstream", 1},
		{"401", "f", -1, repeat(status(401), 1), nil, "answered 401 Unauthorized: give credentials for 127.0.0.1", 1},
		{"403", "f", -1, repeat(status(403), 1), nil, "answered 403 Forbidden: does the path exist", 1},
		{"418", "f", -1, repeat(status(418), 1), nil, "answered 418 I'm a teapot", 1},
		{"304", "f", -1, repeat(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, 1), nil, "answered 304", 1},
		{"500 for ever", "f", -1, repeat(status(500), 9), nil, "answered 500 Internal Server Error (6 attempts); try later", 6},
		{"reset for ever", "f", -1, repeat(reset, 9), nil, "unreachable: connection closed in the middle (6 attempts)", 6},
		{"Retry-After longer than is waited", "f", -1, repeat(status(429, "Retry-After", "121"), 1), nil, "answered 429 Too Many Requests; it asks to wait 2m1s, longer than 2m0s; try later", 1},
		{"Retry-After of a year", "f", -1, repeat(status(503, "Retry-After", "31536000"), 1), nil, "it asks to wait 8760h0m0s, longer than 2m0s; try later", 1},
		{"Retry-After as a far date", "f", -1, repeat(status(503, "Retry-After", "Sat, 21 Nov 2026 19:00:00 GMT", "Date", "Sat, 21 Nov 2026 09:00:00 GMT"), 1), nil, "it asks to wait 10h0m0s", 1},
		{"a header without end", "f", -1, repeat(endlessHeader, 9), nil, "unreachable: ", 6},
		{"other size announced", "f", 99, nil, ErrChanged, "100000 bytes, expected 99", 1},
		{"other size, chunked", "f", 200_000, repeat(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
			_ = http.NewResponseController(w).Flush()
		}, 1), ErrChanged, "100000 bytes, expected 200000", 1},
		{"longer than said, chunked", "f", 5, repeat(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
			_ = http.NewResponseController(w).Flush()
		}, 1), ErrChanged, "more than 5 bytes", 1},
		{"changed while read", "f", -1, []http.HandlerFunc{cut(body, 1000), whole(body, "ETag", `"v2"`)}, ErrChanged, "changed upstream while it was read", 2},
		{"changed while read, by time", "f", -1, []http.HandlerFunc{cut(body, 1000, "ETag", "", "Last-Modified", "Sat, 21 Nov 2026 09:00:09 GMT"), whole(body, "Last-Modified", "Sat, 21 Nov 2026 09:00:10 GMT")}, ErrChanged, "while it was read", 2},
		{"shorter while read", "f", 100_000, []http.HandlerFunc{cut(body, 1000), status(416)}, ErrChanged, "it is shorter now", 2},
		{"another range", "f", 100_000, []http.HandlerFunc{cut(body, 1000), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 999-99999/100000")
			w.WriteHeader(206)
		}}, nil, "another range", 2},
		{"compressed on its way", "f", 100_000, repeat(whole("x", "Content-Encoding", "gzip"), 1), nil, "must be told not to compress", 1},
		{"crumbs", "f", 100_000, repeat(crumb, 50), nil, "connection closed in the middle (6 attempts)", 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, map[string]string{"/f": body}, tt.answers...)
			u, _ := open(t, Options{URLs: []string{s.URL}})
			_, err := read(u, tt.path, tt.size)
			if err == nil {
				t.Fatal("no error")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is no %v", err, tt.is)
			}
			if tt.is != ErrNotFound && errors.Is(err, ErrNotFound) {
				t.Errorf("%v is ErrNotFound", err)
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), s.URL) {
				t.Errorf("says %q, want %q", err, tt.says)
			}
			if n := len(s.asked()); n != tt.asks {
				t.Errorf("asked %q, want %d requests", s.asked(), tt.asks)
			}
		})
	}
}

// endlessHeader sends a header of 64 MiB.
func endlessHeader(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	line := "X-" + strings.Repeat("x", 1000) + ": y\r\n"
	for range 64 << 10 {
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

// crumb sends one byte more and breaks.
func crumb(w http.ResponseWriter, r *http.Request) {
	from := 0
	for _, c := range strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-") {
		from = from*10 + int(c-'0')
	}
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Length", itoa(len(body)-from))
	if from > 0 {
		w.Header().Set("Content-Range", "bytes "+itoa(from)+"-99999/100000")
		w.WriteHeader(206)
	}
	_, _ = io.WriteString(w, body[from:from+1])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// TestLongFileOverBadLine holds that breaks are counted anew after progress.
func TestLongFileOverBadLine(t *testing.T) {
	t.Parallel()
	long := noise(12 * progress)
	s := newScript(t, nil)
	for range 11 {
		s.answers = append(s.answers, func(w http.ResponseWriter, r *http.Request) {
			from := 0
			for _, c := range strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-") {
				from = from*10 + int(c-'0')
			}
			w.Header().Set("Content-Length", itoa(len(long)-from))
			if from > 0 {
				w.Header().Set("Content-Range", "bytes "+itoa(from)+"-"+itoa(len(long)-1)+"/"+itoa(len(long)))
				w.WriteHeader(206)
			}
			_, _ = io.WriteString(w, long[from:from+progress])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
	}
	s.files = map[string]string{"/f": long}
	u, p := open(t, Options{URLs: []string{s.URL}, Retries: 1})
	got, err := read(u, "f", int64(len(long)))
	if err != nil || got != long {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if d := slices.Max(p.all()); d != 500*time.Millisecond {
		t.Errorf("slept up to %s", d)
	}
}

func TestIfRange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ etag, modified, want string }{
		{`"v1"`, "Sat, 21 Nov 2026 09:00:09 GMT", `"v1"`},
		{`W/"v1"`, "Sat, 21 Nov 2026 09:00:09 GMT", "Sat, 21 Nov 2026 09:00:09 GMT"},
		{"", "Sat, 21 Nov 2026 09:00:09 GMT", "Sat, 21 Nov 2026 09:00:09 GMT"},
		{`W/"v1"`, "", ""},
	} {
		s := newScript(t, nil, cut(body, 10, "ETag", tt.etag, "Last-Modified", tt.modified), whole(body, "ETag", tt.etag, "Last-Modified", tt.modified))
		u, _ := open(t, Options{URLs: []string{s.URL}})
		if got, err := read(u, "f", -1); err != nil || got != body {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if got := s.request(1).Header.Get("If-Range"); got != tt.want {
			t.Errorf("If-Range %q, want %q", got, tt.want)
		}
	}
}

// pipeNet is a network within the bubble of a test, so that its time is the bubble's.
type pipeNet struct {
	conns chan net.Conn
	close func()
}

func (p pipeNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (p pipeNet) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipeNet) Close() error   { p.close(); return nil }
func (p pipeNet) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble serves h to an upstream of host archive.example.org, in fake time.
func inBubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, o Options)) {
	auth := write(t, "auth", "")
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan net.Conn)
		n := pipeNet{conns, sync.OnceFunc(func() { close(conns) })}
		srv := &http.Server{Handler: h}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(n) }()
		f(t, Options{URLs: []string{"http://archive.example.org/d"}, AuthFile: auth, dial: n.dial})
		srv.Close()
		<-done
	})
}

// TestStall holds that a silent server is left after Stall, before and within
// its answer, and the file is complete all the same.
func TestStall(t *testing.T) {
	var asked int
	h := func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch asked {
		case 1: // no answer at all
			<-r.Context().Done()
		case 2: // half of it
			w.Header().Set("Content-Length", itoa(len(body)))
			_, _ = io.WriteString(w, body[:5000])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
		}
	}
	inBubble(t, h, func(t *testing.T, o Options) {
		start := time.Now()
		u, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(u, "f", int64(len(body)))
		if err != nil || got != body {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if took, want := time.Since(start), 2*StallAfter+500*time.Millisecond+time.Second; took != want {
			t.Errorf("took %s, want %s", took, want)
		}
		u.places[0].(*site).c.http.CloseIdleConnections()
	})
}

// TestStalledForEver holds that the end says so, and that no other file waits as long for a server that nobody heard of since.
func TestStalledForEver(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(t *testing.T, o Options) {
		o.Stall = time.Minute
		start := time.Now()
		var mu sync.Mutex
		var said []string
		o.Log = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, time.Since(start).String()+" "+fmt.Sprintf(format, args...))
		}
		u, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = read(u, "f", 1)
		if want := "http://archive.example.org/d/f: stalled: no answer for 1m0s (3 attempts); the server is silent"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if took, want := time.Since(start), 3*time.Minute+1500*time.Millisecond; took != want {
			t.Errorf("took %s, want %s", took, want)
		}
		start = time.Now()
		if _, err := read(u, "another", 1); err == nil || time.Since(start) != SlowFor {
			t.Errorf("another file: %v after %s, want %s", err, time.Since(start), SlowFor)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := "10s http://archive.example.org/d: no answer for 10s; waiting up to 1m0s"; len(said) != 3 || said[0] != want {
			t.Errorf("said %q, first should be %q", said, want)
		}
	})
}

// TestRefused holds that a host that never answered and where nobody listens is given up soon, and spoken of once,
// however many files are asked for; one that answered before gets all attempts.
func TestRefused(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	s := newScript(t, map[string]string{"/d/f": body})
	var p pauses
	var mu sync.Mutex
	var said []string
	u, err := New(Options{URLs: []string{s.URL + "/d"}, Sleep: p.sleep, AuthFile: os.DevNull,
		Log: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, fmt.Sprintf(format, args...))
		},
		dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if up.Load() {
				return net.Dial(network, addr)
			}
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Stat(t.Context(), "f"); err == nil || !strings.HasSuffix(err.Error(), "/d/f: unreachable: connection refused (3 attempts); correct the address, or set a proxy (http_proxy, https_proxy)") {
		t.Errorf("stat: %v", err)
	}
	for _, attempts := range []string{" (3 attempts)", "", ""} {
		_, err := read(u, "f", -1)
		if err == nil || !strings.Contains(err.Error(), "/d/f: unreachable: connection refused"+attempts+"; correct the address") {
			t.Error(err)
		}
	}
	if want := s.URL + "/d: unreachable: connection refused; trying again"; len(said) != 1 || said[0] != want || len(p.all()) != 4 {
		t.Errorf("said %q after pauses of %v, want once %q", said, p.all(), want)
	}
	up.Store(true)
	if got, err := read(u, "f", -1); err != nil || got != body {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	up.Store(false)
	s.CloseClientConnections()
	if _, err := read(u, "f", -1); err == nil || !strings.Contains(err.Error(), "(6 attempts)") || len(said) != 2 {
		t.Errorf("%v; said %q", err, said)
	}
}

// TestSilentPlace holds that a silent URL is left for the next after a minute,
// that other files do not wait for it, and that it is asked again later.
func TestSilentPlace(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	silent := true
	h := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		hang := silent && strings.HasPrefix(r.URL.Path, "/silent/")
		mu.Unlock()
		if hang {
			<-r.Context().Done()
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	}
	inBubble(t, h, func(t *testing.T, o Options) {
		o.URLs = []string{"http://archive.example.org/silent", "http://archive.example.org/good"}
		u, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait, took time.Duration
			asked      string
		}{
			{0, SlowFor, "[/silent/f /good/f]"},
			{0, 0, "[/good/f]"},
			{0, 0, "[/good/f]"},
			{downFor, SlowFor, "[/silent/f /good/f]"}, // one attempt
			{downFor, 0, "[/silent/f]"},               // it is well by then
			{0, 0, "[/silent/f]"},
		} {
			time.Sleep(step.wait)
			mu.Lock()
			asked, silent = nil, step.took > 0
			mu.Unlock()
			start := time.Now()
			if got, err := read(u, "f", int64(len(body))); err != nil || got != body {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			mu.Lock()
			if took := time.Since(start); took != step.took || fmt.Sprint(asked) != step.asked {
				t.Errorf("took %s, want %s; asked %v, want %s", took, step.took, asked, step.asked)
			}
			mu.Unlock()
		}
		u.places[0].(*site).c.http.CloseIdleConnections()
	})
}

// TestSlowReader holds that the caller's own time is no stall.
func TestSlowReader(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	}, func(t *testing.T, o Options) {
		o.Retries = -1
		u, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := u.Open(t.Context(), "f", int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		buf := make([]byte, 20_000)
		for err == nil {
			var n int
			n, err = r.Read(buf)
			got = append(got, buf[:n]...)
			time.Sleep(time.Hour)
		}
		if err != io.EOF || string(got) != body {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		u.places[0].(*site).c.http.CloseIdleConnections()
	})
}

// TestCancel holds that the end of the context ends everything at once.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := newScript(t, nil, slices.Repeat([]http.HandlerFunc{status(503)}, 20)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	u, _ := open(t, Options{URLs: []string{s.URL, s.URL + "/b"}, Sleep: func(ctx context.Context, _ time.Duration) error {
		cancel(stop)
		return context.Cause(ctx)
	}})
	if _, err := u.Open(ctx, "f", -1); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if n := len(s.asked()); n != 1 {
		t.Errorf("%d requests", n)
	}
}
