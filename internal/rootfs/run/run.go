// Package run has the maintainer scripts of packages run, and finds what they
// made: the system layer of an image.
//
// It is the one room of rootfs that runs programs. The engine is dpkg itself, that
// of the packages, in a scratch root in namespaces of its own: users, mounts,
// processes, network, names and System V objects. The scripts see no network, no
// file of the machine, a /dev of six devices, and an environment that is always
// the same. What they leave behind in the background is ended.
package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/deb"
)

// Package is a package to be configured.
type Package struct {
	Name, Version, Architecture string
	// Open opens the .deb. Its last byte comes only if all are those of the digest
	// that an index lists.
	Open func() (io.ReadCloser, error)
	// Copied, if not nil, is given a way to open the root's copy of the .deb, as soon as there is one: a .deb with the
	// same content, not compressed, verified as that of Open is. It is there until Configure returns. Packages that
	// are skipped have none. Copied may be called from several goroutines.
	Copied func(open func() (io.ReadCloser, error))
}

func (p Package) key() string    { return p.Name + ":" + p.Architecture }
func (p Package) String() string { return p.Name + " " + p.Version + " " + p.Architecture }

// Options say what is configured. Packages, Union and Date must be set.
type Options struct {
	// Packages are those of the image, in the order in which dpkg unpacks them.
	Packages []Package
	// Helpers are what every Debian system has, Essential and its dependencies, in
	// that order. Scripts may count on them. They are no part of the image unless
	// they are among Packages too; of those the version of Packages is used.
	Helpers      []Package
	Architecture string // Debian's name; must be one that this machine runs
	MergedUsr    bool   // the image has the links of a merged /usr
	// Union returns what the layers below the system layer have, from below; of two
	// entries of one path the later counts. It is asked behind the scripts, once for
	// each root, so that these layers can be made meanwhile.
	Union func(context.Context) ([]rootfs.Entry, error)
	// Date is the time of what the scripts make, and the SOURCE_DATE_EPOCH that
	// they see.
	Date time.Time
	// Skip names packages whose scripts are not run.
	Skip []string
	// Twice does everything again in another root, and refuses what differs.
	Twice bool
	// Timeout bounds each root; 0 is half an hour.
	Timeout time.Duration
	// Dir is where scratch roots are made; "" is the machine's place for temporary
	// files. It must not be writable by users who are not trusted, but for such a
	// place with the sticky bit.
	Dir string
}

// Result is what the scripts made.
type Result struct {
	// Entries are the system layer: what dpkg and the scripts made otherwise than the
	// union, by path, parents before what is in them.
	Entries []stack.SystemEntry
	// Account has a line for each script, then one for each file that lost its capabilities or was left out.
	Account []account.Line
}

// ErrCannot tells that this machine cannot run scripts in a root of its own. What
// wraps it says what is missing.
var ErrCannot = errors.New("maintainer scripts cannot be run here")

// Differs is the error of Twice: paths that came out otherwise the second time.
type Differs struct{ Paths []string }

func (d *Differs) Error() string {
	const most = 20
	more := ""
	if n := len(d.Paths) - most; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "scripts made other files the second time: " + strings.Join(d.Paths[:min(len(d.Paths), most)], ", ") + more
}

// ScriptError is a call of dpkg that failed.
type ScriptError struct {
	Call   string // what was called
	Code   int    // its exit status
	Output string // its last lines
}

func (e *ScriptError) Error() string {
	return fmt.Sprintf("%s ended with status %d:\n%s", e.Call, e.Code, e.Output)
}

const (
	defaultTimeout = 30 * time.Minute
	errorLines     = 20 // of dpkg's output, in an error
)

// Configure unpacks and configures packages in a scratch root and returns what
// differs from the union of their layers. Nothing of it is left on the machine.
//
// Errors: ErrCannot if this machine cannot do it; *ScriptError for what dpkg or a
// script of a package refused; *Differs with Twice; those of ctx and of Open.
func Configure(ctx context.Context, o Options) (*Result, error) {
	if !runs(o.Architecture) {
		return nil, fmt.Errorf("%w: this machine is %s and does not run programs of %s", ErrCannot, runtime.GOARCH, o.Architecture)
	}
	ids, err := findMapping()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	first, err := once(ctx, &o, ids)
	if err != nil || !o.Twice {
		return first, err
	}
	second, err := once(ctx, &o, ids)
	if err != nil {
		return nil, fmt.Errorf("the second time: %w", err)
	}
	if d := differences(first.Entries, second.Entries); len(d) > 0 {
		return nil, &Differs{d}
	}
	return first, nil
}

// runs tells whether the machine runs programs of an architecture of Debian.
func runs(arch string) bool {
	switch runtime.GOARCH {
	case "386":
		return arch == "i386"
	case "amd64":
		return arch == "amd64" || arch == "i386"
	case "arm64":
		return arch == "arm64"
	}
	return false
}

