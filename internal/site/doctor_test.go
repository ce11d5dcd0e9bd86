package site

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/artifact"
)

// authority is a CA that certifies servers on 127.0.0.1.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string // PEM
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.crt")}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// server answers 404 to all, under a certificate with these dates for ip.
func (a *authority) server(t *testing.T, from, to time.Time, ip string) *httptest.Server {
	t.Helper()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.ParseIP(ip)}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: a.key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it speaks of bad certificates
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// The CA of registry and upstreams has a line of its own: which, until when, and if it does not verify, what to do.
func TestDoctorNamesTheCA(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "Site CA"), newAuthority(t, "Another CA")
	now := time.Now()
	day := func(n int) time.Time { return now.AddDate(0, 0, n) }
	date := func(n int) string { return day(n).UTC().Format(time.DateOnly) }
	for _, c := range []struct {
		name     string
		from, to int // days
		ip       string
		file     string
		ok       bool
		want     []string // in text and remedy, HOST for the server's
	}{
		{"good", -1, 90, "127.0.0.1", ca.file, true, []string{"HOST: verified with " + ca.file + " (CN=Site CA), valid until " + date(90)}},
		{"ends soon", -1, 3, "127.0.0.1", ca.file, false, []string{"valid until " + date(3), "renew the certificate of HOST"}},
		{"unknown CA", -1, 90, "127.0.0.1", other.file, false, []string{"unknown authority", "CN=Site CA", "GIVE", other.file + " is read, and has another"}},
		{"expired", -30, -2, "127.0.0.1", ca.file, false, []string{"expired", date(-30) + " to " + date(-2), "renew it, or set this host's clock"}},
		{"another name", -1, 90, "192.0.2.1", ca.file, false, []string{"127.0.0.1", "a name that the certificate is for"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := ca.server(t, day(c.from), day(c.to), c.ip)
			host := strings.TrimPrefix(s.URL, "https://")
			ref, err := artifact.ParseReference(host + "/site/mirror:noble")
			if err != nil {
				t.Fatal(err)
			}
			q := DoctorOptions{
				Ref: ref, Now: now, Env: func(string) string { return "" }, Options: artifact.Options{CAFile: c.file, Anonymous: true},
				Plan: &config.Plan{Archives: []config.Archive{{Prefix: "docker", URLs: []string{s.URL}, CAFile: c.file, Suites: []string{"bookworm"}, SignedBy: dockerKey(t)}}},
			}
			found := Doctor(t.Context(), q)
			for what, give := range map[string]string{"CA": "FILE as /etc/docker/certs.d/", "archive docker, CA": "ca: FILE"} {
				f := findingOf(found, what)
				if f == nil {
					t.Fatalf("no line %q in %+v", what, found)
				}
				text := f.Text + " " + f.Remedy
				if f.OK != c.ok || f.OK != (f.Remedy == "") || strings.Contains(text, "\n") {
					t.Errorf("%s: %+v", what, *f)
				}
				for _, w := range c.want {
					w = strings.NewReplacer("HOST", host, "GIVE", give).Replace(w)
					if !strings.Contains(text, w) {
						t.Errorf("%s: %q lacks %q", what, text, w)
					}
				}
			}
		})
	}
}

// Where nothing is named the system's certificates are meant; of plain http
// nothing is said for an upstream, whose files are signed.
func TestDoctorWithoutCAFile(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "Public CA")
	s := ca.server(t, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), "127.0.0.1")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	h := handshake{
		what: "CA", url: s.URL, transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, now: time.Now(),
		env: func(name string) string { return map[string]string{"SSL_CERT_FILE": "/site/roots.pem"}[name] },
	}
	if f := h.look(t.Context()); len(f) != 1 || !f[0].OK || !strings.Contains(f[0].Text, "verified with the system's certificates (SSL_CERT_FILE=/site/roots.pem) (CN=Public CA)") {
		t.Errorf("%+v", f)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	ref, err := artifact.ParseReference(strings.TrimPrefix(plain.URL, "http://") + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	q := DoctorOptions{
		Ref: ref, Now: time.Now(), Env: func(string) string { return "" }, Options: artifact.Options{Anonymous: true},
		Plan: &config.Plan{Archives: []config.Archive{{Prefix: "docker", URLs: []string{plain.URL}, Suites: []string{"bookworm"}, SignedBy: dockerKey(t)}}},
	}
	found := Doctor(t.Context(), q)
	if f := findingOf(found, "CA"); f == nil || !f.OK || !strings.Contains(f.Text, "plain HTTP") {
		t.Errorf("registry: %+v", f)
	}
	if f := findingOf(found, "archive docker, CA"); f != nil {
		t.Errorf("upstream: %+v", *f)
	}
}

func findingOf(found []artifact.Finding, what string) *artifact.Finding {
	for i := range found {
		if found[i].What == what {
			return &found[i]
		}
	}
	return nil
}

func dockerKey(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	testarchive.Files{"docker.asc": testarchive.DockerKey().Public()}.Write(t, dir)
	return filepath.Join(dir, "docker.asc")
}

// Doctor says what running scripts lacks here, which is no fault, and what can be made all the same. This program does not call run.Main.
func TestDoctorOfScripts(t *testing.T) {
	f := scripts(t.Context())
	if !f.OK || !strings.Contains(f.Text, "does not call Main") || !strings.HasSuffix(f.Text, "; images with scripts: none can be made") {
		t.Errorf("%+v", f)
	}
}
