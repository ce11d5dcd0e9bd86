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

// leftDir has a file for each root that no reference names, and one for all such tags.
const leftDir = "left"

// leftPath is the file that says since when no reference names a root.
func leftPath(root snapshot.Digest) string { return leftDir + "/" + root.Hex() }

// maxLeft bounds such a file.
const maxLeft = 64

// prune removes what no root has that is kept, the names first: a run that is killed here leaves no name to nothing. had are
// the blobs that were there before, sorted.
func (e *export) prune(ctx context.Context, named *naming, had []snapshot.Digest) error {
	now := map[snapshot.Digest]*rootList{}
	for _, c := range e.contents {
		for _, l := range c.lists {
			now[l.root] = l
		}
	}
	keep, drop, err := e.sort(now)
	if err != nil {
		return err
	}
	ofNow, documents := map[snapshot.Digest]bool{}, map[snapshot.Digest]bool{}
	kept := make([]bool, len(had))
	for _, root := range keep {
		l := now[root]
		if l == nil {
			if l, err = e.readList(root); err != nil {
				return fmt.Errorf("%s cannot be read, so that nothing is removed: %w", listPath(root), err)
			}
		}
		for _, d := range l.documents {
			documents[d.Digest] = true
			ofNow[d.Digest] = ofNow[d.Digest] || now[root] != nil
		}
		common(had, l.blobs, func(i, _ int) { kept[i] = true })
	}
	marks := e.readMarks()
	if err := e.tidy(named, documents, marks); err != nil {
		return err
	}
	if err := e.tidyApt(keep, marks); err != nil {
		return err
	}
	e.result.LeavingTags = len(marks.now)
	if err := e.writeMarks(marks); err != nil {
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
	if err := e.sweep(documentsDir, func(d snapshot.Digest) bool { return documents[d] }, e.removeDocument); err != nil {
		return err
	}
	// What leaves keeps the list of what refers to it; what stays has one of this run, or none.
	listed := referrerLists(e.contents)
	stays := func(d snapshot.Digest) bool { return listed[d] != nil || documents[d] && !ofNow[d] }
	if err := e.sweep(referrersDir, stays, func(d snapshot.Digest) error { return e.remove(referrersDir + "/" + d.Hex()) }); err != nil {
		return err
	}
	for i, d := range had { // what this run brought is of a root that is kept
		if !kept[i] {
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

// common calls f for each digest that both have, with where it is. Both are sorted.
func common(digests []snapshot.Digest, blobs []snapshot.Blob, f func(i, j int)) {
	for i, j := 0, 0; i < len(digests) && j < len(blobs); {
		switch c := bytes.Compare(digests[i][:], blobs[j].Digest[:]); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			f(i, j)
			i, j = i+1, j+1
		}
	}
}

// sort divides the roots of the tree into those that are kept and those that go. now are those that references name.
func (e *export) sort(now map[snapshot.Digest]*rootList) (keep, drop []snapshot.Digest, err error) {
	roots, err := e.digests(rootsDir)
	if err != nil {
		return nil, nil, err
	}
	for _, root := range roots {
		if now[root] != nil {
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
			e.result.LeavingRoots++
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
	if err := e.root.MkdirAll(leftDir, 0o755); err != nil {
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

// tidyApt removes names of apt trees as tidy does tags, and the trees that have no name any more.
func (e *export) tidyApt(keep []snapshot.Digest, marks *marks) error {
	named := map[string]bool{} // names below apt/
	for _, c := range e.contents {
		if p, ok := e.aptName(c); ok {
			named[p.String()] = true
		}
	}
	isKept := func(hex string) bool {
		return slices.ContainsFunc(keep, func(d snapshot.Digest) bool { return d.Hex() == hex })
	}
	linked := map[string]bool{} // trees
	for _, top := range []string{aptDir, previousDir} {
		if err := e.links(top, func(name, hex string) error {
			of := name[len(top)+1:]
			repository, tag, _ := strings.Cut(of, ":")
			if isKept(hex) && (named[of] || marks.young(aptMark, tagName{repository, tag})) {
				linked[hex] = true
				return nil
			}
			if err := e.remove(name); err != nil {
				return err
			}
			e.removeEmpty(path.Dir(name))
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
		if noDigest == nil && !linked[name] || strings.HasPrefix(name, durable.TempPrefix) {
			if err := e.root.RemoveAll(path.Join(treesDir, name)); err != nil {
				return err
			}
			e.result.Removed++
		}
	}
	return nil
}
