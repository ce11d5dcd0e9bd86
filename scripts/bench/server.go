package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is a program that listens on loopback until it is stopped.
type server struct {
	cmd *exec.Cmd
	url string
	log string // file with what it prints
}

// freePort is a loopback address that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs a server and waits until it answers under probe.
func start(dir, addr, probe string, args ...string) (*server, error) {
	s := &server{cmd: exec.Command(args[0], args[1:]...), url: "http://" + addr, log: filepath.Join(dir, filepath.Base(args[0])+".log")}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = log, log, dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := s.ready(probe, 20*time.Second); err != nil {
		s.stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s: %w\n%s", args[0], err, tail(text))
	}
	return s, nil
}

// ready asks until the answer is 200 (or 401: a server too).
func (s *server) ready(probe string, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		resp, err := http.Get(s.url + probe)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusNotFound {
				return time.Since(began), nil
			}
			err = errors.New(resp.Status)
		}
		if time.Since(began) > limit {
			return 0, fmt.Errorf("%s%s: %w", s.url, probe, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// stop ends a server: asked first, then killed.
func (s *server) stop() {
	if s == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
}

// nginx serves the directory root, access log on, as a mirror would.
func nginx(dir, root string) (*server, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
worker_processes 2;
events { worker_connections 512; }
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000;
	server { listen %[2]s; root %[3]s; autoindex on; }
}
`, dir, addr, root)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 { // workers are nobody's, who cannot look into our directory
		if err := os.WriteFile(file, []byte("user root;\n"+conf), 0o644); err != nil {
			return nil, err
		}
	}
	return start(dir, addr, "/", "nginx", "-c", file, "-e", filepath.Join(dir, "error.log"))
}

// distribution is the reference registry, storing under dir.
func distribution(dir string) (*server, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: %s/data, maxthreads: 100}, delete: {enabled: true}}
http: {addr: %s}
`, dir, addr)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "registry.yml")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	return start(dir, addr, "/v2/", registryProgram(), "serve", file)
}

// registryProgram finds distribution's registry: by go install, or Debian's, which is older.
func registryProgram() string {
	installed := filepath.Join(os.Getenv("HOME"), "go/bin/registry")
	for _, name := range []string{"registry", installed, "docker-registry"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	return installed
}

// host is the address of a server.
func (s *server) host() string { return strings.TrimPrefix(s.url, "http://") }

// requests counts the lines of the registry's access log. There is one by then: start asked it.
func (s *server) requests() (int, error) {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return 0, err
	}
	n := strings.Count(string(data), ` HTTP/1.1" `)
	if n == 0 {
		return 0, fmt.Errorf("%s: no request in its access log, though it has answered\n%s", s.log, tail(data))
	}
	return n, nil
}

// asked tells how many requests came while f ran.
func (s *server) asked(f func() error) (float64, error) {
	before, err := s.requests()
	if err == nil {
		err = f()
	}
	if err != nil {
		return 0, err
	}
	time.Sleep(50 * time.Millisecond) // the log's last lines
	after, err := s.requests()
	return float64(after - before), err
}

// resident is what a running process holds now.
func (s *server) resident() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int64
			_, _ = fmt.Sscan(rest, &kib)
			return kib * 1024
		}
	}
	return 0
}

// mirror is an archive whose days are served under one URL.
type mirror struct {
	*server
	dir  string
	days int
}

// newMirror generates the days of an archive, sharing the pool by hard links,
// and serves the first.
func newMirror(ctx context.Context, b *bench, name string, g generated, days int) (*mirror, error) {
	m := &mirror{dir: filepath.Join(b.tmp, name), days: days}
	for d := range days {
		if d > 0 {
			if out, err := exec.CommandContext(ctx, "cp", "-al", m.day(d-1), m.day(d)).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("cp: %w: %s", err, out)
			}
		}
		if err := b.generate(ctx, g, m.day(d), d); err != nil {
			return nil, err
		}
	}
	if err := m.show(0); err != nil {
		return nil, err
	}
	var err error
	m.server, err = nginx(filepath.Join(b.tmp, name+"-nginx"), filepath.Join(m.dir, "now"))
	return m, err
}

func (m *mirror) day(d int) string { return filepath.Join(m.dir, fmt.Sprintf("day%d", d)) }

// show makes a day the one that is served.
func (m *mirror) show(d int) error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(m.dir, "next")
	_ = os.Remove(tmp)
	if err := os.Symlink(m.day(d), tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(m.dir, "now"))
}
