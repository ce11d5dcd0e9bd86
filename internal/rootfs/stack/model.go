package stack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// ConflictError is a path that two packages have, where neither Replaces the
// other: dpkg unpacks one of them only. It wraps [outcome.ErrNotFound]: there is
// no tree with both.
type ConflictError struct {
	Path          string
	First, Second *rootfs.Note // in the order in which dpkg unpacks them
	Directory     bool         // the first has a directory there
}

func (e *ConflictError) Error() string {
	if e.Directory {
		return fmt.Sprintf("/%s is a directory of %s, and none of %s; neither Replaces the other", e.Path, e.First, e.Second)
	}
	return fmt.Sprintf("/%s is in %s and in %s, and neither Replaces the other", e.Path, e.First, e.Second)
}

func (e *ConflictError) Unwrap() error { return outcome.ErrNotFound }

// dpkg is the model of what dpkg makes of packages that it unpacks one after the
// other into an empty tree, no script run (dpkg, src/main/archives.c, tarobject).
type dpkg struct {
	tree  *tree
	notes []*rootfs.Note
	// owners are the packages that list a name, by the name as packages spell
	// it: dpkg knows of no symlink between two names.
	owners   map[string][]*rootfs.Note
	lost     map[*rootfs.Note]map[string]bool // names that a package's list does not have
	kept     map[*rootfs.Note]map[string]bool // those among them that were there before the package, and were kept
	replaces map[*rootfs.Note][]deb.Relation
}

// installed is the tree that dpkg makes of packages in this order, with its
// database as far as package layers have it.
func installed(notes []*rootfs.Note, base *tree) (*dpkg, error) {
	d := &dpkg{tree: base, notes: notes, owners: map[string][]*rootfs.Note{}, lost: map[*rootfs.Note]map[string]bool{}, kept: map[*rootfs.Note]map[string]bool{}, replaces: map[*rootfs.Note][]deb.Relation{}}
	for _, n := range notes {
		clauses, err := deb.ParseRelations(n.Stanza.Get("Replaces"), "")
		if err != nil {
			return nil, fmt.Errorf("%s: Replaces: %w", n, err)
		}
		for _, c := range clauses {
			d.replaces[n] = append(d.replaces[n], c...)
		}
	}
	for _, n := range notes {
		if err := d.unpack(n); err != nil {
			return nil, err
		}
	}
	for _, n := range notes {
		if lost := d.lost[n]; lost != nil {
			d.write(rootfs.InfoDir+"/"+n.InfoName()+".list", n.List(lost))
		}
		if kept := d.kept[n]; kept != nil && n.Sums != nil {
			d.write(rootfs.InfoDir+"/"+n.InfoName()+".md5sums", sumsWithout(n.Sums, kept))
		}
	}
	return d, nil
}

// sumsWithout are lines of md5sums but for those of some names.
func sumsWithout(sums []byte, names map[string]bool) []byte {
	var out []byte
	for line := range bytes.Lines(sums) {
		if len(line) < 35 || !names[string(line[34:len(line)-1])] {
			out = append(out, line...)
		}
	}
	return out
}

// status is a package's stanza, with its conffiles as they became.
func (d *dpkg) status(n *rootfs.Note) (deb.Stanza, error) {
	lost := d.lost[n]
	if lost == nil || len(n.Conffiles) == 0 {
		return n.Status, nil
	}
	conffiles := slices.Clone(n.Conffiles)
	for i := range conffiles {
		c := &conffiles[i]
		if lost[c.Path] {
			c.MD5 = "" // dpkg has not configured it, and never will
			c.Obsolete = d.kept[n][c.Path] || slices.ContainsFunc(d.owners[c.Path], func(o *rootfs.Note) bool { return isConffile(o, c.Path) })
		}
	}
	return rootfs.StatusStanza(n.Stanza, conffiles)
}

// write sets a file of dpkg's database.
func (d *dpkg) write(p string, data []byte) {
	d.tree.put(&node{entry: rootfs.Entry{Path: p, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(data)), Digest: snapshot.Sum(data), Made: true}, data: data, why: "database"})
}

