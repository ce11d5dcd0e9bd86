package run

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/fixup"
	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

const (
	maxResult = 8 << 30   // bytes of the files that scripts made
	maxHeld   = 128 << 10 // bytes of one that is held in memory
)

// result compares the tree with the union of the layers.
func (r *runner) result() (*Result, error) {
	theirs, err := r.helpersPaths()
	if err != nil {
		return nil, err
	}
	excluded, err := r.excluded()
	if err != nil {
		return nil, err
	}
	sums, err := r.sums()
	if err != nil {
		return nil, err
	}
	return r.compare(theirs, excluded, sums)
}

// compare does it: theirs are paths of helpers, excluded those that the layers leave out, sums digests of files that the union has.
func (r *runner) compare(theirs, excluded map[string]bool, sums map[string]snapshot.Digest) (*Result, error) {
	res := &Result{}
	t := &tree{runner: r, sums: sums, entries: map[string]stack.SystemEntry{}, inode: map[uint64]string{}}
	paths := make([]string, 0, len(r.before))
	for p := range r.before {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		s := r.before[p]
		u := r.union[p]
		switch {
		case u != nil:
			t.capability(&s)
			if t.differs(&s, u) {
				if err := t.take(&s, u); err != nil {
					return nil, err
				}
			}
		case theirs[p] || excluded[p] || r.infoOfHelper(p):
		case r.touched[p] || always[p]:
			t.capability(&s)
			if err := t.take(&s, nil); err != nil {
				return nil, err
			}
		}
	}
	for p := range r.union {
		if _, there := r.before[p]; !there && !r.mounted(p) && !r.infoOfSkipped(p) && !intoUsr(r.union[p]) {
			t.whiteout(p)
		}
	}
	if err := t.linker(); err != nil {
		return nil, err
	}
	t.parents()
	for _, e := range t.entries {
		res.Entries = append(res.Entries, e)
	}
	slices.SortFunc(res.Entries, func(a, b stack.SystemEntry) int { return cmp.Compare(a.Path, b.Path) })
	for _, o := range r.o.Packages {
		for _, p := range r.pkgs {
			if p.Name != o.Name {
				continue
			}
			what := account.Ran
			if p.skip {
				what = account.Skipped
			}
			lines := account.Package(p.Name, p.Version, p.scripts, what)
			for i := range lines {
				if l := &lines[i]; l.Script == "config" && l.What == account.Ran {
					l.What, l.Detail = r.configRan(p)
				}
			}
			res.Account = append(res.Account, lines...)
		}
	}
	slices.SortFunc(t.cleaned, func(a, b account.Line) int {
		return cmp.Or(strings.Compare(string(a.What), string(b.What)), strings.Compare(a.Detail, b.Detail)) // capabilities first
	})
	res.Account = append(res.Account, t.cleaned...)
	return res, nil
}

// configRan tells what became of a config script: debconf runs it when another script of the package asks debconf, and nobody else does.
func (r *runner) configRan(p *pkg) (account.What, string) {
	if !slices.ContainsFunc(r.pkgs, func(o *pkg) bool { return o.Name == "debconf" || o.Name == "cdebconf" }) {
		return account.NotRun, "neither image nor helpers have debconf, which runs it"
	}
	for _, s := range []string{"preinst", "postinst"} {
		if bytes.Contains(bytes.ToLower(p.scripts[s]), []byte("debconf")) {
			return account.Ran, ""
		}
	}
	return account.NotRun, "no script of the package asks debconf, which would run it"
}

// intoUsr tells a link of the skeleton. That of a directory that nothing uses may
// be removed in the root; the skeleton has it still.
func intoUsr(e *rootfs.Entry) bool {
	return e.Type == tar.TypeSymlink && e.Link == "usr/"+e.Path && !strings.Contains(e.Path, "/")
}

// always are files that a root has whoever made them.
var always = map[string]bool{"etc/passwd": true, "etc/group": true, "etc/shadow": true, "etc/gshadow": true}

// mounted tells what lies where the root had something of its own.
func (r *runner) mounted(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return first == "dev" || first == "proc" || first == "run" || first == "tmp" || p == "sys"
}

// infoOfHelper tells dpkg's files of a package that is no part of the image.
func (r *runner) infoOfHelper(p string) bool {
	return r.info(p, func(p *pkg) bool { return !p.ours })
}

// infoOfSkipped tells the scripts of a package that dpkg was not given.
func (r *runner) infoOfSkipped(p string) bool {
	return slices.Contains(account.Scripts, strings.TrimPrefix(path.Ext(p), ".")) && r.info(p, func(p *pkg) bool { return p.skip })
}

