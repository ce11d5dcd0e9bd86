//go:build real

package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// probe is a hostile program: it tries what its argument says, and prints what came of it.
const probe = `package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sort"
	"strings"
	"syscall"
	"time"
)

func say(what string, err error) { fmt.Printf("%s: %v\n", what, err) }

func main() {
	switch os.Args[1] {
	case "look":
		env := os.Environ()
		sort.Strings(env)
		host, _ := os.Hostname()
		ifs, _ := net.Interfaces()
		var up []string
		for _, i := range ifs {
			if i.Flags&net.FlagUp != 0 {
				up = append(up, i.Name)
			}
		}
		mask := syscall.Umask(0)
		fmt.Printf("env %s\nhost %s\nuid %d\numask %o\nup %v\n", strings.Join(env, " "), host, os.Getuid(), mask, up)
		for _, p := range []string{"/etc/resolv.conf", "/etc/hostname", "/sys/kernel", "/root", "/proc/1/environ", "/home"} {
			_, err := os.Lstat(p)
			fmt.Printf("has %s %v\n", p, err == nil)
		}
		for fd := 3; fd < 64; fd++ {
			if l, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && !strings.HasPrefix(l, "anon_inode:") {
				fmt.Printf("fd %d %s\n", fd, l)
			}
		}
	case "break":
		say("device", syscall.Mknod("/sda", syscall.S_IFBLK|0o600, 8<<8))
		os.Mkdir("/mnt", 0o755)
		say("mount", syscall.Mount("none", "/mnt", "tmpfs", 0, ""))
		say("writable", syscall.Mount("", "/proc/sys", "", syscall.MS_REMOUNT|syscall.MS_BIND, ""))
		now, _ := os.ReadFile("/proc/sys/kernel/core_pattern") // where a machine can be taken over
		say("sysctl", os.WriteFile("/proc/sys/kernel/core_pattern", now, 0))
		say("hostname", syscall.Sethostname([]byte("evil")))
		say("sysrq", os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0))
		_, err := net.DialTimeout("tcp", "127.0.0.1:22", time.Second)
		say("network", err)
		say("packages", os.WriteFile("/run/mmoci/0000.deb", nil, 0o644))
		say("kill", syscall.Kill(1, syscall.SIGKILL))
		_, _, errno := syscall.Syscall(syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER, 0, 0)
		say("namespace", errno)
		// The classic way out of a chroot.
		os.Mkdir("/in", 0o755)
		d, _ := os.Open("/")
		say("chroot", syscall.Chroot("/in"))
		syscall.Fchdir(int(d.Fd()))
		for i := 0; i < 64; i++ {
			syscall.Chdir("..")
		}
		syscall.Chroot(".")
		_, err = os.Lstat("/witness")
		say("outside", err)
	case "background":
		c := exec.Command(os.Args[0], "late")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		say("start", c.Start())
	case "late":
		time.Sleep(time.Second)
		os.WriteFile("/late", nil, 0o644)
	case "bomb":
		for {
			c := exec.Command(os.Args[0], "bomb")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			c.Start()
		}
	case "sleep":
		time.Sleep(time.Hour)
	}
}
`

// buildProbe returns the probe as a program; it is built once.
var buildProbe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "probe")
	if err := os.WriteFile(program+".go", []byte(probe), 0o600); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-o", program, program+".go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(program)
})

// root starts an empty root with the probe in it.
func root(t *testing.T, ctx context.Context) (*scratch, *process) {
	t.Helper()
	ids, err := findMapping()
	if err != nil {
		t.Fatalf("no roots here: %v", err)
	}
	return rootOf(t, ctx, ids)
}

