package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	frontClients = 64
	frontBlobs   = 16
)

// front is a server that sends clients to a mirror: nginx over the very layout that it serves.
func (b *bench) front(ctx context.Context) error {
	top, err := fresh(filepath.Join(b.tmp, "front"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	ref, err := b.release(ctx, top, generated{packages: 200, bytes: 4e6, suite: "bookworm"})
	if err != nil {
		return err
	}
	layout, _, _ := strings.Cut(strings.TrimPrefix(ref, "oci:"), ":")
	m, err := nginx(filepath.Join(top, "mirror"), layout)
	if err != nil {
		return err
	}
	defer m.stop()
	list := filepath.Join(top, "mirrors.yaml")
	if err := os.WriteFile(list, fmt.Appendf(nil, "- {name: de1, url: %q, allow-http: yes, shares-credentials: yes}\n", m.url+"/"), 0o644); err != nil {
		return err
	}
	addr, err := freePort()
	if err != nil {
		return err
	}
	dir, err := fresh(filepath.Join(top, "serve"))
	if err != nil {
		return err
	}
	s, err := start(dir, addr, "/readyz", b.mmoci, "serve", ref, "--registry", "--mirrors", list, "--trusted-proxy", "127.0.0.0/8", "--listen", addr, "--state", filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	defer s.stop()
	paths, err := s.redirectedPaths(filepath.Join(top, "release"))
	if err != nil {
		return err
	}
	for range b.pairs {
		r, err := s.redirects(ctx, paths)
		if err != nil {
			return err
		}
		t := &b.table
		t.figure(figure{name: fmt.Sprintf("front: time for 20,000 redirects, %d connections, log on", frontClients), unit: millis, most: 1000}).
			alone(1000 * 20_000 / r.rate)
		t.figure(figure{name: fmt.Sprintf("front: a redirect, %d connections, 99th percentile", frontClients), unit: millis, most: 5}).alone(inMillis(r.p99))
		t.figure(figure{name: "front: processor time of the server for 1,000 redirects", unit: millis}).alone(inMillis(r.each * 1000))
	}
	return nil
}

// redirectedPaths are those of blobs of some packages of an archive, once the server has seen that the mirror has them.
func (s *server) redirectedPaths(archive string) (paths []string, err error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	err = filepath.WalkDir(archive, func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".deb" {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		path := "/v2/mirror/blobs/sha256:" + sha256Hex(data)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			resp, err := client.Get(s.url + path)
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusTemporaryRedirect {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s: %s, and no redirect", path, resp.Status)
			}
		}
		if paths = append(paths, path); len(paths) == frontBlobs {
			return fs.SkipAll
		}
		return nil
	})
	return paths, err
}

// redirected is what a load of redirects cost.
type redirected struct {
	rate float64       // a second
	p99  time.Duration // of one, as its client has it
	each time.Duration // of the server's processor time
}

// eachItsOwn has wrk ask for the paths in turn, each time from an address of its own: who asks again may have failed at the mirror.
const eachItsOwn = `local paths, run, n = {%s}, %d, 0
request = function()
	n = n + 1
	return string.format("GET %%s HTTP/1.1\r\nHost: front\r\nX-Forwarded-For: 2001:db8:%%x::%%x:%%x\r\n\r\n", paths[n %% #paths + 1], run, math.floor(n / 65536), n %% 65536)
end
`

// redirects loads the server by wrk, whose one thread takes little of the two cores that both have.
func (s *server) redirects(ctx context.Context, paths []string) (r redirected, err error) {
	dir, err := os.MkdirTemp("", "redirects")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "each.lua")
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	if err := os.WriteFile(script, fmt.Appendf(nil, eachItsOwn, strings.Join(quoted, ","), time.Now().UnixNano()&0xffff), 0o644); err != nil {
		return r, err
	}
	beforeSent, err := s.sentAway()
	if err != nil {
		return r, err
	}
	before, err := s.processor()
	if err != nil {
		return r, err
	}
	_, out, err := command{args: []string{"wrk", "-t1", fmt.Sprintf("-c%d", frontClients), "-d3s", "--latency", "-s", script, s.url}}.run(ctx)
	if err != nil {
		return r, err
	}
	after, err := s.processor()
	if err != nil {
		return r, err
	}
	sent, err := s.sentAway()
	if err != nil {
		return r, err
	}
	requests := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case strings.Contains(line, "Non-2xx"), strings.Contains(line, "Socket errors"):
			return r, errors.New(line)
		case len(f) == 2 && f[0] == "99%":
			r.p99, err = time.ParseDuration(f[1])
		case len(f) == 2 && f[0] == "Requests/sec:":
			_, err = fmt.Sscan(f[1], &r.rate)
		case len(f) > 2 && f[1] == "requests":
			requests, err = strconv.Atoi(f[0])
		}
		if err != nil {
			return r, err
		}
	}
	if requests == 0 || r.rate == 0 || r.p99 == 0 {
		return r, fmt.Errorf("wrk says nothing of what was asked for:\n%s", out)
	}
	if n := sent - beforeSent; n < requests-requests/100 {
		return r, fmt.Errorf("%d of %d answers were redirects", n, requests)
	}
	r.each = (after - before) / time.Duration(requests)
	return r, nil
}

// sentAway counts the redirects, as the server does.
func (s *server) sentAway() (n int, err error) {
	resp, err := http.Get(s.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), `mmoci_redirects_total{mirror="de1"} `); ok {
			f, err := strconv.ParseFloat(value, 64)
			return int(f), err
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("no metric of redirects"))
}
