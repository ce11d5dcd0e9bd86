package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	pageClients  = 32
	pagesPerEach = 30
	userHertz    = 100 // of the times in /proc (proc(5))
)

// pages are what people ask serve for, of a layout of a whole release's number of packages.
func (b *bench) pages(ctx context.Context) error {
	top, err := fresh(filepath.Join(b.tmp, "pages"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	g := generated{packages: b.size(63440), bytes: int64(60e6 * b.scale), suite: "bookworm"}
	ref, err := b.release(ctx, top, g)
	if err != nil {
		return err
	}
	for range b.pairs {
		if err := b.askPages(top, ref, g); err != nil {
			return err
		}
	}
	return nil
}

// askPages starts a server, asks for the first page, and then has many clients ask for each kind of page.
func (b *bench) askPages(top, ref string, g generated) error {
	dir, err := fresh(filepath.Join(top, "serve"))
	if err != nil {
		return err
	}
	addr, err := freePort()
	if err != nil {
		return err
	}
	s, err := start(dir, addr, "/readyz", b.mmoci, "serve", ref, "--listen", addr, "--state", filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	defer s.stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: pageClients}}
	members := g.members(0)
	names := func(i int) string { return members[i*7919%len(members)].name }
	held := s.resident()
	began := time.Now()
	if _, err := getPage(client, s.url+"/bench/package/"+url.PathEscape(names(1))); err != nil {
		return err
	}
	t := &b.table
	t.figure(figure{name: fmt.Sprintf("pages: the first of a snapshot of %d packages", g.packages), unit: millis}).alone(inMillis(time.Since(began)))
	for _, path := range []string{"/", "/?q=synthetic", "/bench/package/", "/snapshot/"} {
		if _, err := getPage(client, s.url+path); err != nil {
			return err
		}
	}
	t.figure(figure{name: "pages: resident memory more than before the first", unit: mebi, most: 16}).alone(inMebi(s.resident() - held))
	for _, kind := range []struct {
		name string
		most float64
		path func(i int) string
	}{
		{"front", 5, func(int) string { return "/" }},
		{"package", 20, func(i int) string { return "/bench/package/" + url.PathEscape(names(i)) }},
		{"search", 50, func(i int) string {
			name := names(i)
			return "/?q=" + url.QueryEscape([]string{name, name[:len(name)-2], "synthetic " + name[len(name)-3:], "zz" + name, "lib"}[i%5])
		}},
	} {
		p99, each, err := s.askMany(client, kind.path)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		t.figure(figure{name: fmt.Sprintf("pages: %s, %d clients, 99th percentile", kind.name, pageClients), unit: millis, most: kind.most}).alone(inMillis(p99))
		t.figure(figure{name: "pages: " + kind.name + ", processor time of the server for each", unit: millis}).alone(inMillis(each))
	}
	return nil
}

// askMany has many clients ask: the 99th percentile of what they wait, and the server's processor time for each request.
func (s *server) askMany(client *http.Client, path func(i int) string) (p99, each time.Duration, err error) {
	before, err := s.processor()
	if err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex
	var took []time.Duration
	var errs []error
	var wg sync.WaitGroup
	for c := range pageClients {
		wg.Go(func() {
			for i := range pagesPerEach {
				d, err := getPage(client, s.url+path(c*pagesPerEach+i))
				mu.Lock()
				took = append(took, d)
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	after, err := s.processor()
	slices.Sort(took)
	return took[len(took)*99/100], (after - before) / time.Duration(len(took)), errors.Join(append(errs, err)...)
}

func getPage(client *http.Client, url string) (time.Duration, error) {
	began := time.Now()
	r, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return 0, err
	}
	if r.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, r.Status)
	}
	return time.Since(began), nil
}

// processor is the processor time that a server used so far.
func (s *server) processor() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil { // fields 14 and 15 of proc(5)
		return 0, err
	}
	return time.Duration(user+system) * time.Second / userHertz, nil
}
