package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"example.org/mmoci/internal/transfer"
)

// Tuning of the connections of one upstream. How many requests run at once is
// up to the caller.
const (
	maxIdlePerHost  = 64
	maxHeader       = 256 << 10 // bytes of an answer's header
	maxRedirects    = 10        // as apt and browsers
	bufferSize      = 64 << 10
	pingAfter       = 15 * time.Second // HTTP/2: a silent connection is tried
	maxCertificates = 8 << 20          // bytes of a CA or client certificate file
)

// client sends requests for all places of an upstream.
type client struct {
	http  *http.Client
	stall time.Duration
	log   func(format string, args ...any)
	auth  *credentials
	proxy func(*url.URL) (*url.URL, error)
	own   map[string]bool          // hosts of the places: they may see the client certificate
	users map[string]*url.Userinfo // credentials in a place's URL, by origin
	ca    string                   // file, "": the system's alone
}

func newClient(o Options, stall time.Duration) (*client, error) {
	c := &client{stall: stall, log: o.Log, proxy: httpproxy.FromEnvironment().ProxyFunc(), own: map[string]bool{}, users: map[string]*url.Userinfo{}, ca: o.CAFile}
	var err error
	if c.auth, err = readCredentials(o.AuthFile, os.Getenv); err != nil {
		return nil, err
	}
	roots, err := readRoots(o.CAFile)
	if err != nil {
		return nil, err
	}
	split := &splitTransport{own: c.own, others: newTransport(o, c.proxy, nil, nil)}
	split.ours = split.others
	var certs []tls.Certificate
	if o.ClientCert != "" {
		cert, err := readClientCert(o.ClientCert)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if roots != nil || certs != nil {
		split.ours = newTransport(o, c.proxy, roots, certs)
	}
	c.http = &http.Client{Transport: split, CheckRedirect: c.redirect}
	return c, nil
}

func newTransport(o Options, proxy func(*url.URL) (*url.URL, error), roots *x509.CertPool, certs []tls.Certificate) *http.Transport {
	dial := o.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: StallAfter, KeepAlive: pingAfter}).DialContext
	}
	return &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		OnProxyConnectResponse: proxyAnswer,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, Certificates: certs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
		// Bytes are wanted as they are stored: their digest is in a signed file.
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         bufferSize,
	}
}

// proxyAnswer is asked what a proxy said to CONNECT.
func proxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, r *http.Response) error {
	switch {
	case r.StatusCode == http.StatusProxyAuthRequired:
		return refusal("proxy %s wants credentials; write http_proxy=http://USER:PASSWORD@%s", proxy.Host, proxy.Host)
	case r.StatusCode/100 == 4:
		return refusal("proxy %s refused the connection: %s; may this host be reached through it? no_proxy exempts hosts", proxy.Host, r.Status)
	}
	return nil
}

// splitTransport shows the client certificate to the hosts it is meant for, and
// believes the authority that was given for these: neither counts for a host that they redirect to.
type splitTransport struct {
	own          map[string]bool
	ours, others *http.Transport
}

func (s *splitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" && s.own[transfer.HostPort(r.URL)] {
		return s.ours.RoundTrip(r)
	}
	return s.others.RoundTrip(r)
}

// Endpoint is how a URL of an upstream is reached, for callers that look at its certificate.
type Endpoint struct {
	URL       string            // without credentials
	Transport http.RoundTripper // as the upstream uses it: proxies, client certificate
	CAFiles   []string          // PEM, believed beside the system's
}

// Endpoints are those of the URLs that are on web servers, in their order.
func (u *Upstream) Endpoints() []Endpoint {
	var out []Endpoint
	for _, p := range u.places {
		if s, ok := p.(*site); ok {
			e := Endpoint{URL: s.String() + "/", Transport: s.c.http.Transport}
			if s.c.ca != "" {
				e.CAFiles = []string{s.c.ca}
			}
			out = append(out, e)
		}
	}
	return out
}

// at makes a place of a URL.
func (c *client) at(v *url.URL) *site {
	base := *v
	if base.User != nil {
		c.users[origin(&base)] = base.User
		base.User = nil
	}
	c.own[transfer.HostPort(&base)] = true
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.EscapedPath(), "/")
	return &site{c: c, base: base}
}

// redirect lets a redirect pass as apt does: not from https to http, and with the
// credentials of its target, never with those of where it came from.
func (c *client) redirect(r *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return refusal("more than %d redirects", maxRedirects)
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return refusal("redirected to scheme %q, which is not followed", r.URL.Scheme)
	case from.Scheme == "https" && r.URL.Scheme == "http":
		return refusal("redirected from https to http://%s, which is not followed; give the address that serves the files", r.URL.Host)
	}
	r.URL.User = nil
	r.Header.Del("Referer")
	r.Header.Del("Authorization")
	r.Header.Del("Cookie")
	c.authorize(r)
	return nil
}

// authorize adds the credentials for the request's host, if there are any.
func (c *client) authorize(r *http.Request) {
	if u := c.users[origin(r.URL)]; u != nil {
		password, _ := u.Password()
		r.SetBasicAuth(u.Username(), password)
		return
	}
	if e := c.auth.find(r.URL); e != nil {
		r.SetBasicAuth(e.login, e.password)
	}
}

// origin is scheme, host and port: what credentials in a URL are for.
func origin(u *url.URL) string { return u.Scheme + "://" + transfer.HostPort(u) }

// readRoots is the system's certificates and those of the file.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // the system's
	}
	data, err := readSmall(file, maxCertificates)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca: %s: no certificate in it; it should be PEM", file)
	}
	return pool, nil
}

func readClientCert(file string) (tls.Certificate, error) {
	data, err := readSmall(file, maxCertificates)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("client-cert: %w", err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("client-cert: %s: it should hold certificate and unlocked key as PEM: %w", file, err)
	}
	return cert, nil
}

func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(f, 0, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