func (r *runner) info(p string, of func(*pkg) bool) bool {
	name, ok := strings.CutPrefix(p, "var/lib/dpkg/info/")
	if !ok {
		return false
	}
	name = strings.TrimSuffix(name, path.Ext(name))
	for _, p := range r.pkgs {
		if p.infoName() == name {
			return of(p)
		}
	}
	return false
}

// excluded are paths of the image's packages that the layers leave out.
func (r *runner) excluded() (map[string]bool, error) {
	out := map[string]bool{}
	for _, p := range r.pkgs {
		if !p.ours {
			continue
		}
		list, err := r.list(p)
		if err != nil {
			return nil, err
		}
		for _, path := range list {
			if r.union[path] == nil {
				out[path] = true
			}
		}
	}
	return out, nil
}

// sums are the digests of the files that the union has too, and of those that
// scripts made.
func (r *runner) sums() (map[string]snapshot.Digest, error) {
	var ask []string
	for p, s := range r.before {
		if s.kind() != unix.S_IFREG {
			continue
		}
		if u := r.union[p]; u != nil && u.Type == tar.TypeReg && u.Size != s.Size {
			continue
		}
		if r.union[p] != nil {
			ask = append(ask, p)
		}
	}
	slices.Sort(ask)
	out := map[string]snapshot.Digest{}
	if len(ask) == 0 {
		return out, nil
	}
	a, err := r.process.do(request{Hash: ask})
	if err != nil {
		return nil, err
	}
	if len(a.Sums) != len(ask) {
		return nil, errors.New("the scratch root answered something else")
	}
	for i, p := range ask {
		out[p] = snapshot.Digest(a.Sums[i])
	}
	return out, nil
}

// tree is the system layer in the making.
type tree struct {
	*runner
	cleaned []account.Line
	sums    map[string]snapshot.Digest
	entries map[string]stack.SystemEntry
	inode   map[uint64]string // first path of a file with several names
	bytes   int64
	spool   *os.File // files over maxHeld that scripts made, one behind the other
	spooled int64
}

// types are those of tar.
var types = map[uint32]byte{unix.S_IFREG: tar.TypeReg, unix.S_IFDIR: tar.TypeDir, unix.S_IFLNK: tar.TypeSymlink, unix.S_IFIFO: tar.TypeFifo}

// differs tells whether the tree has something else at a path than the union.
func (t *tree) differs(s *stat, u *rootfs.Entry) bool {
	if int(s.UID) != u.UID || int(s.GID) != u.GID {
		return true
	}
	if u.Type == tar.TypeSymlink || s.kind() == unix.S_IFLNK {
		return u.Type != tar.TypeSymlink || s.kind() != unix.S_IFLNK || s.Target != u.Link
	}
	if int64(s.Mode&0o7777) != u.Mode {
		return true
	}
	for hops := 0; u.Type == tar.TypeLink && hops < 2; hops++ {
		first := t.union[u.Link]
		if first == nil {
			return true
		}
		u = first
	}
	if types[s.kind()] != u.Type {
		return true
	}
	return u.Type == tar.TypeReg && (s.Size != u.Size || t.sums[s.Path] != u.Digest)
}

// take puts what the tree has at a path into the layer, unless it is cleaned.
func (t *tree) take(s *stat, u *rootfs.Entry) error {
	if rootfs.HidesLower(s.Path) {
		return fmt.Errorf("%w: a maintainer script made /%s: in a layer that name hides files of the layers below (image-spec, layer.md)", outcome.ErrRefused, s.Path)
	}
	kind, ok := types[s.kind()]
	if !ok {
		t.clean(s.Path, "a socket or device: layers have none")
		return nil
	}
	e := stack.SystemEntry{Entry: rootfs.Entry{
		Path: s.Path, Type: kind, Mode: int64(s.Mode & 0o7777), UID: int(s.UID), GID: int(s.GID), Link: s.Target,
		ModTime: min(s.MTime, t.o.Date.Unix()),
	}, Why: "script"}
	if kind == tar.TypeDir || kind == tar.TypeSymlink {
		e.ModTime = t.o.Date.Unix()
		if kind == tar.TypeSymlink {
			e.Mode = 0o777
		}
	}
	if kind == tar.TypeReg {
		why, empty := t.isCleaned(s.Path)
		if why != "" && (u == nil || empty) {
			t.clean(s.Path, why)
			if !empty {
				return nil
			}
			e.ModTime = t.o.Date.Unix()
		} else {
			keep, err := t.content(s, &e)
			if err != nil || !keep {
				return err
			}
		}
	}
	t.entries[s.Path] = e
	return nil
}

