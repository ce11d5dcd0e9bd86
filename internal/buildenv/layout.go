package buildenv

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/run"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// TarOptions say how an environment is laid out. Date is required.
type TarOptions struct {
	// Date is the time of what maintainer scripts make, and the SOURCE_DATE_EPOCH that they see.
	Date time.Time
	// Dir is where scratch roots are made; "" is the machine's place for temporary files.
	Dir string
	// Timeout bounds the maintainer scripts; 0 is that of [run.Options].
	Timeout time.Duration
}

// WriteTar writes the environment as a tar: the packages, unpacked and configured by their own
// dpkg in a scratch root. The same packages and date give the same bytes. What was written must
// not be used unless the error is nil.
//
// Errors: [run.ErrCannot] where this machine cannot run the scripts; [outcome.ErrIntegrity] for a
// .deb that is not what its stanza says.
func (e *Environment) WriteTar(ctx context.Context, w io.Writer, o TarOptions) (snapshot.Blob, error) {
	l := &layout{Environment: e, o: &o}
	var stanzas []deb.Stanza
	for _, p := range slices.Concat(e.packages...) {
		stanzas = append(stanzas, p.Stanza)
	}
	l.merged, _ = stack.MergedUsr(stanzas)
	above, err := l.configure(ctx)
	if err != nil {
		return snapshot.Blob{}, err
	}
	return l.write(ctx, w, above)
}

// layout is an environment on its way to a tar.
type layout struct {
	*Environment
	o      *TarOptions
	merged bool           // /usr
	notes  []*rootfs.Note // in dpkg's order
}

