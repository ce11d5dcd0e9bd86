package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

func writeRules(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Every kind of rule decides every spelling of a package's path alike.
func TestDeniedHoweverSpelled(t *testing.T) {
	t.Parallel()
	const deb = "docker/pool/stable/g/gcc-12/g++-12_12.2.0-14~deb12u1_amd64.deb"
	m := newMemoryBlobs()
	s := spec{date: day(1), debs: map[string][]byte{deb: bytesOf("g", 3000), "docker/pool/stable/o/other_1_all.deb": []byte("o")}}
	s.files = map[string][]byte{"docker/pool/stable/g/gcc-12/gcc-12_12.2.0-14~deb12u1.dsc": []byte("dsc")}
	sn := s.take(t, m)
	name := newServed(sn).name
	spellings := []string{
		"/" + deb,
		"/" + strings.NewReplacer("+", "%2b", "~", "%7e").Replace(deb),
		"/" + strings.NewReplacer("+", "%2B", "~", "%7E").Replace(deb),
		"/" + strings.ReplaceAll(deb, "g", "%67"),
		"/" + strings.ReplaceAll(deb, "/", "%2F"),
		"/" + deb + "?x=1",
		"/upstream/" + deb,
		"/snapshot/" + name + "/" + deb,
		"/snapshot/" + sn.Root.String() + "/upstream/" + deb,
	}
	refused := []string{ // never served, whatever the rules
		"//" + deb, "/./" + deb, "/docker/../" + deb, "/docker/%2e%2e/" + deb,
		"/" + strings.ReplaceAll(deb, "/pool/", "//pool/"), "/" + deb + "/", "/" + strings.ToUpper(deb),
		"/" + strings.ReplaceAll(deb, "+", "%252b"),
		"/docker/pool/stable/g/gcc-12/by-hash/SHA256/" + snapshot.Sum(s.debs[deb]).Hex(),
		"/docker/dists/bookworm/main/binary-amd64/by-hash/SHA256/" + snapshot.Sum(s.debs[deb]).Hex(),
	}
	for kind, rule := range map[string]string{
		"name":         "- {deny: g++-12, reason: not here}",
		"glob":         "- {deny: 'g[+][+]-*', reason: not here}",
		"version":      "- {deny: '*', version: '>= 12.2.0-14~deb12u1, << 12.2.0-14', reason: not here}",
		"architecture": "- {deny: '*', architecture: amd64, reason: not here}",
		"source":       "- {deny: '*', source: gcc-12, reason: not here}",
		"archive":      "- {allow: other, reason: needed}\n- {deny: '*', archive: docker, reason: not here}",
		"default":      "- {allow: other, reason: needed}",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			text, want := "rules:\n"+rule+"\n", "not here"
			if kind == "default" {
				text, want = "default: deny\n"+text, "not on this site's list"
			}
			_, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: writeRules(t, text)}, false)
			for _, target := range spellings {
				for _, header := range [][]string{nil, {"Range", "bytes=1-2"}, {"If-None-Match", "*"}} {
					for _, method := range []string{"GET", "HEAD"} {
						a := ask(t, base, method, target, header...)
						if a.status != 403 || !strings.HasPrefix(a.phrase, "Denied by rule ") || !strings.HasSuffix(a.phrase, ": "+want) {
							t.Errorf("%s %s %v: %d %s", method, target, header, a.status, a.phrase)
						}
						if method == "GET" && string(a.body) != a.phrase+"\n" {
							t.Errorf("%s: body %q", target, a.body)
						}
					}
				}
			}
			for _, target := range refused {
				if a := ask(t, base, "GET", target); a.status != 404 {
					t.Errorf("%s: %d %s", target, a.status, a.phrase)
				}
			}
			for _, target := range []string{"/docker/pool/stable/o/other_1_all.deb", "/docker/dists/bookworm/Release", "/docker/dists/bookworm/main/binary-amd64/Packages.gz", "/upstream/docker/dists/bookworm/InRelease"} {
				if a := ask(t, base, "GET", target); a.status != 200 {
					t.Errorf("%s: %d %s", target, a.status, a.phrase)
				}
			}
			want403 := kind == "source" || kind == "archive" || kind == "default" || kind == "version"
			a := ask(t, base, "GET", "/docker/pool/stable/g/gcc-12/gcc-12_12.2.0-14~deb12u1.dsc")
			if (a.status == 403) != want403 {
				t.Errorf("source package: %d", a.status)
			}
		})
	}
}

func TestLogOnly(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb([]byte("deb")).take(t, m)
	log := &lockedWriter{w: &bytes.Buffer{}}
	access := slog.New(slog.NewJSONHandler(log, nil))
	o := Options{Sources: []Source{newTag(sn)}, Policy: writeRules(t, "rules:\n- {name: no-docker, deny: docker-ce, reason: none}\n"), PolicyLogOnly: true, Access: access}
	s, base := run(t, o, false)
	if a := ask(t, base, "GET", "/"+debPath); a.status != 200 {
		t.Errorf("status %d", a.status)
	}
	if got := counted(t, s, "mmoci_would_deny_total"); got != 1 {
		t.Errorf("counted %v", got)
	}
	eventually(t, func() bool { return strings.Contains(log.String(), `"rule":"no-docker (log only)"`) })
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.String()
}

