package serve

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	maxSecret = 1 << 20         // bytes of a certificate, key or credentials file
	lookEvery = 2 * time.Second // at files that may have changed
)

// watched is what some files say, read again when one of them changed. What
// cannot be read or parsed leaves what was. Safe for concurrent use.
type watched[T any] struct {
	files []string
	parse func(contents [][]byte) (T, error)
	log   *slog.Logger

	mu     sync.Mutex
	value  T
	last   [][]byte
	looked time.Time
	told   string // the error told last; "" if the files could be read
}

func openWatched[T any](log *slog.Logger, parse func([][]byte) (T, error), files ...string) (*watched[T], error) {
	w := &watched[T]{files: files, parse: parse, log: log, looked: time.Now()}
	var err error
	if w.last, err = w.read(); err == nil {
		w.value, err = parse(w.last)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	return w, nil
}

func (w *watched[T]) read() ([][]byte, error) {
	var contents [][]byte
	for _, name := range w.files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
		f.Close()
		if err != nil {
			return nil, err
		}
		if len(data) > maxSecret {
			return nil, fmt.Errorf("more than %d bytes", maxSecret)
		}
		contents = append(contents, data)
	}
	return contents, nil
}

// get is the value in force; it looks at the files now and then.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) < lookEvery {
		return w.value
	}
	w.looked = time.Now()
	w.reload()
	return w.value
}

// lookNow has the next get look at the files.
func (w *watched[T]) lookNow() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = time.Time{}
}

// reload takes the files' value if it is another and good. The caller holds mu.
func (w *watched[T]) reload() {
	contents, err := w.read()
	if err != nil {
		if w.told != err.Error() { // not every two seconds
			w.told = err.Error()
			w.log.Error("not reloaded, what was stays", "files", strings.Join(w.files, ", "), "error", err)
		}
		return
	}
	w.told = ""
	if equalAll(contents, w.last) {
		return
	}
	w.last = contents // good or bad: a bad one is told once
	value, err := w.parse(contents)
	if err != nil {
		w.log.Error("not reloaded, what was stays", "files", strings.Join(w.files, ", "), "error", err)
		return
	}
	w.value = value
	w.log.Info("reloaded", "files", strings.Join(w.files, ", "))
}

func equalAll(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// openSecrets reads certificate and credentials; at the start bad ones are errors.
func (s *server) openSecrets() (err error) {
	if (s.o.TLSCert == "") != (s.o.TLSKey == "") {
		return errors.New("serve: a certificate needs its key, and the other way round")
	}
	if s.o.TLSCert != "" {
		if s.certs, err = openWatched(s.log, parseCertificate, s.o.TLSCert, s.o.TLSKey); err != nil {
			return fmt.Errorf("serve: certificate: %w", err)
		}
	}
	if s.o.Credentials != "" {
		if s.guard, err = openWatched(s.log, parseCredentials, s.o.Credentials); err != nil {
			return fmt.Errorf("serve: credentials: %w", err)
		}
	}
	return nil
}

func parseCertificate(pair [][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(pair[0], pair[1])
	return &c, err
}

func (s *server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // what apt speaks; it has a reason phrase, too
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certs.get(), nil
		},
	}
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

// welcome tells whether a request may be answered.
func (s *server) welcome(r *http.Request, path string) bool {
	if s.guard == nil || path == "healthz" || path == "readyz" {
		return true
	}
	if user, password, ok := r.BasicAuth(); ok {
		return s.guard.get().has(user + ":" + password)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && !strings.Contains(token, ":") && s.guard.get().has(token)
}
