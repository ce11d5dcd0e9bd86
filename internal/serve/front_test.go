package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/mirrors"
	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/pkg/snapshot"
)

// aMirror is a tree that has these blobs, and counts what clients asked it for.
type aMirror struct {
	*httptest.Server
	clients   atomic.Int64
	passwords atomic.Int64
	front     atomic.Value // what the front says of itself
}

func newMirror(t testing.TB, blobs ...[]byte) *aMirror {
	m := &aMirror{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "mmoci-front" {
			m.clients.Add(1)
		} else {
			m.front.Store(r.Header.Get(mirrors.FrontHeader))
		}
		if r.Header.Get("Authorization") != "" {
			m.passwords.Add(1)
		}
		for _, b := range blobs {
			if r.URL.Path == "/blobs/sha256/"+snapshot.Sum(b).Hex() {
				http.ServeContent(w, r, "", snapshot.ModTime(snapshot.Sum(b)), bytes.NewReader(b))
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

// mirrorsFile is a list with one mirror.
func mirrorsFile(t testing.TB, url, more string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mirrors.yaml")
	text := fmt.Sprintf("- {name: de1, url: %q, allow-http: yes%s}\n", url, more)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// asked gets a URL without following redirects.
func asked(t testing.TB, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, b.String()
}

// redirected asks until the mirror was looked at.
func redirected(t testing.TB, url string, header ...string) *http.Response {
	t.Helper()
	for range 1000 {
		resp, body := asked(t, http.MethodGet, url, header...)
		switch {
		case resp.StatusCode == http.StatusFound || resp.StatusCode == http.StatusTemporaryRedirect:
			return resp
		case resp.StatusCode >= 400:
			t.Fatalf("%s: %s, %.200s", url, resp.Status, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: never redirected", url)
	return nil
}

// packedDeb is oneDeb as it comes from a registry.
func packedDeb(data []byte) spec {
	sp := oneDeb(data)
	sp.packed = true
	return sp
}

func TestFront(t *testing.T) {
	data := bytesOf("deb", 50_000)
	m := newMirror(t, data)
	log := &lockedWriter{w: &bytes.Buffer{}}
	// The mirror is at the same host name as the front.
	file := mirrorsFile(t, m.URL, `, shares-credentials: yes, apt: apt/mirror:noble`)
	credentials := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(credentials, []byte("host:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, base := run(t, Options{
		Sources: []Source{newTag(packedDeb(data).take(t, newMemoryBlobs()))}, Mirrors: file, Registry: true, Credentials: credentials,
		Access: slog.New(slog.NewJSONHandler(log, nil)),
	}, false)
	url, login := base+"/"+debPath, []string{"Authorization", "Basic aG9zdDpzZWNyZXQ="}
	if resp, _ := asked(t, http.MethodGet, url); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a password: %s", resp.Status)
	}
	resp := redirected(t, url, login...)
	d := snapshot.Sum(data)
	for name, want := range map[string]string{
		"Location": m.URL + "/blobs/sha256/" + d.Hex(), "Cache-Control": "no-store", "X-Mmoci-Mirror": "de1",
		"Etag": "", "Last-Modified": "", "Accept-Ranges": "",
	} {
		if got := resp.Header.Get(name); got != want || resp.StatusCode != http.StatusFound {
			t.Errorf("%s: %q, want %q (%s)", name, got, want, resp.Status)
		}
	}
	if resp := redirected(t, url, append(login, "Range", "bytes=5-")...); resp.Header.Get("Location") == "" {
		t.Error("a range is not redirected")
	}
	blob := base + "/v2/site/mirror/blobs/" + d.String()
	if resp := redirected(t, blob+"?ns=registry.example.org", login...); resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Docker-Content-Digest") != d.String() {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	for _, c := range []struct {
		method, url string
		header      []string
		want        int
	}{
		{http.MethodHead, url, nil, 200},
		{http.MethodHead, blob, nil, 200},
		{http.MethodGet, url, []string{"If-None-Match", `"` + d.String() + `"`}, 304},
		{http.MethodGet, url, []string{"Range", "bytes=50000-"}, 416},
		{http.MethodGet, base + "/mmoci/direct/" + debPath, nil, 200},
		{http.MethodGet, base + "/mmoci/direct/" + debPath, []string{"Range", "bytes=1-2"}, 206},
		{http.MethodGet, base + "/mmoci/direct/nothing/here", nil, 404},
		{http.MethodGet, base + "/mmoci/direct/../../v2/", nil, 404},
		{http.MethodGet, base + "/v2/site/mirror/manifests/noble", nil, 200},
		{http.MethodGet, url, []string{mirrors.FrontHeader, m.front.Load().(string)}, 508},
		{http.MethodGet, base + "/setup/hosts.toml", nil, 200},
		{http.MethodGet, base + "/setup/registries.conf", nil, 200},
		{http.MethodGet, base + "/setup/none.mirrors", nil, 404},
	} {
		resp, _ := asked(t, c.method, c.url, append(c.header, login...)...)
		if resp.StatusCode != c.want || resp.Header.Get("X-Mmoci-Mirror") != "" {
			t.Errorf("%s %s %v: %s, want %d", c.method, c.url, c.header, resp.Status, c.want)
		}
	}
	prefix, _, _ := strings.Cut(debPath, "/")
	_, list := asked(t, http.MethodGet, base+"/setup/"+prefix+".mirrors", login...)
	for _, line := range []string{
		base + "/mmoci/direct/" + prefix + "/\tpriority:1 type:index\n", m.URL + "/apt/mirror:noble/" + prefix + "/\tpriority:2 type:deb\n",
		base + "/" + prefix + "/\tpriority:3\n", base + "/mmoci/direct/" + prefix + "/\tpriority:4\n", "2.9.14",
	} {
		if !strings.Contains(list, line) {
			t.Errorf("no %q in\n%s", line, list)
		}
	}
	// Every text of mirrors is named for programs, and explained for people.
	_, texts := asked(t, http.MethodGet, base+"/setup/", login...)
	_, page := asked(t, http.MethodGet, base+"/setup/", append([]string{"Accept", "text/html"}, login...)...)
	for _, name := range []string{prefix + ".mirrors", "hosts.toml", "registries.conf"} {
		if !strings.Contains(texts, base+"/setup/"+name+"\n") {
			t.Errorf("%s is not in\n%s", name, texts)
		}
		if ok, err := regexp.MatchString(`<a href="../setup/`+name+`">`+name+`</a></td><td class="text">[^<]{40,}</td><td class="text">[^<]{20,}</td>`, page); err != nil || !ok {
			t.Errorf("%s is not on the page", name)
		}
	}
	_, metrics := asked(t, http.MethodGet, base+"/metrics", login...)
	for _, line := range []string{`mmoci_mirror_used{mirror="de1"} 1`, `mmoci_mirror_faults_total{fault="dead",mirror="de1"} 0`} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if !strings.Contains(log.String(), `"mirror":"de1"`) {
		t.Error("the mirror is not in the access log")
	}
	if m.passwords.Load() > 0 {
		t.Error("the front sent a password to the mirror")
	}
	// The list is read again.
	if err := os.WriteFile(file, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.lookAtFiles()
	if resp, _ := asked(t, http.MethodGet, url, login...); resp.StatusCode != http.StatusOK {
		t.Errorf("a list without mirrors: %s", resp.Status)
	}
}

// A mirror under the host name of the front is not used, for clients would send it their passwords.
func TestFrontSharesCredentials(t *testing.T) {
	data := bytesOf("deb", 50_000)
	m := newMirror(t, data)
	events := &lockedWriter{w: &bytes.Buffer{}}
	s, base := run(t, Options{
		Sources: []Source{newTag(packedDeb(data).take(t, newMemoryBlobs()))}, Mirrors: mirrorsFile(t, m.URL, ""), Log: slog.New(slog.NewTextHandler(events, nil)),
	}, false)
	for range 3 {
		if resp, _ := asked(t, http.MethodGet, base+"/"+debPath); resp.StatusCode != http.StatusOK {
			t.Errorf("%s to %s", resp.Status, resp.Header.Get("Location"))
		}
	}
	if strings.Count(events.String(), "mirror not used") != 1 {
		t.Errorf("%s", events)
	}
	if st := s.front.States(); st[0].Redirects != 0 {
		t.Errorf("%v", st)
	}
	_, err := New(t.Context(), Options{Sources: s.o.Sources, Mirrors: s.o.Mirrors, BaseURL: strings.Replace(m.URL, "http:", "https:", 1)})
	if err == nil || !strings.Contains(err.Error(), "would send their password") {
		t.Errorf("a base URL of the mirror's host: %v", err)
	}
}

// Whatever is not what a digest names comes from the front: indices, Release files, documents.
func TestFrontKeepsIndices(t *testing.T) {
	data := bytesOf("deb", 50_000)
	sp := packedDeb(data)
	m := newMirror(t)
	_, base := run(t, Options{Sources: []Source{newTag(sp.take(t, newMemoryBlobs()))}, Mirrors: mirrorsFile(t, m.URL, ", shares-credentials: yes, check: size"), Registry: true}, false)
	for _, p := range []string{"/", "/setup/", "/mmoci/statement", "/v2/", "/v2/site/mirror/manifests/noble", "/v2/site/mirror/tags/list"} {
		if resp, _ := asked(t, http.MethodGet, base+p); resp.StatusCode >= 300 && resp.StatusCode < 400 {
			t.Errorf("%s: %s", p, resp.Status)
		}
	}
	if resp, body := asked(t, http.MethodGet, base+"/"+debPath); resp.StatusCode != http.StatusOK || body != string(data) {
		t.Errorf("a mirror without the file: %s", resp.Status)
	}
}

func TestFrontDenies(t *testing.T) {
	data := bytesOf("deb", 50_000)
	m := newMirror(t, data)
	sn := packedDeb(data).take(t, newMemoryBlobs())
	_, base := run(t, Options{
		Sources: []Source{newTag(sn)}, Mirrors: mirrorsFile(t, m.URL, ", shares-credentials: yes"), Registry: true,
		Policy: writeRules(t, "rules:\n- {deny: \"*\", reason: not today}\n"),
	}, false)
	for range 3 {
		for _, p := range []string{"/" + debPath, "/mmoci/direct/" + debPath, "/v2/site/mirror/blobs/" + snapshot.Sum(data).String()} {
			if resp, _ := asked(t, http.MethodGet, base+p); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Location") != "" {
				t.Errorf("%s: %s", p, resp.Status)
			}
		}
	}
	if m.clients.Load() > 0 {
		t.Error("the mirror was asked")
	}
}

// Many clients, behind a proxy that names them, over 64 connections.
func BenchmarkRedirect64Connections(b *testing.B) {
	data := bytesOf("deb", 20_000)
	m := newMirror(b, data)
	log, err := os.Create(filepath.Join(b.TempDir(), "access.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	_, base := run(b, Options{
		Sources: []Source{newTag(packedDeb(data).take(b, newMemoryBlobs()))}, Mirrors: mirrorsFile(b, m.URL, ", shares-credentials: yes"), Registry: true,
		Access: slog.New(slog.NewJSONHandler(log, nil)), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}, true)
	path := "/v2/site/mirror/blobs/" + snapshot.Sum(data).String()
	redirected(b, base+path)
	before := cpuTime(b)
	var clients, served atomic.Int64
	b.ResetTimer()
	b.SetParallelism(32) // of two processors
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		for pb.Next() {
			n := clients.Add(1)
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::%x:%x\r\n\r\n", path, n>>16, n&0xffff)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusTemporaryRedirect {
				served.Add(1)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	if served.Load() > int64(b.N)/100 {
		b.Errorf("%d of %d were served by the front", served.Load(), b.N)
	}
}

// BenchmarkRedirect is the server's own part of a redirect, without connection and net/http.
func BenchmarkRedirect(b *testing.B) {
	data := bytesOf("deb", 20_000)
	m := newMirror(b, data)
	s, base := run(b, Options{
		Sources: []Source{newTag(packedDeb(data).take(b, newMemoryBlobs()))}, Mirrors: mirrorsFile(b, m.URL, ", shares-credentials: yes"), Registry: true,
		Access: logs.New(io.Discard, logs.JSON, slog.LevelInfo), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}, true)
	path := "/v2/site/mirror/blobs/" + snapshot.Sum(data).String()
	redirected(b, base+path)
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "127.0.0.1:1"
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		r.Header["X-Forwarded-For"] = []string{fmt.Sprintf("2001:db8::%x:%x", n>>16, n&0xffff)}
		w := discardAnswer{http.Header{}}
		s.ServeHTTP(w, r)
		if w.header["Location"] == nil {
			b.Fatal("served by the front")
		}
	}
}

// discardAnswer has the header of an answer, and nothing else of it.
type discardAnswer struct{ header http.Header }

func (d discardAnswer) Header() http.Header         { return d.header }
func (d discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (d discardAnswer) WriteHeader(int)             {}

// Behind a proxy that gives a front a path of its own, clients are sent away from there, too, and every text names that path.
// Fronts with one list send to the same mirror, so that one in a row of them may take over for another.
func TestFrontsBelowAPath(t *testing.T) {
	t.Parallel()
	data := bytesOf("deb", 50_000)
	a, b := newMirror(t, data), newMirror(t, data)
	file := filepath.Join(t.TempDir(), "mirrors.yaml")
	text := fmt.Sprintf("- {name: de1, url: %q, allow-http: yes, shares-credentials: yes, apt: apt/mirror:noble}\n- {name: fr1, url: %q, allow-http: yes, shares-credentials: yes}\n", a.URL, b.URL)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sn := packedDeb(data).take(t, newMemoryBlobs())
	const base = "http://site.example.org/apt"
	prefix, _, _ := strings.Cut(debPath, "/")
	sentTo := map[string]int{}
	for range 3 {
		_, at := run(t, Options{Sources: []Source{newTag(sn)}, Mirrors: file, Registry: true, BaseURL: base}, false)
		for _, p := range []string{"/apt/" + debPath, "/apt/v2/site/mirror/blobs/" + snapshot.Sum(data).String(), "/v2/site/mirror/blobs/" + snapshot.Sum(data).String()} {
			sentTo[redirected(t, at+p).Header.Get("Location")]++
		}
		for _, c := range []struct{ name, want string }{
			{prefix + ".mirrors", base + "/mmoci/direct/" + prefix + "/\tpriority:1 type:index\n"},
			{prefix + ".mirrors", base + "/" + prefix + "/\tpriority:3\n"},
			{"hosts.toml", `[host."` + base + `/v2"]`},
			{"hosts.toml", "override_path = true\n"},
		} {
			if _, got := asked(t, http.MethodGet, at+"/apt/setup/"+c.name); !strings.Contains(got, c.want) {
				t.Errorf("%s has no %q:\n%s", c.name, c.want, got)
			}
		}
		if resp, _ := asked(t, http.MethodGet, at+"/apt/mmoci/direct/"+debPath); resp.StatusCode != http.StatusOK {
			t.Errorf("direct: %s", resp.Status)
		}
	}
	if len(sentTo) != 1 {
		t.Errorf("three fronts send to %v", sentTo)
	}
}
