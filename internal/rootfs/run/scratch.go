package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
)

// ids is how many users and groups a root has: Debian's, up to nobody (65534).
const ids = 65536

// scratchBase is where the ids of a root begin on the machine if this process is
// its root: behind those that people and other programs give out.
const scratchBase = 0x70000000

// mapping says how the ids of a root become ids of the machine.
type mapping struct {
	root   bool // this process sets it; otherwise newuidmap(1) and newgidmap(1) do
	uid    int  // of root
	gid    int
	subUID int // of 1 and above, if not root
	subGID int
}

// findMapping finds ids for a root. Its errors say what is missing.
func findMapping() (mapping, error) {
	if !prepared.Load() {
		return mapping{}, errors.New("this program is not made for it: it does not call Main of this package")
	}
	if os.Geteuid() == 0 {
		m := mapping{root: true}
		switch {
		case ownsIDs("uid", scratchBase) && ownsIDs("gid", scratchBase):
			m.uid, m.gid = scratchBase, scratchBase
		case !ownsIDs("uid", 0) || !ownsIDs("gid", 0):
			return m, fmt.Errorf("this root has fewer than %d user and group ids, as /proc/self/uid_map says", ids)
		}
		return m, nil
	}
	m := mapping{uid: os.Geteuid(), gid: os.Getegid()}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return m, fmt.Errorf("%s is missing, which gives users other than root further ids (Debian's package uidmap)", program)
		}
	}
	var err error
	if m.subUID, err = subordinate("/etc/subuid"); err != nil {
		return m, err
	}
	m.subGID, err = subordinate("/etc/subgid")
	return m, err
}

// ownsIDs tells whether this process has the ids of a root from base on.
func ownsIDs(kind string, base uint64) bool {
	text, err := os.ReadFile("/proc/self/" + kind + "_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, length uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &length); n == 3 && inside <= base && base+ids <= inside+length {
			return true
		}
	}
	return false
}

// subordinate is the first of a range of subordinate ids of this user.
func subordinate(file string) (int, error) {
	id := strconv.Itoa(os.Geteuid())
	name := id
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	return subordinateIn(file, string(text), name, id)
}

// subordinateIn reads lines NAME:FIRST:COUNT (subuid(5)).
func subordinateIn(file, text, name, id string) (int, error) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != id {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 31)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && count >= ids-1 {
			return int(first), nil
		}
	}
	return 0, fmt.Errorf("%s gives user %s no %d ids (usermod --add-subuids and --add-subgids give them)", file, name, ids)
}

// scratch is a directory for one root: root/, debs/ and lock. Whoever holds the
// lock uses it; a directory without a holder was left by a killed process.
type scratch struct {
	dir  string
	lock *os.File
	ids  mapping
}

const scratchPrefix = "mmoci-scratch-"

// newScratch makes a directory below parent, after it removed those that were left there.
func newScratch(ctx context.Context, parent string, m mapping) (*scratch, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweepLeft(ctx, parent, m)
	dir, err := os.MkdirTemp(parent, scratchPrefix)
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: dir, ids: m}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.remove(ctx))
	}
	return s, nil
}

func (s *scratch) prepare() error {
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := durable.TryLock(lock); err != nil {
		return err
	}
	for _, name := range []string{"root", "debs"} {
		p := filepath.Join(s.dir, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(p, 0o755); err != nil {
			return err
		}
	}
	if s.ids.root {
		// Whoever sets the root up in its namespaces passes through the directory above it, and nobody else: what
		// others left in the root would become part of an image, and its setuid programs theirs to start.
		for _, p := range []string{filepath.Join(s.dir, "root"), s.dir} {
			if err := os.Lchown(p, s.ids.uid, s.ids.gid); err != nil {
				return err
			}
		}
	}
	return os.Chmod(s.dir, 0o700)
}

// remove removes the directory and all in it.
func (s *scratch) remove(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if !s.ids.root {
		// Files of other ids are removed by who is root over them.
		if p, err := start(ctx, s, stageSweep); err == nil {
			_ = p.cmd.Wait()
		}
	}
	err := os.RemoveAll(s.dir)
	if s.lock != nil {
		s.lock.Close()
	}
	return err
}

// Sweep removes a directory of this user in which root/ has files of the user's subordinate ids, as other programs that use them may
// leave it.
//
// Errors: [ErrCannot] where this user cannot be root over these ids.
func Sweep(ctx context.Context, dir string) error {
	m, err := findMapping()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCannot, err)
	}
	return (&scratch{dir: dir, ids: m}).remove(ctx)
}

// sweepLeft removes directories that nobody holds, as far as they can be removed.
func sweepLeft(ctx context.Context, parent string, m mapping) {
	left, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	for _, dir := range left {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != uint32(os.Geteuid()) && !(m.root && owner == uint32(m.uid)) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // it is just being made
		}
		if durable.TryLock(lock) != nil {
			lock.Close()
			continue
		}
		_ = (&scratch{dir: dir, lock: lock, ids: m}).remove(ctx)
	}
}

// process is the first process of a root, seen from outside.
type process struct {
	cmd      *exec.Cmd
	requests *os.File
	answers  *os.File
	in       *bufio.Reader // of answers
	said     bytes.Buffer  // to standard error
	ctx      context.Context
}

