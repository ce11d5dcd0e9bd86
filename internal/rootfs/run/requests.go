package run

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/deb"
)

// debsDir is where the root sees the .debs, read-only.
const debsDir = "/run/mmoci"

// request is one thing to be done in the root. One field is set, and what stands
// beside it.
type request struct {
	Extract []string    // .debs below debsDir: lay their data.tar out, nothing else
	Links   [][2]string // symlinks to be made, and the directories that they lead to
	Write   *written
	Run     []string // a program and its arguments
	Env     []string // beside it
	Scan    bool     // the whole tree
	Hash    []string // digests of regular files
	Read    string   // a regular file: maxChunk bytes of it from Offset on
	Offset  int64
	Most    int64    // fewer bytes than maxChunk, or 0
	Remove  []string // files
	KillAll bool

	data []byte // of the file that is written
}

type written struct {
	Path string
	Mode uint32
	Data []byte `json:"-"` // sent beside
}

// answer answers a request.
type answer struct {
	Err    string // or "" if it was done
	Code   int    // of the program
	Output []byte // of the program, the end of it
	Tree   []stat
	Names  map[int][2][]byte // of the tree, as far as they are no text
	Sums   [][sha256.Size]byte
	Data   []byte `json:"-"` // sent beside
}

// stat is what the tree has at a path.
type stat struct {
	Path         string
	Mode         uint32 // with the type, as stat(2) has it
	UID, GID     uint32
	Size         int64
	MTime, MNano int64
	CTime, CNano int64
	Inode        uint64
	Links        uint64
	Target       string
	Capability   bool // has file capabilities
}

func (s *stat) kind() uint32 { return s.Mode & unix.S_IFMT }

const (
	maxOutput = 256 << 10 // bytes of a program's output that are kept, from its end
	maxChunk  = 1 << 20   // bytes of a file that one answer has
	maxRead   = 64 << 20  // bytes of a file that is read into memory
	maxTree   = 1 << 20   // files of a root
)

func (r *request) do() (a answer, err error) {
	switch {
	case r.Extract != nil:
		return a, extractAll(r.Extract)
	case r.Links != nil:
		for _, l := range r.Links {
			if err := os.MkdirAll(path.Join("/", path.Dir(l[0]), l[1]), 0o755); err != nil {
				return a, err
			}
			if err := os.Symlink(l[1], "/"+l[0]); err != nil {
				return a, err
			}
		}
		return a, nil
	case r.Write != nil:
		r.Write.Data = r.data
		return a, r.Write.write()
	case r.Run != nil:
		a.Code, a.Output, err = runProgram(r.Run, r.Env)
		return a, err
	case r.Scan:
		a.Tree, err = scan()
		a.Names = notText(a.Tree)
		return a, err
	case r.Hash != nil:
		a.Sums, err = hashAll(r.Hash)
		return a, err
	case r.Read != "":
		a.Data, err = readFile(r.Read, r.Offset, r.Most)
		return a, err
	case r.Remove != nil:
		for _, p := range r.Remove {
			if err := os.Remove("/" + p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return a, err
			}
		}
		return a, nil
	case r.KillAll:
		killAll()
		return a, nil
	}
	return a, errors.New("empty request")
}

func (w *written) write() error {
	p := "/" + w.Path
	if err := os.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(p, w.Data, 0o600); err != nil {
		return err
	}
	return os.Chmod(p, fs.FileMode(w.Mode))
}

// environment is all that programs in the root are given.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
	"LC_ALL=C.UTF-8", "LANG=C.UTF-8", "TZ=UTC", "TERM=dumb", "PWD=/",
	"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_NOWARNINGS=yes",
}

// runProgram runs a program to its end, and ends what it left behind.
func runProgram(args, env []string) (code int, output []byte, err error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, nil, err
	}
	out := os.NewFile(uintptr(fd), "output")
	defer out.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	program, err := lookUp(args[0])
	if err != nil {
		return 0, nil, err
	}
	// Files, not pipes: what stays in the background must not keep us waiting.
	cmd := &exec.Cmd{Path: program, Args: args, Env: append(append([]string{}, environment...), env...), Dir: "/", Stdin: null, Stdout: out, Stderr: out}
	err = cmd.Run()
	killAll()
	if info, statErr := out.Stat(); statErr == nil {
		output = make([]byte, min(info.Size(), maxOutput))
		n, _ := out.ReadAt(output, max(info.Size()-maxOutput, 0))
		output = output[:n]
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 255, output, nil
		}
		return exit.ExitCode(), output, nil
	}
	return 0, output, err
}

func lookUp(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"} {
		if info, err := os.Stat(dir + name); err == nil && info.Mode().IsRegular() {
			return dir + name, nil
		}
	}
	return "", fmt.Errorf("%s is not in the root: no package of it has that program", name)
}

