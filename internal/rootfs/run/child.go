package run

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// childName is the name under which this program starts itself as the first
// process of a scratch root, stageMap and stageServe what it is to do there.
const (
	childName  = "mmoci-scratch-root"
	stageMap   = "map"   // wait until ids are mapped, then begin again
	stageServe = "serve" // set the root up, and serve requests
	stageSweep = "sweep" // remove the root
)

// Files that the first process of a root is given. It begins in the scratch
// directory, which it may have no other way to.
const (
	fdRequests = 3
	fdAnswers  = 4
)

// prepared tells that Main was called. Without it this program, started again as
// the first process of a root, would do its usual work there.
var prepared atomic.Bool

// Main is the first process of a scratch root if this process was started as
// one, and does not return then. A program that calls [Configure] or [Check]
// must call Main before all else.
func Main() {
	prepared.Store(true)
	if len(os.Args) != 2 || os.Args[0] != childName {
		return
	}
	if err := child(os.Args[1]); err != nil {
		_, _ = unix.Write(2, []byte(err.Error()+"\n")) // read by who started this process
		os.Exit(1)
	}
	os.Exit(0)
}

func child(stage string) error {
	// Programs in the root get none of the files of this process, nor those that it
	// inherited from the machine.
	if err := unix.CloseRange(fdRequests, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close the machine's files: %w", err)
	}
	requests := os.NewFile(fdRequests, "requests")
	switch stage {
	case stageMap:
		// The kernel gives privileges over the namespaces to whom is root in them when
		// a program begins: that is after the ids were mapped.
		var mode [1]byte
		if _, err := requests.Read(mode[:]); err != nil {
			return fmt.Errorf("ids of the scratch root: %w", err)
		}
		next := stageServe
		if mode[0] == stageSweep[1] {
			next = stageSweep
		}
		for _, fd := range []uintptr{fdRequests, fdAnswers} {
			if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
				return err
			}
		}
		return unix.Exec("/proc/self/exe", []string{childName, next}, nil)
	case stageSweep:
		return os.RemoveAll("root")
	case stageServe:
		return serve(requests)
	}
	return fmt.Errorf("stage %q", stage)
}

// serve sets the root up and answers requests until the other side is gone: then
// this process ends, and with it, as the first of its namespace, all others.
func serve(requests *os.File) error {
	runtime.LockOSThread() // what is given up below is given up by this thread, which starts all programs
	answers := os.NewFile(fdAnswers, "answers")
	if err := setUp(); err != nil {
		return errors.Join(send(answers, answer{Err: err.Error()}, nil), err)
	}
	if err := send(answers, answer{}, nil); err != nil {
		return err
	}
	queue := make(chan request)
	go func() {
		in := bufio.NewReader(requests)
		for {
			var r request
			data, err := receive(in, &r)
			if err != nil {
				os.Exit(1)
			}
			r.data = data
			queue <- r
		}
	}()
	for r := range queue {
		a, err := r.do()
		if err != nil {
			a.Err = err.Error()
		}
		if err := send(answers, a, a.Data); err != nil {
			return err
		}
	}
	return nil
}

// hostName is what programs in the root see as the machine's name.
const hostName = "localhost"

// devices are what /dev has.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// setUp makes the scratch directory's root the root of this process, with
// nothing of the machine in it but the devices, and gives up what the programs
// in it do not need.
func setUp() error {
	unix.Umask(0)
	steps := []struct {
		what string
		do   func() error
	}{
		{"keep mounts apart", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"bind the root", func() error { return unix.Mount("root", "root", "", unix.MS_BIND, "") }},
		{"enter the root", func() error { return unix.Chdir("root") }},
		{"mount /dev", mountDev},
		{"mount /proc", func() error {
			return mountOn("proc", "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"mount /run", func() error {
			return mountOn("run", "tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
		}},
		{"make /run/lock", func() error { return mkdir("run/lock", 0o1777) }},
		{"mount /tmp", func() error { return mountOn("tmp", "tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777") }},
		{"bind the packages", func() error {
			if err := mkdir(strings.TrimPrefix(debsDir, "/"), 0o755); err != nil {
				return err
			}
			if err := unix.Mount("../debs", strings.TrimPrefix(debsDir, "/"), "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return unix.Mount("", strings.TrimPrefix(debsDir, "/"), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
		}},
		{"close /proc", closeProc},
		{"change the root", func() error { return unix.PivotRoot(".", ".") }},
		{"leave the machine's root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"enter the new root", func() error { return unix.Chdir("/") }},
		{"name the machine", func() error { return unix.Sethostname([]byte(hostName)) }},
		{"bound the programs", bound},
		{"give up privileges", dropCapabilities},
		{"leave syncing to the end", withoutSync},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	unix.Umask(0o022)
	return nil
}

func mkdir(p string, mode uint32) error {
	if err := unix.Mkdir(p, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func mountOn(dir, source, fstype string, flags uintptr, data string) error {
	if err := mkdir(dir, 0o755); err != nil {
		return err
	}
	return unix.Mount(source, dir, fstype, flags, data)
}

// mountDev makes a /dev with what every program may expect.
func mountDev() error {
	if err := mountOn("dev", "tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return err
	}
	for _, name := range devices {
		fd, err := unix.Open("dev/"+name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
		if err != nil {
			return err
		}
		unix.Close(fd)
		if err := unix.Mount("/dev/"+name, "dev/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for link, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := unix.Symlink(target, "dev/"+link); err != nil {
			return err
		}
	}
	if err := mountOn("dev/pts", "devpts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return err
	}
	return mountOn("dev/shm", "tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}

// closeProc makes what of /proc is the machine's read-only. By its number root
// may be the machine's own, and the kernel asks for no more than that there.
func closeProc() error {
	_ = os.WriteFile("proc/sys/user/max_user_namespaces", []byte("0"), 0) // no privileges by another one
	for _, p := range []string{"proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs", "proc/acpi"} {
		if err := unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := unix.Mount("", p, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// maxProcesses bounds the processes of a root, if its root is not the machine's.
const maxProcesses = 4096

func bound() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	for what, n := range map[int]uint64{unix.RLIMIT_NPROC: maxProcesses, unix.RLIMIT_NOFILE: 1024} {
		var now unix.Rlimit
		if err := unix.Getrlimit(what, &now); err != nil {
			return err
		}
		if n = min(n, now.Max); unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}) != nil {
			return fmt.Errorf("limit %d", what)
		}
	}
	return nil
}

// kept are the privileges over the root's own namespace that maintainer scripts
// have: those that container engines leave, without device nodes and raw sockets.
var kept = map[uintptr]bool{
	unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true, unix.CAP_KILL: true,
	unix.CAP_SETGID: true, unix.CAP_SETUID: true, unix.CAP_SETPCAP: true, unix.CAP_NET_BIND_SERVICE: true, unix.CAP_SYS_CHROOT: true,
	unix.CAP_SETFCAP: true, unix.CAP_AUDIT_WRITE: true,
}

// dropCapabilities bounds the privileges of the programs that this thread starts.
func dropCapabilities() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
