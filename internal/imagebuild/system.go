package imagebuild

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/fixup"
	"example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// system makes the system layer: what dpkg, and the scripts of the packages or what is made in their place, leave otherwise than
// the union of the package layers.
func (m *maker) system(ctx context.Context, c chosen, r rootfs.Recipe, notes []*rootfs.Note, groups []stack.Group, b *built, files []file) (_ *stack.System, layer image.Layer, err error) {
	var s *stack.System
	if c.scripts == imageplan.Run {
		key := m.scriptsKey(c, groups)
		if s, l, ok := m.ranBefore(ctx, key, c, notes, groups, b); ok {
			m.tellLost(b)
			return s, l, nil
		}
		s, err = m.runScripts(ctx, c, notes, groups, b)
		m.tellLost(b)
		defer func() { m.keepRun(key, s, layer, b, err) }()
	} else {
		s, err = m.withoutScripts(ctx, c, r, notes, groups, b, files)
	}
	if m.o.Dry && errors.Is(err, run.ErrCannot) {
		m.o.Log.Printf("%s: what scripts made is not computed: %v", c.architecture, err)
		return &stack.System{}, image.Layer{By: "system"}, nil
	}
	if err != nil {
		return nil, image.Layer{}, err
	}
	layer, err = m.write(ctx, "system", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return s.WriteLayer(w, m.o.date()) })
	return s, layer, err
}

func (m *maker) withoutScripts(ctx context.Context, c chosen, r rootfs.Recipe, notes []*rootfs.Note, groups []stack.Group, b *built, files []file) (*stack.System, error) {
	if _, err := skipped(m.o.Plan, notes); err != nil {
		return nil, err
	}
	var helpers []*rootfs.Note
	for _, p := range c.helpers {
		n, err := m.helperNote(ctx, p, rootfs.Recipe{MergedUsr: r.MergedUsr})
		if err != nil {
			return nil, err
		}
		helpers = append(helpers, n)
	}
	return stack.NewSystem(notes, groups, stack.SystemOptions{
		Extra: func(below *stack.Tree) ([]stack.SystemEntry, error) {
			extra, fixes, err := fixups(m.o, c.architecture, notes, helpers, below, files)
			b.Account = accountOf(notes, fixes, m.o.Plan.ScriptsFor)
			return extra, err
		},
		Open: func(n *rootfs.Note) (io.ReadCloser, error) { return m.openDeb(ctx, n.Deb)() },
	})
}

// skipped are the packages whose scripts the plan leaves out. They must be there.
func skipped(p *imageplan.Plan, notes []*rootfs.Note) ([]string, error) {
	var out []string
	for _, s := range p.ScriptsFor {
		if s.What != imageplan.Skip {
			continue
		}
		if !has(notes, s.Package) {
			return nil, document.Errorf(s.At, "scripts-for: package %s is %w in the image", s.Package, outcome.ErrNotFound)
		}
		out = append(out, s.Package)
	}
	return out, nil
}

// runScripts has dpkg unpack and configure the packages in a scratch root.
func (m *maker) runScripts(ctx context.Context, c chosen, notes []*rootfs.Note, groups []stack.Group, b *built) (*stack.System, error) {
	o := run.Options{Architecture: c.architecture, Date: m.o.date(), Twice: m.o.Twice, Union: union(c.merged, groups)}
	var err error
	if o.Skip, err = skipped(m.o.Plan, notes); err != nil {
		return nil, err
	}
	if o.Packages, err = m.toRun(ctx, c.packages); err != nil {
		return nil, err
	}
	if o.Helpers, err = m.toRun(ctx, c.helpers); err != nil {
		return nil, err
	}
	m.o.Log.Printf("%s: running the scripts of %d packages", c.architecture, len(o.Packages))
	res, err := run.Configure(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("scripts: %w", err)
	}
	b.Account = res.Account
	s := &stack.System{Entries: withFormat(res.Entries)}
	if err := m.addRelease(ctx, c, notes, groups, s, b); err != nil {
		return nil, err
	}
	return s, addUsers(m.o, s)
}