// isCleaned tells why a file is cleaned, and whether an empty one stays.
func (t *tree) isCleaned(p string) (why string, empty bool) {
	if strings.HasPrefix(p, "var/cache/debconf/") && !t.has("debconf") && !t.has("cdebconf") {
		return "answers for debconf, which the image does not have", false
	}
	return isCleaned(p)
}

// has tells whether the image has a package.
func (t *tree) has(name string) bool {
	return slices.ContainsFunc(t.pkgs, func(p *pkg) bool { return p.ours && p.Name == name })
}

// linker makes the dynamic linker's cache again: that of the root knows helpers'
// libraries.
func (t *tree) linker() error {
	if !slices.ContainsFunc(t.pkgs, func(p *pkg) bool { return !p.ours }) {
		return nil
	}
	made, ok := t.entries[fixup.LinkerPath]
	delete(t.entries, fixup.LinkerPath)
	if !ok {
		return nil
	}
	image := stack.NewTree()
	paths := make([]string, 0, len(t.before))
	libc := false
	for p := range t.before {
		if _, there := t.entries[p]; there || t.union[p] != nil {
			paths = append(paths, p)
			libc = libc || path.Base(p) == "libc.so.6"
		}
	}
	if !libc {
		t.clean(fixup.LinkerPath, "a cache of libraries, which the image does not have")
		return nil
	}
	slices.Sort(paths)
	for _, p := range paths {
		s := t.before[p]
		image.Put(rootfs.Entry{Path: p, Type: cmp.Or(types[s.kind()], tar.TypeFifo), Link: s.Target})
	}
	l, err := fixup.LinkerCache(fixup.LinkerOptions{
		Tree: image, Architecture: t.o.Architecture,
		Library: func(p string) (sharedlib.Library, bool) {
			l, err := sharedlib.Read(rootFile{t.process, p}, t.before[p].Size)
			return l, err == nil
		},
		Text: t.process.read,
	})
	if err != nil {
		return err
	}
	made.Type, made.Link, made.Data = tar.TypeReg, "", l.Cache
	made.Size, made.Digest, made.ModTime = int64(len(l.Cache)), snapshot.Sum(l.Cache), t.o.Date.Unix()
	t.entries[fixup.LinkerPath] = made
	return nil
}

// content fills in a regular file.
func (t *tree) content(s *stat, e *stack.SystemEntry) (keep bool, err error) {
	if s.Links > 1 {
		// A hard link is one in the layer if its first name is there too.
		if first, ok := t.inode[s.Inode]; ok {
			e.Type, e.Link = tar.TypeLink, first
			return true, nil
		}
		t.inode[s.Inode] = s.Path
	}
	edit := t.edit(s.Path)
	switch {
	case edit == nil && s.Size > maxHeld:
		if err := t.hold(e); err != nil {
			return false, err
		}
	default:
		if e.Data, err = t.process.read(s.Path); err != nil {
			return false, err
		}
		if edit != nil {
			if e.Data, err = edit(e.Data); err != nil {
				return false, fmt.Errorf("%s: %w", s.Path, err)
			}
			e.ModTime = t.o.Date.Unix()
			if e.Data == nil {
				return false, nil
			}
		}
		e.Size, e.Digest = int64(len(e.Data)), snapshot.Sum(e.Data)
	}
	if t.bytes += e.Size; t.bytes > maxResult {
		return false, fmt.Errorf("scripts made over %d bytes", maxResult)
	}
	if u := t.union[s.Path]; u != nil && u.Type == tar.TypeReg && u.Digest == e.Digest && u.Mode == e.Mode && u.UID == e.UID && u.GID == e.GID {
		return false, nil
	}
	return true, nil
}

// hold copies a file into the spool, and has the entry read it from there.
func (t *tree) hold(e *stack.SystemEntry) error {
	if t.spool == nil {
		f, err := os.CreateTemp(t.o.Dir, "mmoci-made-")
		if err != nil {
			return err
		}
		t.spool = f
		// Without a name it is gone with the last entry that reads it, whatever happens.
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	spool, start, sum := t.spool, t.spooled, sha256.New()
	n, err := t.process.copy(io.MultiWriter(spool, sum), e.Path, maxResult)
	if err != nil {
		return err
	}
	t.spooled += n
	e.Size = n
	sum.Sum(e.Digest[:0])
	e.Content = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(spool, start, n)), nil }
	return nil
}

// capability tells of a file of the image whose capabilities are lost: it is the same otherwise.
func (t *tree) capability(s *stat) {
	if s.Capability && s.kind() == unix.S_IFREG {
		t.cleaned = append(t.cleaned, account.File(account.Capabilities, s.Path, "layers have no file capabilities; the file is kept without them"))
	}
}

