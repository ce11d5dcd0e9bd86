package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"example.org/mmoci/internal/transfer"
)

// asTransient makes an error of a body passing, unless it says what is final.
func asTransient(err error) error {
	var t *transfer.Failure
	if errors.As(err, &t) || errors.Is(err, ErrChanged) {
		return err
	}
	return &transfer.Failure{Err: plain(err)}
}

// classify turns an error of a request into one that may pass, or a final one, both said shortly.
func classify(err error) error {
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return fmt.Errorf("unreachable: no host %s; correct the address, or set a proxy (http_proxy, https_proxy)", dns.Name)
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("certificate not trusted: %w; with ca: name the certificate of its authority", cert.Err)
	}
	var alert tls.AlertError
	var record tls.RecordHeaderError
	if errors.As(err, &alert) || errors.As(err, &record) {
		return fmt.Errorf("no TLS connection: %w; does the server want a client-cert:, or plain http?", plain(err))
	}
	return &transfer.Failure{Err: fmt.Errorf("unreachable: %w", plain(err)), Refused: noWay(err)}
}

// noWay tells errors of a host where nobody listens, or where no way leads.
func noWay(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// elsewhere says of a failure whose cause is err, an authority that is not trusted, that it
// is another host's than that of a URL, where ca: does not count; any other it hands back.
func (c *client) elsewhere(err, failure error) error {
	var request *url.Error
	var cert *tls.CertificateVerificationError
	if c.ca == "" || !errors.As(err, &cert) || !errors.As(err, &request) {
		return failure
	}
	u, bad := url.Parse(request.URL)
	if bad != nil || c.own[transfer.HostPort(u)] {
		return failure
	}
	return refusal("redirected to https://%s, whose certificate is not trusted: %v; ca: counts for the hosts of url: alone; give the address that serves the files", u.Host, cert.Err)
}

// errProxy marks a proxy that cannot be reached, which the URL of the message does not name.
var errProxy = errors.New("proxy")

// atProxy says of a failure whose cause is err that it was the proxy that could
// not be reached; any other it hands back.
func (c *client) atProxy(err, failure error) error {
	var request *url.Error
	var dial *net.OpError
	if !errors.As(err, &request) || !errors.As(err, &dial) || dial.Op != "dial" && dial.Op != "proxyconnect" {
		return failure
	}
	u, bad := url.Parse(request.URL)
	if bad != nil {
		return failure
	}
	proxy, bad := c.proxy(u)
	if bad != nil || proxy == nil {
		return failure
	}
	return &transfer.Failure{Err: fmt.Errorf("%w %s %w", errProxy, proxy.Host, failure), Refused: noWay(err)}
}

// plain removes what net/http and net put around an error: the URL stands in the message already.
func plain(err error) error {
	switch {
	case errors.Is(err, transfer.ErrStalled):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return errors.New("connection closed in the middle")
	}
	for _, e := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPIPE} {
		if errors.Is(err, e) {
			return e
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("timeout")
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return errors.New(transfer.Redact(strings.Join(strings.Fields(err.Error()), " ")))
}

// remedy says what to do about a failure that did not pass, "" where there is
// another URL: that is tried.
func (u *Upstream) remedy(err error) string {
	if len(u.places) > 1 {
		return ""
	}
	switch {
	case errors.Is(err, errProxy):
		return "; correct http_proxy or https_proxy, or exempt the host in no_proxy"
	case errors.Is(err, transfer.ErrStalled):
		return "; the server is silent, try later or give a second url:"
	case noWay(err):
		return "; correct the address, or set a proxy (http_proxy, https_proxy)"
	}
	return "; try later, or give a second url:"
}

// refusedError is a final refusal: by us (a redirect), by the server or by a proxy.
type refusedError struct{ msg string }

func (e *refusedError) Error() string { return e.msg }

// Refused tells an error that is an answer, such as 403, and would be the same again.
func Refused(err error) bool { return errors.As(err, new(*refusedError)) }

func refusal(format string, args ...any) error {
	return &refusedError{transfer.Redact(fmt.Sprintf(format, args...))}
}

// joined is the error of all places. It is ErrNotFound only if each of them is.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	e := &placesError{errs: errs}
	for _, err := range errs {
		if !errors.Is(err, ErrNotFound) {
			e.real = append(e.real, err)
		}
	}
	if len(e.real) == 0 {
		e.real = errs
	}
	return e
}

type placesError struct{ errs, real []error }

func (e *placesError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; and ")
}

func (e *placesError) Unwrap() []error { return e.real }
