package imagebuild

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

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
)

// file is a file, directory or symbolic link of sync:.
type file struct {
	path string // in the image, as written: symbolic links of packages in it are not followed yet
	src  string // in the plan's directory
	exec bool   // its owner may execute it
	mode int64
	dir  bool
	link string
	data []byte
	uid  int
	gid  int
	at   document.Position
}

// synced is what sync: names.
type synced struct {
	files   []file // in the order in which later ones replace earlier ones
	sources []file // directories that are taken with all below them; they are made anew beside the plan, even if they are empty
}

// readFiles reads what sync: names. Only what lies in the plan's directory is
// read: a symbolic link that leaves the source is refused.
func readFiles(p *imageplan.Plan) (synced, error) {
	if len(p.Sync) == 0 {
		return synced{}, nil
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return synced{}, document.Errorf(document.Position{File: p.File}, "sync: %w", err)
	}
	defer root.Close()
	r := &fileReader{root: root}
	var faults document.Faults
	for _, s := range p.Sync {
		faults.Add(r.sync(s))
	}
	if err := faults.Err(); err != nil {
		return synced{}, err
	}
	return r.synced, nil
}

type fileReader struct {
	root *os.Root
	synced
	bytes int64
}

func (r *fileReader) sync(s imageplan.Sync) error {
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
func (r *fileReader) tree(s imageplan.Sync, src, dest string) error {
	base, err := r.root.OpenRoot(src)
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", s.Src, bare(err))
	}
	defer base.Close()
	if src != "." {
		r.sources = append(r.sources, file{src: src, dir: true})
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

func (r *fileReader) link(s imageplan.Sync, base *os.Root, name, to string) error {
	target, err := base.Readlink(name)
	if err == nil {
		_, err = base.Stat(name)
	}
	if err != nil || path.IsAbs(target) {
		return document.Errorf(s.At, "sync: %s is a symbolic link to %.200q, which is not in %s; put the file itself there", path.Join(s.Src, name), target, s.Src)
	}
	return r.add(file{path: to, src: path.Join(path.Clean(s.Src), name), mode: 0o777, link: target, uid: s.UID, gid: s.GID, at: s.At})
}

// take takes a file or directory.
func (r *fileReader) take(s imageplan.Sync, src, dest string, info fs.FileInfo) error {
	f := file{path: dest, src: src, exec: info.Mode()&0o100 != 0, dir: info.IsDir(), uid: s.UID, gid: s.GID, at: s.At}
	switch {
	case s.Mode >= 0 && f.dir: // who may read may enter
		f.mode = s.Mode | s.Mode>>2&0o111
	case s.Mode >= 0:
		f.mode = s.Mode
	case f.dir || f.exec:
		f.mode = 0o755
	default:
		f.mode = 0o644
	}
	if f.dir {
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
	f.data, err = io.ReadAll(io.LimitReader(in, info.Size()+1))
	if err == nil && int64(len(f.data)) != info.Size() {
		err = errors.New("it changed while it was read")
	}
	if err != nil {
		return document.Errorf(s.At, "sync: %s: %w", src, bare(err))
	}
	return r.add(f)
}

func (r *fileReader) add(f file) error {
	if rootfs.HidesLower(f.path) {
		return document.Errorf(f.at, "sync: %s: names that begin with .wh. mean in a layer that a file is gone (image-spec, layer.md)", f.path)
	}
	if len(r.files) == maxSyncFiles {
		return document.Errorf(f.at, "sync: more than %d files; put them into a package", maxSyncFiles)
	}
	r.files = append(r.files, f)
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

// filesLayer is the layer of sync:. Directories on the way to a file are repeated as they are below, because engines differ in
// what they make of a directory that a layer does not name.
func filesLayer(files []file, below *stack.Tree) (*stack.System, error) {
	var faults document.Faults
	entries := map[string]stack.SystemEntry{}
	put := func(e stack.SystemEntry) {
		entries[e.Path] = e
		below.Put(e.Entry)
	}
	for _, f := range files {
		name, err := below.Resolve(f.path)
		if err != nil {
			faults.Add(document.Errorf(f.at, "sync: %w", err))
			continue
		}
		old, there := below.Find(name)
		e := stack.SystemEntry{Entry: rootfs.Entry{Path: name, Type: tar.TypeReg, Mode: f.mode, UID: f.uid, GID: f.gid, Size: int64(len(f.data)), Made: true}, Data: f.data, Why: "sync"}
		switch {
		case strings.HasPrefix(name, "var/lib/dpkg/"):
			faults.Add(document.Errorf(f.at, "sync: %s: dpkg's database is not written by hand", f.path))
			continue
		case f.dir && there && old.Type != tar.TypeDir, !f.dir && there && old.Type == tar.TypeDir:
			faults.Add(document.Errorf(f.at, "sync: /%s is a directory in one of image and source, and none in the other", name))
			continue
		case f.dir:
			e.Type, e.Size = tar.TypeDir, 0
		case f.link != "":
			e.Type, e.Link, e.Size = tar.TypeSymlink, f.link, 0
		default:
			e.Digest = snapshot.Sum(f.data)
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
