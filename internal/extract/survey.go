package extract

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// survey examines what the directory holds before anything is changed. It keeps files
// that verify, keeps or removes temporary files of a killed run, notes the files of an earlier
// Tree as replaceable, and refuses everything else.
func (o *outDir) survey(ctx context.Context) error {
	there, err := o.list()
	if err != nil {
		return err
	}
	said, legacy, known, err := o.ours(there)
	if err != nil {
		return err
	}
	for _, name := range there.names {
		if err := o.look(ctx, name, there.files[name], said[name], legacy); err != nil {
			return err
		}
	}
	for _, f := range o.vouched {
		for d := path.Dir(f.path); d != "."; d = path.Dir(d) {
			known[d] = true
		}
	}
	for _, d := range there.dirs {
		if !known[d] {
			return o.foreign(d)
		}
		o.spare = append(o.spare, d)
	}
	for _, p := range there.leftovers {
		if err := o.leftover(p); err != nil {
			return err
		}
	}
	return nil
}

// listing is what a directory holds, by name.
type listing struct {
	files     map[string]fs.FileInfo // plain ones
	names     []string               // of files, in order
	leftovers []string               // temporary names
	dirs      []string               // without any wanted file below, parents first
}

// list lists the directory. It refuses what no earlier run can have written, whatever its bytes.
func (o *outDir) list() (*listing, error) {
	above := map[string]bool{".": true}
	raise := func(name string) {
		for d := path.Dir(name); !above[d]; d = path.Dir(d) {
			above[d] = true
		}
	}
	for name := range o.want {
		raise(name)
	}
	recorded := false
	if o.tree != nil {
		for name := range o.tree.links {
			raise(name)
		}
		_, err := o.root.Lstat(recordFile)
		recorded = err == nil
	}
	there := &listing{files: map[string]fs.FileInfo{}}
	return there, fs.WalkDir(o.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == recordDir && o.tree != nil && d.IsDir():
			return fs.SkipDir
		case d.IsDir():
			if !above[p] {
				if o.tree == nil {
					return o.foreign(p)
				}
				there.dirs = append(there.dirs, p)
			}
			return nil
		case strings.HasPrefix(path.Base(p), tempMark):
			there.leftovers = append(there.leftovers, p)
			return nil
		case !d.Type().IsRegular():
			return o.foreign(p)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if _, wanted := o.wanted(p); !wanted && !recorded && (o.tree == nil || !snapshot.IsModTime(info.ModTime())) {
			return o.foreign(p)
		}
		there.files[p] = info
		there.names = append(there.names, p)
		return nil
	})
}

// wanted is what a path must hold, by-hash names included.
func (o *outDir) wanted(name string) (snapshot.Blob, bool) {
	if o.tree != nil {
		return o.tree.blob(name)
	}
	b, ok := o.want[name]
	return b, ok
}

// ours returns the record's lines of the files that are there, and the directories that it
// knows. legacy means that there is no record: an early version may have written the tree.
func (o *outDir) ours(there *listing) (said map[string][]recorded, legacy bool, known map[string]bool, err error) {
	known = map[string]bool{}
	if o.tree == nil {
		return nil, false, known, nil
	}
	dirs := map[string]bool{}
	for _, d := range there.dirs {
		dirs[d] = true
	}
	said, legacy, err = o.readRecord(
		func(name string) bool { return there.files[name] != nil },
		func(dir string) {
			if dirs[dir] {
				known[dir] = true
			}
		})
	return said, legacy, known, err
}

// look hashes a file that is there and notes it as right or replaceable, or refuses it.
func (o *outDir) look(ctx context.Context, name string, info fs.FileInfo, said []recorded, legacy bool) error {
	has, err := o.hash(ctx, name)
	if err != nil {
		return err
	}
	ours := recorded{path: name, blob: has}
	vouched := legacy && o.tree != nil && info.ModTime().Equal(snapshot.ModTime(has.Digest))
	for _, s := range said {
		if s.blob == has {
			ours, vouched = s, true
		}
	}
	if vouched {
		o.vouched = append(o.vouched, ours)
	}
	blob, wanted := o.wanted(name)
	switch {
	case wanted && has == blob:
		o.have[name] = true
		if _, listed := o.want[name]; listed {
			o.reused += blob.Size
		}
		// Versions without a record gave it this time; a client may have older bytes with a later time.
		if o.dated(name) && info.ModTime().Equal(snapshot.ModTime(has.Digest)) && o.tree.dists[name].date.After(info.ModTime()) {
			o.aged = append(o.aged, name)
		}
	case vouched:
		o.standing[name] = standing{ours, info.ModTime()}
	case wanted:
		return fmt.Errorf("%w: %s is there with other bytes than %s; move it away or give an empty directory, nothing was changed", outcome.ErrRefused, o.path(name), blob.Digest)
	default:
		return o.foreign(name)
	}
	return nil
}

// hash reads a file that is there.
func (o *outDir) hash(ctx context.Context, name string) (b snapshot.Blob, err error) {
	f, err := o.root.Open(name)
	if err != nil {
		return b, err
	}
	defer f.Close()
	h := sha256.New()
	for buf := make([]byte, 256<<10); ; {
		if err := context.Cause(ctx); err != nil {
			return b, fmt.Errorf("reading what %s holds: %w", o.dir, err)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		b.Size += int64(n)
		if err == io.EOF {
			b.Digest = snapshot.Digest(h.Sum(nil))
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// leftover keeps a temporary file that may be the beginning of a missing file, and removes any other.
func (o *outDir) leftover(p string) error {
	name := path.Join(path.Dir(p), strings.TrimPrefix(path.Base(p), tempMark))
	blob, wanted := o.want[name]
	st, err := o.root.Lstat(p)
	if err != nil {
		return err
	}
	if !wanted || o.have[name] || !st.Mode().IsRegular() || st.Size() > blob.Size || namesOf(st) > 1 {
		return o.root.Remove(p)
	}
	o.parts[name] = st.Size()
	return nil
}

// namesOf counts the hard links of a file. A file with two must not be written to: a
// killed run may have given it its by-hash name already.
func namesOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

func (o *outDir) foreign(p string) error {
	return fmt.Errorf("%w: %s holds %s, which is not part of this; give an empty directory (-o DIR), nothing was changed", outcome.ErrRefused, o.dir, p)
}
