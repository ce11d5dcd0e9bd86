package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// Package is a package that dpkg knows.
type Package struct{ Name, Version, Architecture string }

// spec names the package to dpkg; without the architecture if that is "all".
func (p Package) spec() string {
	if p.Architecture == "all" {
		return p.Name
	}
	return p.Name + ":" + p.Architecture
}

// state is what dpkg's status says of a package: version, and the third word of Status
// ("installed", "unpacked", "half-configured"; dpkg(1), package states).
type state struct{ version, word string }

// configured tells whether the package works, though its triggers may still have to run.
func (s state) configured() bool {
	return s.word == "installed" || s.word == "triggers-pending" || s.word == "triggers-awaited"
}

// broken tells whether the package is unpacked and not configured.
func (s state) broken() bool { return s.word == "unpacked" || s.word == "half-configured" }

// key names a package in a status.
func (p Package) key() string { return p.Name + ":" + p.Architecture }

// status reads dpkg's status by [Package.key].
func (h *Host) status() (map[string]state, error) {
	all := map[string]state{}
	err := h.eachPackage(func(s deb.Stanza, word string) {
		all[s.Get("Package")+":"+s.Get("Architecture")] = state{s.Get("Version"), word}
	})
	return all, err
}

// eachPackage shows each stanza of dpkg's status with the third word of its Status field.
func (h *Host) eachPackage(visit func(s deb.Stanza, word string)) error {
	data, err := h.ReadStatus()
	if err != nil {
		return fmt.Errorf("dpkg status: %w", err)
	}
	sc := deb.NewScanner(data)
	for {
		s, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dpkg status: line %d: %w", sc.Line(), err)
		}
		if words := strings.Fields(s.Get("Status")); len(words) == 3 {
			visit(s, words[2])
		}
	}
}

// settle lets dpkg take over the journal of a dpkg that was interrupted,
// which any call that may write does first; this one sets no selection.
func (h *Host) settle(ctx context.Context) error {
	if h.Settled() == nil {
		return nil
	}
	return h.dpkg(ctx, "--set-selections")
}

// Settled refuses a host whose dpkg was interrupted in the middle of writing:
// its status is not what is true (dpkg's journal, /var/lib/dpkg/updates).
func (h *Host) Settled() error {
	t, err := h.files()
	if err != nil {
		return err
	}
	entries, err := readDir(t, "var/lib/dpkg/updates")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dpkg's journal: %w", err)
	}
	numbered := func(e os.DirEntry) bool { return strings.Trim(e.Name(), "0123456789") == "" }
	if slices.ContainsFunc(entries, numbered) {
		return fmt.Errorf("%w was interrupted and its status is not up to date; first run: dpkg --configure -a", ErrDpkg)
	}
	return nil
}

// ErrHalfInstalled marks a package that another installation left half-way, and
// that stands in the way of this one.
var ErrHalfInstalled = errors.New("half-way")

