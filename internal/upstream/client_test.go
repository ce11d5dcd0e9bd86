package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// redirectTo answers 302 with an address.
func redirectTo(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

func authOf(r *http.Request) string {
	user, pw, ok := r.BasicAuth()
	if !ok {
		return ""
	}
	return user + ":" + pw
}

// TestRedirectCredentials holds that a password goes to the host it is for, and no other.
func TestRedirectCredentials(t *testing.T) {
	t.Parallel()
	other := newScript(t, map[string]string{"/x": "x"})
	host := func(s *script) string { return strings.TrimPrefix(s.URL, "http://") }
	for _, tt := range []struct {
		name, auth      string
		inURL           bool
		location        string // of the redirect
		first, redirect string // credentials that arrive
	}{
		{name: "in the URL", inURL: true, first: "u:p w@", redirect: ""},
		{name: "for the first", auth: "machine http://FIRST login u password p", first: "u:p"},
		{name: "for both", auth: "machine http://FIRST login u password p\nmachine http://OTHER login v password q", first: "u:p", redirect: "v:q"},
		{name: "for the other", auth: "machine http://OTHER/x login v password q", redirect: "v:q"},
		{name: "for the other, another path", auth: "machine http://OTHER/y login v password q"},
		{name: "https alone", auth: "machine FIRST login u password p machine OTHER login v password q"},
		{name: "user in the redirect", location: "http://evil:pw@OTHER/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mine := newScript(t, map[string]string{"/x": "x"})
			location := mine.URL + "/x"
			if tt.location != "" {
				location = strings.ReplaceAll(tt.location, "OTHER", host(mine))
			}
			first := newScript(t, nil, redirectTo(location))
			auth := strings.NewReplacer("FIRST", host(first), "OTHER", host(mine)).Replace(tt.auth)
			place := first.URL
			if tt.inURL {
				place = "http://u:p%20w%40@" + host(first)
			}
			u, _ := open(t, Options{URLs: []string{place}, AuthFile: write(t, "auth", auth)})
			if got, err := read(u, "f", -1); err != nil || got != "x" {
				t.Fatalf("%q, %v", got, err)
			}
			if got := authOf(first.request(0)); got != tt.first {
				t.Errorf("first got %q, want %q", got, tt.first)
			}
			if got := authOf(mine.request(0)); got != tt.redirect {
				t.Errorf("other got %q, want %q", got, tt.redirect)
			}
			if ref := mine.request(0).Header.Get("Referer"); ref != "" {
				t.Errorf("Referer %q", ref)
			}
			if strings.Contains(u.String(), "@") {
				t.Errorf("String shows credentials: %s", u)
			}
		})
	}
	if len(other.asked()) != 0 {
		t.Error("asked")
	}
}

// TestRedirectKeepsRange holds that a resumed transfer survives redirects.
func TestRedirectKeepsRange(t *testing.T) {
	t.Parallel()
	target := newScript(t, map[string]string{"/f": body}, cut(body, 10))
	front := newScript(t, nil, redirectTo(target.URL+"/f"), redirectTo(target.URL+"/f"))
	u, _ := open(t, Options{URLs: []string{front.URL}})
	if got, err := read(u, "f", 100_000); err != nil || got != body {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got := target.asked(); len(got) != 2 || got[1] != "/f bytes=10-" {
		t.Errorf("asked %q", got)
	}
}

func TestRefusedRedirects(t *testing.T) {
	t.Parallel()
	plain := newScript(t, map[string]string{"/f": "f"})
	secure := httptest.NewTLSServer(redirectTo(plain.URL + "/f"))
	t.Cleanup(secure.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	loop := newScript(t, nil)
	for range 20 {
		loop.answers = append(loop.answers, redirectTo("/again"))
	}
	for place, says := range map[string]string{
		secure.URL: "redirected from https to http://",
		loop.URL:   "more than 10 redirects",
		newScript(t, nil, redirectTo("ftp://h/x")).URL: `redirected to scheme "ftp"`,
	} {
		u, p := open(t, Options{URLs: []string{place}, CAFile: write(t, "ca", ca)})
		_, err := read(u, "f", -1)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
		if len(p.all()) != 0 {
			t.Errorf("%s: tried again", says)
		}
	}
	if len(plain.asked()) != 0 {
		t.Errorf("asked %q", plain.asked())
	}
}

func TestDeniedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ auth, says string }{
		{"", "give credentials for HOST in auth:"},
		{"machine http://HOST login u password secret", "the credentials for HOST are not accepted"},
		{"machine HOST login u password secret", "write machine http://HOST"},
	} {
		s := newScript(t, nil, status(401))
		host := strings.TrimPrefix(s.URL, "http://")
		u, _ := open(t, Options{URLs: []string{s.URL}, AuthFile: write(t, "auth", strings.ReplaceAll(tt.auth, "HOST", host))})
		_, err := read(u, "f", -1)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(tt.says, "HOST", host)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %s", err, tt.says)
		}
	}
}