// Check sets up an empty root, and returns nil if scripts can be run here. The
// error wraps ErrCannot and says what is missing.
func Check(ctx context.Context, dir string) error {
	ids, err := findMapping()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCannot, err)
	}
	s, err := newScratch(ctx, dir, ids)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCannot, err)
	}
	p, err := start(ctx, s, stageServe)
	if err == nil {
		err = p.ready()
		p.close()
	}
	if err := errors.Join(err, s.remove(ctx)); err != nil {
		return fmt.Errorf("%w: %w", ErrCannot, err)
	}
	return nil
}

// once does it in one root.
func once(ctx context.Context, o *Options, ids mapping) (_ *Result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(o.Timeout, defaultTimeout), fmt.Errorf("scripts took longer than %s", cmp.Or(o.Timeout, defaultTimeout)))
	defer cancel()
	s, err := newScratch(ctx, o.Dir, ids)
	if err != nil {
		return nil, err
	}
	defer func() {
		if removeErr := s.remove(ctx); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	r := &runner{o: o, union: map[string]*rootfs.Entry{}}
	if err := r.fetch(ctx, filepath.Join(s.dir, "debs")); err != nil {
		return nil, err
	}
	p, err := start(ctx, s, stageServe)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	defer p.close()
	r.process = p
	if err := p.ready(); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	if err := r.install(); err != nil {
		return nil, err
	}
	union, err := o.Union(ctx)
	if err != nil {
		return nil, err
	}
	for i := range union {
		r.union[union[i].Path] = &union[i]
	}
	return r.result()
}

// runner is a run in one root.
type runner struct {
	o       *Options
	union   map[string]*rootfs.Entry
	process *process
	pkgs    []*pkg // helpers first, then the others of the image
	// touched are paths that changed while packages of the image were unpacked or
	// configured; before is the tree at the end of the last step.
	touched map[string]bool
	before  map[string]stat
}

// pkg is a package in the root.
type pkg struct {
	Package
	file    string // below debsDir
	ours    bool   // of the image
	helper  bool
	skip    bool
	stanza  deb.Stanza
	scripts map[string][]byte
}

// arg is how dpkg calls the package.
func (p *pkg) arg() string {
	if p.Architecture == "all" {
		return p.Name
	}
	return p.key()
}

// infoName is how dpkg calls the package's files.
func (p *pkg) infoName() string {
	if strings.EqualFold(p.stanza.Get("Multi-Arch"), "same") {
		return p.key()
	}
	return p.Name
}

// fetch copies the .debs to where the root sees them, several at once.
func (r *runner) fetch(ctx context.Context, dir string) error {
	byKey := map[string]*pkg{}
	for _, p := range r.o.Packages {
		if byKey[p.Name] != nil {
			return fmt.Errorf("package %s: a second one of that name", p)
		}
		byKey[p.Name] = &pkg{Package: p, ours: true, skip: slices.Contains(r.o.Skip, p.Name)}
	}
	for _, h := range r.o.Helpers {
		p := byKey[h.Name]
		if p == nil {
			p = &pkg{Package: h}
			byKey[h.Name] = p
		}
		if !p.helper {
			p.helper = true
			r.pkgs = append(r.pkgs, p)
		}
	}
	for _, o := range r.o.Packages {
		if p := byKey[o.Name]; !p.helper {
			r.pkgs = append(r.pkgs, p)
		}
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range r.pkgs {
		p.file = fmt.Sprintf("%04d.deb", i)
		g.Go(func() error {
			if err := each.Err(); err != nil {
				return err
			}
			if err := p.copy(filepath.Join(dir, p.file)); err != nil {
				return fmt.Errorf("package %s: %w", p, err)
			}
			return nil
		})
	}
	return cmp.Or(g.Wait(), context.Cause(ctx))
}

// copy copies the .deb, and reads its control files.
func (p *pkg) copy(to string) error {
	from, err := p.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644) //nolint:gosec // the root's ids read it
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil { // whatever the umask
		return err
	}
	made, err := repack(f, from, p.skip)
	if err != nil {
		return err
	}
	p.stanza, p.scripts = made.control, made.scripts
	if p.stanza.Get("Package") != p.Name || p.stanza.Get("Version") != p.Version || p.stanza.Get("Architecture") != p.Architecture {
		return fmt.Errorf("its control file says %s %s %s", p.stanza.Get("Package"), p.stanza.Get("Version"), p.stanza.Get("Architecture"))
	}
	if err := f.Close(); err != nil {
		return err
	}
	if p.Copied != nil && !p.skip {
		p.Copied(func() (io.ReadCloser, error) { return made.open(to) })
	}
	return nil
}

// differences are the paths at which two results differ.
func differences(a, b []stack.SystemEntry) []string {
	byPath := map[string]*stack.SystemEntry{}
	for i := range a {
		byPath[a[i].Path] = &a[i]
	}
	var out []string
	for i := range b {
		x, y := byPath[b[i].Path], &b[i]
		delete(byPath, b[i].Path)
		if x == nil || x.Whiteout != y.Whiteout || x.Type != y.Type || x.Mode != y.Mode || x.UID != y.UID || x.GID != y.GID || x.Link != y.Link || x.Digest != y.Digest {
			out = append(out, y.Path)
		}
	}
	for p := range byPath {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
