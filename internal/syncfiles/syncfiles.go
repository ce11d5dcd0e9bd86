// Package syncfiles reads the files that an image's plan names beside its packages, makes the layer of them, and packs
// them as they lie beside the plan.
package syncfiles

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

// Limits of the files of sync:, which are held in memory.
const (
	maxSyncFiles = 100_000
	maxSyncBytes = 64 << 20
	maxUnpacked  = 256 << 20 // with the sources' patches: what is said of an image has no more bytes
)

// File is a file, directory or symbolic link of sync:.
type File struct {
	Path string // in the image, as written: symbolic links of packages in it are not followed yet
	Src  string // in the plan's directory
	Exec bool   // its owner may execute it
	Mode int64
	Dir  bool
	Link string
	Data []byte
	UID  int
	GID  int
	At   document.Position
}

// Files are what sync: names.
type Files struct {
	List    []File // in the order in which later ones replace earlier ones
	Sources []File // directories that are taken with all below them; they are made anew beside the plan, even if they are empty
}

// Read reads what sync: names. Only what lies in the plan's directory is
// read: a symbolic link that leaves the source is refused.
func Read(p *imageplan.Plan) (Files, error) {
	if len(p.Sync) == 0 {
		return Files{}, nil
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return Files{}, document.Errorf(document.Position{File: p.File}, "sync: %w", err)
	}
	defer root.Close()
	r := &reader{root: root}
	var faults document.Faults
	for _, s := range p.Sync {
		faults.Add(r.sync(s))
	}
	if err := faults.Err(); err != nil {
		return Files{}, err
	}
	return r.Files, nil
}

type reader struct {
	root *os.Root
	Files
	bytes int64
}

func (r *reader) sync(s imageplan.Sync) error {
	src := path.Clean(s.Src)
	info, err := r.root.Stat(src) // follows links that stay in the directory
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", s.Src, bare(err))
	}
	dest := s.Dest
	switch {
	case info.IsDir() && !s.Recursive:
		return document.Errorf(s.At, "sync: %s is a directory; write recursive: true", s.Src)
	case info.IsDir():
		return r.tree(s, src, dest)
	case s.Into:
		dest = path.Join(dest, path.Base(src))
	}
	return r.take(s, src, dest, info)
}

// tree takes a directory with all below it. Symbolic links in it become those of the image, if what they point to is in it, too.
func (r *reader) tree(s imageplan.Sync, src, dest string) error {
	base, err := r.root.OpenRoot(src)
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", s.Src, bare(err))
	}
	defer base.Close()
	if src != "." {
		r.Sources = append(r.Sources, File{Src: src, Dir: true})
	}
	var faults document.Faults
	err = fs.WalkDir(base.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return document.Errorf(s.At, "sync: %s: %w", path.Join(s.Src, name), bare(err))
		}
		if name == "." {
			return nil // of the image, as it is there
		}
		to, from := path.Join(dest, name), path.Join(s.Src, name)
		info, err := d.Info()
		switch {
		case err != nil:
			err = document.Errorf(s.At, "sync: %s: %w", from, bare(err))
		case d.Type()&fs.ModeSymlink != 0:
			err = r.link(s, base, name, to)
		default:
			err = r.take(s, path.Join(src, name), to, info)
		}
		faults.Add(err)
		return nil
	})
	faults.Add(err)
	return faults.Err()
}

func (r *reader) link(s imageplan.Sync, base *os.Root, name, to string) error {
	target, err := base.Readlink(name)
	if err == nil {
		_, err = base.Stat(name)
	}
	if err != nil || path.IsAbs(target) {
		return document.Errorf(s.At, "sync: %s is a symbolic link to %.200q, which is not in %s; put the file itself there", path.Join(s.Src, name), target, s.Src)
	}
	return r.add(File{Path: to, Src: path.Join(path.Clean(s.Src), name), Mode: 0o777, Link: target, UID: s.UID, GID: s.GID, At: s.At})
}

// take takes a file or directory.
func (r *reader) take(s imageplan.Sync, src, dest string, info fs.FileInfo) error {
	f := File{Path: dest, Src: src, Exec: info.Mode()&0o100 != 0, Dir: info.IsDir(), UID: s.UID, GID: s.GID, At: s.At}
	switch {
	case s.Mode >= 0 && f.Dir: // who may read may enter
		f.Mode = s.Mode | s.Mode>>2&0o111
	case s.Mode >= 0:
		f.Mode = s.Mode
	case f.Dir || f.Exec:
		f.Mode = 0o755
	default:
		f.Mode = 0o644
	}
	if f.Dir {
		return r.add(f)
	}
	if !info.Mode().IsRegular() {
		return document.Errorf(s.At, "sync: %s is no regular file", src)
	}
	if r.bytes += info.Size(); r.bytes > maxSyncBytes {
		return document.Errorf(s.At, "sync: all files together have more than %d bytes; put them into a package", maxSyncBytes)
	}
	in, err := r.root.Open(src)
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", src, bare(err))
	}
	defer in.Close()
	f.Data, err = io.ReadAll(io.LimitReader(in, info.Size()+1))
	if err == nil && int64(len(f.Data)) != info.Size() {
		err = errors.New("it changed while it was read")
	}
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", src, bare(err))
	}
	return r.add(f)
}

