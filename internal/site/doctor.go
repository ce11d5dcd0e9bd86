package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/others"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// DoctorOptions says what Doctor looks at.
type DoctorOptions struct {
	Plan    *config.Plan // nil: the reference alone
	Ref     artifact.Reference
	Signer  pgp.Signer          // nil: none is configured
	Keys    *signer.NetworkKeys // pins of keys that come from the network; nil: none is known
	Write   bool                // try pushes, too, under the tag mmoci-doctor
	Env     func(string) string
	Now     time.Time
	Options artifact.Options
}

// Doctor examines all that a push and its readers depend on: proxy, keys, the registry or
// directory, and the upstreams of the plan. A finding that is not OK has a remedy.
func Doctor(ctx context.Context, q DoctorOptions) []artifact.Finding {
	found := append(q.proxy(), q.keys()...)
	switch q.Ref.Kind {
	case artifact.Registry:
		found = append(found, q.registryCA(ctx)...)
		found = append(found, artifact.Probe(ctx, q.Ref, q.Now, q.Write, q.Options)...)
	default:
		found = append(found, q.directory())
	}
	if q.Plan != nil {
		for i := range q.Plan.Archives {
			if a := &q.Plan.Archives[i]; a.Debs == "" && len(a.Files) == 0 {
				found = append(found, q.upstream(ctx, a)...)
			}
		}
		found = append(found, q.others(ctx)...)
	}
	return append(found, scripts(ctx))
}

// scripts tells whether images can be made here with what packages' scripts make.
// Whoever makes none needs nothing of it, so it is no fault.
func scripts(ctx context.Context) artifact.Finding {
	f := artifact.Finding{What: "scripts", OK: true, Text: "scripts of packages can be run here, in a root of their own"}
	if err := run.Check(ctx, ""); err != nil {
		f.Text = err.Error() + "; images with scripts: none can be made"
	}
	return f
}

// proxy finds whether requests to loopback go through a proxy: apt would ask the proxy for
// packages that mmoci serves on the same host.
func (q DoctorOptions) proxy() []artifact.Finding {
	for _, name := range []string{"http_proxy", "HTTP_PROXY"} {
		if q.Env(name) == "" {
			continue
		}
		for _, no := range strings.Split(q.Env("no_proxy")+","+q.Env("NO_PROXY"), ",") {
			if no = strings.TrimSpace(no); no == "127.0.0.1" || no == "*" || no == "localhost" || strings.HasPrefix(no, "127.0.0.0/") {
				return []artifact.Finding{{What: "proxy", OK: true, Text: name + " is set, and loopback is excepted"}}
			}
		}
		return []artifact.Finding{{What: "proxy", Text: name + " is set, and apt sends requests for 127.0.0.1 there too",
			Remedy: "mmoci host sources writes the exception (Acquire::http::Proxy::127.0.0.1 \"DIRECT\"); elsewhere add 127.0.0.1 to no_proxy"}}
	}
	return nil
}

// KeySoon is how long before a key expires Doctor says so: hosts need the next one before.
const KeySoon = 60 * 24 * time.Hour

func (q DoctorOptions) keys() []artifact.Finding {
	var out []artifact.Finding
	look := func(what string, ring *pgp.Keyring) {
		for _, fp := range ring.Fingerprints() {
			info, _ := ring.Info(fp, q.Now)
			f := artifact.Finding{What: what, OK: true, Text: fp + " " + info.UserID + ": no expiry"}
			if !info.Expires.IsZero() {
				f.Text = fmt.Sprintf("%s %s: valid until %s", fp, info.UserID, info.Expires.Format(time.DateOnly))
			}
			switch {
			case info.AptRefuses != "":
				f.OK, f.Text, f.Remedy = false, f.Text+"; apt would refuse: "+info.AptRefuses, "mmoci key rotate, and its public half to every host"
			case !info.Expires.IsZero() && info.Expires.Sub(q.Now) < KeySoon:
				f.OK, f.Remedy = false, "mmoci key rotate in time, and its public half to every host"
			}
			out = append(out, f)
		}
	}
	if q.Signer != nil {
		look("signing key", q.Signer.Public())
	}
	if q.Plan != nil && len(q.Plan.Trust) > 0 {
		ring, err := signer.ReadKeyrings(q.Plan.Trust...)
		if err != nil {
			return append(out, artifact.Finding{What: "trust", Text: err.Error(), Remedy: "mmoci key new makes a pair of keys"})
		}
		if q.Signer != nil && !knowsOne(ring, q.Signer.Public()) {
			out = append(out, artifact.Finding{What: "trust", Text: "none of its keys is the one that signs", Remedy: "add the public half of the signing key to trust:"})
		}
	}
	return out
}

