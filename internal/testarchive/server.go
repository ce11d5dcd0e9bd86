package testarchive

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server serves files over HTTP on loopback, with faults, and counts. Like a
// mirror it has Last-Modified and ETag, answers conditions, Range and If-Range,
// and has no directory listings. Safe for concurrent use.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	files    Files
	moved    int // how often the files were exchanged
	requests []string
	seen     map[string]int
	fault    func(path string, n int) Broken
}

// Broken is a way for a response to go wrong; the zero value is none.
type Broken struct {
	Status     int           // answer this instead
	RetryAfter string        // header with it
	CutAfter   int           // close the connection after so many body bytes, if > 0
	Stall      time.Duration // pause before the body
	Rate       int           // bytes of the body a second, if > 0,
	Burst      int           // after so many that come at once
	Flip       bool          // flip a bit in the body
	Reset      bool          // close the connection without an answer
	Lost       bool          // of a registry: do what is asked, then close the connection without an answer
	NoRange    bool          // ignore Range and conditions: always 200 and all of it
	Body       []byte        // answer 200 with this body
}

// Serve starts a server that ends with the test.
func Serve(t testing.TB, f Files) *Server {
	t.Helper()
	s := &Server{files: f, seen: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Replace exchanges all files at once (upstream moves).
func (s *Server) Replace(f Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = f
	s.moved++
}

// Requests lists "METHOD path status" in order since the last call; status is
// 0 where the connection was closed instead.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// Fault is called before each request; it may return a Broken to misbehave.
// path is relative to the archive root and unescaped; n counts the requests
// of that path, from 1. nil ends the misbehaviour. The function is called under no lock
// of the server's, perhaps concurrently.
func (s *Server) Fault(f func(path string, n int) Broken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	s.mu.Lock()
	data, ok := s.files[path]
	modified := DefaultDate().Add(time.Duration(s.moved) * time.Hour)
	s.seen[path]++
	n, fault := s.seen[path], s.fault
	s.mu.Unlock()

	var b Broken
	if fault != nil {
		b = fault(path, n)
	}
	log := func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, fmt.Sprintf("%s %s %d", r.Method, path, status))
	}
	sw := &FaultWriter{ResponseWriter: w, Broken: b, Gone: r.Context().Done(), Begins: log}
	defer func() {
		if sw.Status == 0 {
			log(0)
		}
		if sw.Abort {
			panic(http.ErrAbortHandler)
		}
	}()
	if b.Reset {
		sw.Abort = true
		return
	}
	if b.Body != nil {
		data, ok = b.Body, true
	}
	if !ok && b.Status == 0 {
		http.Error(sw, "404 not found: "+path, http.StatusNotFound)
		return
	}
	s.answer(sw, r, path, data, modified)
}

// answer sends the file, or the fault's status in its place.
func (s *Server) answer(w *FaultWriter, r *http.Request, path string, data []byte, modified time.Time) {
	b := w.Broken
	if b.Status != 0 {
		if b.RetryAfter != "" {
			w.Header().Set("Retry-After", b.RetryAfter)
		}
		http.Error(w, http.StatusText(b.Status), b.Status)
		return
	}
	if b.NoRange {
		for _, h := range []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"} {
			r.Header.Del(h)
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	// A flipped bit is the line's, not the server's: the ETag stays.
	w.Header().Set("ETag", `"`+Sha256Hex(data)[:16]+`"`)
	if b.Flip && len(data) > 0 {
		data = Flipped(data, len(data)/2)
	}
	http.ServeContent(w, r, path, modified, bytes.NewReader(data))
}

// FaultWriter cuts and stalls a body and remembers the status.
type FaultWriter struct {
	http.ResponseWriter
	Broken Broken
	Status int
	sent   int
	Abort  bool
	Gone   <-chan struct{} // closed when the client went away
	// Begins is told the status before the first byte is sent: what it notes is noted when the client has the answer. It may be nil.
	Begins func(status int)
}

func (w *FaultWriter) WriteHeader(status int) {
	if w.Status == 0 && w.Begins != nil {
		w.Begins(status)
	}
	w.Status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *FaultWriter) Write(p []byte) (int, error) {
	if w.Status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.sent == 0 && w.Broken.Stall > 0 {
		// The header goes out at once, the body late.
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		select {
		case <-time.After(w.Broken.Stall):
		case <-w.Gone:
		}
	}
	if cut := w.Broken.CutAfter; cut > 0 && w.sent+len(p) > cut {
		n, _ := w.ResponseWriter.Write(p[:cut-w.sent])
		w.sent += n
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		w.Abort = true
		return n, errCut
	}
	if w.Broken.Rate > 0 {
		return w.drip(p)
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += n
	return n, err
}

// drip sends at the rate asked for, ten times a second, until the client goes away.
func (w *FaultWriter) drip(p []byte) (written int, err error) {
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for len(p) > 0 && err == nil {
		size := max(w.Broken.Burst-w.sent, 0)
		if size == 0 {
			select {
			case <-tick.C:
			case <-w.Gone:
				return written, errCut
			}
			size = max(w.Broken.Rate/10, 1)
		}
		var n int
		n, err = w.ResponseWriter.Write(p[:min(size, len(p))])
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		w.sent, written, p = w.sent+n, written+n, p[n:]
	}
	return written, err
}

// errCut ends the copying of a body that was cut.
var errCut = errors.New("cut by the test")
