package mirror

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// tempMark begins the names of files that are being written. They are never
// what a user asked for; a rerun goes on with those that a killed run left.
const tempMark = ".mmoci-tmp-"

// partOf is the temporary name of a file while it is being written.
func partOf(name string) string { return path.Join(path.Dir(name), tempMark+path.Base(name)) }

// outDir is an output directory under construction. A final name appears only
// after its bytes were verified; what was there and is not ours is refused.
type outDir struct {
	dir    string
	lock   *os.File // the directory, locked against a second run
	root   *os.Root
	want   map[string]snapshot.Blob // by path, slash-separated
	have   map[string]bool
	parts  map[string]int64 // bytes that a run which ended early left of a file, unverified
	total  int64
	reused int64
	events func(artifact.Event) // nil: nobody wants to know

	mu      sync.Mutex
	made    []string // directories of this run, parents first
	pending [][2]string
	timer   *time.Timer
	failed  error // of a commit on the timer
	written []string
}

// openDir opens or makes dir for exactly the files of want. Anything else in
// there is an error and stays untouched. Errors that can be known before
// anything is fetched are found here: a foreign file, no permission, no room.
func openDir(dir string, want map[string]snapshot.Blob) (_ *outDir, err error) {
	o := &outDir{dir: dir, want: want, have: map[string]bool{}, parts: map[string]int64{}}
	for _, b := range want {
		o.total += b.Size
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if err := o.open(); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	if err := o.survey(); err != nil {
		return nil, err
	}
	return o, o.room()
}

// open opens the directory and keeps a second run out of it: each would take
// the other's temporary files for leftovers.
func (o *outDir) open() (err error) {
	if o.root, err = os.OpenRoot(o.dir); err != nil {
		return err
	}
	if o.lock, err = os.Open(o.dir); err != nil {
		return err
	}
	// A killed run may be dying still, and a program that is being started holds
	// a copy of every descriptor until it runs: both end within an instant.
	for range lockTries {
		if err = unix.Flock(int(o.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			return nil // a file system without locks has none to wait for
		}
		time.Sleep(lockPause)
	}
	return fmt.Errorf("%w: another mmoci is writing to %s", ErrRefused, o.dir)
}

// How long a lock that is held is asked for again: one second.
const (
	lockTries = 20
	lockPause = 50 * time.Millisecond
)

func (o *outDir) close() {
	if o.root != nil {
		o.root.Close()
	}
	if o.lock != nil {
		o.lock.Close()
	}
}

// path is the name of a file for people and dpkg.
func (o *outDir) path(name string) string { return filepath.Join(o.dir, filepath.FromSlash(name)) }

// survey looks at what is there: files that verify are kept, temporary ones of
// a killed run gone on with or removed, everything else refused.
func (o *outDir) survey() error {
	dirs := map[string]bool{".": true}
	for name := range o.want {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	var leftovers []string
	err := fs.WalkDir(o.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if !dirs[p] {
				return o.foreign(p)
			}
			return nil
		case strings.HasPrefix(path.Base(p), tempMark):
			leftovers = append(leftovers, p)
			return nil
		}
		blob, ok := o.want[p]
		if !ok || !d.Type().IsRegular() {
			return o.foreign(p)
		}
		if err := o.same(p, blob); err != nil {
			return err
		}
		o.have[p] = true
		o.reused += blob.Size
		return nil
	})
	for _, p := range leftovers {
		if err == nil { // in a directory that is refused nothing is touched
			err = o.leftover(p)
		}
	}
	return err
}

// leftover keeps what can be the beginning of a file that is still missing.
func (o *outDir) leftover(p string) error {
	name := path.Join(path.Dir(p), strings.TrimPrefix(path.Base(p), tempMark))
	blob, wanted := o.want[name]
	st, err := o.root.Lstat(p)
	if err != nil {
		return err
	}
	if !wanted || o.have[name] || !st.Mode().IsRegular() || st.Size() > blob.Size {
		return o.root.Remove(p)
	}
	o.parts[name] = st.Size()
	return nil
}

func (o *outDir) foreign(p string) error {
	return fmt.Errorf("%w: %s holds %s, which is not part of this; give an empty directory (-o DIR), nothing was changed", ErrRefused, o.dir, p)
}

// same hashes a file that is there.
func (o *outDir) same(p string, b snapshot.Blob) error {
	f, err := o.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != b.Size || snapshot.Digest(h.Sum(nil)) != b.Digest {
		return fmt.Errorf("%w: %s is there with other bytes than %s; move it away or give an empty directory, nothing was changed", ErrRefused, o.path(p), b.Digest)
	}
	return nil
}

// room says before anything is fetched if the directory cannot be written to
// or the disk cannot hold it.
func (o *outDir) room() error {
	need := o.total - o.reused
	for _, n := range o.parts {
		need -= n
	}
	if len(o.have) == len(o.want) {
		return nil
	}
	if err := unix.Access(o.dir, unix.W_OK); err != nil {
		return fmt.Errorf("output directory %s cannot be written to: %w", o.dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(o.dir, &st); err != nil {
		return nil // not every file system tells; writing will
	}
	if free := int64(st.Bavail) * int64(st.Bsize); need > free {
		return fmt.Errorf("%s: %d bytes are needed and %d are free: %w", o.dir, need, free, unix.ENOSPC)
	}
	return nil
}

// mkdir makes the directories above a file and notes which are new.
func (o *outDir) mkdir(dir string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var missing []string
	for d := dir; d != "."; d = path.Dir(d) {
		if _, err := o.root.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := o.root.Mkdir(missing[i], 0o755); err != nil {
			return err
		}
		o.made = append(o.made, missing[i])
	}
	return nil
}