func knowsOne(ring, keys *pgp.Keyring) bool {
	for _, fp := range keys.Fingerprints() {
		for _, known := range ring.Fingerprints() {
			if fp == known {
				return true
			}
		}
	}
	return false
}

// directory looks at where a layout or archive lies.
func (q DoctorOptions) directory() artifact.Finding {
	dir := q.Ref.Name
	if q.Ref.Kind == artifact.Archive {
		dir = filepath.Dir(dir)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
	}
	f, err := os.CreateTemp(dir, ".mmoci-doctor-*")
	if err != nil {
		return artifact.Finding{What: "directory", Text: err.Error(), Remedy: "push as a user who may write there"}
	}
	f.Close()
	_ = os.Remove(f.Name())
	return artifact.Finding{What: "directory", OK: true, Text: dir + " can be written to"}
}

// upstream reads and verifies the signature files of an archive.
func (q DoctorOptions) upstream(ctx context.Context, a *config.Archive) []artifact.Finding {
	what := "archive " + a.Prefix
	up, suites, err := suites.Probe(ctx, a, q.Keys, q.Now, nil)
	if err != nil {
		f := finding(what, "", err)
		if a.SignedByURL == "" || !errors.Is(err, outcome.ErrIntegrity) {
			f.Remedy = "correct signed-by, ca or auth of this archive"
		}
		return []artifact.Finding{f}
	}
	out := q.upstreamCAs(ctx, what, up)
	for _, s := range suites {
		f := finding(what+", "+s.Suite, "of "+snapshot.FormatDate(s.Date)+", signature good", s.Err)
		if s.Err == nil && s.AptRefuses != "" {
			f.OK, f.Text, f.Remedy = false, f.Text+", but apt would refuse its key: "+s.AptRefuses, "get upstream's newer key"
		}
		out = append(out, f)
	}
	return out
}

// others looks at where the archives are read from that are no Debian archives.
func (q DoctorOptions) others(ctx context.Context) (out []artifact.Finding) {
	trust, err := signer.ReadKeyrings(q.Plan.Trust...)
	if err != nil || len(q.Plan.Trust) == 0 { // keys tells the first
		trust = nil
	}
	if q.Signer != nil {
		trust = pgp.JoinKeyrings(q.Signer.Public(), trust)
	}
	for _, p := range (others.Reader{Site: trust, Artifact: q.Options}).Probe(ctx, freeze.Options{Plan: q.Plan, Keys: q.Keys, Now: q.Now}) {
		what := "archive " + p.Prefix
		out = append(out, q.upstreamCAs(ctx, what, p.Places...)...)
		out = append(out, finding(what, p.Text, p.Err))
	}
	return out
}

// finding is the line about what is read from an upstream: what it has, or why it cannot be read or believed.
func finding(what, has string, err error) artifact.Finding {
	f := artifact.Finding{What: what}
	switch {
	case err == nil:
		f.OK, f.Text = true, has
	case errors.Is(err, outcome.ErrIntegrity):
		f.Text, f.Remedy = err.Error(), "stop and look: another key, an old mirror, or somebody between"
	case errors.As(err, new(*net.OpError)), errors.As(err, new(*net.DNSError)):
		f.Text, f.Remedy = err.Error(), "the network, a proxy (http_proxy), or the URL"
	default:
		f.Text, f.Remedy = err.Error(), "see the message; check what mmoci.yaml says of the archive"
	}
	return f
}

// CertificateSoon is how long before a certificate ends Doctor says so. Those that are
// renewed automatically have been by then.
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
func (q DoctorOptions) upstreamCAs(ctx context.Context, what string, ups ...*upstream.Upstream) []artifact.Finding {
	var out []artifact.Finding
	seen := map[string]bool{}
	for _, up := range ups {
		for _, e := range up.Endpoints() {
			u, err := url.Parse(e.URL)
			if err != nil || u.Scheme != "https" || seen[u.Host] {
				continue
			}
			seen[u.Host] = true
			h := handshake{what + ", CA", e.URL, e.Transport, e.CAFiles, "ca: FILE of this archive", q.Env, q.Now}
			out = append(out, h.look(ctx)...)
		}
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
