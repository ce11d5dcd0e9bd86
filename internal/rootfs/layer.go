package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// WriteLayer reads a .deb and writes its package layer, a tar, and returns what
// is to be known of it. The layer is a function of the .deb, [RecipeNumber] and
// the recipe, and of nothing else.
//
// The .deb is read once, forward. Only where the first name of a hard link is
// excluded and another is not, it is opened again for that content.
//
// The layer must not be used unless the error is nil: what was written until
// then is not verified. Memory is bounded by the limits of this package and of
// [deb]: some 100 bytes for each entry, and the files of control.tar.
func WriteLayer(w io.Writer, d Deb, r Recipe) (*Note, error) {
	t := NewTarWriter(w)
	n, err := LayOut(t, d, r)
	if err != nil {
		return nil, err
	}
	if n.Layer, err = t.Close(); err != nil {
		return nil, err
	}
	return n, nil
}

// Sink takes the entries of a package in order, each with its content.
type Sink interface {
	Entry(e *Entry) error
	io.Writer
}

// LayOut gives the entries of a package layer to a sink. Only Layer is missing in the note.
func LayOut(to Sink, d Deb, r Recipe) (*Note, error) {
	l := &layer{to: to, deb: d, note: &Note{Deb: d.Blob, Recipe: r}, at: map[string]int{}, held: map[string]*Entry{}, buf: make([]byte, 128<<10)}
	if err := d.read(l.take); err != nil {
		return nil, err
	}
	return l.note, nil
}

// read has take read the contents of the .deb, to its end.
func (d Deb) read(take func(deb.Contents) error) error {
	r, err := d.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := deb.Unpack(r, take); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // the last byte is the one that proves the others
	return err
}

// layer is a package layer in the making.
type layer struct {
	to        Sink
	symlinks  []symlink // of data.tar, in its order
	deb       Deb
	note      *Note
	control   controlFiles
	at        map[string]int    // index in note.Entries by path
	held      map[string]*Entry // excluded entries of the package, by path: directories until something below them is kept
	bytes     int               // of paths and link targets
	sums      bytes.Buffer      // md5sums, if the package has none
	keptBytes int               // of the files that the note keeps
	again     int               // how often the .deb was opened for a hard link
	buf       []byte
	md5       hash.Hash
	md5s      map[string][md5.Size]byte // of regular files, by name, as far as somebody asks for them
}

// faulty is an error that the package is to blame for.
func faulty(format string, args ...any) error {
	return fmt.Errorf("%w: %w", deb.ErrMalformed, fmt.Errorf(format, args...))
}

// take lays out data.tar and then what dpkg itself would write.
func (l *layer) take(c deb.Contents) error {
	var err error
	if l.control, err = readControlFiles(c); err != nil {
		return err
	}
	l.note.Stanza = c.Control
	l.md5, l.md5s = md5.New(), map[string][md5.Size]byte{}
	t := &dataReader{r: c.Data}
	for {
		h, err := t.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return faulty("data.tar: %w", err)
		}
		if err := l.add(h, t); err != nil {
			return err
		}
	}
	for _, s := range l.symlinks {
		if err := l.symlink(s); err != nil {
			return err
		}
	}
	return l.database()
}

// add lays out one entry of data.tar.
func (l *layer) add(h *header, content io.Reader) error {
	name, err := cleanPath(h.name)
	if err != nil {
		return err
	}
	if len(l.note.Names)+len(l.symlinks) == MaxEntries {
		return faulty("data.tar: over %d entries", MaxEntries)
	}
	if l.bytes += len(h.name) + len(h.link); l.bytes > MaxPathBytes {
		return faulty("data.tar: paths of over %d bytes", MaxPathBytes)
	}
	if strings.ContainsAny(h.link, "\n\x00") {
		return faulty("data.tar: %q: a newline in the target of a link", name)
	}
	if h.kind == tar.TypeSymlink && name != "." {
		l.symlinks = append(l.symlinks, symlink{name, h})
		return nil
	}
	l.note.Names = append(l.note.Names, name)
	if name == "." {
		if h.kind != tar.TypeDir {
			return faulty("data.tar: the root is no directory")
		}
		return nil
	}
	e := l.entry(name, h)
	switch h.kind {
	case tar.TypeChar, tar.TypeBlock:
		return faulty("data.tar: %q: a device node", name)
	case tar.TypeLink:
		return l.hardLink(e, name, h.link)
	case tar.TypeReg:
		return l.file(e, name, h.size, content)
	}
	return l.plain(e)
}

// entry is an entry of data.tar at its place in the layer.
func (l *layer) entry(name string, h *header) *Entry {
	return &Entry{Path: l.note.Recipe.Place(name), Type: h.kind, Mode: h.mode, UID: int(h.uid), GID: int(h.gid), ModTime: h.mtime}
}

// symlink is a symlink of data.tar, for which it is not yet time: dpkg makes them
// behind everything else, so that nothing of the package goes through one (dpkg,
// tar_extractor).
type symlink struct {
	name string
	h    *header
}

