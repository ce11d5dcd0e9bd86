package imagebuild

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/fixup"
	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// What every Debian system begins with: the lists of users, and the files that tell which distribution it is. Where such a package is
// not among those of an image, it is read of the snapshot all the same, and the lock names it.
const (
	usersPackage   = "base-passwd"
	releasePackage = "base-files"
)

// fixups makes what no .deb holds, in place of scripts, with what each says for the account. helpers are notes of the packages above
// that the image does not have.
func fixups(o *Options, arch string, notes, helpers []*rootfs.Note, below *stack.Tree, files []syncfiles.File) (extra []stack.SystemEntry, fixes []*fixup.Fix, err error) {
	if f := releaseFix(helpers, below); f != nil {
		fixes = append(fixes, f)
	}
	users, err := usersFix(o, notes, helpers)
	if err != nil {
		return nil, nil, err
	}
	if users != nil {
		fixes = append(fixes, users)
	}
	if has(notes, "ca-certificates") {
		certs, local := map[string][]byte{}, map[string][]byte{}
		take := func(p string, data []byte) {
			if name, ok := strings.CutPrefix(p, fixup.CertificatesDir+"/"); ok && strings.HasSuffix(name, ".crt") {
				certs[name] = data
			}
			if name, ok := strings.CutPrefix(p, fixup.LocalCertificatesDir+"/"); ok && strings.HasSuffix(name, ".crt") {
				local[name] = data
			}
		}
		for _, n := range notes {
			for _, k := range n.Kept {
				take(k.Path, k.Data)
			}
		}
		for _, x := range files {
			if !x.Dir && x.Link == "" && strings.HasPrefix(x.Path, "/"+fixup.LocalCertificatesDir+"/") {
				take(strings.TrimPrefix(x.Path, "/"), x.Data)
			}
		}
		f, err := fixup.Certificates(certs, local)
		if err != nil {
			return nil, nil, err
		}
		fixes = append(fixes, f)
	}
	linker, err := linkerFix(arch, notes, below)
	if err != nil {
		return nil, nil, err
	}
	if linker != nil {
		fixes = append(fixes, linker)
	}
	for _, f := range fixes {
		extra = append(extra, entriesOfFix(f, below)...)
	}
	return extra, fixes, nil
}

// linkerFix makes the dynamic linker's cache; nil where there is no C library, or of an architecture whose cache is not known.
func linkerFix(arch string, notes []*rootfs.Note, below *stack.Tree) (*fixup.Fix, error) {
	if !has(notes, "libc6") || !slices.Contains([]string{"amd64", "arm64", "i386"}, arch) {
		return nil, nil
	}
	type source struct {
		of   *rootfs.Note
		path string
	}
	libraries, texts := map[source]sharedlib.Library{}, map[source][]byte{}
	for _, n := range notes {
		for _, l := range n.Libraries {
			libraries[source{n, l.Path}] = l.Library
		}
		for _, k := range n.Kept {
			texts[source{n, k.Path}] = k.Data
		}
	}
	sourceOf := func(p string) source {
		n, at := below.Source(p)
		return source{n, at}
	}
	made, err := fixup.LinkerCache(fixup.LinkerOptions{
		Tree: below, Architecture: arch,
		Library: func(p string) (sharedlib.Library, bool) { l, ok := libraries[sourceOf(p)]; return l, ok },
		Text: func(p string) ([]byte, error) {
			if data, ok := texts[sourceOf(p)]; ok {
				return data, nil
			}
			return nil, fmt.Errorf("/%s: %w", p, fs.ErrNotExist)
		},
	})
	if err != nil {
		return nil, err
	}
	f := &fixup.Fix{Name: fixup.NameLinker, Gone: made.Stale, Says: "the dynamic linker's cache, in place of ldconfig"}
	f.Files = append(f.Files, fixup.File{Path: fixup.LinkerPath, Mode: 0o644, Data: made.Cache})
	for _, l := range made.Links {
		f.Files = append(f.Files, fixup.File{Path: l.Path, Target: l.Target})
	}
	return f, nil
}

