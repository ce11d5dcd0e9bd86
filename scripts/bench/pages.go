package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	client := &http.Client{}
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
			// A whole name, its beginning, words of which one is that of every package, a name with a slip, and what begins many names.
			name := names(i)
			slip := name[:4] + name[5:6] + name[4:5] + name[6:] + "s"
			return "/?q=" + url.QueryEscape([]string{name, name[:len(name)-2], "synthetic " + name[6:9], slip, name[:4], "lib"}[i%6])
		}},
	} {
		a, err := s.askMany(kind.path)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		t.figure(figure{name: fmt.Sprintf("pages: %s, %d clients, 99th percentile", kind.name, pageClients), unit: millis, most: kind.most}).alone(inMillis(a.waited))
		t.figure(figure{name: "pages: " + kind.name + ", the same, as the server's log has it", unit: millis}).alone(inMillis(a.inside))
		t.figure(figure{name: "pages: " + kind.name + ", processor time of the server for each", unit: millis}).alone(inMillis(a.each))
	}
	return nil
}

// asking is what many requests took.
type asking struct {
	waited, inside time.Duration // 99th percentile of what clients wait, and of what the server takes until the answer is handed to the system
	each           time.Duration // the server's processor time for each
}

// askMany has many clients ask, each on a connection of its own. They do no more than they must: they run on the server's processors.
func (s *server) askMany(path func(i int) string) (a asking, err error) {
	logged, err := os.Stat(s.log)
	if err != nil {
		return a, err
	}
	before, err := s.processor()
	if err != nil {
		return a, err
	}
	var all [pageClients][]time.Duration
	var errs [pageClients]error
	var wg sync.WaitGroup
	for c := range pageClients {
		wg.Go(func() {
			all[c], errs[c] = s.askAgain(func(i int) string { return path(c*pagesPerEach + i) })
		})
	}
	wg.Wait()
	after, err := s.processor()
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return a, err
	}
	a.each = (after - before) / (pageClients * pagesPerEach)
	a.waited = percentile99(slices.Concat(all[:]...))
	time.Sleep(50 * time.Millisecond) // the log's last lines
	inside, err := s.logged(logged.Size())
	if err != nil {
		return a, err
	}
	const asked = pageClients * pagesPerEach
	if len(inside) < asked {
		return a, fmt.Errorf("%d requests, %d of them in the log", asked, len(inside))
	}
	a.inside = percentile99(inside[len(inside)-asked:]) // one from before may have been late
	return a, nil
}

func percentile99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// askAgain asks for pages one after the other on one connection, and tells how long each took.
func (s *server) askAgain(path func(i int) string) (took []time.Duration, err error) {
	conn, err := net.Dial("tcp", s.host())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	for i := range pagesPerEach {
		request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path(i), s.host())
		began := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		length := -1
		for n := 0; ; n++ {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return nil, err
			}
			if n == 0 && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
				return nil, fmt.Errorf("%s: %s", path(i), line)
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
					return nil, err
				}
			}
			if len(bytes.TrimSpace(line)) == 0 {
				break
			}
		}
		if length < 0 {
			return nil, fmt.Errorf("%s: an answer without a length", path(i))
		}
		if _, err := in.Discard(length); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// logged is how long requests took by the server's log, from an offset in it on.
func (s *server) logged(from int64) (took []time.Duration, err error) {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text[from:]) {
		var request struct {
			Message string   `json:"msg"`
			Seconds *float64 `json:"seconds"`
		}
		if err := json.Unmarshal(line, &request); err != nil {
			continue // of another kind
		}
		if request.Message == "request" && request.Seconds != nil {
			took = append(took, time.Duration(*request.Seconds*float64(time.Second)))
		}
	}
	return took, nil
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
