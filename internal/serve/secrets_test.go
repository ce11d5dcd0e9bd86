package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	sn := oneDeb([]byte("deb")).take(t, newMemoryBlobs())
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("# hosts\nhost:pass:word\ntoken-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, Credentials: file}, false)
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		target, authorization string
		status                int
	}{
		{"/" + debPath, "", 401},
		{"/", "", 401},
		{"/metrics", "", 401},
		{"/healthz", "", 200},
		{"/readyz", "", 200},
		{"/" + debPath, basic("host:pass:word"), 200},
		{"/" + debPath, "Bearer token-1", 200},
		{"/" + debPath, basic("host:pass"), 401},
		{"/" + debPath, basic("token-1:"), 401},
		{"/" + debPath, basic("token-1"), 401},
		{"/" + debPath, "Bearer host:pass:word", 401},
		{"/" + debPath, "Bearer token-", 401},
		{"/" + debPath, "Bearer # hosts", 401},
		{"/" + debPath, "Bearer ", 401},
	} {
		var header []string
		if c.authorization != "" {
			header = []string{"Authorization", c.authorization}
		}
		a := ask(t, base, "GET", c.target, header...)
		if a.status != c.status || (a.status == 401) != strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s %q: %d", c.target, c.authorization, a.status)
		}
	}
	reload := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.lookAtFiles()
	}
	reload("token-2\n")
	if ask(t, base, "GET", "/"+debPath, "Authorization", "Bearer token-1").status != 401 ||
		ask(t, base, "GET", "/"+debPath, "Authorization", "Bearer token-2").status != 200 {
		t.Error("not reloaded")
	}
	reload("\n")
	if ask(t, base, "GET", "/"+debPath, "Authorization", "Bearer token-2").status != 200 {
		t.Error("an empty file was taken")
	}
	if _, err := New(t.Context(), Options{Sources: []Source{newTag(sn)}, Credentials: file}); err == nil {
		t.Error("an empty file was taken at the start")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	sn := oneDeb(bytesOf("deb", bigSize)).take(t, newMemoryBlobs())
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, "one.example.org")
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, TLSCert: cert, TLSKey: key}, false)
	dialTLS := func(want string) *tls.Conn {
		c, err := tls.Dial("tcp", strings.TrimPrefix(base, "http://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("certificate of %s", got)
		}
		return c
	}
	c := dialTLS("one.example.org")
	if a := exchangeOn(t, c, "GET", "/docker/pool/x_1_all.deb"); a.phrase != "x_1_all.deb is not in snapshot "+newServed(sn).name {
		t.Errorf("phrase %q", a.phrase)
	}
	if a := exchangeOn(t, c, "GET", "/"+debPath); a.status != 200 || len(a.body) != bigSize || a.err != nil {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
	if a := exchangeOn(t, c, "GET", "/setup/docker.sources"); !strings.Contains(string(a.body), "URIs: https://site.example.org/docker") {
		t.Errorf("%s", a.body)
	}
	writeCertificate(t, cert, key, "two.example.org")
	s.lookAtFiles()
	dialTLS("two.example.org")
	if _, err := New(t.Context(), Options{Sources: []Source{newTag(sn)}, TLSCert: cert}); err == nil {
		t.Error("a certificate without key")
	}
}

func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: day(1), NotAfter: day(1).Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
