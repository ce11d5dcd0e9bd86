package transfer

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// RetryAfter reads the Retry-After of an answer (RFC 9110 section 10.2.3): seconds, with a
// fraction or unit as some registries write them, or a date, which is taken relative to the
// server's own clock where the answer has a Date. ok is false if there is none that can be read.
func RetryAfter(h http.Header) (after time.Duration, ok bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s >= 0 && s < 9e9) { // what a Duration holds
			return 0, false
		}
		return time.Duration(s * float64(time.Second)), true
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return d, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}

// ContentRange reads the Content-Range of an answer to a Range without end,
// "bytes START-END/SIZE". It is an error if that is not the rest of the file; size is -1 for "*".
func ContentRange(h http.Header) (start, end, size int64, err error) {
	unit, rest, _ := strings.Cut(h.Get("Content-Range"), " ")
	span, total, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !ok2 {
		return 0, 0, 0, errors.New("no range")
	}
	start, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := int64(-1), error(nil)
	if total != "*" {
		size, err3 = strconv.ParseInt(total, 10, 64)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, 0, 0, err
	}
	if start < 0 || end < start || size >= 0 && end != size-1 {
		return 0, 0, 0, errors.New("not the rest of the file")
	}
	return start, end, size, nil
}

// userinfo matches the credentials of a URL. A password may hold any
// character that people forget to escape, so the last @ before a blank or quote counts.
var userinfo = regexp.MustCompile(`(?i)(https?:/*|:/+)[^\s"']*@`)

// Redact removes the credentials of every URL in a text.
func Redact(s string) string { return userinfo.ReplaceAllString(s, "${1}***@") }

// HostPort is the host of a URL and its port, also where that is the scheme's
// own. Credentials and certificates are compared by it.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