// addRelease adds the files that tell which distribution it is to what scripts made, where the package that has them is a helper alone.
func (m *maker) addRelease(ctx context.Context, c chosen, notes []*rootfs.Note, groups []stack.Group, s *stack.System, b *built) error {
	i := slices.IndexFunc(c.helpers, func(p *resolve.Package) bool { return p.Name == releasePackage })
	if i < 0 || has(notes, releasePackage) {
		return nil
	}
	n, err := m.helperNote(ctx, c.helpers[i], rootfs.Recipe{MergedUsr: c.merged})
	if err != nil {
		return err
	}
	below := stack.Below(c.merged, groups, s)
	f := releaseFix([]*rootfs.Note{n}, below)
	if f == nil {
		return nil
	}
	b.Account = append(b.Account, accountOf(nil, []*fixup.Fix{f}, nil)...)
	there := map[string]bool{}
	for _, e := range s.Entries {
		there[e.Path] = true
	}
	for _, e := range entriesOfFix(f, below) {
		s.Entries = append(s.Entries, e)
		for dir := path.Dir(e.Path); dir != "." && !there[dir]; dir = path.Dir(dir) {
			there[dir] = true
			d, ok := below.Find(dir)
			if !ok {
				d = rootfs.Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, Made: true}
			}
			s.Entries = append(s.Entries, stack.SystemEntry{Entry: d, Why: "parent"})
		}
	}
	slices.SortStableFunc(s.Entries, func(a, b stack.SystemEntry) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// formatPath says how dpkg names the files of its database: that packages of several architectures may be installed
// together has been told by 1 since dpkg 1.16 (dpkg, infodb-format.c).
const formatPath = "var/lib/dpkg/info/format"

// withFormat adds the format of the database, which dpkg does not write into a new root.
func withFormat(entries []stack.SystemEntry) []stack.SystemEntry {
	if slices.ContainsFunc(entries, func(e stack.SystemEntry) bool { return e.Path == formatPath }) {
		return entries
	}
	data := []byte("1\n")
	out := append(slices.Clone(entries), stack.SystemEntry{
		Entry: rootfs.Entry{Path: formatPath, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(data)), Digest: snapshot.Sum(data), Made: true}, Data: data, Why: "database",
	})
	if dir := path.Dir(formatPath); !slices.ContainsFunc(entries, func(e stack.SystemEntry) bool { return e.Path == dir }) {
		out = append(out, stack.SystemEntry{Entry: rootfs.Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, Made: true}, Why: "parent"})
	}
	slices.SortStableFunc(out, func(a, b stack.SystemEntry) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func (m *maker) toRun(ctx context.Context, packages []*resolve.Package) ([]run.Package, error) {
	var out []run.Package
	for _, p := range packages {
		b, err := blobOf(p)
		if err != nil {
			return nil, err
		}
		out = append(out, run.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Open: m.openDeb(ctx, b)})
	}
	return out, nil
}

// union is what the layers below the system layer have, from below.
func union(merged bool, groups []stack.Group) []rootfs.Entry {
	var out []rootfs.Entry
	if merged {
		out = stack.SkeletonLinks()
	}
	for _, g := range groups {
		for _, n := range g.Notes {
			out = append(out, n.Entries...)
		}
	}
	return out
}

// addUsers adds the plan's users to the lists that scripts made.
func addUsers(o *Options, s *stack.System) error {
	if len(o.Plan.Users) == 0 {
		return nil
	}
	lists := map[string][]byte{}
	at := map[string]int{}
	for i, e := range s.Entries {
		switch e.Path {
		case "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow":
			data, err := contentOf(e)
			if err != nil {
				return err
			}
			lists[e.Path], at[e.Path] = data, i
		}
	}
	if lists["etc/passwd"] == nil || lists["etc/group"] == nil {
		return document.Errorf(o.Plan.Users[0].At, "users: /etc/passwd and /etc/group, which they are added to, are %w in the image", outcome.ErrNotFound)
	}
	var users []fixup.User
	for _, p := range o.Plan.Users {
		users = append(users, fixup.User{Name: p.Name, UID: p.UID, GID: p.GID, Home: p.Home, Shell: p.Shell})
	}
	changed, err := fixup.AddUsers(lists, o.date(), users)
	if err != nil {
		return userError(o.Plan, err)
	}
	for name, data := range changed {
		e := &s.Entries[at[name]]
		e.Data, e.Content, e.From = data, nil, nil
		e.Size, e.Digest = int64(len(data)), snapshot.Sum(data)
	}
	return nil
}

func contentOf(e stack.SystemEntry) ([]byte, error) {
	if e.Content == nil {
		return e.Data, nil
	}
	r, err := e.Content()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