// Conflicts returns an [ErrHalfInstalled], saying what to mend, if packages cannot be
// installed beside those that the host has half-way (dpkg(1): half-installed,
// unpacked, half-configured, triggers-awaited). Such a package meets no
// dependency, so nothing was chosen with regard to it, but dpkg still minds its
// Conflicts and Breaks and those that name it; and an unpacked one must not go
// back to an older version.
func (h *Host) Conflicts(chosen []deb.Stanza) error {
	var half []halfway
	if err := h.eachPackage(func(s deb.Stanza, word string) {
		switch word {
		case "half-installed", "unpacked", "half-configured", "triggers-awaited":
			half = append(half, halfway{s, word})
		}
	}); err != nil {
		return err
	}
	for _, q := range half {
		for _, p := range chosen {
			if err := q.conflicts(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// halfway is a package that is half-way installed, and its state.
type halfway struct {
	deb.Stanza
	word string
}

func (q halfway) conflicts(p deb.Stanza) error {
	name, version := q.Get("Package"), q.Get("Version")
	mend := fmt.Sprintf("%s %s is %s on this host; mend it first (dpkg --configure %s, or remove it)", name, version, q.word, name)
	if p.Get("Package") == name {
		if one := p.Get("Architecture") == q.Get("Architecture") || p.Get("Architecture") == "all" || q.Get("Architecture") == "all"; one &&
			version != "" && deb.Compare(p.Get("Version"), version) < 0 {
			return fmt.Errorf("%w: %s, and %s would take it back", ErrHalfInstalled, mend, p.Get("Version"))
		}
		return nil
	}
	for _, pair := range [][2]deb.Stanza{{q.Stanza, p}, {p, q.Stanza}} {
		for _, field := range []string{"Conflicts", "Breaks"} {
			if by := against(pair[0], field, pair[1]); by != "" {
				return fmt.Errorf("%w: %s; %s %s: %s stands against %s", ErrHalfInstalled, mend, pair[0].Get("Package"), field, by, pair[1].Get("Package"))
			}
		}
	}
	return nil
}

// against finds the relation in a field of a that is against b, or against what b
// provides (deb-control(5)). A version that is not known is met by any.
func against(a deb.Stanza, field string, b deb.Stanza) string {
	arch := a.Get("Architecture")
	provided, _ := deb.ParseRelations(b.Get("Provides"), arch) // what cannot be read provides nothing, to dpkg neither
	groups, _ := deb.ParseRelations(a.Get(field), arch)
	for _, r := range slices.Concat(groups...) {
		if r.Name == b.Get("Package") && (b.Get("Version") == "" || r.Satisfied(b.Get("Version"))) {
			return r.String()
		}
		for _, v := range slices.Concat(provided...) {
			if r.Name == v.Name && (r.Op == deb.Any || v.Op == deb.EQ && r.Satisfied(v.Version)) {
				return r.String()
			}
		}
	}
	return ""
}

// File is a .deb and the package that it is, verified.
type File struct {
	Package
	Path string
}

// Change is a package that was installed, upgraded or configured.
type Change struct {
	Package
	Old string // version before, "" if it was not installed
}

// String is one line for people.
func (c Change) String() string {
	switch c.Old {
	case "":
		return fmt.Sprintf("installed %s %s %s", c.Name, c.Version, c.Architecture)
	case c.Version:
		return fmt.Sprintf("configured %s %s %s", c.Name, c.Version, c.Architecture)
	}
	return fmt.Sprintf("upgraded %s %s %s (was %s)", c.Name, c.Version, c.Architecture, c.Old)
}

// install hands batches of .debs to dpkg: each is unpacked in its order, then
// configured as a whole, so that a Pre-Depends between two batches is met.
// Packages that dpkg deconfigured meanwhile (auto-deconfigure, as under apt)
// are configured again at the end.
//
// Questions are answered as apt's non-interactive use does: debconf takes its
// defaults, of a changed conffile the host's version is kept (dpkg(1),
// --force-confdef and --force-confold).
//
// It returns what dpkg's status says came true, also with an error. A call that
// has begun is not broken off when ctx ends; the next is not made.
func (h *Host) install(ctx context.Context, batches [][]File) ([]Change, error) {
	before, err := h.status()
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		if err = h.batch(ctx, b, before); err != nil {
			break
		}
	}
	after, err2 := h.status()
	if err2 != nil {
		return nil, errors.Join(err, err2)
	}
	if hurt := deconfigured(before, after); len(hurt) > 0 {
		err = errors.Join(err, h.dpkg(ctx, append([]string{"--configure", "--"}, hurt...)...))
		if after, err2 = h.status(); err2 != nil {
			return nil, errors.Join(err, err2)
		}
	}
	changes, missing := results(batches, before, after)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%w: not configured: %s", ErrDpkg, strings.Join(missing, ", "))
	}
	if err != nil {
		err = fmt.Errorf("%w; %d of %d packages are done. Mend what dpkg names above, then: dpkg --configure -a, and the same command again",
			err, len(changes), len(changes)+len(missing))
	}
	return changes, err
}

// batch unpacks and configures packages. Where dpkg does not unpack all of
// them (a full disk, a file of another package's), the others are configured
// if they can be, as apt does it, and what can not be and was not there before is taken back.
func (h *Host) batch(ctx context.Context, files []File, before map[string]state) error {
	args := []string{"--unpack", "--auto-deconfigure", "--"}
	for _, f := range files {
		args = append(args, f.Path)
	}
	if err := h.dpkg(ctx, args...); err != nil {
		return errors.Join(err, h.configure(ctx, files), h.takeBack(ctx, files, before))
	}
	return h.configure(ctx, files)
}

// configure configures what is unpacked. What an earlier, interrupted run has
// configured already dpkg must not be asked to configure again.
func (h *Host) configure(ctx context.Context, files []File) error {
	now, err := h.status()
	if err != nil {
		return err
	}
	args := []string{"--configure", "--"}
	for _, f := range files {
		if s := now[f.key()]; s.version == f.Version && s.broken() {
			args = append(args, f.spec())
		}
	}
	if len(args) == 2 {
		return nil
	}
	return h.dpkg(ctx, args...)
}

// takeBack removes the packages that were only unpacked and that the host did not have before.
func (h *Host) takeBack(ctx context.Context, files []File, before map[string]state) error {
	now, err := h.status()
	if err != nil {
		return err
	}
	args := []string{"--purge", "--"}
	for _, f := range files {
		was := before[f.key()].word
		if (was == "" || was == "not-installed") && now[f.key()].word == "unpacked" {
			args = append(args, f.spec())
		}
	}
	if len(args) == 2 {
		return nil
	}
	return h.dpkg(ctx, args...)
}

// deconfigured are the packages that worked before and do not now.
func deconfigured(before, after map[string]state) []string {
	var out []string
	for key, was := range before {
		now := after[key]
		if was.configured() && now.broken() {
			out = append(out, strings.TrimSuffix(key, ":all"))
		}
	}
	slices.Sort(out)
	return out
}

// results are the packages that were installed as asked, and those that were not.
func results(batches [][]File, before, after map[string]state) (done []Change, missing []string) {
	for _, b := range batches {
		for _, f := range b {
			key := f.key()
			now := after[key]
			if !now.configured() || now.version != f.Version {
				missing = append(missing, f.Name)
				continue
			}
			c := Change{Package: f.Package}
			if was := before[key]; was.configured() || was.broken() {
				c.Old = was.version
			}
			done = append(done, c)
		}
	}
	return done, missing
}

// dpkg makes one call.
func (h *Host) dpkg(ctx context.Context, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	program, err := exec.LookPath("dpkg")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDpkg, err)
	}
	all := []string{"--force-confdef", "--force-confold"}
	if h.Root != "" {
		all = append(all, "--root="+h.Path(""))
	}
	cmd := exec.Command(program, append(all, args...)...)
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = h.Out, h.Out
	// Out of the terminal's reach: an interrupt of mmoci must not leave packages half-installed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDpkg, args[0], err)
	}
	return nil
}

