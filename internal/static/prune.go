package static

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// leftPath is the file that says since when no reference names a root.
func leftPath(root snapshot.Digest) string { return "left/" + root.Hex() }

// maxLeft bounds such a file.
const maxLeft = 64

// prune removes what no root has that is kept, the names first: a run that is killed here leaves no name to nothing.
func (e *export) prune(ctx context.Context) error {
	keep, drop, err := e.sort()
	if err != nil {
		return err
	}
	kept := map[snapshot.Digest]bool{}      // blobs
	documents := map[snapshot.Digest]bool{} // of these, documents
	ending := map[string]bool{}             // paths of these
	for _, root := range keep {
		l := e.listOf(root)
		if l == nil {
			if l, err = e.readList(root); err != nil {
				return fmt.Errorf("%s cannot be read, so that nothing is removed: %w", listPath(root), err)
			}
		}
		for _, d := range l.documents {
			documents[d.Digest] = true
			ending[documentPath(d)] = true
		}
		for _, b := range l.blobs {
			kept[b.Digest] = true
		}
	}
	if err := e.tidy(documents); err != nil {
		return err
	}
	if err := e.tidyApt(keep); err != nil {
		return err
	}
	for _, root := range drop {
		if err := e.remove(listPath(root)); err != nil {
			return err
		}
		if err := e.unmark(root); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := e.sweep("documents/sha256", func(d snapshot.Digest) bool { return documents[d] }, e.removeDocument); err != nil {
		return err
	}
	if err := e.sweep("referrers/sha256", func(d snapshot.Digest) bool { return kept[d] }, func(d snapshot.Digest) error {
		return e.remove("referrers/sha256/" + d.Hex())
	}); err != nil {
		return err
	}
	for _, d := range e.there { // what this run brought is of a root that is kept
		if !kept[d] {
			if err := e.remove(blobPath(d)); err != nil {
				return err
			}
		}
	}
	if e.result.Removed+e.result.Moved+e.result.Linked+e.result.Copied > 0 {
		return e.disk.Sync()
	}
	return nil
}

func (e *export) listOf(root snapshot.Digest) *list {
	for _, c := range e.contents {
		if c.root == root {
			return c.list
		}
	}
	return nil
}

// sort divides the roots of the tree into those that are kept and those that go.
func (e *export) sort() (keep, drop []snapshot.Digest, err error) {
	roots, err := e.lists()
	if err != nil {
		return nil, nil, err
	}
	for _, root := range roots {
		if e.listOf(root) != nil {
			keep = append(keep, root)
			if err := e.unmark(root); err != nil {
				return nil, nil, err
			}
			continue
		}
		since, err := e.left(root)
		if err != nil {
			return nil, nil, err
		}
		if e.o.Now.Sub(since) < e.o.Keep {
			keep = append(keep, root)
			e.result.Leaving++
		} else {
			drop = append(drop, root)
		}
	}
	return keep, drop, nil
}

// unmark lets a root count as one that is named.
func (e *export) unmark(root snapshot.Digest) error {
	err := e.root.Remove(leftPath(root))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// left tells since when no reference names a root: since now, if no earlier run noted it.
func (e *export) left(root snapshot.Digest) (time.Time, error) {
	if f, err := e.root.Open(leftPath(root)); err == nil {
		data, err := oci.ReadLimited(f, maxLeft)
		f.Close()
		if err == nil {
			if since, ok := parseLeft(data); ok && !since.After(e.o.Now) {
				return since, nil
			}
		}
	}
	if err := e.root.MkdirAll("left", 0o755); err != nil {
		return time.Time{}, err
	}
	return e.o.Now, e.write(leftPath(root), formatLeft(e.o.Now))
}

func formatLeft(t time.Time) []byte { return []byte(snapshot.FormatDate(t.UTC()) + "\n") }

// parseLeft reads what formatLeft writes, and nothing else.
func parseLeft(data []byte) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.TrimSuffix(string(data), "\n"))
	return t, err == nil && bytes.Equal(formatLeft(t), data)
}

// sweep removes what has a digest for a name and is not kept. Other names are not the tree's, but for temporary ones.
func (e *export) sweep(dir string, kept func(snapshot.Digest) bool, remove func(snapshot.Digest) error) error {
	there, err := e.digests(dir)
	if err != nil {
		return err
	}
	for _, d := range there {
		if !kept(d) {
			if err := remove(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeDocument removes the directory of a document.
func (e *export) removeDocument(d snapshot.Digest) error {
	dir := documentDir(d)
	entries, err := fs.ReadDir(e.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := e.remove(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return e.root.Remove(dir)
}

// tidyApt removes apt trees of roots that are not kept, and the names of these.
func (e *export) tidyApt(keep []snapshot.Digest) error {
	isKept := func(hex string) bool {
		return slices.ContainsFunc(keep, func(d snapshot.Digest) bool { return d.Hex() == hex })
	}
	for _, top := range []string{aptDir, previousDir} {
		if err := e.links(top, func(name, hex string) error {
			if isKept(hex) {
				return nil
			}
			if err := e.remove(name); err != nil {
				return err
			}
			for d := path.Dir(name); d != "."; d = path.Dir(d) {
				if e.root.Remove(d) != nil {
					break // it holds something
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	f, err := e.root.Open(treesDir)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		_, noDigest := snapshot.ParseDigest("sha256:" + name)
		if noDigest == nil && !isKept(name) || strings.HasPrefix(name, durable.TempPrefix) {
			if err := e.root.RemoveAll(path.Join(treesDir, name)); err != nil {
				return err
			}
			e.result.Removed++
		}
	}
	return nil
}
