package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// File is a .deb and the package that it is, verified.
type File struct {
	Package
	Path string
}

// Change is what became of a package.
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

// Install hands batches of .debs to dpkg: each is unpacked in its order, then
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
func (h *Host) Install(ctx context.Context, batches [][]File) ([]Change, error) {
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
	changes, missing := outcome(batches, before, after)
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

// takeBack removes packages that were unpacked only, of those that the host did not have.
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

// deconfigured are packages that worked before and do not now.
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

// outcome tells what came true of what was asked for.
func outcome(batches [][]File, before, after map[string]state) (done []Change, missing []string) {
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
		return fmt.Errorf("%w: %w; mmoci pull --extract leaves the .debs to other means", ErrDpkg, err)
	}
	all := []string{"--force-confdef", "--force-confold"}
	if h.Root != "" {
		all = append(all, "--root="+h.Path(""))
	}
	cmd := exec.Command(program, append(all, args...)...)
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = h.Out, h.Out
	// Out of the terminal's reach: who interrupts mmoci must not leave packages half-installed.
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
