package stack

import (
	"example.org/mmoci/internal/rootfs"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
)

// Tree is a root as far as layers say what is in it. Paths have no slash in front.
// It is not safe for concurrent use.
type Tree struct{ t *tree }

// Below is what layers make together, one above the other: the skeleton, if /usr is
// merged, the groups, and a system layer, unless it is nil.
func Below(merged bool, groups []Group, system *System) *Tree {
	t := union(groups, baseTree(rootfs.Recipe{MergedUsr: merged}))
	if system != nil {
		for i := range system.Entries {
			e := &system.Entries[i]
			if e.Whiteout {
				t.remove(e.Path)
				continue
			}
			t.put(&node{entry: e.Entry, from: e.From, fromPath: e.FromPath, data: e.Data, open: e.Content, why: e.Why})
		}
	}
	return &Tree{t}
}

// SkeletonLinks are the symlinks of the skeleton.
func SkeletonLinks() []rootfs.Entry {
	return slices.DeleteFunc(skeleton(), func(e rootfs.Entry) bool { return e.IsDir() })
}

// Find is what stands at a path, symlinks not followed. A hard link is the file itself.
func (t *Tree) Find(p string) (rootfs.Entry, bool) {
	n := t.t.find(p)
	if n == nil {
		return rootfs.Entry{}, false
	}
	return n.entry, true
}

// Source is the package that a file comes from, and its path there, that of the
// first name for hard links; nil for what no package has.
func (t *Tree) Source(p string) (*rootfs.Note, string) {
	n := t.t.find(p)
	if n == nil {
		return nil, ""
	}
	return n.from, n.fromPath
}

// Put sets what stands at a path, as a layer above would.
func (t *Tree) Put(e rootfs.Entry) { t.t.put(&node{entry: e}) }

// All are the entries in the order of their paths, directories before what is in them.
func (t *Tree) All() iter.Seq[rootfs.Entry] {
	return func(yield func(rootfs.Entry) bool) {
		more := true
		t.t.root.walk(func(n *node) { more = more && yield(n.entry) })
	}
}

// Resolve is where the system would find a path: symlinks in its directories are
// followed inside the tree, the last component is not.
func (t *Tree) Resolve(p string) (string, error) {
	at, ok := t.t.resolve(strings.TrimPrefix(path.Clean("/"+p), "/"))
	if !ok {
		return "", fmt.Errorf("%s: %s", p, t.why(p))
	}
	return at, nil
}

// why tells why a path leads nowhere.
func (t *Tree) why(p string) string {
	for dir := strings.TrimPrefix(path.Dir(path.Clean("/"+p)), "/"); dir != ""; dir = strings.TrimPrefix(path.Dir("/"+dir), "/") {
		if at, ok := t.t.resolve(dir); ok {
			if n := t.t.find(at); n != nil && !n.entry.IsDir() {
				if _, ok := t.t.follow(at + "/."); !ok && n.entry.Link != "" {
					return "/" + at + " is a symbolic link that leads around, or to what is no directory"
				}
				return "/" + at + " is no directory"
			}
		}
	}
	return "its symbolic links lead around"
}
