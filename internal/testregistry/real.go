package testregistry

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
)

// RealRegistryVariable names the environment variable with the URL of a registry, without
// credentials, that tests use in place of those in memory.
const RealRegistryVariable = "MMOCI_TEST_REGISTRY"

// RealRegistry hands requests on to the registry that the environment names; nil if it
// names none. Each handler has repositories of its own there, so tests may use the same names at once.
func RealRegistry(t testing.TB) http.Handler {
	t.Helper()
	text := os.Getenv(RealRegistryVariable)
	if text == "" {
		return nil
	}
	target, err := url.Parse(text)
	if err != nil || target.Host == "" {
		t.Fatalf("testarchive: %s: %q is no URL", RealRegistryVariable, text)
	}
	var serial [8]byte
	_, _ = rand.Read(serial[:])
	own := "/v2/t" + hex.EncodeToString(serial[:]) + "/"
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // Host stays: it is what Location is made of
			r.Out.Host = r.In.Host
			if rest, ok := strings.CutPrefix(r.In.URL.Path, "/v2/"); ok && rest != "" {
				r.Out.URL.Path, r.Out.URL.RawPath = own+rest, ""
			}
			if q := r.Out.URL.Query(); q.Get("from") != "" {
				q.Set("from", strings.TrimPrefix(own, "/v2/")+q.Get("from"))
				r.Out.URL.RawQuery = q.Encode()
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			for _, name := range []string{"Location", "Link"} {
				if v := resp.Header.Get(name); v != "" {
					resp.Header.Set(name, strings.Replace(v, own, "/v2/", 1))
				}
			}
			return nil
		},
	}
}
