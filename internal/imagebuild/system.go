package imagebuild

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/layercache"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/fixup"
	"example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// unscripted makes the system layer where no script is run: what dpkg, and what is made in place of scripts, leave otherwise than
// the union of the package layers.
func (m *maker) unscripted(ctx context.Context, c chosen, r rootfs.Recipe, low *lower, b *built, files []syncfiles.File) (*stack.System, image.Layer, error) {
	if _, err := skipped(m.o.Plan, c.packages); err != nil {
		return nil, image.Layer{}, err
	}
	var helpers []*rootfs.Note
	for _, p := range c.helpers {
		n, err := m.helperNote(ctx, p, rootfs.Recipe{MergedUsr: r.MergedUsr})
		if err != nil {
			return nil, image.Layer{}, err
		}
		helpers = append(helpers, n)
		m.note(m.packageKey(n.Deb, n.Recipe), layercache.Layer{Layer: image.Layer{DiffID: n.Layer.Digest}, Note: n})
	}
	s, err := stack.NewSystem(low.notes, low.groups, stack.SystemOptions{
		Extra: func(below *stack.Tree) ([]stack.SystemEntry, error) {
			extra, fixes, err := fixups(m.o, c.architecture, low.notes, helpers, below, files)
			b.Account = accountOf(low.notes, fixes, m.o.Plan.ScriptsFor)
			return extra, err
		},
		Open: func(n *rootfs.Note) (io.ReadCloser, error) { return m.openDeb(ctx, n.Deb)() },
	})
	if err != nil {
		return nil, image.Layer{}, err
	}
	layer, err := m.writeSystem(ctx, s)
	return s, layer, err
}

func (m *maker) writeSystem(ctx context.Context, s *stack.System) (image.Layer, error) {
	return m.write(ctx, "system", func(_ context.Context, w io.Writer) (snapshot.Blob, error) { return s.WriteLayer(w, m.o.date()) })
}

// scripted makes the packages' layers and, meanwhile, runs their scripts; then the system layer of what these made otherwise than the
// union of the former.
func (m *maker) scripted(ctx context.Context, c chosen, r rootfs.Recipe, most int, b *built) (*lower, *stack.System, image.Layer, error) {
	key := m.scriptsKey(c, r, most)
	if note, l, ok := m.ranBefore(key); ok {
		low, err := m.lower(ctx, c, r, most, m.workers())
		if err != nil {
			return nil, nil, image.Layer{}, err
		}
		b.Account = note.Account
		m.runAgain(key, c, low, b, l)
		m.tellLost(b)
		return low, note.system(), l, nil
	}
	expected, err := m.copied(c)
	if err != nil {
		return nil, nil, image.Layer{}, err
	}
	m.copies.expect(expected)
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	var low *lower
	lowDone := make(chan struct{})
	union := func(ctx context.Context) ([]rootfs.Entry, error) {
		select {
		case <-lowDone:
			return unionOf(c.merged, low.groups), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	var res *run.Result
	var ran error
	var running sync.WaitGroup
	running.Go(func() {
		defer m.copies.drop() // or the layers would wait for those of a run that failed
		if res, ran = m.runScripts(both, c, union); ran != nil && !(m.o.Dry && errors.Is(ran, run.ErrCannot)) {
			cancel()
		}
	})
	// One processor is left to dpkg and the scripts, most of which use no more.
	low, err = m.lower(both, c, r, most, max(m.workers()-1, 1))
	if err != nil {
		cancel()
	} else {
		close(lowDone)
	}
	running.Wait()
	if m.o.Dry && err == nil && errors.Is(ran, run.ErrCannot) {
		m.o.Log.Printf("%s: what scripts made is not computed: %v", c.architecture, ran)
		return low, &stack.System{}, image.Layer{By: "system"}, nil
	}
	// The one that failed made the other one end.
	if err == nil || errors.Is(err, context.Canceled) && ran != nil {
		err = ran
	}
	if err != nil {
		return nil, nil, image.Layer{}, cmp.Or(context.Cause(ctx), err)
	}
	s, err := m.afterScripts(ctx, c, low, res, b)
	if err != nil {
		return nil, nil, image.Layer{}, err
	}
	m.tellLost(b)
	layer, err := m.writeSystem(ctx, s)
	if err == nil {
		m.keepRun(key, s, layer, b)
	}
	return low, s, layer, err
}

// skipped are the packages whose scripts the plan leaves out. They must be there.
func skipped(p *imageplan.Plan, packages []*resolve.Package) ([]string, error) {
	var out []string
	for _, s := range p.ScriptsFor {
		if s.What != imageplan.Skip {
			continue
		}
		if !slices.ContainsFunc(packages, func(p *resolve.Package) bool { return p.Name == s.Package }) {
			return nil, document.Errorf(s.At, "scripts-for: package %s is %w in the image", s.Package, outcome.ErrNotFound)
		}
		out = append(out, s.Package)
	}
	return out, nil
}

// runScripts has dpkg unpack and configure the packages in a scratch root.
func (m *maker) runScripts(ctx context.Context, c chosen, union func(context.Context) ([]rootfs.Entry, error)) (*run.Result, error) {
	o := run.Options{Architecture: c.architecture, MergedUsr: c.merged, Date: m.o.date(), Twice: m.o.Twice, Union: union}
	var err error
	if o.Skip, err = skipped(m.o.Plan, c.packages); err != nil {
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
	if errors.Is(err, deb.ErrMalformed) {
		err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if err != nil {
		return nil, fmt.Errorf("scripts: %w", err)
	}
	return res, nil
}

// afterScripts is the system layer of what scripts made, with what is added to it.
func (m *maker) afterScripts(ctx context.Context, c chosen, low *lower, res *run.Result, b *built) (*stack.System, error) {
	b.Account = res.Account
	s := &stack.System{Entries: withFormat(res.Entries)}
	if err := m.addRelease(ctx, c, low.notes, low.groups, s, b); err != nil {
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

// copied are the .debs of the image that the root of its scripts has copies of.
func (m *maker) copied(c chosen) ([]snapshot.Blob, error) {
	skip, err := skipped(m.o.Plan, c.packages)
	if err != nil {
		return nil, err
	}
	var out []snapshot.Blob
	for _, p := range c.packages {
		b, err := blobOf(p)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(skip, p.Name) {
			out = append(out, b)
		}
	}
	return out, nil
}

func (m *maker) toRun(ctx context.Context, packages []*resolve.Package) ([]run.Package, error) {
	var out []run.Package
	for _, p := range packages {
		b, err := blobOf(p)
		if err != nil {
			return nil, err
		}
		out = append(out, run.Package{
			Name: p.Name, Version: p.Version, Architecture: p.Architecture, Open: m.openSigned(ctx, b),
			Copied: func(open func() (io.ReadCloser, error)) { m.copies.add(b, open) },
		})
	}
	return out, nil
}

// unionOf is what the layers below the system layer have, from below.
func unionOf(merged bool, groups []stack.Group) []rootfs.Entry {
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