func (l *layer) symlink(s symlink) error {
	if s.h.link == "" || len(s.h.link) > MaxPath {
		return faulty("data.tar: %q: symlink to %.200q", s.name, s.h.link)
	}
	l.note.Names = append(l.note.Names, s.name)
	e := l.entry(s.name, s.h)
	e.Link, e.Mode = s.h.link, 0o777
	if e.Path != s.name && path.Dir(s.name) == "." {
		return mergedLink(e, s.name)
	}
	return l.plain(e)
}

// cleanPath is a path of data.tar without what dpkg takes off it: "./" or "/"
// in front, a slash behind. Anything else that is not plain is refused: dpkg
// would let it reach out of the tree, or list one path under two names.
func cleanPath(p string) (string, error) {
	c := p
	for strings.HasPrefix(c, "/") || strings.HasPrefix(c, "./") {
		c = strings.TrimPrefix(strings.TrimPrefix(c, "."), "/")
	}
	c = strings.TrimSuffix(c, "/")
	if c == "" || c == "." {
		return ".", nil
	}
	if len(c) > MaxPath {
		return "", faulty("data.tar: path of %d bytes: %.100q..", len(c), c)
	}
	if strings.ContainsAny(c, "\n\x00") {
		return "", faulty("data.tar: %q: a newline in a path", p)
	}
	for part := range strings.SplitSeq(c, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return "", faulty("data.tar: %.200q: no plain path", p)
		}
	}
	if HidesLower(c) {
		return "", faulty("data.tar: %.200q: a name that begins with \".wh.\" hides files of the layers below", p)
	}
	return c, nil
}

// HidesLower tells whether a layer that has the path hides something of the layers below: a component begins with
// ".wh." (image-spec, layer.md, Whiteouts). No file of a package, a script or a site may be called so.
func HidesLower(p string) bool {
	return strings.HasPrefix(p, ".wh.") || strings.Contains(p, "/.wh.")
}

// plain lays out an entry without content.
func (l *layer) plain(e *Entry) error {
	if l.note.Recipe.Exclude.match(e.Path) {
		return l.hold(e)
	}
	if i, ok := l.at[e.Path]; ok && e.IsDir() && l.note.Entries[i].IsDir() {
		return nil // lib and usr/lib, or a directory behind what is in it
	}
	return l.put(e, nil)
}

// hold keeps an excluded entry.
func (l *layer) hold(e *Entry) error {
	if old := l.held[e.Path]; old != nil && !(old.IsDir() && e.IsDir()) {
		return faulty("data.tar: %q: second entry of that path", e.Path)
	}
	l.held[e.Path] = e
	return nil
}

// put gives an entry to the Sink, its parents before it. content is that of a regular file.
func (l *layer) put(e *Entry, content func(io.Writer) error) error {
	if err := l.parents(e.Path); err != nil {
		return err
	}
	if _, ok := l.at[e.Path]; ok {
		return faulty("data.tar: %q: second entry of that path", e.Path)
	}
	if err := l.to.Entry(e); err != nil {
		return err
	}
	if content != nil {
		if err := content(l.to); err != nil {
			return err
		}
	}
	l.at[e.Path] = len(l.note.Entries)
	l.note.Entries = append(l.note.Entries, *e)
	return nil
}

// parents lays out the directories above path that are not there yet: as the
// package has them if they were excluded, else as root's with mode 0755.
func (l *layer) parents(p string) error {
	dir := path.Dir(p)
	if dir == "." {
		return nil
	}
	if i, ok := l.at[dir]; ok {
		if !l.note.Entries[i].IsDir() {
			return faulty("data.tar: %q: below %q, which is no directory", p, dir)
		}
		return nil
	}
	e := &Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, ModTime: l.control.modTime, Made: true}
	if h := l.held[dir]; h != nil {
		if !h.IsDir() {
			return faulty("data.tar: %q: below %q, which is no directory", p, dir)
		}
		e = h
	}
	return l.put(e, nil)
}

// file lays out a regular file.
func (l *layer) file(e *Entry, name string, size int64, content io.Reader) error {
	e.Size = size
	sums := l.sumsOf(name)
	if l.note.Recipe.Exclude.match(e.Path) {
		if err := l.hold(e); err != nil || sums == nil {
			return err
		}
		_, err := io.CopyBuffer(sums, onlyReader{content}, l.buf)
		return l.summed(name, faultyContent(name, err))
	}
	k := l.looker(e)
	err := l.put(e, func(w io.Writer) error {
		return l.copy(e, w, content, sums, k)
	})
	if err != nil {
		return err
	}
	l.looked(e, k)
	return l.summed(name, nil)
}

// onlyReader hides that a reader has more methods, so that the buffer is used.
type onlyReader struct{ io.Reader }

func faultyContent(name string, err error) error {
	if err != nil {
		return faulty("data.tar: %q: %w", name, err)
	}
	return nil
}

