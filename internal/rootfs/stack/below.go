package stack

import (
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/rootfs"
)

// Tree is a root as far as layers say what is in it. Paths have no slash in front.
// It is not safe for concurrent use.
type Tree struct{ t *tree }

// NewTree returns a tree that has nothing.
func NewTree() *Tree { return &Tree{newTree()} }

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

// Put sets what stands at a path, as a layer above would. A hard link is put as the file that it is.
func (t *Tree) Put(e rootfs.Entry) { t.t.put(&node{entry: e}) }

// Remove takes away what stands at a path.
func (t *Tree) Remove(p string) { t.t.remove(p) }

// Clone is a tree of the same entries, which changes by itself.
func (t *Tree) Clone() *Tree { return &Tree{t.t.clone()} }

// Names are the names in a directory, sorted by their bytes. No symlink is followed.
func (t *Tree) Names(dir string) []string {
	n := t.t.root
	if dir != "" {
		if n = t.t.find(dir); n == nil {
			return nil
		}
	}
	return slices.Sorted(maps.Keys(n.children))
}

// Follow is what the system finds at a path, every symlink followed inside the tree; false if there is nothing. The
// root has the path "".
func (t *Tree) Follow(p string) (rootfs.Entry, bool) {
	if strings.Trim(path.Clean("/"+p), "/") == "" {
		return t.t.root.entry, true
	}
	at, ok := t.t.lookUp(p, true)
	if !ok {
		return rootfs.Entry{}, false
	}
	return t.Find(at)
}

// Glob is the paths that match a pattern of glob(3), sorted by their bytes. Stars
// stand for names of one directory, and not for names that begin with a point.
func (t *Tree) Glob(pattern string) []string {
	found := []string{""}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, `*?[\`) {
				if _, ok := t.Follow(dir + "/" + part); ok {
					next = append(next, dir+"/"+part)
				}
				continue
			}
			e, ok := t.Follow(dir)
			if !ok || !e.IsDir() {
				continue
			}
			for _, name := range t.Names(e.Path) {
				if ok, err := path.Match(part, name); err == nil && ok && !strings.HasPrefix(name, ".") {
					next = append(next, dir+"/"+name)
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return found
}

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