// readNotes reads what each package has.
func (l *layout) readNotes(ctx context.Context) error {
	all := slices.Concat(l.packages...)
	l.notes = make([]*rootfs.Note, len(all))
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range all {
		g.Go(func() (err error) {
			l.notes[i], err = l.note(each, p)
			if err != nil {
				return fmt.Errorf("package %s %s %s: %w", p.Name, p.Version, p.Architecture, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

func (l *layout) note(ctx context.Context, p *resolve.Package) (*rootfs.Note, error) {
	b, err := blobOf(p)
	if err != nil {
		return nil, err
	}
	n, err := rootfs.WriteLayer(io.Discard, rootfs.Deb{Blob: b, Open: l.opener(ctx, b)}, rootfs.Recipe{MergedUsr: l.merged})
	if errors.Is(err, deb.ErrMalformed) {
		err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
	}
	if err != nil {
		return nil, err
	}
	if n.Name() != p.Name || n.Version() != p.Version || n.Architecture() != p.Architecture {
		return nil, fmt.Errorf("%w: its control file names %s", outcome.ErrIntegrity, n)
	}
	return n, nil
}

func (l *layout) opener(ctx context.Context, b snapshot.Blob) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return l.a.Open(ctx, File{Blob: b}) }
}

// configure has the scripts run, and returns what differs from the packages' own files.
func (l *layout) configure(ctx context.Context) ([]stack.SystemEntry, error) {
	ctx, cancel := context.WithCancel(ctx)
	read := make(chan error, 1)
	go func() { read <- l.readNotes(ctx) }() // while scripts run
	waited := false
	defer func() {
		if cancel(); !waited {
			<-read
		}
	}()
	o := run.Options{Architecture: l.a.o.Architecture, MergedUsr: l.merged, Date: l.o.Date, Dir: l.o.Dir, Timeout: l.o.Timeout}
	o.Union = func(context.Context) ([]rootfs.Entry, error) {
		waited = true
		if err := <-read; err != nil {
			return nil, err
		}
		var out []rootfs.Entry
		if l.merged {
			out = stack.SkeletonLinks()
		}
		for _, n := range l.notes {
			out = append(out, n.Entries...)
		}
		return out, nil
	}
	var err error
	if o.Packages, err = l.toRun(ctx, slices.Concat(l.packages...)); err != nil {
		return nil, err
	}
	if o.Helpers, err = l.toRun(ctx, l.base); err != nil {
		return nil, err
	}
	l.a.o.Log.Printf("environment: running the scripts of %d packages", len(o.Packages))
	res, err := run.Configure(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	return res.Entries, nil
}

func (l *layout) toRun(ctx context.Context, packages []*resolve.Package) ([]run.Package, error) {
	var out []run.Package
	for _, p := range packages {
		b, err := blobOf(p)
		if err != nil {
			return nil, err
		}
		out = append(out, run.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Open: l.opener(ctx, b)})
	}
	return out, nil
}

// formatPath says how dpkg names the files of its database, which it does not write into a new
// root: 1 since packages of several architectures may be installed together (dpkg, infodb-format.c).
const formatPath = "var/lib/dpkg/info/format"

// lockDir is where programs lock, by /var/lock. base-files makes it; in the scratch root something else is mounted at /run.
var lockDir = rootfs.Entry{Path: "run/lock", Type: tar.TypeDir, Mode: 0o1777, Made: true}

// write writes the union of the packages, and over it what scripts made.
func (l *layout) write(ctx context.Context, w io.Writer, above []stack.SystemEntry) (snapshot.Blob, error) {
	out := rootfs.NewTarWriter(w)
	// Who unpacks it may have made a directory that nobody else enters.
	if err := out.Entry(&rootfs.Entry{Path: ".", Type: tar.TypeDir, Mode: 0o755, ModTime: l.o.Date.Unix()}); err != nil {
		return snapshot.Blob{}, err
	}
	format := []byte("1\n")
	above = append(above, stack.SystemEntry{Entry: rootfs.Entry{Path: formatPath, Type: tar.TypeReg, Mode: 0o644, Size: int64(len(format)), Made: true}, Data: format})
	if !slices.ContainsFunc(above, func(s stack.SystemEntry) bool { return s.Path == lockDir.Path }) {
		above = append(above, stack.SystemEntry{Entry: lockDir})
	}
	if l.merged {
		above = append(l.skeleton(above), above...)
	}
	upper := map[string]*stack.SystemEntry{}
	for i := range above {
		upper[above[i].Path] = &above[i]
	}
	if err := l.writeBelow(ctx, out, upper); err != nil {
		return snapshot.Blob{}, err
	}
	for i := range above {
		if s := &above[i]; upper[s.Path] == s && !s.Whiteout {
			if err := l.writeMade(out, s); err != nil {
				return snapshot.Blob{}, fmt.Errorf("environment: %s: %w", s.Path, err)
			}
		}
	}
	return out.Close()
}

// skeleton is what a merged /usr has beside the packages' own files: symlinks of the root, and the
// directories that they lead to.
func (l *layout) skeleton(above []stack.SystemEntry) []stack.SystemEntry {
	there := map[string]bool{}
	for _, n := range l.notes {
		for i := range n.Entries {
			there[n.Entries[i].Path] = true
		}
	}
	for i := range above {
		there[above[i].Path] = true
	}
	var out []stack.SystemEntry
	for _, link := range stack.SkeletonLinks() {
		if !there[link.Link] {
			out = append(out, stack.SystemEntry{Entry: rootfs.Entry{Path: link.Link, Type: tar.TypeDir, Mode: 0o755, Made: true}})
		}
		if !there[link.Path] {
			out = append(out, stack.SystemEntry{Entry: link})
		}
	}
	return out
}

// writeBelow writes the union of the packages, but for what upper replaces or removes. A directory
// that upper has, too, is written here, before what is in it, and taken out of upper.
func (l *layout) writeBelow(ctx context.Context, out *rootfs.TarWriter, upper map[string]*stack.SystemEntry) error {
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		open := func(n *rootfs.Note) (io.ReadCloser, error) { return l.opener(ctx, n.Deb)() }
		_, err := stack.WriteGroup(w, stack.Group{Name: "environment", Notes: l.notes}, open)
		w.CloseWithError(err)
	}()
	for below := tar.NewReader(r); ; {
		h, err := below.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, r) // what WriteGroup finds at its end
			return err
		}
		if err != nil {
			return err
		}
		e := entryOf(h)
		if s := upper[e.Path]; s != nil {
			if s.Whiteout || !e.IsDir() || s.Type != tar.TypeDir {
				continue // it is replaced, or gone
			}
			e = s.Entry
			delete(upper, e.Path)
		} else if gone(upper, e.Path) {
			continue
		}
		if to := upper[e.Link]; e.Type == tar.TypeLink && (to != nil || gone(upper, e.Link)) {
			return fmt.Errorf("%w: environment: a maintainer script replaced /%s, of which /%s is another name", outcome.ErrRefused, e.Link, e.Path)
		}
		if err := out.Entry(&e); err != nil {
			return err
		}
		if e.Type == tar.TypeReg {
			if _, err := io.Copy(out, below); err != nil {
				return err
			}
		}
	}
}

// gone tells whether a directory above a path was removed, or replaced by what is no directory.
func gone(upper map[string]*stack.SystemEntry, p string) bool {
	for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
		if s := upper[p[:i]]; s != nil && (s.Whiteout || s.Type != tar.TypeDir) {
			return true
		}
	}
	return false
}

func (l *layout) writeMade(out *rootfs.TarWriter, s *stack.SystemEntry) error {
	e := s.Entry
	if e.Made || e.Type == tar.TypeDir {
		e.ModTime = l.o.Date.Unix()
	}
	if err := out.Entry(&e); err != nil {
		return err
	}
	if e.Type != tar.TypeReg {
		return nil
	}
	content := io.Reader(bytes.NewReader(s.Data))
	if s.Content != nil {
		r, err := s.Content()
		if err != nil {
			return err
		}
		defer r.Close()
		content = r
	}
	_, err := io.Copy(out, content)
	return err
}

func entryOf(h *tar.Header) rootfs.Entry {
	return rootfs.Entry{
		Path: strings.TrimSuffix(h.Name, "/"), Type: h.Typeflag, Mode: h.Mode, UID: h.Uid, GID: h.Gid,
		Link: h.Linkname, Size: h.Size, ModTime: h.ModTime.Unix(),
	}
}