func (r *reader) add(f File) error {
	if rootfs.HidesLower(f.Path) {
		return document.Errorf(f.At, "sync: %s: names that begin with .wh. mean in a layer that a file is gone (image-spec, layer.md)", f.Path)
	}
	if len(r.List) == maxSyncFiles {
		return document.Errorf(f.At, "sync: more than %d files; put them into a package", maxSyncFiles)
	}
	r.List = append(r.List, f)
	return nil
}

// bare is an error of a file without the name, which is told otherwise.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// directory is what a symbolic link leads to in the image, if that is a directory; "" for all else.
func directory(in *stack.Tree, name string) string {
	if e, there := in.Find(name); !there || e.Type != tar.TypeSymlink {
		return ""
	}
	inside, err := in.Resolve(name + "/x")
	if err != nil {
		return ""
	}
	dir := path.Dir(inside)
	if e, there := in.Find(dir); !there || !e.IsDir() {
		return ""
	}
	return dir
}

// Layer is the layer of sync:. Directories on the way to a file are repeated as they are below, because engines differ in
// what they make of a directory that a layer does not name.
func Layer(files []File, below *stack.Tree) (*stack.System, error) {
	var faults document.Faults
	entries := map[string]stack.SystemEntry{}
	put := func(e stack.SystemEntry) {
		entries[e.Path] = e
		below.Put(e.Entry)
	}
	for _, f := range files {
		name, err := below.Resolve(f.Path)
		if err != nil {
			faults.Add(document.Errorf(f.At, "sync: %w", err))
			continue
		}
		if dir := directory(below, name); dir != "" && f.Link == "" {
			faults.Add(document.Errorf(f.At, "sync: /%s is a symbolic link to the directory /%s in the image; give the path below /%[2]s", name, dir))
			continue
		}
		old, there := below.Find(name)
		e := stack.SystemEntry{Entry: rootfs.Entry{Path: name, Type: tar.TypeReg, Mode: f.Mode, UID: f.UID, GID: f.GID, Size: int64(len(f.Data)), Made: true}, Data: f.Data, Why: "sync"}
		switch {
		case strings.HasPrefix(name, "var/lib/dpkg/"):
			faults.Add(document.Errorf(f.At, "sync: %s: dpkg's database is not written by hand", f.Path))
			continue
		case f.Dir && there && old.Type != tar.TypeDir, !f.Dir && there && old.Type == tar.TypeDir:
			faults.Add(document.Errorf(f.At, "sync: /%s is a directory in one of image and source, and none in the other", name))
			continue
		case f.Dir:
			e.Type, e.Size = tar.TypeDir, 0
		case f.Link != "":
			e.Type, e.Link, e.Size = tar.TypeSymlink, f.Link, 0
		default:
			e.Digest = snapshot.Sum(f.Data)
		}
		put(e)
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	for name := range entries {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, there := entries[dir]; there {
				continue
			}
			e, there := below.Find(dir)
			if !there {
				e = rootfs.Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, Made: true}
			}
			entries[dir] = stack.SystemEntry{Entry: e, Why: "parent"}
		}
	}
	out := &stack.System{}
	for _, e := range entries {
		out.Entries = append(out.Entries, e)
	}
	slices.SortFunc(out.Entries, func(a, b stack.SystemEntry) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// Pack packs files as they lie beside the plan, as a tar.
func Pack(files []File, date time.Time) ([]byte, error) {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int { return cmp.Compare(a.Src, b.Src) })
	sorted = slices.CompactFunc(sorted, func(a, b File) bool { return a.Src == b.Src })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range sorted {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Src, Mode: 0o644, Size: int64(len(f.Data)), ModTime: date}
		switch {
		case f.Dir:
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, f.Src+"/", 0o755
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		case f.Exec:
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("sync: %s: %w", f.Src, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("sync: %s: %w", f.Src, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Unpack lays out what Pack packed, in an empty directory.
func Unpack(dir string, from io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxUnpacked)
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !filepath.IsLocal(name) {
			return fmt.Errorf("file %.100q", h.Name)
		}
		if left -= h.Size; left < 0 { // a few bytes of a sparse file may stand for any number
			return fmt.Errorf("files of over %d bytes, with %.100q", maxUnpacked, h.Name)
		}
		if parent := filepath.Dir(name); parent != "." {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return err
			}
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = writeFile(root, name, r, os.FileMode(h.Mode&0o111)|0o644)
		default:
			err = fmt.Errorf("file %.100q of type %q", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, r io.Reader, mode os.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return errors.Join(f.Chmod(mode), f.Close())
}
