package remote

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// responseError reads what a registry says beside a status.
func responseError(resp *http.Response) error {
	e := &errcode.ErrorResponse{Method: resp.Request.Method, URL: resp.Request.URL, StatusCode: resp.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	if data, err := oci.ReadLimited(resp.Body, maxErrorBody); err == nil && json.Unmarshal(data, &body) == nil {
		e.Errors = body.Errors
	}
	return e
}

// explain says what was being done, to what, what the registry answered and
// what to do next. A thing that is not there becomes ErrNotFound.
func explain(doing string, ref oci.Reference, err error) error {
	if err == nil || errors.Is(err, snapshot.ErrIntegrity) || errors.As(err, new(sourceError)) {
		return err
	}
	wrap := func(advice string) error { return fmt.Errorf("%s: %w: %s", doing, brief(err), advice) }
	switch status(err) {
	case http.StatusUnauthorized:
		return wrap("not logged in, or not known there; `docker login " + ref.Host() + "` or `podman login " + ref.Host() + "`")
	case http.StatusForbidden:
		return wrap("these credentials may not do that in " + ref.Repository())
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w: %w", doing, brief(err), oci.ErrNotFound)
	case http.StatusBadRequest:
		if IsLoopback(ref.Host()) && !answeredAsRegistry(err) {
			return wrap("is it HTTPS that is spoken there? On loopback a CA that is given, or a certificate in /etc/docker/certs.d/" + ref.Host() + ", makes it the choice")
		}
	case http.StatusMethodNotAllowed:
		return wrap("the registry does not allow this, or not for such a manifest")
	case http.StatusRequestEntityTooLarge:
		return wrap("the registry, or a proxy before it, limits the size of a request body; raise it there (nginx: client_max_body_size)")
	case http.StatusTooManyRequests:
		return wrap("the registry limits the rate of requests; run it again later, it continues where it stopped")
	}
	return explainNetwork(doing, ref, err)
}

// answeredAsRegistry tells whether there was a registry's error behind a status.
func answeredAsRegistry(err error) bool {
	var e *errcode.ErrorResponse
	return errors.As(err, &e) && len(e.Errors) > 0
}

func explainNetwork(doing string, ref oci.Reference, err error) error {
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var request *url.Error
	if errors.As(err, &request) { // doing says as much as the URL
		err = briefError{strings.Replace(err.Error(), request.Error(), request.Err.Error(), 1), err}
	}
	switch {
	case errors.Is(err, transfer.ErrStalled):
		return fmt.Errorf("%s: %w; %s takes connections and is silent: try later, or look at what is between", doing, err, ref.Host())
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s: %w; `docker login %s` or `podman login %s`", doing, err, ref.Host(), ref.Host())
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Errorf("%s: %s does not speak HTTPS: %w; %w", doing, ref.Host(), err, ErrPlainHTTP)
	case errors.As(err, &unknown):
		host := ref.Host()
		if request != nil { // a redirect, or where tokens come from
			if u, bad := url.Parse(request.URL); bad == nil && u.Host != "" && transfer.HostPort(u) != transfer.HostPort(&url.URL{Scheme: "https", Host: apiHost(ref)}) {
				return fmt.Errorf("%s: %s: %w; what is given for %s does not count there: give the CA in /etc/docker/certs.d/%s/ca.crt", doing, u.Host, err, host, u.Host)
			}
		}
		return fmt.Errorf("%s: %w; %w: give it in /etc/docker/certs.d/%s/ca.crt", doing, err, ErrUnknownCA, host)
	}
	var name *net.DNSError
	if errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &name) {
		return unreachable{fmt.Errorf("%s: %w", doing, brief(err))}
	}
	return fmt.Errorf("%s: %w", doing, brief(err))
}

// ErrUnreachable marks an error of a registry whose name is not known, or where nobody listens.
var ErrUnreachable = errors.New("registry unreachable")

// unreachable is ErrUnreachable under its own text.
type unreachable struct{ error }

func (u unreachable) Unwrap() []error { return []error{u.error, ErrUnreachable} }

// brief shortens oras-go's error response: the URL says no more than doing does.
func brief(err error) error {
	var e *errcode.ErrorResponse
	if !errors.As(err, &e) {
		return err
	}
	text := http.StatusText(e.StatusCode)
	if len(e.Errors) > 0 {
		text = fmt.Sprintf("%.500s", e.Errors.Error())
	}
	text = fmt.Sprintf("HTTP %d, %s", e.StatusCode, text)
	return briefError{strings.Replace(err.Error(), e.Error(), text, 1), err}
}

// briefError is an error under another text.
type briefError struct {
	text string
	error
}

func (b briefError) Error() string { return b.text }
func (b briefError) Unwrap() error { return b.error }
