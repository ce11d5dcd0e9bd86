package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"example.org/mmoci/internal/transfer"
)

// site is a place on a web server.
type site struct {
	c     *client
	base  url.URL      // without credentials and final slash
	query string       // of Fetch
	whole *url.URL     // the address of its only file, of NewFiles; nil: it has many
	busy  atomic.Int64 // transfers of it that run now
	// broken is how many files it began to send and did not end, since the last that it did.
	broken atomic.Int32
	down   atomic.Int64 // could not be reached lately: until when it is asked last, Unix time in nanoseconds

	answered    atomic.Bool // it sent a header at least once
	saidRefused atomic.Bool // and what was said of it since it last answered
	saidSilent  atomic.Bool
}

func (s *site) String() string {
	if s.whole != nil {
		shown := *s.whole
		shown.RawQuery = "" // it may hold a token
		return shown.String()
	}
	return s.base.String()
}

// url is the address of a path below the site.
func (s *site) url(path string) *url.URL {
	if s.whole != nil {
		return s.whole
	}
	u := s.base
	u.Path, u.RawPath = s.base.Path+"/"+path, s.base.RawPath+"/"+escape(path)
	u.RawQuery = s.query
	return &u
}

// escape writes a path as apt does: "+" too is escaped, for some servers
// (object stores) read it as a blank. What is left is what needs no escape anywhere in a path.
func escape(p string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/:", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// silentShare is the part of the time that a server may be silent after which that is said.
const silentShare = 6

// begin implements place.
func (s *site) begin(ctx context.Context, path string, from resume) (*answer, error) {
	ctx, w := transfer.NewWatch(ctx, from.patience)
	patience := from.patience / silentShare
	notice := time.AfterFunc(patience, func() {
		if !s.saidSilent.Swap(true) { // once for all files
			s.c.log("%s: no answer for %s; waiting up to %s", s, patience, from.patience)
		}
	})
	a, err := s.request(ctx, path, from, w)
	notice.Stop()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = &transfer.Failure{Err: cause}
	}
	if err != nil {
		w.Stop()
		return nil, err
	}
	return a, nil
}

// moves tells paths whose content changes under their name, so that a cache
// on the way has to ask again (as apt has it do); pool files and those by hash stay.
func moves(path string) bool {
	path = "/" + path
	return !strings.Contains(path, "/pool/") && !strings.Contains(path, "/by-hash/")
}

func (s *site) request(ctx context.Context, path string, from resume, w *transfer.Watch) (*answer, error) {
	method := http.MethodGet
	if from.size {
		method = http.MethodHead
	}
	r := &http.Request{Method: method, URL: s.url(path), Host: s.base.Host, Header: http.Header{
		"User-Agent":      {"mmoci"},
		"Accept-Encoding": {"identity"},
		"Accept":          {"*/*"},
	}}
	if moves(path) {
		r.Header.Set("Cache-Control", "max-age=0")
	}
	if from.offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from.offset))
		if from.validator != "" {
			r.Header.Set("If-Range", from.validator)
		}
	}
	s.c.authorize(r)
	resp, err := s.c.http.Do(r.WithContext(ctx))
	if err != nil {
		return nil, s.c.atProxy(err, s.c.elsewhere(err, classify(err)))
	}
	s.answered.Store(true)
	s.saidRefused.Store(false)
	s.saidSilent.Store(false)
	a, err := s.read(resp, path, from)
	if err != nil {
		// A short body is read, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		resp.Body.Close()
		return nil, err
	}
	a.body = w.Body(resp.Body)
	return a, nil
}

// read makes an answer of a response, or an error of its status.
func (s *site) read(resp *http.Response, path string, from resume) (*answer, error) {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return nil, s.status(resp, from)
	}
	if err := encoded(resp, path); err != nil {
		return nil, err
	}
	a := &answer{
		size: resp.ContentLength, etag: resp.Header.Get("ETag"), modified: resp.Header.Get("Last-Modified"),
		framed: resp.ProtoMajor >= 2 || len(resp.TransferEncoding) > 0,
	}
	a.validator = a.modified
	if strings.HasPrefix(a.etag, `"`) {
		a.validator = a.etag // a weak one (W/) must not be used in If-Range: RFC 9110 section 13.1.5
	}
	if resp.StatusCode == http.StatusOK {
		return a, nil
	}
	start, _, size, err := transfer.ContentRange(resp.Header)
	if err != nil || start != from.offset {
		return nil, refusal("answered with another range than asked for (Content-Range %.80q)", resp.Header.Get("Content-Range"))
	}
	a.start, a.size = start, size
	return a, nil
}

// encoded refuses an answer that the server compressed on its way. That a .gz
// file is called gzip-encoded happens, and is harmless: its bytes are not touched.
func encoded(resp *http.Response, name string) error {
	e := resp.Header.Get("Content-Encoding")
	if e == "" || strings.EqualFold(e, "identity") {
		return nil
	}
	switch path.Ext(name) {
	case ".gz", ".tgz", ".xz", ".bz2", ".zst", ".lzma", ".lz4":
		return nil
	}
	return refusal("answered with Content-Encoding %.40q though asked for the plain bytes; the server or a proxy before it must be told not to compress", e)
}

// status turns any other status into an error.
func (s *site) status(resp *http.Response, from resume) error {
	said := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return s.c.denied(resp, said)
	case http.StatusProxyAuthRequired:
		return refusal("the proxy wants credentials; write http_proxy=http://USER:PASSWORD@HOST:PORT")
	case http.StatusRequestedRangeNotSatisfiable:
		if from.offset > 0 {
			return fmt.Errorf("%w while it was read: it is shorter now", ErrChanged)
		}
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 599:
		after, asked := transfer.RetryAfter(resp.Header)
		return &transfer.Failure{Err: fmt.Errorf("answered %s", said), After: after, Asked: asked}
	}
	return refusal("answered %s", strings.TrimSpace(said))
}

// denied says what can be done about a 401 or 403. The URL that denied may be
// another than the one asked: redirects.
func (c *client) denied(resp *http.Response, said string) error {
	u := resp.Request.URL
	host := u.Host
	switch {
	case resp.Request.Header.Get("Authorization") != "":
		return refusal("answered %s: the credentials for %s are not accepted; correct them in the URL, auth: or /etc/apt/auth.conf.d/", said, host)
	case c.auth.onlyHTTPS(u):
		return refusal("answered %s: the credentials for %s are for https alone and were not sent; use https, or write machine http://%s", said, host, host)
	case resp.StatusCode == http.StatusUnauthorized:
		return refusal("answered %s: give credentials for %s in auth: or /etc/apt/auth.conf.d/ (machine %s login USER password PASSWORD), or a client-cert:", said, host, host)
	}
	return refusal("answered %s: does the path exist, and may this host read it? Credentials for %s go into auth: or /etc/apt/auth.conf.d/", said, host)
}
