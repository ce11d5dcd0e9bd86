package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	frontClients  = 64
	frontRequests = 60_000 // of all clients together
	frontBlobs    = 16
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
		p99, all, each, err := s.redirects(paths)
		if err != nil {
			return err
		}
		t := &b.table
		t.figure(figure{name: fmt.Sprintf("front: time for 20,000 redirects, %d connections, log on, clients on the same two cores", frontClients), unit: millis, most: 1000}).
			alone(inMillis(all) * 20_000 / frontRequests)
		t.figure(figure{name: fmt.Sprintf("front: a redirect, %d connections, 99th percentile", frontClients), unit: millis, most: 5}).alone(inMillis(p99))
		t.figure(figure{name: "front: processor time of the server for 1,000 redirects", unit: millis}).alone(inMillis(each * 1000))
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

// redirects has many clients ask, each request from an address of its own: who asks again may have failed at the mirror.
func (s *server) redirects(paths []string) (p99, all, each time.Duration, err error) {
	before, err := s.processor()
	if err != nil {
		return 0, 0, 0, err
	}
	took := make([][]time.Duration, frontClients)
	errs := make([]error, frontClients)
	began := time.Now()
	var wg sync.WaitGroup
	for c := range frontClients {
		wg.Go(func() { took[c], errs[c] = s.askRedirects(paths, c, frontRequests/frontClients) })
	}
	wg.Wait()
	all = time.Since(began)
	after, err := s.processor()
	flat := slices.Concat(took...)
	slices.Sort(flat)
	if err = errors.Join(append(errs, err)...); err != nil {
		return 0, 0, 0, err
	}
	return flat[len(flat)*99/100], all, (after - before) / time.Duration(len(flat)), nil
}

func (s *server) askRedirects(paths []string, client, n int) (took []time.Duration, err error) {
	conn, err := net.Dial("tcp", s.host())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	run := time.Now().UnixNano() & 0xffff
	served := 0
	for i := range n {
		began := time.Now()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: front\r\nX-Forwarded-For: 2001:db8:%x:%x::%x\r\n\r\n", paths[(client+i)%len(paths)], run, client, i)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		took = append(took, time.Since(began))
		if resp.StatusCode != http.StatusTemporaryRedirect {
			served++
		}
	}
	if served > n/100 {
		return nil, fmt.Errorf("%d of %d answers were no redirects", served, n)
	}
	return took, nil
}
