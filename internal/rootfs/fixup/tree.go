package fixup

import (
	"archive/tar"
	"path"
	"slices"
	"strings"
)

// maxLinks is how many symlinks a path may lead through, as Linux has it.
const maxLinks = 40

// Tree is the shape of a root: which paths it has, and where its links lead.
// Paths have no slash in front or behind; those that a program would use, which
// may have links in them, are resolved inside the root. The zero value is empty.
type Tree struct {
	nodes    map[string]node
	children map[string][]string // sorted names
}

type kind byte

const (
	kindNone kind = iota
	kindFile
	kindDir
	kindLink
	kindOther
)

type node struct {
	kind   kind
	target string
}

// Add adds a path of a type of archive/tar, with the target of a symlink or hard
// link. What is at the path is replaced; parents that are missing are directories.
// A hard link must come after its target.
func (t *Tree) Add(p string, typeflag byte, target string) {
	switch typeflag {
	case tar.TypeReg:
		t.add(p, kindFile, p)
	case tar.TypeLink:
		if n, ok := t.nodes[target]; ok && n.kind == kindFile {
			t.add(p, kindFile, n.target)
		}
	case tar.TypeDir:
		t.add(p, kindDir, "")
	case tar.TypeSymlink:
		t.add(p, kindLink, target)
	default:
		t.add(p, kindOther, "")
	}
}

// add sets a node. The target of a file is the path whose content it has.
func (t *Tree) add(p string, k kind, target string) {
	if t.nodes == nil {
		t.nodes, t.children = map[string]node{}, map[string][]string{}
	}
	if p == "" || p == "." {
		return
	}
	if _, ok := t.nodes[p]; !ok {
		dir, name := path.Split(p)
		dir = strings.TrimSuffix(dir, "/")
		if dir != "" && t.kind(dir) == kindNone {
			t.add(dir, kindDir, "")
		}
		names := t.children[dir]
		i, _ := slices.BinarySearch(names, name)
		t.children[dir] = slices.Insert(names, i, name)
	}
	t.nodes[p] = node{k, target}
}

func (t *Tree) remove(p string) {
	delete(t.nodes, p)
	dir, name := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	if i, ok := slices.BinarySearch(t.children[dir], name); ok {
		t.children[dir] = slices.Delete(t.children[dir], i, i+1)
	}
}

func (t *Tree) clone() *Tree {
	c := &Tree{nodes: make(map[string]node, len(t.nodes)), children: make(map[string][]string, len(t.children))}
	for p, n := range t.nodes {
		c.nodes[p] = n
	}
	for p, names := range t.children {
		c.children[p] = slices.Clone(names)
	}
	return c
}

// kind is what stands at a path, without following it.
func (t *Tree) kind(p string) kind {
	if p == "" {
		return kindDir
	}
	return t.nodes[p].kind
}

// list is the names in a directory, in the order of their bytes.
func (t *Tree) list(dir string) []string { return slices.Clone(t.children[dir]) }

// resolve follows links inside the root. Of a file that has several names, it
// returns the one that came first.
func (t *Tree) resolve(name string) (string, kind) {
	var done []string
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = done[:max(len(done)-1, 0)]
			continue
		}
		p := strings.Join(append(slices.Clone(done), part), "/")
		n := t.nodes[p]
		switch {
		case n.kind == kindLink:
			if links++; links > maxLinks {
				return "", kindNone
			}
			if strings.HasPrefix(n.target, "/") {
				done = nil
			}
			rest = append(strings.Split(n.target, "/"), rest...)
		case n.kind == kindDir:
			done = append(done, part)
		case n.kind == kindNone || len(rest) > 0:
			return "", kindNone
		case n.kind == kindFile:
			return n.target, kindFile
		default:
			return p, n.kind
		}
	}
	return strings.Join(done, "/"), kindDir
}

// glob is the paths that match a pattern of glob(3), sorted by their bytes. Stars
// stand for names of one directory, and not for names that begin with a point.
func (t *Tree) glob(pattern string) []string {
	found := []string{""}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, `*?[\`) {
				if _, k := t.resolve(dir + "/" + part); k != kindNone {
					next = append(next, dir+"/"+part)
				}
				continue
			}
			real, k := t.resolve(dir)
			if k != kindDir {
				continue
			}
			for _, name := range t.list(real) {
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
