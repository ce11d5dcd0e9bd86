package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	pageClients = 32
	pagePause   = 20     // milliseconds
	walked      = 60_000 // paths that are asked for, one after the other
	leastPage   = 1000   // bytes of a page, at least
	userHertz   = 100    // of the times in /proc (proc(5))
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
		if err := b.askPages(ctx, top, ref, g); err != nil {
			return err
		}
	}
	return nil
}

// askPages starts a server, asks for the first page, and then has many clients ask for each kind of page.
func (b *bench) askPages(ctx context.Context, top, ref string, g generated) error {
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
		a, err := s.askMany(ctx, dir, kind.path)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		t.figure(figure{name: fmt.Sprintf("pages: %s, %d clients that pause for %d ms, 99th percentile", kind.name, pageClients, pagePause), unit: millis, most: kind.most}).alone(inMillis(a.paused))
		t.figure(figure{name: fmt.Sprintf("pages: %s, %d clients that never pause, 99th percentile", kind.name, pageClients), unit: millis}).alone(inMillis(a.waited))
		t.figure(figure{name: "pages: " + kind.name + ", the same, as the server's log has it", unit: millis}).alone(inMillis(a.inside))
		t.figure(figure{name: "pages: " + kind.name + ", processor time of the server for each", unit: millis}).alone(inMillis(a.each))
	}
	return nil
}

// asking is what many requests took.
type asking struct {
	paused         time.Duration // 99th percentile of what clients wait that pause
	waited, inside time.Duration // 99th percentile of what clients wait, and of what the server takes until the answer is handed to the system
	each           time.Duration // the server's processor time for each
}

// walk is what wrk runs: it asks for the paths of a file, one after the other and again from the first one on. Told to look, it
// counts what does not end as every page does: what is cut short, or another text.
const walk = `
local paths, i = {}, 0
local threads = {}

local function look(status, headers, body)
	if status ~= 200 or body:sub(-8) ~= "</html>\n" then broken = broken + 1 end
end

function setup(thread) table.insert(threads, thread) end

function init(args)
	for line in io.lines(args[1]) do paths[#paths + 1] = wrk.format("GET", line) end
	broken = 0
	if args[2] == "look" then response = look end
	if args[2] == "pause" then delay = function() return tonumber(args[3]) end end
end

function request()
	i = i % #paths + 1
	return paths[i]
end

function done(summary, latency)
	local broken = 0
	for _, thread in ipairs(threads) do broken = broken + thread:get("broken") end
	local e = summary.errors
	io.write(string.format("pages %d bytes %d broken %d errors %d p99 %d\n", summary.requests, summary.bytes, broken, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(99)))
end
`

// askMany has wrk ask, which takes little of the processors that the server runs on: first without a pause, which keeps both of them busy, then by clients
// that pause between two pages.
func (s *server) askMany(ctx context.Context, dir string, path func(i int) string) (a asking, err error) {
	script, paths := filepath.Join(dir, "walk.lua"), filepath.Join(dir, "paths")
	var list strings.Builder
	for i := range walked {
		list.WriteString(path(i) + "\n")
	}
	if err := errors.Join(os.WriteFile(script, []byte(walk), 0o644), os.WriteFile(paths, []byte(list.String()), 0o644)); err != nil {
		return a, err
	}
	logged, err := os.Stat(s.log)
	if err != nil {
		return a, err
	}
	looked, err := s.wrk(ctx, "1s", script, paths, "look")
	if err != nil {
		return a, err
	}
	paused, err := s.wrk(ctx, "3s", script, paths, "pause", fmt.Sprint(pagePause))
	if err != nil {
		return a, err
	}
	before, err := s.processor()
	if err != nil {
		return a, err
	}
	loaded, err := s.wrk(ctx, "5s", script, paths)
	if err != nil {
		return a, err
	}
	after, err := s.processor()
	if err != nil {
		return a, err
	}
	if broken := looked.broken + looked.errors + paused.errors + loaded.errors; broken > 0 || looked.pages == 0 || paused.pages == 0 || loaded.pages == 0 || loaded.bytes < loaded.pages*leastPage {
		return a, fmt.Errorf("%+v, %+v: pages that are errors, not whole, or none", looked, loaded)
	}
	a.each, a.waited, a.paused = (after-before)/time.Duration(loaded.pages), loaded.p99, paused.p99
	time.Sleep(50 * time.Millisecond) // the log's last lines
	inside, err := s.logged(logged.Size())
	if err != nil {
		return a, err
	}
	if int64(len(inside)) < loaded.pages {
		return a, fmt.Errorf("%d requests, %d of them in the log", loaded.pages, len(inside))
	}
	a.inside = percentile99(inside[int64(len(inside))-loaded.pages:]) // those before were looked at
	return a, nil
}

// loading is what wrk says.
type loading struct {
	pages, bytes, broken, errors int64
	p99                          time.Duration
}

func (s *server) wrk(ctx context.Context, long, script string, args ...string) (l loading, err error) {
	_, out, err := command{args: append([]string{"wrk", "-t1", fmt.Sprintf("-c%d", pageClients), "-d" + long, "-s", script, s.url, "--"}, args...)}.run(ctx)
	if err != nil {
		return l, err
	}
	text, micro := string(out), int64(0)
	if _, err := fmt.Sscanf(text[max(0, strings.Index(text, "pages ")):], "pages %d bytes %d broken %d errors %d p99 %d", &l.pages, &l.bytes, &l.broken, &l.errors, &micro); err != nil {
		return l, fmt.Errorf("wrk says:\n%s: %w", text, err)
	}
	l.p99 = time.Duration(micro) * time.Microsecond
	return l, nil
}

func percentile99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
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