// start starts the first process in namespaces of its own. It ends when ctx is
// cancelled, when close is called, and when this process ends, however it does:
// it reads its requests from here.
func start(ctx context.Context, s *scratch, stage string) (*process, error) {
	requestsIn, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer requestsIn.Close()
	answers, answersOut, err := os.Pipe()
	if err != nil {
		requests.Close()
		return nil, err
	}
	defer answersOut.Close()
	p := &process{requests: requests, answers: answers, in: bufio.NewReaderSize(answers, 64<<10), ctx: ctx}
	p.cmd = exec.CommandContext(ctx, "/proc/self/exe")
	p.cmd.Args = []string{childName, stage}
	p.cmd.Env = []string{"GOMEMLIMIT=128MiB"}
	p.cmd.Stderr = &limitedWriter{to: &p.said, left: maxOutput}
	p.cmd.ExtraFiles = []*os.File{requestsIn, answersOut}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if s.ids.root {
		p.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: s.ids.uid, Size: ids}}
		p.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: s.ids.gid, Size: ids}}
		p.cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		p.cmd.SysProcAttr.Credential = &syscall.Credential{}
	} else {
		p.cmd.Args[1] = stageMap
	}
	if err := startIn(s.dir, p.cmd); err != nil {
		p.close()
		return nil, fmt.Errorf("namespaces of its own for the scratch root: %w (the kernel, or the container this runs in, may not allow them)", err)
	}
	if !s.ids.root {
		if err := s.ids.give(ctx, p.cmd.Process.Pid); err != nil {
			p.close()
			return nil, err
		}
		if _, err := requests.Write([]byte(stage[1:2])); err != nil { // "e" of serve, "w" of sweep
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// startIn starts a program in a directory of this process, whether or not its
// own ids may reach it: a new mount namespace begins where its creator was.
func startIn(dir string, cmd *exec.Cmd) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(dir)
		}
		if err == nil {
			err = cmd.Start()
		}
		result <- err
	}()
	return <-result
}

// give has newuidmap and newgidmap map the ids of a process: its root is this
// user, all others are subordinate ids.
func (m mapping) give(ctx context.Context, pid int) error {
	for _, c := range [][3]int{{0, m.uid, m.subUID}, {1, m.gid, m.subGID}} {
		program := []string{"newuidmap", "newgidmap"}[c[0]]
		cmd := exec.CommandContext(ctx, program, strconv.Itoa(pid), "0", strconv.Itoa(c[1]), "1", "1", strconv.Itoa(c[2]), strconv.Itoa(ids-1))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, cutLines(out, 3))
		}
	}
	return nil
}

// close ends the process, and with it all of its namespaces.
func (p *process) close() {
	p.requests.Close()
	p.answers.Close()
	if p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// ready waits until the root is set up.
func (p *process) ready() error {
	_, err := p.receive()
	return err
}

// do has one thing done in the root.
func (p *process) do(r request) (answer, error) {
	var data []byte
	if r.Write != nil {
		data = r.Write.Data
	}
	if err := send(p.requests, r, data); err != nil {
		return answer{}, p.lost(err)
	}
	return p.receive()
}

// read reads a small file of the root.
func (p *process) read(path string) ([]byte, error) {
	var b bytes.Buffer
	_, err := p.copy(&b, path, maxRead)
	return b.Bytes(), err
}

// rootFile reads a file of the root here and there.
type rootFile struct {
	*process
	path string
}

func (f rootFile) ReadAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		a, err := f.do(request{Read: f.path, Offset: offset + int64(n), Most: min(int64(len(b)-n), maxChunk)})
		if err != nil {
			return n, err
		}
		if len(a.Data) == 0 {
			return n, io.EOF
		}
		n += copy(b[n:], a.Data)
	}
	return n, nil
}

// copy copies a file of the root of at most most bytes.
func (p *process) copy(w io.Writer, path string, most int64) (n int64, err error) {
	for {
		a, err := p.do(request{Read: path, Offset: n})
		if err != nil {
			return n, err
		}
		if n += int64(len(a.Data)); n > most {
			return n, fmt.Errorf("%s: over %d bytes", path, most)
		}
		if _, err := w.Write(a.Data); err != nil {
			return n, err
		}
		if len(a.Data) < maxChunk {
			return n, nil
		}
	}
}

func (p *process) receive() (answer, error) {
	var a answer
	data, err := receive(p.in, &a)
	if err != nil {
		return a, p.lost(err)
	}
	a.Data = data
	spell(a.Tree, a.Names)
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}

// lost tells why there is no answer.
func (p *process) lost(err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	p.close()
	if said := cutLines(p.said.Bytes(), 5); said != "" {
		return fmt.Errorf("the scratch root's first process ended: %s", said)
	}
	return fmt.Errorf("the scratch root's first process ended: %w", err)
}

// limitedWriter keeps the first bytes, and takes all.
type limitedWriter struct {
	to   io.Writer
	left int
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	n := min(len(b), w.left)
	w.left -= n
	_, err := w.to.Write(b[:n])
	return len(b), err
}
