// Package static keeps snapshots and container images as a tree of plain files that any web server answers registry
// clients, apt and other mirrors from. SPEC.md, section 19, has the names in the tree.
//
// Blobs and documents never change under their names, which are their digests; what moves are tags, symbolic links
// that are replaced in one step after all that they lead to is there, verified and on the disk. A tree is written by
// one export at a time, and read by anybody meanwhile.
package static

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Mode says how blobs of a layout on the same file system come into the tree.
type Mode uint8

const (
	// LinkOrCopy links where the file system allows it, and copies where not.
	LinkOrCopy Mode = iota
	// Link is an error where a file cannot be linked.
	Link
	// Copy never links: later changes of the layout's files do not reach the tree.
	Copy
)

// Options say what Export writes, and where.
type Options struct {
	Dir        string
	References []artifact.Reference // snapshots and images; what they name is the whole of the tree
	Mode       Mode
	Apt        bool          // apt trees of the snapshots, too
	Keep       time.Duration // how long what no reference names any more stays
	Now        time.Time     // zero: the clock's
	Places     artifact.Options
	Log        outcome.Log
	// Progress, if not nil, is told of every blob; called concurrently.
	Progress func(artifact.Event)

	sync func(fd int) error // in place of syncfs; tests fail disks with it
}

// Result is what Export did.
type Result struct {
	Tags    []Tag
	Linked  int // blobs
	Copied  int
	Bytes   int64 // of these
	Reused  int   // blobs that were there
	Moved   int   // tags that are new or name something else
	Removed int   // files

	// What no reference names any more, and what stays for a while.
	LeavingRoots int
	LeavingTags  int // names of apt trees, too
}

// Tag is a name of the tree.
type Tag struct {
	Repository string
	Name       string
	Digest     snapshot.Digest
}

// Export makes the tree at o.Dir hold what the references name, and removes what no root has that is kept: those of
// the references, and those that were left less than o.Keep ago. No byte gets a name in the tree before it was hashed
// and found right. The statement of a snapshot is not verified: whoever reads the tree verifies it, as from any place.
//
// Killed at any point, all tags name whole content, the old or the new; the same call goes on from there. If everything
// is there already nothing is written, not even a time.
//
// Errors: outcome.ErrUsage for references that contradict each other and for a directory that is no tree;
// outcome.ErrRefused while another export writes to it; snapshot.ErrIntegrity for wrong bytes.
func Export(ctx context.Context, o Options) (*Result, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	t, err := openTree(o.Dir, o.sync)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var contents []*content
	for _, ref := range o.References {
		c, err := t.read(ctx, ref, &o)
		if err != nil {
			return nil, err
		}
		defer c.close()
		contents = append(contents, c)
	}
	e := &export{tree: t, o: &o, contents: contents}
	if err := e.run(ctx); err != nil {
		return nil, err
	}
	return &e.result, nil
}

// export is one run over contents that were read.
type export struct {
	*tree
	o        *Options
	contents []*content
	result   Result
}

func (e *export) run(ctx context.Context) error {
	named, err := nameAll(e.contents, e.o.Log)
	if err != nil {
		return err
	}
	e.result.Tags = named.sorted()
	had, err := e.fill(ctx)
	if err != nil {
		return err
	}
	if err := e.list(); err != nil {
		return err
	}
	if err := e.plant(ctx); err != nil {
		return err
	}
	if err := e.publish(ctx); err != nil { // from here on clients see it
		return err
	}
	return e.prune(ctx, named, had)
}

// tree is an opened and locked tree. All that is written stays below its directory, whatever lies there.
type tree struct {
	dir  string
	root *os.Root
	lock *os.File
	disk *durable.Syncer
}

// The file that tells a tree from any other directory.
const (
	markerFile = "mmoci-static"
	marker     = "mmoci-static-v1\n"
)

// tempDir is where files are written that have no name yet, below the tree.
const tempDir = durable.TempPrefix + "export"

func openTree(dir string, sync func(int) error) (_ *tree, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("static tree: %w", err)
	}
	t := &tree{dir: dir}
	defer func() {
		if err != nil {
			t.close()
			err = fmt.Errorf("static tree %s: %w", dir, err)
		}
	}()
	if t.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if t.lock, err = os.Open(dir); err != nil {
		return nil, err
	}
	if err := durable.TryLock(t.lock); errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: another export is writing to it", outcome.ErrRefused)
	} // any other error: a file system without locks
	if t.disk, err = durable.Open(dir, sync); err != nil {
		return nil, err
	}
	return t, t.mark()
}

// asides is a tree whose temporary files are all at its top, where the next run finds those of one that was killed.
type asides struct{ *os.Root }

// aside is where a temporary file lies.
func aside(name string) string {
	if base := path.Base(name); strings.HasPrefix(base, durable.TempPrefix) {
		return base
	}
	return name
}

func (a asides) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return a.Root.OpenFile(aside(name), flag, perm)
}
func (a asides) Rename(from, to string) error { return a.Root.Rename(aside(from), to) }
func (a asides) Remove(name string) error     { return a.Root.Remove(aside(name)) }

// removeAsides removes the temporary files of a run that was killed.
func (t *tree) removeAsides() error {
	names, err := t.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, durable.TempPrefix) {
			if err := t.root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// names are those at the top of the tree.
func (t *tree) names() ([]string, error) {
	f, err := t.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// mark makes an empty directory a tree.
func (t *tree) mark() error {
	data, err := t.root.ReadFile(markerFile)
	if err == nil && string(data) == marker {
		return t.removeAsides()
	}
	if err == nil {
		return fmt.Errorf("%w: its file %s is of another version: %.40q", outcome.ErrUsage, markerFile, data)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	names, err := t.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, durable.TempPrefix) {
			return fmt.Errorf("%w: it holds %q and is no tree of an export; give it a directory of its own", outcome.ErrUsage, name)
		}
	}
	if err := t.removeAsides(); err != nil {
		return err
	}
	return durable.WriteFileIn(asides{t.root}, markerFile, []byte(marker), 0o644)
}

func (t *tree) close() {
	if t.root != nil {
		t.root.Close()
	}
	if t.disk != nil {
		t.disk.Close()
	}
	if t.lock != nil {
		t.lock.Close()
	}
}

// write replaces a file whose bytes are others.
func (t *tree) write(name string, data []byte) error {
	if was, err := t.root.ReadFile(name); err == nil && string(was) == string(data) {
		return nil
	}
	return durable.WriteFileIn(asides{t.root}, name, data, 0o644)
}
