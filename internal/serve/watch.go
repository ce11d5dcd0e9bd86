package serve

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/snapshot"
)

// maxSecret bounds a certificate, key or credentials file, in bytes.
const maxSecret = 1 << 20

// watched is the value of some files, read again when one of them changed. Files
// that cannot be read or parsed leave the value as it was. Safe for concurrent use.
type watched[T any] struct {
	files    []string
	maxBytes int64 // of each
	parse    func(contents [][]byte) (T, error)
	report   func(value T, err error) // called for each change, and once for what cannot be read

	value atomic.Pointer[T]

	mu     sync.Mutex
	last   [][]byte // what was read last, good or bad
	failed string   // the error that was reported last; "" if the files could be read
}

// openWatched reads the files; at the start a bad one is an error.
func openWatched[T any](maxBytes int64, parse func([][]byte) (T, error), report func(T, error), files ...string) (*watched[T], error) {
	w := &watched[T]{files: files, maxBytes: maxBytes, parse: parse, report: report}
	contents, err := w.read()
	if err != nil {
		return nil, err
	}
	value, err := parse(contents)
	if err != nil {
		return nil, err
	}
	w.last = contents
	w.value.Store(&value)
	return w, nil
}

// get returns the value; of a nil watched the zero value.
func (w *watched[T]) get() T {
	if w == nil {
		var none T
		return none
	}
	return *w.value.Load()
}

// look reads the files again.
func (w *watched[T]) look() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	contents, err := w.read()
	if err != nil {
		if w.failed != err.Error() { // not at each look
			w.failed = err.Error()
			w.report(w.get(), err)
		}
		return
	}
	w.failed = ""
	same := true
	for i, data := range contents {
		same = same && bytes.Equal(data, w.last[i])
	}
	if same {
		return
	}
	w.last = contents
	value, err := w.parse(contents)
	if err == nil {
		w.value.Store(&value)
	}
	w.report(value, err)
}

func (w *watched[T]) read() ([][]byte, error) {
	var contents [][]byte
	for _, name := range w.files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, w.maxBytes+1))
		f.Close()
		if err != nil {
			return nil, err
		}
		if int64(len(data)) > w.maxBytes {
			return nil, fmt.Errorf("%s: more than %d bytes", name, w.maxBytes)
		}
		contents = append(contents, data)
	}
	return contents, nil
}

// openFiles reads rules, certificate and credentials; at the start bad ones are errors.
func (s *Server) openFiles() (err error) {
	if s.o.Policy != "" {
		parse := func(contents [][]byte) (*policy.Policy, error) { return policy.Parse(s.o.Policy, contents[0]) }
		if s.policy, err = openWatched(policy.MaxBytes, parse, s.reportPolicy, s.o.Policy); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	if (s.o.TLSCert == "") != (s.o.TLSKey == "") {
		return errors.New("serve: a certificate needs its key, and the other way round")
	}
	if s.o.TLSCert != "" {
		report := func(_ *tls.Certificate, err error) { s.reportFiles(err, s.o.TLSCert, s.o.TLSKey) }
		if s.certs, err = openWatched(maxSecret, parseCertificate, report, s.o.TLSCert, s.o.TLSKey); err != nil {
			return fmt.Errorf("serve: certificate %s, %s: %w", s.o.TLSCert, s.o.TLSKey, err)
		}
	}
	if s.o.Credentials != "" {
		report := func(_ credentials, err error) { s.reportFiles(err, s.o.Credentials) }
		if s.guard, err = openWatched(maxSecret, parseCredentials, report, s.o.Credentials); err != nil {
			return fmt.Errorf("serve: credentials %s: %w", s.o.Credentials, err)
		}
	}
	return nil
}

func (s *Server) lookAtFiles() {
	s.policy.look()
	s.certs.look()
	s.guard.look()
}

func (s *Server) reportPolicy(p *policy.Policy, err error) {
	if err != nil {
		s.metrics.reloads.WithLabelValues("error").Inc()
		s.o.Log.Error("policy not reloaded, the rules stay", "error", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	s.metrics.reloads.WithLabelValues("ok").Inc()
	s.o.Log.Info("policy reloaded", "rules", p.Rules())
}

func (s *Server) reportFiles(err error, files ...string) {
	if err != nil {
		s.o.Log.Error("not reloaded, what was stays", "files", strings.Join(files, ", "), "error", err)
		return
	}
	s.o.Log.Info("reloaded", "files", strings.Join(files, ", "))
}

// decide is the policy's decision; the reason of a denial is in words for the
// status line. Rules that are only recorded deny nothing.
func (s *Server) decide(pkg snapshot.Package, archive string) policy.Decision {
	d := s.policy.get().Decide(pkg, archive)
	if d.Allow {
		return d
	}
	d.Reason = "Denied by rule " + d.Rule + ": " + d.Reason
	if s.o.PolicyLogOnly {
		s.metrics.logOnly.WithLabelValues(archive).Inc()
		return policy.Decision{Allow: true, Rule: d.Rule + " (log only)", Reason: d.Reason}
	}
	return d
}

func parseCertificate(pair [][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(pair[0], pair[1])
	return &c, err
}

// credentials are hashes of what an Authorization header may say.
type credentials map[[sha256.Size]byte]struct{}

func parseCredentials(contents [][]byte) (credentials, error) {
	c := credentials{}
	for line := range strings.Lines(string(contents[0])) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		c[sha256.Sum256([]byte(line))] = struct{}{}
	}
	if len(c) == 0 {
		return nil, errors.New("no line USER:PASSWORD or TOKEN")
	}
	return c, nil
}

// has compares every entry, so that the time taken tells nothing.
func (c credentials) has(secret string) bool {
	sum, found := sha256.Sum256([]byte(secret)), 0
	for entry := range c {
		found |= subtle.ConstantTimeCompare(entry[:], sum[:])
	}
	return found == 1
}

// authorized tells whether a request may be answered. Probes need no credentials.
func (s *Server) authorized(r *http.Request, path string) bool {
	if s.guard == nil || path == "healthz" || path == "readyz" {
		return true
	}
	if user, password, ok := r.BasicAuth(); ok {
		return s.guard.get().has(user + ":" + password)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && !strings.Contains(token, ":") && s.guard.get().has(token)
}
