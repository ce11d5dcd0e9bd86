package artifact

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact/places"
	"example.org/mmoci/pkg/artifact/remote"
)

// storage is where a registry sends those who ask for a blob. It keeps what it was asked.
type storage struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	denies   string // realm of the challenge that it answers with; "": it gives the blob
}

func newStorage(t *testing.T, f *fakeRegistry, secure bool) *storage {
	t.Helper()
	s := &storage{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		denies := s.denies
		s.mu.Unlock()
		if denies != "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+denies+`/token",service="storage"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.inner.ServeHTTP(w, r)
	})
	if secure {
		s.Server = httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
	} else {
		s.Server = httptest.NewServer(h)
	}
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s
}

// asked are the requests since the last call.
func (s *storage) asked() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

func (s *storage) host() string { _, host, _ := strings.Cut(s.URL, "://"); return host }

// redirected is a registry behind TLS that wants credentials and answers what sends says with a redirect.
type redirected struct {
	server *httptest.Server
	fake   *fakeRegistry
	ref    Reference
	o      Options
	certs  string
	files  map[string][]byte

	mu    sync.Mutex
	sends func(r *http.Request) string // where to, "": nowhere
}

func newRedirected(t *testing.T, bearer bool) *redirected {
	t.Helper()
	x := &redirected{fake: newFakeRegistry(t), files: synthFiles(3)}
	if x.fake.real != nil { // what storage gives is the built-in's
		x.fake.real = nil
	}
	x.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, ok := r.BasicAuth()
		good := ok && name == "hugo" && password == "secret"
		if r.URL.Path == "/token" && good {
			fmt.Fprint(w, `{"token":"sesame"}`)
			return
		}
		if !(!bearer && good || r.Header.Get("Authorization") == "Bearer sesame") {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			if bearer {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+x.server.URL+`/token",service="test"`)
			}
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		x.mu.Lock()
		sends := x.sends
		x.mu.Unlock()
		if sends != nil {
			if to := sends(r); to != "" {
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
				http.Redirect(w, r, to, http.StatusTemporaryRedirect)
				return
			}
		}
		x.fake.ServeHTTP(w, r)
	}))
	x.server.Config.ErrorLog = nil
	t.Cleanup(x.server.Close)
	dir := t.TempDir()
	x.ref = mustParse(t, strings.TrimPrefix(x.server.URL, "https://")+"/site/mirror:noble")
	x.certs = filepath.Join(dir, "certs.d")
	auth := filepath.Join(dir, "auth.json")
	encoded := base64.StdEncoding.EncodeToString([]byte("hugo:secret"))
	writeFile(t, auth, []byte(`{"auths":{"`+x.ref.Host()+`":{"auth":"`+encoded+`"}}}`))
	t.Setenv("REGISTRY_AUTH_FILE", auth)
	x.o = Options{CAFile: caFile(t, x.server, filepath.Join(dir, "ca.pem")), Concurrency: 1, Tuning: places.Tuning{CertDirs: []string{x.certs}, Timing: remote.Timing{Backoff: time.Microsecond}}}
	mustPush(t, x.ref, takeOf(t, x.files), PushOptions{Options: x.o})
	return x
}

func (x *redirected) send(kind string, to func(r *http.Request) string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sends = func(r *http.Request) string {
		if kindOf(r) != kind {
			return ""
		}
		return to(r)
	}
}

