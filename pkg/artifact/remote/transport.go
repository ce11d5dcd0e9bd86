package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/snapshot"
)

const (
	transferBytes = 64 << 10 // buffers of a connection
	idleTimeout   = 90 * time.Second
	// maxHeader bounds the header of an answer, bytes. Those of registries have a few
	// thousand; net/http would take ten million of each connection.
	maxHeader    = 256 << 10
	maxRedirects = 10
)

// hostTransports sends each request with the certificates of its host: an authority
// or a client certificate that was given for one counts for no other, be it where a
// registry redirects to, or where its tokens come from. Safe for concurrent use.
type hostTransports struct {
	registry string          // HOST or HOST:PORT
	ours     *http.Transport // to the registry: CAFile and DIR/HOST
	others   *http.Transport // to hosts that nothing was given for
	dirs     []string        // where certificates lie, by host
	new      func(*tls.Config) *http.Transport

	mu   sync.Mutex
	made map[string]*http.Transport // to hosts that have a directory of their own
}

// newHostTransports makes those for a registry, for which
// config is, keeping so many idle connections of each host.
func newHostTransports(registry string, config *tls.Config, dirs []string, idle int) *hostTransports {
	h := &hostTransports{registry: registry, dirs: dirs, made: map[string]*http.Transport{}}
	// Each is made anew: a clone would share the other's pool of HTTP/2 connections.
	h.new = func(config *tls.Config) *http.Transport {
		return &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    15 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    idle,
			IdleConnTimeout:        idleTimeout,
			DisableCompression:     true, // a blob is its bytes
			WriteBufferSize:        transferBytes,
			ReadBufferSize:         transferBytes,
			MaxResponseHeaderBytes: maxHeader,
		}
	}
	h.ours, h.others = h.new(config), h.new(&tls.Config{MinVersion: tls.VersionTLS12})
	return h
}

// RoundTrip implements http.RoundTripper.
func (h *hostTransports) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || transfer.HostPort(r.URL) == transfer.HostPort(&url.URL{Scheme: "https", Host: h.registry}) {
		return h.ours.RoundTrip(r)
	}
	t, err := h.other(r.URL.Host)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return t.RoundTrip(r)
}

// other is the transport to another host than the registry's.
func (h *hostTransports) other(host string) (*http.Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.made[host]; t != nil {
		return t, nil
	}
	config, _, own, err := hostTLS(host, "", h.dirs)
	if err != nil || !own { // a registry may redirect to any number of hosts: nothing is kept of these
		return h.others, err
	}
	h.made[host] = h.new(config)
	return h.made[host], nil
}

// ErrPlainHTTP marks what needs [Options].PlainHTTP.
var ErrPlainHTTP = errors.New("plain HTTP is spoken on loopback alone, unless it is allowed")

// ErrUnknownCA marks a certificate of the registry whose
// CA was not given: not in [Options].CAFile either.
var ErrUnknownCA = errors.New("its CA is not known here")

// errRedirect marks a redirect that is not followed.
var errRedirect = errors.New("redirect refused")

// redirect tells whether a redirect is followed. From https to http it is
// only for the GET of a blob by digest, whose bytes are verified whoever
// sends them, to where plain HTTP may be spoken. Authorization is dropped
// by the caller ([auth.Client]) as soon as scheme, host or port is another.
func redirect(plainHTTP bool) func(r *http.Request, via []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		secure := false
		for _, v := range via {
			secure = secure || v.URL.Scheme == "https"
		}
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("%w: more than %d in a row", errRedirect, maxRedirects)
		case r.URL.Scheme == "https":
		case r.URL.Scheme != "http":
			return fmt.Errorf("%w: to scheme %.20q", errRedirect, r.URL.Scheme)
		case secure && !isBlobGet(via[0]):
			return fmt.Errorf("%w: from https to http://%.200s, which is followed for the GET of a blob alone", errRedirect, r.URL.Host)
		case secure && !plainHTTP && !IsLoopback(r.URL.Host):
			return fmt.Errorf("%w: from https to http://%.200s; %w", errRedirect, r.URL.Host, ErrPlainHTTP)
		}
		r.URL.User = nil
		if transfer.HostPort(r.URL) != transfer.HostPort(via[0].URL) || r.URL.Scheme != via[0].URL.Scheme {
			for _, name := range []string{"Authorization", "Cookie", "Referer"} {
				r.Header.Del(name)
			}
		}
		return nil
	}
}

// isBlobGet tells of a request whether it reads a blob by its digest.
func isBlobGet(r *http.Request) bool {
	before, digest, _ := strings.Cut(r.URL.Path, "/blobs/")
	_, err := snapshot.ParseDigest(digest)
	return r.Method == http.MethodGet && strings.HasPrefix(before, "/v2/") && err == nil
}