// environment is that of apt's non-interactive use. dpkg looks for programs of
// the administrator in PATH; a user's often lacks them.
func environment(env []string) []string {
	path := "/usr/sbin:/usr/bin:/sbin:/bin"
	out := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p + ":/usr/local/sbin:/usr/sbin:/sbin"
			return true
		}
		return strings.HasPrefix(v, "DEBIAN_FRONTEND=")
	})
	return append(out, "PATH="+path, "DEBIAN_FRONTEND=noninteractive", "DPKG_FRONTEND_LOCKED=true")
}

// Architecture is the native one, as dpkg says; "" where there is no dpkg.
func (h *Host) Architecture(ctx context.Context) string {
	args := []string{"--print-architecture"}
	if h.Root != "" {
		args = append([]string{"--root=" + h.Path("")}, args...)
	}
	out, err := exec.CommandContext(ctx, "dpkg", args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// OwnArchitecture is this machine's: as dpkg says, else that of this program.
func OwnArchitecture(ctx context.Context) string {
	return cmp.Or((&Host{}).Architecture(ctx), debArch())
}

// Begin takes the host's lock and lets a dpkg that was interrupted finish, so
// that its status is true and stays so until end.
func (h *Host) Begin(ctx context.Context) (end func(), err error) {
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	if err = h.settle(ctx); err == nil {
		err = h.Settled()
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// debsDir is where .debs are kept until dpkg has them: a directory a selection,
// so that a rerun resumes and another selection is not in the way.
const debsDir = "var/cache/mmoci"

// InstallSelection fetches what was chosen for this host and hands it to dpkg.
// dir keeps the .debs; "" is a directory of the host's, which is removed when dpkg has them.
// fetched is called in between. It returns what came true, also with an error.
func (h *Host) InstallSelection(ctx context.Context, chosen *extract.Selection, status *resolve.Host, dir string, fetched func(dir string, got *extract.Result)) ([]Change, error) {
	if err := h.roomFor(chosen, status); err != nil {
		return nil, err
	}
	own := dir == ""
	if own {
		var err error
		if dir, err = h.makeDir(path.Join(debsDir, chosen.ID().Hex()[:12])); err != nil {
			return nil, err
		}
	}
	got, err := chosen.Fetch(ctx, dir)
	if err != nil {
		return nil, err
	}
	fetched(dir, got)
	paths := map[*resolve.Package]string{}
	for i, g := range chosen.Groups() {
		for j, p := range g {
			paths[p] = got.Groups[i][j]
		}
	}
	var batches [][]File
	for _, b := range chosen.Batches() {
		var files []File
		for _, p := range b {
			files = append(files, File{Package{p.Name, p.Version, p.Architecture}, paths[p]})
		}
		batches = append(batches, files)
	}
	changes, err := h.install(ctx, batches)
	if err == nil && own {
		err = h.ClearDebs()
	}
	return changes, err
}

// makeDir makes a directory of the host and returns its path; not by way of a
// link that leads out of the root directory.
func (h *Host) makeDir(name string) (string, error) {
	t, err := h.files()
	if err != nil {
		return "", err
	}
	return h.Path(name), makeDirs(t, name)
}

// ClearDebs removes the .debs that were fetched for dpkg. The caller has the
// lock, which says that nobody else needs them.
func (h *Host) ClearDebs() error {
	t, err := h.files()
	if err != nil {
		return err
	}
	return t.RemoveAll(debsDir)
}

// roomFor refuses before the first byte what the disk cannot hold when it is
// unpacked. Upgrades are left out of the count: they take the place of what is there.
func (h *Host) roomFor(chosen *extract.Selection, status *resolve.Host) error {
	var need int64
	for _, c := range chosen.Chosen.Packages {
		kib, err := strconv.ParseInt(c.Stanza.Get("Installed-Size"), 10, 64)
		if err == nil && kib > 0 && kib < 1<<40 && status.Installed(c.Name, c.Architecture) == "" {
			need += kib << 10
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(h.Path("usr"), &st); err != nil {
		return nil // not there yet, or no answer; dpkg will tell
	}
	if free := int64(st.Bavail) * int64(st.Bsize); need > free {
		return fmt.Errorf("%s: the packages take %.1f MB when they are installed and %.1f MB are free: %w",
			h.Path("usr"), float64(need)/1e6, float64(free)/1e6, unix.ENOSPC)
	}
	return nil
}

// Packages reads what a machine has from a dpkg status file; nil for the name "none". Not
// named, it is that of h; log says which one is read.
func Packages(name string, h *Host, log outcome.Log) (*resolve.Host, error) {
	if name == "none" {
		return nil, nil
	}
	file, read := name, func() ([]byte, error) { return os.ReadFile(name) }
	if name == "" {
		file, read = h.StatusFile(), h.ReadStatus
	}
	data, err := read()
	if errors.Is(err, os.ErrNotExist) && name == "" {
		log.Printf("host status: none (%s is not there)", file)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: host status: %w", outcome.ErrUsage, err)
	}
	log.Printf("host status: %s; what it has is left out", file)
	parsed, err := resolve.ParseStatus(data)
	if err != nil {
		return nil, fmt.Errorf("%w: host status %s: %w", outcome.ErrUsage, file, err)
	}
	for _, note := range parsed.Notes() {
		log.Printf("host status: %s", note)
	}
	return parsed, nil
}

// debArch is Debian's name of the architecture this binary runs on.
func debArch() string {
	names := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el", "mips64le": "mips64el"}
	if n, ok := names[runtime.GOARCH]; ok {
		return n
	}
	return runtime.GOARCH
}