// TestTLS holds that ca: and client-cert: work, and without them it says what to do. Both of HTTP/1.1 and 2 are spoken.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert := clientCert(t)
	var proto string
	var shown int
	h := func(w http.ResponseWriter, r *http.Request) {
		proto, shown = r.Proto, len(r.TLS.PeerCertificates)
		_, _ = io.WriteString(w, "f")
	}
	for _, two := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(h))
		s.EnableHTTP2 = two
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.Config.ErrorLog = nil
		s.StartTLS()
		t.Cleanup(s.Close)
		ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
		u, p := open(t, Options{URLs: []string{s.URL}})
		if _, err := read(u, "f", -1); err == nil || !strings.Contains(err.Error(), "certificate not trusted") || !strings.Contains(err.Error(), "ca:") {
			t.Errorf("got %v", err)
		}
		if len(p.all()) != 0 {
			t.Error("tried again")
		}
		u, _ = open(t, Options{URLs: []string{s.URL}, CAFile: ca, ClientCert: write(t, "client.pem", cert)})
		if got, err := read(u, "f", -1); err != nil || got != "f" {
			t.Fatalf("%q, %v", got, err)
		}
		if (proto == "HTTP/2.0") != two || shown != 1 {
			t.Errorf("protocol %s, %d client certificates", proto, shown)
		}
		// Neither the authority nor the client certificate counts for who is redirected to,
		// unless it is one of the URLs.
		front := httptest.NewTLSServer(redirectTo(s.URL + "/f"))
		t.Cleanup(front.Close)
		both := write(t, "ca2.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))+string(mustRead(t, ca)))
		u, _ = open(t, Options{URLs: []string{front.URL}, CAFile: both, ClientCert: write(t, "client.pem", cert)})
		shown = -1
		if got, err := read(u, "f", -1); err == nil || !strings.Contains(err.Error(), "redirected to "+s.URL+", whose certificate is not trusted") || shown != -1 {
			t.Errorf("%q, %v, %d client certificates", got, err, shown)
		}
		others := u.places[0].(*site).c.http.Transport.(*splitTransport).others.TLSClientConfig
		if others.RootCAs != nil || len(others.Certificates) > 0 || others.GetClientCertificate != nil {
			t.Error("other hosts get what is for these")
		}
		u, _ = open(t, Options{URLs: []string{front.URL, s.URL}, CAFile: both, ClientCert: write(t, "client.pem", cert)})
		if got, err := read(u, "f", -1); err != nil || got != "f" || shown != 1 {
			t.Errorf("%q, %v, %d client certificates", got, err, shown)
		}
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := readSmall(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clientCert is a self-signed certificate with its key, as PEM.
func clientCert(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"}, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}))
}

// TestProxy holds that the proxy of the environment is asked, in lower and
// upper case, with its credentials, and not for hosts of no_proxy. It sets the environment, so it is not parallel.
func TestProxy(t *testing.T) {
	for _, tt := range []struct {
		http, no string // names of the variables
		exempt   string
		proxied  bool
	}{
		{"http_proxy", "no_proxy", "", true},
		{"HTTP_PROXY", "NO_PROXY", "", true},
		{"http_proxy", "no_proxy", "archive.example.org", false},
		{"HTTP_PROXY", "NO_PROXY", ".example.org,10.0.0.0/8", false},
		{"HTTP_PROXY", "NO_PROXY", "other.example.org", true},
	} {
		for _, v := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"} {
			t.Setenv(v, "")
		}
		proxy := newScript(t, nil, whole("by proxy"))
		v, _ := url.Parse(proxy.URL)
		v.User = url.UserPassword("me", "pw")
		t.Setenv(tt.http, v.String())
		t.Setenv(tt.no, tt.exempt)
		u, _ := open(t, Options{URLs: []string{"http://archive.example.org/d"}, Retries: -1, dial: only(v.Host)})
		got, err := read(u, "f", -1)
		if (err == nil && got == "by proxy") != tt.proxied {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("password shown: %v", err)
		}
		if !tt.proxied {
			continue
		}
		if r := proxy.request(0); r.RequestURI != "http://archive.example.org/d/f" || r.Header.Get("Proxy-Authorization") != "Basic bWU6cHc=" {
			t.Errorf("proxy was asked %s with %q", r.RequestURI, r.Header.Get("Proxy-Authorization"))
		}
	}
}

// TestProxyRefuses holds what is said when a proxy does not let an https connection through.
func TestProxyRefuses(t *testing.T) {
	for code, says := range map[int]string{407: "wants credentials", 403: "refused the connection: 403 Forbidden"} {
		proxy := newScript(t, nil, status(code))
		t.Setenv("https_proxy", proxy.URL)
		t.Setenv("no_proxy", "")
		u, p := open(t, Options{URLs: []string{"https://archive.example.org"}})
		_, err := read(u, "f", -1)
		if err == nil || !strings.Contains(err.Error(), says) || len(p.all()) != 0 {
			t.Errorf("got %v after %v, want %s", err, p.all(), says)
		}
	}
}

// TestConnectionIsReused holds that one file after the other comes over one connection, missing ones too.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/f") {
			_, _ = io.WriteString(w, body)
			return
		}
		http.NotFound(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	u, _ := open(t, Options{URLs: []string{s.URL}})
	for range 5 {
		if got, err := read(u, "f", -1); err != nil || got != body {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if _, err := read(u, "g", -1); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestHeaders holds what a server and the caches before it are told.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newScript(t, nil)
	u, _ := open(t, Options{URLs: []string{s.URL}})
	for path, cache := range map[string]string{
		"dists/s/InRelease": "max-age=0", "dists/s/main/binary-amd64/Packages.xz": "max-age=0",
		"pool/main/a/a.deb": "", "dists/s/main/binary-amd64/by-hash/SHA256/ab": "",
	} {
		_, _ = read(u, path, -1)
		r := s.request(len(s.asked()) - 1)
		for name, want := range map[string]string{"Cache-Control": cache, "Accept-Encoding": "identity", "User-Agent": "mmoci", "Range": ""} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}

// TestProxyDown holds that a proxy that cannot be reached is named, and not the host behind it blamed. It sets the
// environment, so it is not parallel.
func TestProxyDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close()
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"} {
		t.Setenv(v, "")
	}
	t.Setenv("http_proxy", "http://me:pw@"+down)
	t.Setenv("https_proxy", "http://me:pw@"+down)
	for _, scheme := range []string{"http", "https"} {
		u, _ := open(t, Options{URLs: []string{scheme + "://archive.example.org/d"}, Retries: -1})
		_, err := read(u, "f", -1)
		want := scheme + "://archive.example.org/d/f: proxy " + down + " unreachable: connection refused; correct http_proxy or https_proxy, or exempt the host in no_proxy"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