// unpack does what dpkg does with the entries of one package.
func (d *dpkg) unpack(n *rootfs.Note) error {
	entries := make(map[string]*rootfs.Entry, len(n.Entries))
	for i := range n.Entries {
		entries[n.Entries[i].Path] = &n.Entries[i]
	}
	said := map[*rootfs.Note]int{} // as dpkg's replacingfilesandsaid: 1 they lose files to n, 2 n to them
	taken := map[*rootfs.Note]bool{}
	for _, name := range n.Names {
		if name == "." {
			continue
		}
		e := entries[n.Recipe.Place(name)]
		if e != nil && e.Made {
			e = nil
		}
		if err := d.extract(n, name, e, entries, said, taken); err != nil {
			return err
		}
	}
	for i := range n.Entries {
		if e := &n.Entries[i]; e.Made && (!e.IsDir() || !d.tree.isDirectory(e.Path)) && e.Path != rootfs.StatusPath {
			d.place(n, e, e.Path, entries)
		}
	}
	for o := range taken {
		if d.disappears(o) {
			return fmt.Errorf("%s takes over every file of %s, which dpkg would make disappear%w", n, o, notFound{})
		}
	}
	return nil
}

// extract is one entry of a package; e is nil if it is excluded, or a directory
// that the package has under two names.
func (d *dpkg) extract(n *rootfs.Note, name string, e *rootfs.Entry, entries map[string]*rootfs.Entry, said map[*rootfs.Note]int, taken map[*rootfs.Note]bool) error {
	others := d.owners[name]
	at, ok := d.tree.resolve(name)
	if !ok {
		return fmt.Errorf("%s: /%s: a symlink on the way to it leads nowhere%w", n, name, notFound{})
	}
	old := d.tree.find(at)
	if e == nil || d.leavesAlone(e, at, old) {
		if !slices.Contains(others, n) {
			d.owners[name] = append(others, n)
		}
		return nil
	}
	keep := false
	for _, o := range others {
		if o == n || e.IsDir() && old == nil {
			continue
		}
		if said[o] == 0 {
			switch {
			case d.doesReplace(n, o):
				said[o] = 1
			case d.doesReplace(o, n):
				said[o] = 2
			default:
				return &ConflictError{Path: name, First: o, Second: n, Directory: old != nil && old.entry.IsDir()}
			}
		}
		keep = keep || said[o] == 2
	}
	if keep {
		d.lose(n, name)
		if d.kept[n] == nil {
			d.kept[n] = map[string]bool{}
		}
		d.kept[n][name] = true
		return nil
	}
	for _, o := range others {
		if o != n && said[o] == 1 {
			d.lose(o, name)
			taken[o] = true
		}
	}
	if !slices.Contains(d.owners[name], n) {
		d.owners[name] = append(d.owners[name], n)
	}
	d.place(n, e, at, entries)
	return nil
}

// leavesAlone tells where dpkg does nothing because there is a directory.
func (d *dpkg) leavesAlone(e *rootfs.Entry, at string, old *node) bool {
	switch {
	case old == nil:
		return false
	case e.Type == tar.TypeSymlink:
		return old.entry.IsDir() || old.entry.Type == tar.TypeSymlink && d.leadsThere(e.Link, at)
	case e.IsDir():
		return d.tree.isDirectory(at)
	}
	return false
}

// leadsThere tells whether a symlink with that target, at a path, would lead to
// the directory to which the symlink that is there leads (dpkg, linktosameexistingdir).
func (d *dpkg) leadsThere(target, at string) bool {
	if !strings.HasPrefix(target, "/") {
		target = path.Dir(at) + "/" + target
	}
	now, ok := d.tree.follow(at + "/.")
	then, also := d.tree.follow(target + "/.")
	return ok && also && now == then && d.tree.isDirectory(now)
}

// place sets an entry of a package where the system finds its path.
func (d *dpkg) place(n *rootfs.Note, e *rootfs.Entry, at string, entries map[string]*rootfs.Entry) {
	d.tree.put(nodeOf(n, e, at, entries))
}

