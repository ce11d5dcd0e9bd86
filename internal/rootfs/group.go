package rootfs

import (
	"errors"
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
	return snapshot.Blob{}, errors.ErrUnsupported
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