func (t *tree) clean(p, why string) {
	t.cleaned = append(t.cleaned, account.File(account.Cleaned, p, why))
}

// whiteout removes a path of the union; one for a directory does for all in it.
func (t *tree) whiteout(p string) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		s, there := t.before[dir]
		if !there && t.union[dir] != nil {
			return
		}
		if there && s.kind() != unix.S_IFDIR {
			return // another thing replaces the directory
		}
	}
	t.entries[p] = stack.SystemEntry{Entry: rootfs.Entry{Path: p}, Whiteout: true, Why: "script"}
}

// parents adds the directories that entries are in and the union does not have.
func (t *tree) parents() {
	var need []string
	for p := range t.entries {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			need = append(need, dir)
		}
	}
	for _, dir := range need {
		if _, there := t.entries[dir]; there {
			continue
		}
		e := stack.SystemEntry{Entry: rootfs.Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, ModTime: t.o.Date.Unix()}, Why: "parent"}
		if u := t.union[dir]; u != nil {
			e.Entry = *u
		} else if s, ok := t.before[dir]; ok && s.kind() == unix.S_IFDIR {
			e.Mode, e.UID, e.GID = int64(s.Mode&0o7777), int(s.UID), int(s.GID)
		}
		t.entries[dir] = e
	}
}

// edit is how a file of dpkg's or debconf's is made one of the image's packages
// alone; nil for others. It returns nil for a file that is left out.
func (t *tree) edit(p string) func([]byte) ([]byte, error) {
	if !slices.ContainsFunc(t.pkgs, func(p *pkg) bool { return !p.ours }) {
		return nil
	}
	theirs := map[string]bool{}
	for _, p := range t.pkgs {
		if !p.ours {
			theirs[p.Name], theirs[p.key()] = true, true
		}
	}
	dir, file := path.Split(p)
	switch {
	case p == "var/lib/dpkg/status":
		return func(b []byte) ([]byte, error) {
			return stanzas(b, func(field func(string) string) bool { return !theirs[field("Package")] }), nil
		}
	case p == "var/lib/dpkg/diversions":
		return func(b []byte) ([]byte, error) { return diversions(b, theirs) }
	case p == "var/cache/debconf/config.dat", p == "var/cache/debconf/templates.dat":
		return t.debconf
	case dir == "var/lib/dpkg/triggers/" && file != "Lock" && file != "Unincorp":
		return func(b []byte) ([]byte, error) {
			var out []byte
			for line := range bytes.Lines(b) {
				f := strings.Fields(string(line))
				if len(f) == 0 {
					continue
				}
				name, _, _ := strings.Cut(f[len(f)-1], "/")
				if !theirs[name] {
					out = append(out, line...)
				}
			}
			return out, nil
		}
	}
	return nil
}

// debconf drops questions and templates of packages that are no part of the
// image. A question's name, and those that own a template, begin with the name of
// the package that has it (debconf-devel(7)); questions of others' own names stay.
func (t *tree) debconf(b []byte) ([]byte, error) {
	return stanzas(b, func(field func(string) string) bool {
		owner, _, _ := strings.Cut(field("Name"), "/")
		return !slices.ContainsFunc(t.pkgs, func(p *pkg) bool { return !p.ours && p.Name == owner })
	}), nil
}

// stanzas keeps some stanzas of a file, with an empty line behind each.
func stanzas(b []byte, keep func(field func(string) string) bool) []byte {
	out := []byte{}
	for _, s := range bytes.Split(b, []byte("\n\n")) {
		s = bytes.Trim(s, "\n")
		field := func(name string) string {
			for line := range bytes.Lines(s) {
				if v, ok := strings.CutPrefix(string(line), name+":"); ok {
					return strings.TrimSpace(v)
				}
			}
			return ""
		}
		if len(s) > 0 && keep(field) {
			out = append(append(out, s...), "\n\n"...)
		}
	}
	return out
}

// diversions drops those of packages that are no part of the image: three lines
// each, the path, where it went, and whose it is (dpkg, lib/dpkg/dbdir).
func diversions(b []byte, theirs map[string]bool) ([]byte, error) {
	lines := strings.SplitAfter(string(b), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines)%3 != 0 {
		return nil, errors.New("want three lines for each diversion")
	}
	out := []byte{}
	for ; len(lines) > 0; lines = lines[3:] {
		if !theirs[strings.TrimSpace(lines[2])] {
			out = append(out, strings.Join(lines[:3], "")...)
		}
	}
	return out, nil
}
