package stack

import (
	"archive/tar"
	"example.org/mmoci/internal/rootfs"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// node is what stands at a path of a tree, and where its content comes from.
type node struct {
	entry    rootfs.Entry
	from     *rootfs.Note // nil: made; then data or open is the content
	fromPath string
	data     []byte
	open     func() (io.ReadCloser, error)
	why      string
	children map[string]*node // of a directory; nil until there is one
}

// tree is a file system as far as layers and dpkg say what is in it.
type tree struct{ root *node }

func newTree() *tree {
	return &tree{&node{entry: rootfs.Entry{Type: tar.TypeDir, Mode: 0o755}}}
}

// find is the node at a path, symlinks not followed; nil if there is none.
func (t *tree) find(p string) *node {
	n := t.root
	for part := range strings.SplitSeq(p, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// put sets what stands at a path as a layer does: a directory over a directory
// changes its attributes alone, anything else takes the place of what was there.
// Directories above that are missing are made, and what is no directory there is replaced.
func (t *tree) put(n *node) {
	dir := t.root
	rest := n.entry.Path
	for {
		part, after, more := strings.Cut(rest, "/")
		if dir.children == nil {
			dir.children = map[string]*node{}
		}
		old := dir.children[part]
		if !more {
			if old != nil && old.entry.IsDir() && n.entry.IsDir() {
				n.children = old.children
			}
			dir.children[part] = n
			return
		}
		if old == nil || !old.entry.IsDir() {
			at := n.entry.Path[:len(n.entry.Path)-len(after)-1]
			old = &node{entry: rootfs.Entry{Path: at, Type: tar.TypeDir, Mode: 0o755, Made: true}, why: "parent"}
			dir.children[part] = old
		}
		dir, rest = old, after
	}
}

// remove takes away what stands at a path.
func (t *tree) remove(p string) {
	dir := t.root
	if d := path.Dir(p); d != "." {
		dir = t.find(d)
	}
	if dir != nil {
		delete(dir.children, path.Base(p))
	}
}

// maxLinks is how many symlinks Linux follows on one path.
const maxLinks = 40

// resolve is where the system would find a path: symlinks among its parents are
// followed within the tree, the last component is not. It is false if a symlink
// leads around or to what is no directory.
func (t *tree) resolve(p string) (string, bool) {
	dir := t.root
	for rest := p; ; {
		part, after, more := strings.Cut(rest, "/")
		if !more {
			return p, true
		}
		n := dir.children[part]
		if n == nil {
			return p, true
		}
		if !n.entry.IsDir() {
			return t.follow(p)
		}
		dir, rest = n, after
	}
}

// follow is resolve where there are symlinks, or components like "..".
func (t *tree) follow(p string) (string, bool) { return t.lookUp(p, false) }

// lookUp goes along a path, the symlinks among its parents followed, and with last that at its end.
func (t *tree) lookUp(p string, last bool) (string, bool) {
	links := 0
	dirs := []*node{t.root} // those on the way, and how each is called
	var names []string
	rest := strings.Split(p, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				dirs, names = dirs[:len(dirs)-1], names[:len(names)-1]
			}
			continue
		}
		n := dirs[len(dirs)-1].children[part]
		switch {
		case n == nil, len(rest) == 0 && !(last && n.entry.Type == tar.TypeSymlink):
			// Nothing below what is not there can be a symlink.
			return path.Join(append(append(names, part), rest...)...), true
		case n.entry.Type == tar.TypeSymlink:
			if links++; links > maxLinks {
				return "", false
			}
			if strings.HasPrefix(n.entry.Link, "/") {
				dirs, names = dirs[:1], names[:0]
			}
			rest = append(strings.Split(n.entry.Link, "/"), rest...)
		case !n.entry.IsDir():
			return "", false
		default:
			dirs, names = append(dirs, n), append(names, part)
		}
	}
	return path.Join(names...), len(names) > 0
}

// isDirectory tells whether a path leads to a directory, the last symlink followed, too.
func (t *tree) isDirectory(p string) bool {
	if n := t.find(p); n != nil && n.entry.Type != tar.TypeSymlink {
		return n.entry.IsDir()
	}
	at, ok := t.follow(p + "/.")
	if !ok {
		return false
	}
	n := t.find(at)
	return n != nil && n.entry.IsDir()
}

// clone is a tree that can be changed without the first one.
func (t *tree) clone() *tree { return &tree{t.root.clone()} }

func (n *node) clone() *node {
	c := *n
	c.children = make(map[string]*node, len(n.children))
	for name, child := range n.children {
		c.children[name] = child.clone()
	}
	return &c
}

// walk calls visit for each node in the order of paths, directories before what
// is in them.
func (n *node) walk(visit func(*node)) {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		c := n.children[name]
		visit(c)
		c.walk(visit)
	}
}

// same tells whether two nodes are the same file, link or directory; times do not count.
func (n *node) same(o *node) bool {
	a, b := &n.entry, &o.entry
	if a.Type != b.Type || a.UID != b.UID || a.GID != b.GID || a.Mode != b.Mode {
		return false
	}
	switch a.Type {
	case tar.TypeSymlink:
		return a.Link == b.Link
	case tar.TypeReg:
		return a.Size == b.Size && a.Digest == b.Digest
	}
	return true
}

// difference are the entries that make of the tree below what the tree above is:
// what differs, directories above it, and whiteouts.
func difference(below, above *tree) []SystemEntry {
	var out []SystemEntry
	var compare func(b, a *node) bool
	add := func(n *node, why string) {
		if n.why != "" {
			why = n.why
		}
		out = append(out, SystemEntry{Entry: n.entry, Data: n.data, Content: n.open, From: n.from, FromPath: n.fromPath, Why: why})
	}
	// compare adds what differs below a directory of both and tells whether there was any.
	compare = func(b, a *node) bool {
		before := len(out)
		for _, name := range slices.Sorted(maps.Keys(b.children)) {
			if a.children[name] == nil {
				out = append(out, SystemEntry{Entry: rootfs.Entry{Path: b.children[name].entry.Path, Made: true}, Whiteout: true, Why: "removed"})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(a.children)) {
			x, y := b.children[name], a.children[name]
			if x != nil && x.entry.IsDir() && y.entry.IsDir() {
				at := len(out)
				switch {
				case !x.same(y):
					add(y, "directory")
					compare(x, y)
				case compare(x, y):
					out = slices.Insert(out, at, SystemEntry{Entry: y.entry, Why: "parent"})
				}
				continue
			}
			if x == nil || !x.same(y) {
				add(y, "as dpkg has it")
				y.walk(func(n *node) { add(n, "as dpkg has it") })
			}
		}
		return len(out) > before
	}
	compare(below.root, above.root)
	return out
}
