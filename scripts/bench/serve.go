package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// served is a snapshot behind mmoci serve, and the same tree behind nginx, both with an access log.
type served struct {
	b           *bench
	top         string
	small       generated // packages of some kilobytes
	usual       generated // of the sizes that packages have
	large       generated
	ours, nginx *server
}

// serve is held against nginx, with fifty rules, metrics and the access log on.
func (b *bench) serve(ctx context.Context) error {
	top, err := fresh(filepath.Join(b.tmp, "served"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	s := &served{
		b: b, top: top,
		small: generated{packages: b.size(500), bytes: int64(2e6 * b.scale), suite: "bookworm"},
		usual: generated{packages: b.size(133), bytes: int64(111e6 * b.scale), suite: "usual"},
		large: generated{packages: 1, bytes: 36e6, suite: "large"},
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	err = s.measure(ctx)
	s.ours.stop()
	s.nginx.stop()
	return errors.Join(err, b.readyLarge(ctx, top))
}

// start pushes two archives to a layout and starts both servers.
func (s *served) start(ctx context.Context) error {
	archive, site, tree := filepath.Join(s.top, "archive"), filepath.Join(s.top, "site"), filepath.Join(s.top, "tree")
	for _, g := range []generated{s.small, s.usual, s.large} {
		if err := s.b.generate(ctx, g, archive, 0); err != nil {
			return err
		}
	}
	if err := s.b.site(site, archive, "oci:layout:bench", "all"); err != nil {
		return err
	}
	config := filepath.Join(site, "mmoci.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	text = []byte(strings.Replace(string(text), "[bookworm]", "[bookworm, usual, large]", 1))
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(site, "policy.yaml"), fiftyRules(), 0o644); err != nil {
		return err
	}
	env := []string{"XDG_STATE_HOME=" + filepath.Join(site, "state")}
	if _, err := runAll(ctx, command{dir: site, env: env, args: []string{s.b.mmoci, "push", "-q"}},
		command{dir: site, env: env, args: []string{s.b.mmoci, "pull", "-q", "-o", tree}}); err != nil {
		return err
	}
	if s.nginx, err = nginx(filepath.Join(s.top, "nginx"), tree); err != nil {
		return err
	}
	addr, err := freePort()
	if err == nil {
		s.ours, err = start(site, addr, "/readyz", s.b.mmoci, "serve", "--listen", addr, "--state", filepath.Join(s.top, "state"), "--policy", "policy.yaml")
	}
	if err != nil {
		s.nginx.stop()
	}
	return err
}

// fiftyRules match no package that is asked for, so that each is tried.
func fiftyRules() []byte {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "- {deny: [name-%d, 'some-%d-*'], version: '<< 1.0', reason: x}\n", i, i)
	}
	return []byte(b.String())
}

// measure loads both servers in turn.
func (s *served) measure(ctx context.Context) error {
	t := &s.b.table
	small := t.figure(figure{name: "serve: small .deb, 32 connections", unit: perSec, bar: 0.5, less: true, with: "nginx"})
	big := t.figure(figure{name: "serve: 36 MB .deb, 8 connections, warm", unit: mebiPSec, bar: 0.9, less: true, with: "nginx"})
	many := t.figure(figure{name: "serve: 50 clients, each an update and 62 packages", unit: millis, bar: 1.1, with: "nginx"})
	tiny := t.figure(figure{name: "serve: 50 clients, each an update and 62 packages of 4 kB", unit: millis, with: "nginx"})
	path := "/bench/" + s.small.members(0)[s.small.packages/2].file()
	bigPath := "/bench/" + s.large.members(0)[0].file()
	var figures [2][4][]float64
	load := func(at int, of *server) func(int) error {
		return func(int) error {
			requests, _, err := wrk(ctx, of.url+path, 32)
			if err != nil {
				return err
			}
			_, rate, err := wrk(ctx, of.url+bigPath, 8)
			if err != nil {
				return err
			}
			usual, err := s.clients(ctx, of, s.usual)
			if err != nil {
				return err
			}
			tiny, err := s.clients(ctx, of, s.small)
			for i, v := range []float64{requests, rate, usual, tiny} {
				figures[at][i] = append(figures[at][i], v)
			}
			return err
		}
	}
	if err := s.b.inTurn(load(0, s.ours), load(1, s.nginx)); err != nil {
		return err
	}
	for i, f := range []*figure{small, big, many, tiny} {
		for n := range figures[0][i] {
			f.pair(figures[0][i][n], figures[1][i][n])
		}
	}
	t.figure(figure{name: "serve: resident after that", unit: mebi, most: 48}).alone(inMebi(s.ours.resident()))
	return nil
}

// clients are many hosts at once, for one archive; milliseconds until the last of them is done.
func (s *served) clients(ctx context.Context, of *server, g generated) (float64, error) {
	took, _, err := command{args: []string{s.b.self, "clients", "-url", of.url + "/bench", "-packages", fmt.Sprint(g.packages), "-bytes", fmt.Sprint(g.bytes), "-suite", g.suite}}.run(ctx)
	return inMillis(took.wall), err
}

// readyLarge starts serve on a layout of a whole release's number of packages.
func (b *bench) readyLarge(ctx context.Context, top string) error {
	g := generated{packages: b.size(63440), bytes: int64(60e6 * b.scale), suite: "bookworm"}
	ref, err := b.release(ctx, top, g)
	if err != nil {
		return err
	}
	ready := b.table.figure(figure{name: fmt.Sprintf("serve: start to ready, layout of %d packages", g.packages), unit: millis, most: 150})
	held := b.table.figure(figure{name: "serve: resident when ready", unit: mebi, most: 48})
	for range b.pairs {
		took, resident, err := b.startServe(top, ref)
		if err != nil {
			return err
		}
		ready.alone(inMillis(took))
		held.alone(inMebi(resident))
	}
	return nil
}

// release pushes an archive to a layout, and returns its reference.
func (b *bench) release(ctx context.Context, top string, g generated) (ref string, err error) {
	archive, site := filepath.Join(top, "release"), filepath.Join(top, "release-site")
	ref = "oci:" + filepath.Join(top, "release-layout") + ":bench"
	if err := b.generate(ctx, g, archive, 0); err != nil {
		return "", err
	}
	if err := b.site(site, archive, ref, "all"); err != nil {
		return "", err
	}
	_, _, err = command{dir: site, env: []string{"XDG_STATE_HOME=" + filepath.Join(site, "state")}, args: []string{b.mmoci, "push", "-q"}}.run(ctx)
	return ref, err
}

func (b *bench) startServe(top, ref string) (took time.Duration, held int64, err error) {
	dir, err := fresh(filepath.Join(top, "serve"))
	if err != nil {
		return 0, 0, err
	}
	addr, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	s, err := start(dir, addr, "/readyz", b.mmoci, "serve", ref, "--listen", addr, "--state", filepath.Join(dir, "state"))
	if err != nil {
		return 0, 0, err
	}
	defer s.stop()
	return time.Since(began), s.resident(), nil
}

// wrk loads a URL for two seconds: requests and MiB a second.
func wrk(ctx context.Context, url string, connections int) (requests, mebibytes float64, err error) {
	_, out, err := command{args: []string{"wrk", "-t1", fmt.Sprintf("-c%d", connections), "-d2s", url}}.run(ctx)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case strings.Contains(line, "Non-2xx"):
			return 0, 0, fmt.Errorf("%s: %s", url, line)
		case len(f) == 2 && f[0] == "Requests/sec:":
			_, err = fmt.Sscan(f[1], &requests)
		case len(f) == 2 && f[0] == "Transfer/sec:":
			mebibytes, err = mebiOf(f[1])
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return requests, mebibytes, nil
}

// mebiOf reads wrk's "1.23GB", whose units are binary.
func mebiOf(s string) (float64, error) {
	for unit, factor := range map[string]float64{"KB": 1.0 / 1024, "MB": 1, "GB": 1024} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			var v float64
			_, err := fmt.Sscan(n, &v)
			return v * factor, err
		}
	}
	return 0, fmt.Errorf("wrk: %q is no rate", s)
}