func has(notes []*rootfs.Note, name string) bool {
	for _, n := range notes {
		if n.Name() == name {
			return true
		}
	}
	return false
}

// entriesOfFix are the entries of the system layer that a fix-up makes, symbolic links on the way to them followed.
func entriesOfFix(f *fixup.Fix, below *stack.Tree) []stack.SystemEntry {
	var out []stack.SystemEntry
	for _, x := range f.Files {
		e := stack.SystemEntry{Entry: rootfs.Entry{Path: x.Path, Type: tar.TypeReg, Mode: x.Mode, UID: x.UID, GID: x.GID, Size: int64(len(x.Data)), Digest: snapshot.Sum(x.Data), Made: true}, Data: x.Data, Why: f.Name}
		if x.Target != "" {
			e.Entry = rootfs.Entry{Path: x.Path, Type: tar.TypeSymlink, Mode: 0o777, Link: x.Target, Made: true}
			e.Data = nil
		}
		if at, err := below.Resolve(x.Path); err == nil {
			e.Path = at
		}
		out = append(out, e)
	}
	for _, gone := range f.Gone {
		out = append(out, stack.SystemEntry{Entry: rootfs.Entry{Path: gone}, Whiteout: true, Why: f.Name})
	}
	return out
}

// releaseFix makes the files that tell which distribution it is, where no package of the image has them; nil if nobody knows it.
func releaseFix(helpers []*rootfs.Note, below *stack.Tree) *fixup.Fix {
	var osRelease, debianVersion []byte
	for _, n := range helpers {
		for _, k := range n.Kept {
			switch {
			case n.Name() != releasePackage:
			case k.Path == fixup.OSReleasePath:
				osRelease = k.Data
			case k.Path == fixup.DebianVersionPath:
				debianVersion = k.Data
			}
		}
	}
	f := fixup.Release(osRelease, debianVersion)
	if f == nil {
		return nil
	}
	f.Files = slices.DeleteFunc(f.Files, func(x fixup.File) bool { _, there := below.Find(x.Path); return there })
	if len(f.Files) == 0 {
		return nil
	}
	return f
}

// usersFix makes the lists of users; nil if nobody has any to begin with, and none is wanted.
func usersFix(o *Options, notes, helpers []*rootfs.Note) (*fixup.Fix, error) {
	from := slices.Concat(helpers, notes)
	u := fixup.UsersOptions{Date: o.date(), Shadow: has(notes, "passwd")}
	for _, n := range from {
		for _, k := range n.Kept {
			switch k.Path {
			case fixup.MasterPasswd:
				u.Passwd = k.Data
			case fixup.MasterGroup:
				u.Group = k.Data
			}
		}
	}
	if u.Passwd == nil || u.Group == nil {
		if len(o.Plan.Users) == 0 {
			return nil, nil
		}
		return nil, document.Errorf(o.Plan.Users[0].At, "users: package %s, which has the lists that they are added to, is %w in the snapshot", usersPackage, outcome.ErrNotFound)
	}
	for _, p := range o.Plan.Users {
		u.Add = append(u.Add, fixup.User{Name: p.Name, UID: p.UID, GID: p.GID, Home: p.Home, Shell: p.Shell})
	}
	f, err := fixup.Users(u)
	if err != nil {
		return nil, userError(o.Plan, err)
	}
	return f, nil
}

func userError(p *imageplan.Plan, err error) error {
	if len(p.Users) == 0 {
		return err
	}
	return document.Errorf(p.Users[0].At, "users: %w", err)
}

// helperNote is what is known of a package that is none of the image. Its layer is written nowhere.
func (m *maker) helperNote(ctx context.Context, p *resolve.Package, r rootfs.Recipe) (*rootfs.Note, error) {
	l, err := m.ofPackage(ctx, p, r, false)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return l.Note, nil
}