// copy writes content, and hashes it on the way.
func (l *layer) copy(e *Entry, w io.Writer, content io.Reader, sums hash.Hash, k *look) error {
	digest := sha256.New()
	for left := e.Size; left > 0; {
		n, err := content.Read(l.buf)
		if n == 0 && err != nil {
			return faultyContent(e.Path, cut(err))
		}
		left -= int64(n)
		p := l.buf[:n]
		digest.Write(p)
		if sums != nil {
			sums.Write(p)
		}
		k.Write(p)
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	e.Digest = snapshot.Digest(digest.Sum(nil))
	return nil
}

// sumsOf is the MD5 to be made of a file, nil if nobody asks for it: dpkg has one
// of each conffile in its status, and makes md5sums if the package has none.
func (l *layer) sumsOf(name string) hash.Hash {
	if l.control.hasSums && l.control.conffile[name] == 0 {
		return nil
	}
	l.md5.Reset()
	return l.md5
}

// summed notes the MD5 of a file that was read, or met an error.
func (l *layer) summed(name string, err error) error {
	if err != nil || l.control.hasSums && l.control.conffile[name] == 0 {
		return err
	}
	l.md5s[name] = [md5.Size]byte(l.md5.Sum(nil))
	l.sum(name)
	return nil
}

// sum writes down the MD5 of a name.
func (l *layer) sum(name string) {
	sum, ok := l.md5s[name]
	if i := l.control.conffile[name]; ok && i > 0 {
		l.control.conffiles[i-1].MD5 = hex.EncodeToString(sum[:])
	}
	if ok && !l.control.hasSums {
		fmt.Fprintf(&l.sums, "%x  %s\n", sum, name)
	}
}

// sameInode tells whether two names of one file say the same of it.
func (e *Entry) sameInode(o *Entry) bool {
	return e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID
}

// maxAgain bounds how often a .deb is opened again.
const maxAgain = 64

// hardLink lays out a further name of a file of the package. dpkg would link to
// any file that is there; here it must be one that the package itself has before it.
func (l *layer) hardLink(e *Entry, name, target string) error {
	to, err := cleanPath(target)
	if err != nil {
		return err
	}
	first := l.note.Recipe.Place(to)
	if sum, ok := l.md5s[to]; ok {
		l.md5s[name] = sum // dpkg knows the further names by the sum of the first (tarobject_extract)
		l.sum(name)
	}
	excluded := l.note.Recipe.Exclude.match(e.Path)
	if held := l.held[first]; held != nil {
		if held.IsDir() {
			return faulty("data.tar: %q: hard link to a directory", name)
		}
		if held.Type == tar.TypeLink {
			first = held.Link
		}
		if file := l.held[first]; file != nil && !file.sameInode(e) {
			return faulty("data.tar: %q: hard link with another mode or owner than its file", name)
		}
		if excluded {
			e.Link = first
			return l.hold(e)
		}
		return l.firstName(e, held)
	}
	i, ok := l.at[first]
	if !ok {
		return faulty("data.tar: %q: hard link to %q, which is not before it in the package", name, target)
	}
	if l.note.Entries[i].IsDir() {
		return faulty("data.tar: %q: hard link to %q, which is no file", name, target)
	}
	if l.note.Entries[i].Type == tar.TypeLink {
		first = l.note.Entries[i].Link
	}
	if !l.note.Entries[i].sameInode(e) {
		return faulty("data.tar: %q: hard link with another mode or owner than its file", name)
	}
	e.Link = first
	if excluded {
		return l.hold(e)
	}
	return l.put(e, nil)
}

// firstName lays out a hard link as the file itself, because the name that
// carries the content is excluded.
func (l *layer) firstName(e, held *Entry) error {
	if l.again++; l.again > maxAgain {
		return faulty("data.tar: %q: over %d hard links to excluded files", e.Path, maxAgain)
	}
	first := held
	if held.Type == tar.TypeLink {
		first = l.held[held.Link]
	}
	if first == nil || first.Type == tar.TypeLink {
		// Another kept name carries the content already.
		e.Link = held.Link
		return l.put(e, nil)
	}
	was := first.Path
	e.Type, e.Link, e.Size = first.Type, first.Link, first.Size
	if e.Type != tar.TypeReg {
		return l.put(e, nil)
	}
	err := l.put(e, func(w io.Writer) error {
		return l.deb.read(func(c deb.Contents) error {
			t := &dataReader{r: c.Data}
			for {
				h, err := t.next()
				if err != nil {
					return faulty("data.tar: %w", err)
				}
				name, err := cleanPath(h.name)
				if err != nil {
					return err
				}
				if l.note.Recipe.Place(name) == was && h.size == e.Size {
					return l.copy(e, w, t, nil, nil)
				}
			}
		})
	})
	// From now on this name is the first.
	l.held[was] = &Entry{Path: was, Type: tar.TypeLink, Link: e.Path, Mode: e.Mode, UID: e.UID, GID: e.GID}
	return err
}

// mergedLink deals with a package that itself brings a symlink of a merged /usr:
// the skeleton has it.
func mergedLink(e *Entry, name string) error {
	if strings.TrimPrefix(e.Link, "/") == e.Path {
		return nil
	}
	return faulty("data.tar: %q: symlink to %q, which is not how /usr is merged", name, e.Link)
}
