package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/artifact"
)

// CertificateSoon is how long before its end a certificate is spoken of: what
// renews itself has done so by then.
const CertificateSoon = 7 * 24 * time.Hour

// handshake looks at the certificate of one server.
type handshake struct {
	what      string // the finding's name
	url       string
	transport http.RoundTripper
	files     []string // CA files that are believed beside the system's
	give      string   // how to name a CA file for this server
	env       func(string) string
	now       time.Time
}

// registryCA tells by which CA the registry is believed.
func (q DoctorOptions) registryCA(ctx context.Context) []artifact.Finding {
	e, err := artifact.EndpointOf(q.Ref, q.Options)
	if err != nil {
		return nil // the probe says it
	}
	host := hostOf(e.URL)
	return handshake{
		"CA", e.URL, e.Transport, e.CAFiles, "FILE as /etc/docker/certs.d/" + host + "/ca.crt", q.Env, q.Now,
	}.look(ctx)
}

// upstreamCAs tells by which CA each server of an archive is believed; nothing where plain http is meant.
func (q DoctorOptions) upstreamCAs(ctx context.Context, a *config.Archive, up *upstream.Upstream) []artifact.Finding {
	var out []artifact.Finding
	seen := map[string]bool{}
	for _, e := range up.Endpoints() {
		u, err := url.Parse(e.URL)
		if err != nil || u.Scheme != "https" || seen[u.Host] {
			continue
		}
		seen[u.Host] = true
		h := handshake{"archive " + a.Prefix + ", CA", e.URL, e.Transport, e.CAFiles, "ca: FILE of this archive", q.Env, q.Now}
		out = append(out, h.look(ctx)...)
	}
	return out
}

// look asks the server for anything: what it answers does not matter, the
// certificate does. A server that cannot be reached is no matter of certificates.
func (h handshake) look(ctx context.Context) []artifact.Finding {
	host := hostOf(h.url)
	f := artifact.Finding{What: h.what, OK: true, Text: host + ": plain HTTP, so no certificate"}
	ctx, cancel := context.WithTimeout(ctx, upstream.StallAfter)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, h.url, nil)
	if err != nil {
		return nil
	}
	if r.URL.Scheme == "http" {
		return []artifact.Finding{f}
	}
	resp, err := h.transport.RoundTrip(r)
	if err != nil {
		var bad *tls.CertificateVerificationError
		if !errors.As(err, &bad) || len(bad.UnverifiedCertificates) == 0 {
			return nil
		}
		f.OK, f.Text = false, host+": "+bad.Err.Error()
		f.Remedy = h.remedy(bad)
		return []artifact.Finding{f}
	}
	resp.Body.Close()
	if resp.TLS == nil || len(resp.TLS.VerifiedChains) == 0 {
		return nil
	}
	chain, file := h.chain(resp.TLS.VerifiedChains)
	ends := chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(ends) {
			ends = c.NotAfter
		}
	}
	f.Text = fmt.Sprintf("%s: verified with %s (%s), valid until %s", host, file, named(chain[len(chain)-1]), ends.UTC().Format(time.DateOnly))
	if ends.Sub(h.now) < CertificateSoon {
		f.OK, f.Remedy = false, "renew the certificate of "+host
	}
	return []artifact.Finding{f}
}

// chain is the verified chain that is told of, and where its root comes from:
// of a file that was named, if one of several is.
func (h handshake) chain(chains [][]*x509.Certificate) (chain []*x509.Certificate, file string) {
	for _, name := range h.files {
		roots := certificates(name)
		for _, c := range chains {
			for _, root := range roots {
				if c[len(c)-1].Equal(root) {
					return c, name
				}
			}
		}
	}
	return chains[0], h.system()
}

// system names the certificates of the system; crypto/x509 takes others where these variables say so.
func (h handshake) system() string {
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v := h.env(name); v != "" {
			return "the system's certificates (" + name + "=" + v + ")"
		}
	}
	return "the system's certificates"
}

// remedy says what to do about a certificate that does not verify.
func (h handshake) remedy(bad *tls.CertificateVerificationError) string {
	leaf := bad.UnverifiedCertificates[0]
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(bad.Err, &unknown):
		text := "name the certificate of its authority (" + issuer(leaf) + "): " + h.give
		for _, file := range h.files {
			text += "; " + file + " is read, and has another"
		}
		return text
	case errors.As(bad.Err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("it is for %s to %s: renew it, or set this host's clock (%s)", leaf.NotBefore.UTC().Format(time.DateOnly),
			leaf.NotAfter.UTC().Format(time.DateOnly), h.now.UTC().Format(time.RFC3339))
	case errors.As(bad.Err, &name):
		return "use a name that the certificate is for, or have one made for this name"
	}
	return "have another certificate made for this server, or name its authority: " + h.give
}

func issuer(c *x509.Certificate) string {
	if n := c.Issuer.String(); n != "" {
		return n
	}
	return "itself"
}

func named(c *x509.Certificate) string {
	if n := c.Subject.String(); n != "" {
		return n
	}
	return "serial number " + c.SerialNumber.String()
}

// certificates are those of a PEM file; what cannot be read is said by who verifies with it.
func certificates(file string) (out []*x509.Certificate) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return out
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil && b.Type == "CERTIFICATE" {
			out = append(out, c)
		}
	}
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	return u.Host
}