func rootOf(t *testing.T, ctx context.Context, ids mapping) (*scratch, *process) {
	t.Helper()
	b, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScratch(ctx, t.TempDir(), ids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.remove(context.Background()) })
	if err := os.WriteFile(filepath.Join(s.dir, "debs", "0000.deb"), []byte("deb"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := start(ctx, s, stageServe)
	if err == nil {
		err = p.ready()
	}
	if err != nil {
		t.Fatalf("no roots here: %v", err)
	}
	t.Cleanup(p.close)
	if _, err := p.do(request{Write: &written{Path: "usr/bin/probe", Mode: 0o755, Data: b}}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

func try(t *testing.T, p *process, what string) string {
	t.Helper()
	a, err := p.do(request{Run: []string{"probe", what}})
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Output)
}

func TestNothingOfTheMachine(t *testing.T) {
	t.Setenv("SECRET", "of the machine")
	_, p := root(t, context.Background())
	got := try(t, p, "look")
	want := "env DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes DEBIAN_FRONTEND=noninteractive HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8 LOGNAME=root " +
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PWD=/ SHELL=/bin/sh TERM=dumb TZ=UTC USER=root\n" +
		"host localhost\nuid 0\numask 22\nup []\n" +
		"has /etc/resolv.conf false\nhas /etc/hostname false\nhas /sys/kernel false\nhas /root false\nhas /proc/1/environ true\nhas /home false\n"
	if got != want {
		t.Errorf("a program in the root sees\n%s\nwant\n%s", got, want)
	}
}

func TestNoWayOut(t *testing.T) {
	s, p := root(t, context.Background())
	noWayOut(t, s, p)
}

// TestNoWayOutForRoot: root of the root is the machine's, as where there are no
// other ids.
func TestNoWayOutForRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("not root")
	}
	s, p := rootOf(t, context.Background(), mapping{root: true})
	noWayOut(t, s, p)
}

func noWayOut(t *testing.T, s *scratch, p *process) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "witness"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := try(t, p, "break")
	for line := range strings.Lines(got) {
		what, err, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if allowed := what == "kill" || what == "chroot"; err == "<nil>" != allowed {
			t.Errorf("%s: %s", what, err)
		}
	}
	if strings.Count(got, "\n") != 12 {
		t.Errorf("it tried:\n%s", got)
	}
	if _, err := p.do(request{Scan: true}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestBackgroundEnds(t *testing.T) {
	s, p := root(t, context.Background())
	if got := try(t, p, "background"); got != "start: <nil>\n" {
		t.Fatal(got)
	}
	time.Sleep(2 * time.Second)
	if _, err := os.Lstat(filepath.Join(s.dir, "root", "late")); err == nil {
		t.Error("a process outlived the program that started it")
	}
}

// TestForkBomb is ended by time; nothing of it is left.
func TestForkBomb(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s, p := root(t, ctx)
	time.AfterFunc(time.Second, func() { cancel(errors.New("scripts took longer")) })
	if !s.ids.root || s.ids.uid == 0 {
		t.Fatal("only where root of a root is nobody else does the kernel count its processes alone")
	}
	_, err := p.do(request{Run: []string{"probe", "bomb"}})
	if err == nil || err.Error() != "scripts took longer" {
		t.Errorf("error %v", err)
	}
	p.close()
	for i := 0; ; i++ {
		left := processesOf(t, s.ids.uid)
		if len(left) == 0 {
			break
		}
		if i == 600 {
			t.Fatalf("%d processes are left", len(left))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// processesOf are the probes that run with the ids of a root.
func processesOf(t *testing.T, base int) []string {
	t.Helper()
	var out []string
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil || !strings.HasPrefix(string(b), "Name:\tprobe\n") {
			continue
		}
		for line := range strings.Lines(string(b)) {
			var uid int
			if n, _ := fmt.Sscanf(line, "Uid: %d", &uid); n == 1 && uid >= base && uid < base+ids {
				out = append(out, p)
			}
		}
	}
	return out
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	_, p := root(t, ctx)
	stop := errors.New("stopped")
	time.AfterFunc(500*time.Millisecond, func() { cancel(stop) })
	began := time.Now()
	if _, err := p.do(request{Run: []string{"probe", "sleep"}}); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("it took %s", d)
	}
}

// TestKilled kills a process that has a root, and another one cleans up.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("MMOCI_TEST_KILLED"); dir != "" {
		ids, err := findMapping()
		if err != nil {
			t.Fatal(err)
		}
		s, err := newScratch(context.Background(), dir, ids)
		if err != nil {
			t.Fatal(err)
		}
		p, err := start(context.Background(), s, stageServe)
		if err == nil {
			err = p.ready()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.do(request{Write: &written{Path: "made", Mode: 0o600, Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", p.cmd.Process.Pid)
		time.Sleep(time.Hour)
	}
	if err := Check(context.Background(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), "MMOCI_TEST_KILLED="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for i := 0; ; i++ {
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root", "made")); err != nil {
			break
		}
		if i == 1200 {
			t.Fatal("the root's first process outlives who started it")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), scratchPrefix) {
		t.Errorf("mounts are left: %s, %v", mounts, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d directories are left, want the one", len(left))
	}
	if err := Check(context.Background(), dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d directories are left by who came later", len(left))
	}
}
