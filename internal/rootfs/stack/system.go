package stack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// System is the system layer: what dpkg's result has beside or otherwise than
// the union of the package layers. Immutable.
type System struct {
	Entries []SystemEntry // by path; parents before what is in them
	open    func(*rootfs.Note) (io.ReadCloser, error)
}

// SystemEntry is an entry of the system layer.
type SystemEntry struct {
	rootfs.Entry
	// Whiteout removes what the layers below have at the path.
	Whiteout bool
	// Data is a regular file's content, unless Content or From is set: then it
	// is what Content opens, or that of the entry FromPath of that package.
	Data     []byte
	Content  func() (io.ReadCloser, error)
	From     *rootfs.Note
	FromPath string
	// Why tells what the entry is for, in a word or two: "database", "parent", ..
	Why string
}

// SystemOptions are the choices of [NewSystem]. The zero value is dpkg's result
// without any script.
type SystemOptions struct {
	// Extra, if not nil, gives further entries, such as those of fix-ups, for the tree
	// that dpkg makes of the packages, which it must not change. They replace what has
	// their path; parents need not be among them.
	Extra func(*Tree) ([]SystemEntry, error)
	// Open opens a package's .deb, verified. It is called by WriteLayer where
	// dpkg's result has a file that the union of the layers hides.
	Open func(*rootfs.Note) (io.ReadCloser, error)
}

// NewSystem computes the system layer of packages in the order in which dpkg
// unpacks them, over the layers that they are arranged in. All notes must be of
// one recipe. The error is a [ConflictError] for two packages with one path.
func NewSystem(notes []*rootfs.Note, groups []Group, o SystemOptions) (*System, error) {
	if err := sameNotes(notes, groups); err != nil {
		return nil, err
	}
	var r rootfs.Recipe
	if len(notes) > 0 {
		r = notes[0].Recipe
	}
	layers := make(chan *tree, 1)
	go func() { layers <- union(groups, baseTree(r)) }()
	d, err := installed(notes, baseTree(r))
	if err != nil {
		return nil, err
	}
	status, err := sortedStatus(notes, d.status)
	if err != nil {
		return nil, err
	}
	entries := database(notes, status)
	if o.Extra != nil {
		extra, err := o.Extra(&Tree{d.tree})
		if err != nil {
			return nil, err
		}
		entries = append(entries, extra...)
	}
	for _, e := range entries {
		if e.Whiteout {
			d.tree.remove(e.Path)
			continue
		}
		d.tree.put(&node{entry: e.Entry, from: e.From, fromPath: e.FromPath, data: e.Data, open: e.Content, why: e.Why})
	}
	return &System{Entries: difference(<-layers, d.tree), open: o.Open}, nil
}

// sameNotes tells a caller's mistake: packages that are not those of the layers.
func sameNotes(notes []*rootfs.Note, groups []Group) error {
	left := map[*rootfs.Note]bool{}
	for _, n := range notes {
		if !n.Recipe.Equal(notes[0].Recipe) {
			return fmt.Errorf("%s is laid out by another recipe than %s", n, notes[0])
		}
		left[n] = true
	}
	for _, g := range groups {
		for _, n := range g.Notes {
			if !left[n] {
				return fmt.Errorf("%s is in no layer, in two, or not among the packages", n)
			}
			delete(left, n)
		}
	}
	for n := range left {
		return fmt.Errorf("%s is in no layer", n)
	}
	return nil
}

// file is a regular file of root's.
func file(p string, data []byte, why string) SystemEntry {
	return SystemEntry{Entry: rootfs.Entry{Path: p, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(data)), Digest: snapshot.Sum(data), Made: true}, Data: data, Why: why}
}

// directory is a directory of root's.
func directory(p, why string) SystemEntry {
	return SystemEntry{Entry: rootfs.Entry{Path: p, Type: tar.TypeDir, Mode: 0o755, Made: true}, Why: why}
}

// database is dpkg's database over all packages.
func database(notes []*rootfs.Note, status []byte) []SystemEntry {
	out := []SystemEntry{
		file(rootfs.StatusPath, status, "database"),
		file(rootfs.InfoDir+"/format", []byte("1\n"), "database"),
		directory("var/lib/dpkg/triggers", "database"),
		directory("var/lib/dpkg/updates", "database"),
	}
	return append(out, triggers(notes)...)
}

// triggers are the files in which dpkg keeps who is interested in what
// (dpkg, src/main/trigproc.c and lib/dpkg/triglib.c).
func triggers(notes []*rootfs.Note) []SystemEntry {
	// An interest is a package and its option. Of several in one trigger by one
	// package the last counts: in place for a path, as a new line for a word.
	type interest struct{ trigger, who, option string }
	var paths []interest
	named := map[string][]interest{}
	var names []string
	for _, n := range notes {
		for _, t := range n.Triggers {
			kind, ok := strings.CutPrefix(t.Directive, "interest")
			if !ok {
				continue
			}
			x := interest{t.Name, n.InfoName(), ""}
			if kind == "-noawait" {
				x.option = "/noawait"
			}
			same := func(o interest) bool { return o.trigger == x.trigger && o.who == x.who }
			if t.Name[0] == '/' {
				if i := slices.IndexFunc(paths, same); i >= 0 {
					paths[i] = x
				} else {
					paths = append(paths, x)
				}
				continue
			}
			if named[t.Name] == nil {
				names = append(names, t.Name)
			}
			named[t.Name] = append(slices.DeleteFunc(named[t.Name], same), x)
		}
	}
	var out []SystemEntry
	if len(paths) > 0 {
		var b bytes.Buffer
		for _, x := range paths {
			fmt.Fprintf(&b, "%s %s%s\n", x.trigger, x.who, x.option)
		}
		out = append(out, file("var/lib/dpkg/triggers/File", b.Bytes(), "database"))
	}
	for _, name := range names {
		var b bytes.Buffer
		for _, x := range named[name] {
			fmt.Fprintf(&b, "%s%s\n", x.who, x.option)
		}
		out = append(out, file("var/lib/dpkg/triggers/"+name, b.Bytes(), "database"))
	}
	return out
}

// WriteLayer writes the layer; what it made has the time date.
func (s *System) WriteLayer(w io.Writer, date time.Time) (snapshot.Blob, error) {
	t := rootfs.NewTarWriter(w)
	for i := range s.Entries {
		e := s.Entries[i]
		if e.Whiteout {
			e.Entry = rootfs.Entry{Path: path.Join(path.Dir(e.Path), ".wh."+path.Base(e.Path)), Type: tar.TypeReg, Mode: 0o644, Made: true}
		}
		if e.Made {
			e.ModTime = date.Unix()
		}
		if err := t.Entry(&e.Entry); err != nil {
			return snapshot.Blob{}, err
		}
		if e.Type != tar.TypeReg || e.Size == 0 {
			continue
		}
		if err := s.content(t, &e); err != nil {
			return snapshot.Blob{}, fmt.Errorf("system layer: %s: %w", e.Path, err)
		}
	}
	return t.Close()
}

// content writes the content of a regular file.
func (s *System) content(w io.Writer, e *SystemEntry) error {
	if e.Content != nil {
		r, err := e.Content()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	}
	if e.From == nil {
		_, err := w.Write(e.Data)
		return err
	}
	return copyFile(w, e.From, s.open, e.FromPath)
}