// nodeOf is the node of a package's entry. Of a hard link it is the file itself.
func nodeOf(n *rootfs.Note, e *rootfs.Entry, at string, entries map[string]*rootfs.Entry) *node {
	x := &node{entry: *e, from: n, fromPath: e.Path}
	if e.Type == tar.TypeLink {
		if first := entries[e.Link]; first != nil {
			x.entry, x.fromPath = *first, first.Path
		}
	}
	x.entry.Path = at
	return x
}

// isConffile tells whether a path is a conffile of a package.
func isConffile(n *rootfs.Note, p string) bool {
	return slices.ContainsFunc(n.Conffiles, func(c rootfs.Conffile) bool { return c.Path == p })
}

// doesReplace tells whether a package Replaces another (dpkg, does_replace):
// by its own name, not by one that it provides.
func (d *dpkg) doesReplace(n, other *rootfs.Note) bool {
	for _, r := range d.replaces[n] {
		if strings.EqualFold(r.Name, other.Name()) && r.Satisfied(other.Version()) {
			return true
		}
	}
	return false
}

// lose takes a name out of a package's list.
func (d *dpkg) lose(n *rootfs.Note, name string) {
	if d.lost[n] == nil {
		d.lost[n] = map[string]bool{}
	}
	d.lost[n][name] = true
	d.owners[name] = slices.DeleteFunc(slices.Clone(d.owners[name]), func(o *rootfs.Note) bool { return o == n })
}

// disappears tells whether a package has no file left of its own (dpkg,
// pkg_disappear): what remains are directories that other packages have, too.
func (d *dpkg) disappears(n *rootfs.Note) bool {
	for _, name := range n.Names {
		if name != "." && !d.lost[n][name] && (len(d.owners[name]) < 2 || !d.tree.isDirectory(name)) {
			return false
		}
	}
	return true
}

// union is the tree that layers make one above the other.
func union(groups []Group, base *tree) *tree {
	for _, g := range groups {
		for _, e := range g.union() {
			base.put(e)
		}
	}
	return base
}

// union are the nodes of a group's layer in their order: each path once,
// directories where they first occur with the attributes of the last that has them.
func (g Group) union() []*node {
	var order []*node
	for _, n := range g.Notes {
		firsts := map[string]*rootfs.Entry{} // that hard links lead to
		for i := range n.Entries {
			if e := &n.Entries[i]; e.Type == tar.TypeLink {
				firsts[e.Link] = nil
			}
		}
		for i := range n.Entries {
			if _, is := firsts[n.Entries[i].Path]; is {
				firsts[n.Entries[i].Path] = &n.Entries[i]
			}
		}
		for i := range n.Entries {
			e := &n.Entries[i]
			order = append(order, nodeOf(n, e, e.Path, firsts))
		}
	}
	if len(g.Notes) == 1 { // a package has each path once
		return order
	}
	t := newTree()
	for _, x := range order {
		t.put(x)
	}
	seen := map[string]bool{}
	var out []*node
	for _, x := range order {
		last := t.find(x.entry.Path)
		if last == nil || seen[x.entry.Path] || !last.entry.IsDir() && last != x {
			continue
		}
		seen[x.entry.Path] = true
		out = append(out, last)
	}
	return out
}

// baseTree is what stands below the packages.
func baseTree(r rootfs.Recipe) *tree {
	t := newTree()
	if r.MergedUsr {
		for _, e := range skeleton() {
			t.put(&node{entry: e})
		}
	}
	return t
}

// sortedStatus is dpkg's status over packages, each with its stanza.
func sortedStatus(notes []*rootfs.Note, stanza func(*rootfs.Note) (deb.Stanza, error)) ([]byte, error) {
	sorted := slices.Clone(notes)
	slices.SortFunc(sorted, func(a, b *rootfs.Note) int {
		return strings.Compare(strings.ToLower(a.Name()), strings.ToLower(b.Name()))
	})
	var b bytes.Buffer
	for _, n := range sorted {
		s, err := stanza(n)
		if err != nil {
			return nil, err
		}
		b.Write(s)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// asUnpacked is the stanza in a package's own layer.
func asUnpacked(n *rootfs.Note) (deb.Stanza, error) { return n.Status, nil }
