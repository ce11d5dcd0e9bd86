package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"example.org/mmoci/pkg/snapshot"
)

// WriteGroup writes the layer of a group: the union of its package layers in
// their order, as an overlay would have it, and one status of all of them. open
// opens a package's .deb, verified. The layer of a single package is its package layer.
func WriteGroup(w io.Writer, g Group, open func(*Note) (io.ReadCloser, error)) (snapshot.Blob, error) {
	if len(g.Notes) == 1 {
		n := g.Notes[0]
		made, err := WriteLayer(w, n.deb(open), n.Recipe)
		if err != nil {
			return snapshot.Blob{}, err
		}
		return made.Layer, nil
	}
	t := newTarWriter(w)
	s := &groupSink{to: t, wanted: map[string]*node{}}
	for _, x := range g.union() {
		s.wanted[x.entry.Path] = x
	}
	delete(s.wanted, statusPath)
	for _, n := range g.Notes {
		s.next(n)
		if _, err := layOut(s, n.deb(open), n.Recipe); err != nil {
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
	e := Entry{Path: statusPath, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(status)), ModTime: s.time}
	if err := t.entry(&e); err != nil {
		return snapshot.Blob{}, err
	}
	if _, err := t.Write(status); err != nil {
		return snapshot.Blob{}, err
	}
	return t.close()
}

// groupSink passes on the entries of packages that their union has.
type groupSink struct {
	to     *tarWriter
	wanted map[string]*node // by path; what was passed on is taken out
	note   *Note
	moved  map[string]string // first names of the package's hard links, where the union has another file at the first
	time   int64             // of the newest status
	off    bool              // the current content is not wanted
}

// next begins a package.
func (s *groupSink) next(n *Note) {
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

func (s *groupSink) entry(e *Entry) error {
	if e.Path == statusPath {
		s.off = true
		s.time = max(s.time, e.ModTime)
		return nil
	}
	out := *e
	if e.isDir() {
		x := s.wanted[e.Path]
		s.off = true
		if x == nil || !x.entry.isDir() {
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
	return s.to.entry(&out)
}

func (s *groupSink) Write(p []byte) (int, error) {
	if s.off {
		return len(p), nil
	}
	return s.to.Write(p)
}

// deb is the package's .deb, to be opened.
func (n *Note) deb(open func(*Note) (io.ReadCloser, error)) Deb {
	return Deb{Blob: n.Deb, Open: func() (io.ReadCloser, error) { return open(n) }}
}

// copyFile copies the content of a regular file of a package.
func copyFile(w io.Writer, n *Note, open func(*Note) (io.ReadCloser, error), path string) error {
	s := &oneFile{w: w, path: path}
	if _, err := layOut(s, n.deb(open), n.Recipe); err != nil {
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

func (s *oneFile) entry(e *Entry) error {
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
