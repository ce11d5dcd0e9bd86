package stack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// WriteGroup writes the layer of a group: the union of its package layers in
// their order, as an overlay would have it, and one status of all of them. open
// opens a package's .deb, verified. The layer of a single package is its package layer.
func WriteGroup(w io.Writer, g Group, open func(*rootfs.Note) (io.ReadCloser, error)) (snapshot.Blob, error) {
	if len(g.Notes) == 1 {
		n := g.Notes[0]
		made, err := rootfs.WriteLayer(w, debOfNote(n, open), n.Recipe)
		if err != nil {
			return snapshot.Blob{}, err
		}
		return made.Layer, nil
	}
	t := rootfs.NewTarWriter(w)
	s := &groupSink{to: t, wanted: map[string]*node{}}
	for _, x := range g.union() {
		s.wanted[x.entry.Path] = x
	}
	delete(s.wanted, rootfs.StatusPath)
	for _, n := range g.Notes {
		s.next(n)
		if _, err := rootfs.LayOut(s, debOfNote(n, open), n.Recipe); err != nil {
			return snapshot.Blob{}, fmt.Errorf("%s: %w", n, err)
		}
	}
	if len(s.wanted) > 0 {
		return snapshot.Blob{}, fmt.Errorf("layer %q: %d entries are in no package, which therefore differs from its note", g.Name, len(s.wanted))
	}
	status, err := sortedStatus(g.Notes, asUnpacked)
	if err != nil {
		return snapshot.Blob{}, err
	}
	e := rootfs.Entry{Path: rootfs.StatusPath, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(status)), ModTime: s.time}
	if err := t.Entry(&e); err != nil {
		return snapshot.Blob{}, err
	}
	if _, err := t.Write(status); err != nil {
		return snapshot.Blob{}, err
	}
	return t.Close()
}

// groupSink passes on the entries of packages that their union has.
type groupSink struct {
	to     *rootfs.TarWriter
	wanted map[string]*node // by path; what was passed on is taken out
	note   *rootfs.Note
	moved  map[string]string // first names of the package's hard links, where the union has another file at the first
	time   int64             // of the newest status
	off    bool              // the current content is not wanted
}

// next begins a package.
func (s *groupSink) next(n *rootfs.Note) {
	s.note = n
	s.moved = map[string]string{}
	for i := range n.Entries {
		e := &n.Entries[i]
		if e.Type == tar.TypeLink && !s.has(e.Link) && s.has(e.Path) && s.moved[e.Link] == "" {
			s.moved[e.Link] = e.Path
		}
	}
}

// has tells whether the union has the package's own file at a path.
func (s *groupSink) has(p string) bool {
	x := s.wanted[p]
	return x != nil && x.from == s.note
}

func (s *groupSink) Entry(e *rootfs.Entry) error {
	if e.Path == rootfs.StatusPath {
		s.off = true
		s.time = max(s.time, e.ModTime)
		return nil
	}
	out := *e
	if e.IsDir() {
		x := s.wanted[e.Path]
		s.off = true
		if x == nil || !x.entry.IsDir() {
			return nil
		}
		out = x.entry
	} else {
		if to := s.moved[e.Path]; to != "" {
			out.Path = to
		}
		if to := s.moved[e.Link]; e.Type == tar.TypeLink && to != "" {
			out.Link = to
		}
		if s.off = !s.has(out.Path); s.off {
			return nil
		}
	}
	delete(s.wanted, out.Path)
	return s.to.Entry(&out)
}

func (s *groupSink) Write(p []byte) (int, error) {
	if s.off {
		return len(p), nil
	}
	return s.to.Write(p)
}

// debOfNote is the package's .deb, to be opened.
func debOfNote(n *rootfs.Note, open func(*rootfs.Note) (io.ReadCloser, error)) rootfs.Deb {
	return rootfs.Deb{Blob: n.Deb, Open: func() (io.ReadCloser, error) { return open(n) }}
}

// copyFile copies the content of a regular file of a package.
func copyFile(w io.Writer, n *rootfs.Note, open func(*rootfs.Note) (io.ReadCloser, error), path string) error {
	s := &oneFile{w: w, path: path}
	if _, err := rootfs.LayOut(s, debOfNote(n, open), n.Recipe); err != nil {
		return err
	}
	if !s.found {
		return errors.New("the package has no such file")
	}
	return nil
}

// oneFile is a sink that keeps the content of one entry.
type oneFile struct {
	w     io.Writer
	path  string
	on    bool
	found bool
}

func (s *oneFile) Entry(e *rootfs.Entry) error {
	s.on = e.Path == s.path
	s.found = s.found || s.on
	return nil
}

func (s *oneFile) Write(p []byte) (int, error) {
	if !s.on {
		return len(p), nil
	}
	return s.w.Write(p)
}