// read reads one file.
func (x *redirected) read(t *testing.T) error {
	t.Helper()
	s, err := openSnapshot(t.Context(), x.ref, x.o)
	if err != nil {
		return err
	}
	const path = "own/pool/main/b/big/big_1_amd64.deb"
	f, err := s.Open(t.Context(), path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err == nil && !bytes.Equal(got, x.files[path]) {
		t.Error("other bytes")
	}
	return err
}

// TestRedirectCredentials: where a registry sends who asks for a blob, nobody gets the
// credentials for it, whether scheme, host or port is another; and what that place asks for is not given.
func TestRedirectCredentials(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		x := newRedirected(t, bearer)
		secure, plain := newStorage(t, x.fake, true), newStorage(t, x.fake, false)
		caFile(t, secure.Server, filepath.Join(x.certs, secure.host(), "ca.crt"))
		named := strings.Replace(plain.URL, "127.0.0.1", "localhost", 1) // another host, another port, another scheme
		for what, base := range map[string]string{"port": secure.URL, "scheme and port": plain.URL, "host, scheme and port": named, "user": strings.Replace(plain.URL, "://", "://evil:pw@", 1)} {
			x.send("blob", func(r *http.Request) string { return base + r.URL.Path })
			if err := x.read(t); err != nil {
				t.Errorf("%s, bearer %t: %v", what, bearer, err)
			}
			asked := slices.Concat(secure.asked(), plain.asked())
			if len(asked) == 0 {
				t.Errorf("%s: nothing was asked for", what)
			}
			for _, r := range asked {
				for _, name := range []string{"Authorization", "Cookie", "Referer"} {
					if v := r.Header.Get(name); v != "" {
						t.Errorf("%s, bearer %t: %s %q", what, bearer, name, v)
					}
				}
			}
		}
		// Back at the registry after another place: the chain has left it for good.
		x.send("blob", func(r *http.Request) string {
			if r.URL.Query().Get("again") != "" {
				return ""
			}
			return plain.URL + "/back?to=" + url.QueryEscape(x.server.URL+r.URL.Path+"?again=1")
		})
		plain.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
		})
		if err := x.read(t); err == nil || statusOf(err) != http.StatusUnauthorized {
			t.Errorf("there and back, bearer %t: %v", bearer, err)
		}
		// A place that wants credentials does not get these, nor does it choose who gets them.
		secure.denies = plain.URL
		plain.asked()
		x.send("blob", func(r *http.Request) string { return secure.URL + r.URL.Path })
		if err := x.read(t); err == nil || statusOf(err) != http.StatusUnauthorized {
			t.Errorf("a challenge from elsewhere: %v", err)
		}
		for _, r := range slices.Concat(secure.asked(), plain.asked()) {
			if r.URL.Path == "/token" || r.Header.Get("Authorization") != "" {
				t.Errorf("a challenge from elsewhere: asked %s with %q", r.URL, r.Header.Get("Authorization"))
			}
		}
	}
}

// TestDowngrade: from https a registry's client goes to http for the GET of a blob by
// digest alone, and to loopback unless plain HTTP was allowed.
func TestDowngrade(t *testing.T) {
	x := newRedirected(t, false)
	plain := newStorage(t, x.fake, false)
	elsewhere := func(base string) func(r *http.Request) string {
		return func(r *http.Request) string { return base + r.URL.RequestURI() }
	}
	for what, c := range map[string]struct {
		kind, to string
		do       func() error
		says     string
	}{
		"manifest":    {"manifest", plain.URL, func() error { return x.read(t) }, "which is followed for the GET of a blob alone"},
		"tag by HEAD": {"manifest", plain.URL, func() error { _, err := Resolve(t.Context(), x.ref, x.o); return err }, "which is followed for the GET of a blob alone"},
		"tags":        {"tags", plain.URL, func() error { _, err := Tags(t.Context(), x.ref, x.o); return err }, "which is followed for the GET of a blob alone"},
		"upload": {"upload", plain.URL, func() error {
			_, err := Push(t.Context(), mustParse(t, x.ref.Name+":n"), takeOf(t, synthFiles(5)), PushOptions{Options: x.o})
			return err
		}, "http"},
		"beyond":         {"blob", "http://storage.example.org", func() error { return x.read(t) }, "plain HTTP is spoken on loopback alone"},
		"another scheme": {"blob", "ftp://127.0.0.1", func() error { return x.read(t) }, `to scheme "ftp"`},
	} {
		x.send(c.kind, elsewhere(c.to))
		x.fake.counts()
		err := c.do()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %s", what, err, c.says)
		}
		if n := len(plain.asked()); n > 0 {
			t.Errorf("%s: %d requests over http", what, n)
		}
	}
	x.send("blob", elsewhere(plain.URL))
	if err := x.read(t); err != nil || len(plain.asked()) == 0 {
		t.Errorf("blob: %v", err)
	}
	// Once more: a loop ends.
	x.send("blob", func(r *http.Request) string { return x.server.URL + r.URL.Path })
	if err := x.read(t); err == nil || !strings.Contains(err.Error(), "redirect refused") {
		t.Errorf("loop: %v", err)
	}
}