// killAll ends every process but this one, and waits for them.
func killAll() {
	for range 100 {
		if unix.Kill(-1, unix.SIGKILL) != nil {
			return // nobody is left
		}
		for {
			var status unix.WaitStatus
			if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// scan lists the tree, without what is mounted.
func scan() ([]stat, error) {
	var all []stat
	err := fs.WalkDir(os.DirFS("/"), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch p {
		case ".":
			return nil
		case "dev", "proc", "run", "tmp":
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat("/"+p, &st); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		s := stat{
			Path: p, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Inode: st.Ino, Links: uint64(st.Nlink),
			MTime: st.Mtim.Sec, MNano: st.Mtim.Nsec, CTime: st.Ctim.Sec, CNano: st.Ctim.Nsec,
		}
		switch s.kind() {
		case unix.S_IFLNK:
			if s.Target, err = os.Readlink("/" + p); err != nil {
				return err
			}
		case unix.S_IFREG:
			if n, err := unix.Lgetxattr("/"+p, "security.capability", nil); err == nil && n > 0 {
				s.Capability = true
			}
		}
		if all = append(all, s); len(all) > maxTree {
			return fmt.Errorf("the root has over %d files", maxTree)
		}
		return nil
	})
	return all, err
}

// hashAll hashes files, several at a time.
func hashAll(paths []string) ([][sha256.Size]byte, error) {
	sums := make([][sha256.Size]byte, len(paths))
	errs := make([]error, len(paths))
	each(len(paths), func(i int) {
		errs[i] = func() error {
			f, err := os.OpenFile("/"+paths[i], os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			h.Sum(sums[i][:0])
			return nil
		}()
	})
	return sums, cmp.Or(errs...)
}

// each calls f for the numbers below n, on all processors.
func each(n int, f func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func readFile(p string, offset, most int64) ([]byte, error) {
	f, err := os.OpenFile("/"+p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if most <= 0 || most > maxChunk {
		most = maxChunk
	}
	if !info.Mode().IsRegular() || offset < 0 {
		return nil, fmt.Errorf("%s: no regular file", p)
	}
	return io.ReadAll(io.NewSectionReader(f, offset, most))
}

// extractAll lays packages out as tar would: that is how a root begins in which
// dpkg can run. dpkg unpacks them again afterwards.
func extractAll(names []string) error {
	errs := make([]error, len(names))
	each(len(names), func(i int) {
		f, err := os.Open(debsDir + "/" + names[i])
		if err != nil {
			errs[i] = err
			return
		}
		defer f.Close()
		if err := deb.Unpack(f, func(c deb.Contents) error { return extract(c.Data) }); err != nil {
			errs[i] = fmt.Errorf("%s: %w", names[i], err)
		}
	})
	return cmp.Or(errs...)
}

func extract(data io.Reader) error {
	r := tar.NewReader(data)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := path.Clean("/" + h.Name)
		if p == "/" {
			continue
		}
		if err := os.MkdirAll(path.Dir(p), 0o755); err != nil {
			return err
		}
		if err := extractOne(p, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// extractOne lays one entry out. Whatever its path and links are, they are those
// of the root, which this process cannot leave.
func extractOne(p string, h *tar.Header, content io.Reader) error {
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdir(p, mode); errors.Is(err, unix.EEXIST) {
			return nil
		} else if err != nil {
			return err
		}
	case tar.TypeReg:
		_ = os.Remove(p)
		f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		_ = os.Remove(p)
		if err := os.Symlink(h.Linkname, p); err != nil {
			return err
		}
		return os.Lchown(p, h.Uid, h.Gid)
	case tar.TypeLink:
		_ = os.Remove(p)
		return os.Link(path.Clean("/"+h.Linkname), p)
	default:
		return nil // dpkg makes it, or refuses it
	}
	if err := os.Lchown(p, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Chmod(p, mode); err != nil {
		return err
	}
	return os.Chtimes(p, h.ModTime, h.ModTime)
}

// progress begins the lines of dpkg on each package that it takes.
var progress = []string{"Selecting previously unselected package ", "(Reading database ", "Preparing to unpack ", "Unpacking ", "Setting up ", "Processing triggers for "}

// cutLines is the last lines of an output, without empty ones and those of dpkg's progress: what went wrong may stand
// before a hundred packages that went well. Whatever these say, the first error of dpkg is told, too. Of an output that is
// progress alone the end tells how far it came.
func cutLines(output []byte, n int) string {
	all := strings.FieldsFunc(string(output), func(r rune) bool { return r == '\n' })
	lines := slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		return slices.ContainsFunc(progress, func(begin string) bool { return strings.HasPrefix(line, begin) })
	})
	if len(lines) == 0 {
		lines = all[max(len(all)-3, 0):]
	}
	last := max(len(lines)-n, 0)
	first := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "dpkg: error ") })
	if first < 0 || first >= last {
		return strings.Join(lines[last:], "\n")
	}
	return strings.Join(slices.Concat(lines[max(first-3, 0):min(first+2, last)], lines[last:]), "\n")
}