// eventually waits for what another goroutine will do; the test's own time bounds it.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal("never")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A file exchanged as editors do, and as kubelet does with a ConfigMap, is
// read; a bad one leaves the rules; clients notice nothing but the rules.
func TestReload(t *testing.T) {
	t.Parallel()
	const allow, deny = "default: allow\n", "rules:\n- {deny: docker-ce, reason: no}\n"
	exchangers := map[string]func(dir, text string, n int) error{
		"rename": func(dir, text string, n int) error {
			tmp := filepath.Join(dir, fmt.Sprint("new", n))
			return errors.Join(os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, filepath.Join(dir, "policy.yaml")))
		},
		"in place": func(dir, text string, _ int) error {
			return os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o644)
		},
		"ConfigMap": func(dir, text string, n int) error {
			data := filepath.Join(dir, fmt.Sprint("..data", n))
			err := errors.Join(os.Mkdir(data, 0o755), os.WriteFile(filepath.Join(data, "policy.yaml"), []byte(text), 0o644),
				os.Symlink(filepath.Base(data), filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
			if n == 0 {
				err = errors.Join(err, os.Symlink("..data/policy.yaml", filepath.Join(dir, "policy.yaml")))
			}
			return err
		},
	}
	for name, put := range exchangers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, m := t.TempDir(), newMemoryBlobs()
			sn := oneDeb([]byte("deb")).take(t, m)
			if err := put(dir, allow, 0); err != nil {
				t.Fatal(err)
			}
			s, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: filepath.Join(dir, "policy.yaml"), look: 10 * time.Millisecond}, true)
			status := func() int { return ask(t, base, "GET", "/"+debPath).status }
			if got := status(); got != 200 {
				t.Fatalf("at first %d", got)
			}
			if err := put(dir, deny, 1); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return status() == 403 })
			if err := put(dir, "rules: [", 2); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return counted(t, s, "mmoci_policy_reloads_total") >= 2 })
			if got := status(); got != 403 {
				t.Errorf("after a bad file: %d", got)
			}
			if err := put(dir, allow, 3); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return status() == 200 })
		})
	}
	if _, err := New(t.Context(), Options{Sources: []Source{newTag()}, Policy: writeRules(t, "x: y")}); err == nil || !strings.Contains(err.Error(), "policy.yaml:1: ") {
		t.Errorf("bad at the start: %v", err)
	}
}

// Rules that change all the time, good and bad, cost no client its answer: each
// is by the rules before or by those after, and whole.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	data := bytesOf("deb", 30_000)
	sn := oneDeb(data).take(t, m)
	file := writeRules(t, "default: allow\n")
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: file, look: 10 * time.Millisecond}, false)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var allowed, denied atomic.Int64
	for range 8 {
		wg.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				resp, err := c.Get(base + "/" + debPath)
				if err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case err == nil && resp.StatusCode == 200 && bytes.Equal(body, data):
					allowed.Add(1)
				case err == nil && resp.StatusCode == 403 && string(body) == "Denied by rule no: not now\n":
					denied.Add(1)
				default:
					t.Errorf("%s, %d bytes, %v", resp.Status, len(body), err)
				}
			}
		})
	}
	texts := []string{"rules:\n- {name: no, deny: docker-ce, reason: not now}\n", "rules: [\n", "default: allow\n", ""}
	for n := 0; counted(t, s, "mmoci_policy_reloads_total") < 12 || allowed.Load() == 0 || denied.Load() == 0; n++ {
		if err := errors.Join(os.WriteFile(file+".new", []byte(texts[n%len(texts)]), 0o644), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	wg.Wait()
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb(bytesOf("deb", 5000)).take(t, m)
	log := &lockedWriter{w: &bytes.Buffer{}}
	o := Options{
		Sources: []Source{newTag(sn)}, Access: slog.New(slog.NewJSONHandler(log, nil)),
		Policy: writeRules(t, "rules:\n- {name: ok, allow: docker-*, reason: asked for}\n"),
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- s.ListenAndServe(ctx, []string{"127.0.0.1:0"}, func(a []string) { addr <- a[0] })
	}()
	base := "http://" + <-addr
	ask(t, base, "GET", "/"+debPath, "Range", "bytes=0-99", "User-Agent", "Debian APT-HTTP/1.3 (2.6.1)")
	cancel()
	if err := <-ended; err != nil { // drained: everything is logged
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(log.String()), &got); err != nil {
		t.Fatalf("%s: %v", log, err)
	}
	for key, want := range map[string]any{
		"client": "127.0.0.1", "method": "GET", "path": "/" + debPath, "archive": "docker", "package": "docker-ce",
		"version": "27.3.1-1~debian.12~bookworm", "architecture": "amd64", "source": "docker-ce", "status": 206.0, "bytes": 100.0,
		"rule": "ok", "from": "", "agent": "Debian APT-HTTP/1.3 (2.6.1)", "snapshot": newServed(sn).name,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if got["seconds"] == nil || got["time"] == nil {
		t.Errorf("no time: %v", got)
	}
}

// TestRuleWithoutName: its number is in the status line, after one word "rule".
func TestRuleWithoutName(t *testing.T) {
	t.Parallel()
	sn := oneDeb([]byte("deb")).take(t, newMemoryBlobs())
	_, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: writeRules(t, "rules:\n- {deny: docker-ce, reason: not now}\n")}, false)
	if a := ask(t, base, "GET", "/"+debPath); a.status != 403 || a.phrase != "Denied by rule 1: not now" {
		t.Errorf("%d %q", a.status, a.phrase)
	}
}