// TestHostsCertificates: what is given for the registry's host counts for no other host.
func TestHostsCertificates(t *testing.T) {
	x := newRedirected(t, false)
	secure := newStorage(t, x.fake, true)
	x.send("blob", func(r *http.Request) string { return secure.URL + r.URL.Path })
	both := append(mustRead(t, x.o.CAFile), mustRead(t, caFile(t, secure.Server, filepath.Join(t.TempDir(), "ca.pem")))...)
	writeFile(t, x.o.CAFile, both)
	err := x.read(t)
	if err == nil || !strings.Contains(err.Error(), secure.host()) || !strings.Contains(err.Error(), "/etc/docker/certs.d/"+secure.host()+"/ca.crt") || len(secure.asked()) > 0 {
		t.Errorf("another host under the registry's CA: %v", err)
	}
	caFile(t, secure.Server, filepath.Join(x.certs, secure.host(), "ca.crt"))
	// A client certificate for the registry; httptest's own pair is as good as any.
	pair := x.server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(x.certs, x.ref.Host(), "client")
	caFile(t, x.server, own+".cert")
	writeFile(t, own+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	if err := x.read(t); err != nil {
		t.Errorf("a directory of its own: %v", err)
	}
	shown := func() (n int) {
		for i, r := range secure.asked() {
			n = max(n, i+1, 100*len(r.TLS.PeerCertificates))
		}
		return n
	}
	if n := shown(); n == 0 || n >= 100 {
		t.Errorf("%d: nothing was asked for, or the registry's client certificate was shown", n)
	}
	// One of its own is shown there.
	for _, name := range []string{"client.cert", "client.key"} {
		writeFile(t, filepath.Join(x.certs, secure.host(), name), mustRead(t, filepath.Join(x.certs, x.ref.Host(), name)))
	}
	if err := x.read(t); err != nil || shown() < 100 {
		t.Errorf("a client certificate of its own was not shown: %v", err)
	}
}

// TestLongHeader: the header of an answer is bounded.
func TestLongHeader(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	mustPush(t, ref, takeOf(t, synthFiles(1)), PushOptions{})
	for size, ok := range map[int]bool{100 << 10: true, 1 << 20: false} {
		f.answer(func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			for i := range size >> 10 {
				w.Header().Add(fmt.Sprint("X-", i), strings.Repeat("x", 1<<10))
			}
			return false
		})
		if _, err := Open(t.Context(), ref, quick()); (err == nil) != ok {
			t.Errorf("a header of %d bytes: %v", size, err)
		}
	}
}

// TestThrottledIsTold: that the registry wants to be left alone is said at once, and it
// is waited for a bounded time in all.
func TestThrottledIsTold(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503} {
		f := newFakeRegistry(t)
		ref := f.ref(t, "noble")
		mustPush(t, ref, takeOf(t, synthFiles(1)), PushOptions{})
		f.counts()
		var mu sync.Mutex
		var told []string
		var at time.Time // when it was told last
		f.answer(func(w http.ResponseWriter, _ *http.Request, n int) bool {
			mu.Lock()
			defer mu.Unlock()
			if waited := time.Since(at); n != len(told) || n > 0 && waited < time.Second {
				t.Errorf("request %d comes %s after %q", n, waited, told)
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(code)
			return true
		})
		o := quick()
		o.Tuning.Timing.Asked = 2 * time.Second
		o.Log = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told, at = append(told, fmt.Sprintf(format, args...)), time.Now()
		}
		_, err := Open(t.Context(), ref, o)
		if err == nil || statusOf(err) != code || !strings.Contains(err.Error(), "asks to wait again and again: 3s in all") {
			t.Errorf("%d: %v", code, err)
		}
		if n := total(f.counts()); n != 3 {
			t.Errorf("%d: %d requests", code, n)
		}
		want := fmt.Sprintf("%s answered %d %s; going on in 1s", ref.Host(), code, http.StatusText(code))
		if len(told) != 2 || told[0] != want {
			t.Errorf("told %q, want %q", told, want)
		}
	}
}
