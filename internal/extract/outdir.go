package extract

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// tempMark begins the names of files that are being written. A rerun goes on with
// those that a killed run left.
const tempMark = ".mmoci-tmp-"

// partOf is the temporary name of a file while it is being written.
func partOf(name string) string { return path.Join(path.Dir(name), tempMark+path.Base(name)) }

// outDir is a directory that is being written: with .debs, or with an apt tree. A
// final name appears only after its bytes were verified and synced.
type outDir struct {
	dir    string
	lock   *os.File // the directory, locked against a second run
	disk   *durable.Syncer
	mark   durable.Mark // taken before anything was written
	root   *os.Root
	want   map[string]snapshot.Blob // by path, slash-separated
	tree   *aptTree                 // nil: loose files, nothing is replaced
	have   map[string]bool          // files and by-hash names that are there with the right bytes
	parts  map[string]int64         // bytes that a run which ended early left of a file, unverified
	total  int64
	reused int64
	events func(artifact.Event) // may be nil

	// The tree that was there; all empty if there was none.
	vouched  []recorded          // its files that an earlier run wrote
	standing map[string]standing // those of vouched that this snapshot lacks or has in other bytes
	aged     []string            // right files with a time that early versions made of the digest
	spare    []string            // directories without a file of this snapshot, parents first
	removed  int

	mu      sync.Mutex
	made    []string // directories of this run, parents first
	pending []string // verified, under temporary names until the next commit
	held    []string // verified, under temporary names until publish
	timer   *time.Timer
	failed  error // of a commit: the run is over
	written []string
}

// openDir opens or makes dir for exactly the files of want. It finds all errors that can
// be known before anything is fetched: a file that no run wrote, no permission, no room.
func openDir(ctx context.Context, dir string, want map[string]snapshot.Blob) (*outDir, error) {
	return prepare(ctx, &outDir{dir: dir, want: want})
}

// openTree is openDir for an apt tree, which may replace the tree of an earlier run.
func openTree(ctx context.Context, dir string, tree *aptTree) (*outDir, error) {
	return prepare(ctx, &outDir{dir: dir, want: tree.want, tree: tree})
}

func prepare(ctx context.Context, o *outDir) (_ *outDir, err error) {
	o.have, o.parts, o.standing = map[string]bool{}, map[string]int64{}, map[string]standing{}
	for name, b := range o.want {
		if strings.HasPrefix(path.Base(name), tempMark) {
			return nil, fmt.Errorf("%w: %s: the names that begin with %s are those of files under way", outcome.ErrIntegrity, name, tempMark)
		}
		o.total += b.Size
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
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
	if err := o.survey(ctx); err != nil {
		return nil, err
	}
	return o, o.room()
}

// open opens the directory and locks it: two runs would take each other's
// temporary files for leftovers.
func (o *outDir) open() (err error) {
	if o.root, err = os.OpenRoot(o.dir); err != nil {
		return err
	}
	if o.lock, err = os.Open(o.dir); err != nil {
		return err
	}
	if o.disk, err = durable.Open(o.dir, nil); err != nil {
		return err
	}
	o.mark = o.disk.Mark()
	// The lock may be held for a moment longer by a killed run that is still exiting, or by a
	// program that is being started, which has a copy of every descriptor until it runs.
	for range lockTries {
		if err = durable.TryLock(o.lock); !errors.Is(err, durable.ErrLocked) {
			return nil // locked, or a file system without locks
		}
		time.Sleep(lockPause)
	}
	return fmt.Errorf("%w: another mmoci is writing to %s", outcome.ErrRefused, o.dir)
}

// A lock that is held is tried for one second.
const (
	lockTries = 20
	lockPause = 50 * time.Millisecond
)

func (o *outDir) close() {
	if o.root != nil {
		o.root.Close()
	}
	if o.disk != nil {
		o.disk.Close()
	}
	if o.lock != nil {
		o.lock.Close()
	}
}

// path is the name of a file for people and dpkg.
func (o *outDir) path(name string) string { return filepath.Join(o.dir, filepath.FromSlash(name)) }

// room returns an error if the directory cannot be written to or the disk is too full.
func (o *outDir) room() error {
	need := o.total - o.reused
	for _, n := range o.parts {
		need -= n
	}
	for _, f := range o.leaving() {
		if o.due(f) { // begin removes it
			need -= f.blob.Size
		}
	}
	if len(o.have) == len(o.want) {
		return nil
	}
	if err := unix.Access(o.dir, unix.W_OK); err != nil {
		return fmt.Errorf("output directory %s cannot be written to: %w", o.dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(o.dir, &st); err != nil {
		return nil // the file system does not say; writing will
	}
	if free := int64(st.Bavail) * int64(st.Bsize); need > free {
		return fmt.Errorf("%s: %d bytes are needed and %d are free: %w", o.dir, need, free, unix.ENOSPC)
	}
	return nil
}

// mkdir makes a directory with its parents, and notes which are new.
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

// tell reports one file.
func (o *outDir) tell(kind artifact.EventKind, name string, size int64) {
	if o.events != nil {
		o.events(artifact.Event{Kind: kind, Path: name, Digest: o.want[name].Digest, Bytes: size})
	}
}

// planned reports how much there is to write, without the parts that an earlier run
// left, and the files that are there.
func (o *outDir) planned() {
	if o.events == nil {
		return
	}
	all := artifact.Event{Kind: artifact.Planned, Files: len(o.want), Bytes: o.total}
	for _, n := range o.parts {
		all.Bytes -= n
	}
	o.events(all)
	for name := range o.have {
		o.tell(artifact.Skipped, name, o.want[name].Size)
	}
}
