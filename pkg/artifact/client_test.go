package artifact

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"example.org/mmoci/pkg/artifact/places"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// secureRegistry is the fake behind TLS and, if user is not "", basic or bearer authentication.
func secureRegistry(t *testing.T, user string, bearer bool) (server *httptest.Server, ref Reference, refused *atomic.Int64) {
	t.Helper()
	f := newFakeRegistry(t)
	refused = &atomic.Int64{}
	var url string
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, ok := r.BasicAuth()
		good := ok && name == user && password == "secret"
		switch {
		case r.URL.Path == "/token" && good:
			fmt.Fprint(w, `{"token":"sesame"}`)
			return
		case user == "" || !bearer && good || r.Header.Get("Authorization") == "Bearer sesame":
			f.ServeHTTP(w, r)
			return
		case bearer:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+url+`/token",service="test"`)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		}
		refused.Add(1)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
	}))
	server.Config.ErrorLog = nil
	url = server.URL
	t.Cleanup(server.Close)
	return server, mustParse(t, strings.TrimPrefix(server.URL, "https://")+"/site/mirror:noble"), refused
}

func caFile(t *testing.T, server *httptest.Server, name string) string {
	t.Helper()
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, data)
	return name
}

func TestCertificates(t *testing.T) {
	server, ref, _ := secureRegistry(t, "", false)
	s := takeOf(t, synthFiles(1))
	dir := t.TempDir()
	ca := caFile(t, server, filepath.Join(dir, "ca.pem"))
	mustPush(t, ref, s, PushOptions{Options: Options{CAFile: ca}})

	certs := filepath.Join(dir, "certs.d")
	caFile(t, server, filepath.Join(certs, ref.Host(), "ca.crt"))
	if _, err := Open(t.Context(), ref, Options{Tuning: places.Tuning{CertDirs: []string{certs}}}); err != nil {
		t.Error(err)
	}
	other := httptest.NewUnstartedServer(nil)
	other.StartTLS()
	defer other.Close()
	if _, err := Open(t.Context(), ref, Options{CAFile: os.DevNull}); err == nil {
		t.Error("an empty CA file was taken")
	}
	if _, err := Open(t.Context(), ref, Options{CAFile: filepath.Join(dir, "absent")}); err == nil {
		t.Error("an absent CA file was taken")
	}
}

// HTTPS where nobody spoke of plain HTTP, and what to do about it.
func TestPlainHTTP(t *testing.T) {
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	ca := t.TempDir() + "/ca.pem"
	server, _, _ := secureRegistry(t, "", false)
	if _, err := Open(t.Context(), ref, Options{CAFile: caFile(t, server, ca)}); err == nil || !errors.Is(err, ErrPlainHTTP) {
		t.Errorf("HTTPS to a server of HTTP: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("hugo:secret"))
	wrong := base64.StdEncoding.EncodeToString([]byte("hugo:wrong"))
	for name, c := range map[string]struct {
		bearer       bool
		docker, auth string // file contents; HOST is the registry
		anonymous    bool
		says         string // of the error; "" if it works
	}{
		"docker, basic":        {docker: `{"auths":{"HOST":{"auth":"` + encoded + `"}}}`},
		"docker, bearer":       {bearer: true, docker: `{"auths":{"HOST":{"auth":"` + encoded + `"}}}`},
		"podman":               {auth: `{"auths":{"HOST":{"auth":"` + encoded + `"}}}`},
		"podman, repository":   {auth: `{"auths":{"HOST":{"auth":"` + wrong + `"},"HOST/site":{"auth":"` + encoded + `"}}}`},
		"podman before docker": {auth: `{"auths":{"HOST":{"auth":"` + encoded + `"}}}`, docker: `{"auths":{"HOST":{"auth":"` + wrong + `"}}}`},
		"none":                 {says: "podman login HOST"},
		"wrong":                {docker: `{"auths":{"HOST":{"auth":"` + wrong + `"}}}`, says: "podman login HOST"},
		"other host":           {docker: `{"auths":{"other.example.org":{"auth":"` + encoded + `"}}}`, says: "podman login HOST"},
		"anonymous":            {docker: `{"auths":{"HOST":{"auth":"` + encoded + `"}}}`, anonymous: true, says: "podman login HOST"},
		"broken":               {docker: `{"auths":`, says: "docker credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			server, ref, refused := secureRegistry(t, "hugo", c.bearer)
			dir := t.TempDir()
			t.Setenv("DOCKER_CONFIG", dir)
			t.Setenv("HOME", dir)
			t.Setenv("XDG_CONFIG_HOME", dir)
			t.Setenv("XDG_RUNTIME_DIR", dir)
			t.Setenv("REGISTRY_AUTH_FILE", "")
			if c.docker != "" {
				writeFile(t, filepath.Join(dir, "config.json"), []byte(strings.ReplaceAll(c.docker, "HOST", ref.Host())))
			}
			if c.auth != "" {
				t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "auth.json"))
				writeFile(t, filepath.Join(dir, "auth.json"), []byte(strings.ReplaceAll(c.auth, "HOST", ref.Host())))
			}
			o := Options{CAFile: caFile(t, server, filepath.Join(dir, "ca.pem")), Anonymous: c.anonymous, Concurrency: 1}
			_, err := Push(t.Context(), ref, takeOf(t, synthFiles(20)), PushOptions{Options: o})
			if says := strings.ReplaceAll(c.says, "HOST", ref.Host()); says != "" {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%v; want %q", err, says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := refused.Load(); n > 2 {
				t.Errorf("asked %d times without credentials", n)
			}
		})
	}
}

// HTTPS on loopback, where plain HTTP is the choice: the way out is said.
func TestPlainToTLS(t *testing.T) {
	t.Parallel()
	_, ref, _ := secureRegistry(t, "", false)
	_, err := Open(t.Context(), ref, Options{Anonymous: true, Tuning: places.Tuning{CertDirs: []string{}}})
	if err == nil || !strings.Contains(err.Error(), "is it HTTPS that is spoken there? On loopback a CA") {
		t.Errorf("got %v", err)
	}
}
