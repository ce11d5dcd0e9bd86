package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

const (
	treesDir    = "trees"        // a directory of each root, which never changes
	aptDir      = "apt"          // REPO:TAG: a link to one of these
	previousDir = "apt-previous" // REPO:TAG: a link to the one before, for clients that have read its Release
)

func treePath(root snapshot.Digest) string { return treesDir + "/" + root.Hex() }

// plant makes the apt tree of each snapshot that has none.
func (e *export) plant(ctx context.Context) error {
	planted := false
	for _, c := range e.contents {
		if _, ok := e.aptName(c); !ok {
			continue
		}
		if _, err := e.root.Lstat(treePath(c.root)); err == nil {
			continue
		}
		if err := e.plantOne(ctx, c); err != nil {
			return fmt.Errorf("apt tree of %s: %w", c.ref, err)
		}
		planted = true
	}
	if !planted {
		return nil
	}
	return e.disk.Sync()
}

// plantOne makes a tree under a temporary name, and names it when it is whole and on the disk.
func (e *export) plantOne(ctx context.Context, c *content) error {
	temp := treesDir + "/" + durable.TempPrefix + c.root.Hex()
	if err := e.root.RemoveAll(temp); err != nil { // of a killed run
		return err
	}
	made := map[string]bool{}
	s := c.snapshot
	for row := range s.Table.Rows() {
		prefix, _, _ := strings.Cut(row.Path, "/")
		if s.Statement.Archive(prefix) == nil {
			continue // provenance, images, programs
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name := temp + "/" + row.Path
		if dir := path.Dir(name); !made[dir] {
			if err := e.root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made[dir] = true
		}
		byHash := path.Dir(row.Path) + "/by-hash/SHA256/" + row.Digest.Hex()
		if _, moves := s.Table.Resolve(s.Statement, byHash); !moves || row.Name != "" {
			if err := e.linkFile(row, name); err != nil {
				return err
			}
			continue
		}
		// Another snapshot has other bytes under this name. Clients and caches ask whether it changed by its time, so
		// it is no link: it has the snapshot's date, which increases along a tag.
		if err := e.copyFile(row, name, s.Statement.Date); err != nil {
			return err
		}
		name = temp + "/" + byHash
		if err := e.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := e.linkFile(row, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := e.disk.Sync(); err != nil {
		return err
	}
	return e.root.Rename(temp, treePath(c.root))
}

func (e *export) linkFile(row snapshot.Row, name string) error {
	if row.Size > 0 {
		return e.root.Link(blobPath(row.Digest), name)
	}
	f, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func (e *export) copyFile(row snapshot.Row, name string, date time.Time) (err error) {
	w, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if row.Size > 0 {
		f, err := e.root.Open(blobPath(row.Digest))
		if err != nil {
			return errors.Join(err, w.Close())
		}
		r := snapshot.NewReader(f, row.Blob())
		_, err = io.Copy(w, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return e.root.Chtimes(name, date, date)
}

// aptName is the name of a content's apt tree, if it is to have one.
func (e *export) aptName(c *content) (tagName, bool) {
	p := c.home()
	return p, e.o.Apt && c.snapshot != nil && p.valid()
}

// publishApt moves the names of apt trees: at first that of the previous one, so that what clients are
// reading is always found under one of the two.
func (e *export) publishApt() error {
	for _, c := range e.contents {
		p, ok := e.aptName(c)
		if !ok {
			continue
		}
		name := p.String() // no repository has a colon, so that one name is never inside another
		was, err := e.root.Readlink(aptDir + "/" + name)
		if err == nil && path.Base(was) == c.root.Hex() {
			continue
		}
		if err == nil {
			if d, err := snapshot.ParseDigest("sha256:" + path.Base(was)); err == nil {
				if _, err := e.point(previousDir+"/"+name, treePath(d)); err != nil {
					return err
				}
			}
		}
		if _, err := e.point(aptDir+"/"+name, treePath(c.root)); err != nil {
			return fmt.Errorf("apt/%s: %w", name, err)
		}
		e.result.Moved++
	}
	return nil
}

// links calls f for every link below a directory, with the last part of what it leads to.
func (t *tree) links(top string, f func(name, base string) error) error {
	return fs.WalkDir(t.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.Type() != fs.ModeSymlink {
			return err
		}
		to, err := t.root.Readlink(name)
		if err != nil {
			return err
		}
		return f(name, path.Base(to))
	})
}
