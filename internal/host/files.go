package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

// set is a number of files that are written, replaced and removed together. It is named by the file that
// records what was written, so that exactly that can be undone. That is
// not in the state directory of the server, which belongs to a user without rights:
// root must not remove what that user names.
type set string

const (
	sourceFiles   set = "var/lib/mmoci-host/files" // of apt
	serviceFiles  set = "var/lib/mmoci-host/service-files"
	registryFiles set = "var/lib/mmoci-host/registry-files"
)

// sets are all of them, in the order in which they are undone: whoever uses the mirror goes last.
var sets = []set{serviceFiles, registryFiles, sourceFiles}

// manifest is the record of a set. Its lines are
//
//	file SHA256 PATH     written by us, with these bytes
//	moved PATH           not ours, now at PATH + disabledEnding
//
// after the first. Paths have no first slash.
type manifest struct {
	files map[string]string
	moved []string
}

const (
	manifestHead = "mmoci-host-files-v1"
	// apt ignores names in sources.list.d that end so (Dir::Ignore-Files-Silently).
	disabledEnding = ".mmoci.disabled"
)

// ErrForeign marks a file in the way that was not written by us.
var ErrForeign = errors.New("refused")

func (h *Host) readManifest(of set) (*manifest, error) {
	m := &manifest{files: map[string]string{}}
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	data, err := t.ReadFile(string(of))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != manifestHead {
		return nil, fmt.Errorf("%s: not of this version of mmoci", h.Path(string(of)))
	}
	for i, line := range lines[1:] {
		kind, rest, _ := strings.Cut(line, " ")
		sum, name, ok := strings.Cut(rest, " ")
		switch {
		case kind == "moved" && fs.ValidPath(rest):
			m.moved = append(m.moved, rest)
		case kind == "file" && ok && fs.ValidPath(name):
			m.files[name] = sum
		default:
			return nil, fmt.Errorf("%s: line %d: %.100q", h.Path(string(of)), i+2, line)
		}
	}
	return m, nil
}

func (h *Host) writeManifest(of set, m *manifest) error {
	var b strings.Builder
	fmt.Fprintln(&b, manifestHead)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		fmt.Fprintf(&b, "file %s %s\n", m.files[name], name)
	}
	for _, name := range m.moved {
		fmt.Fprintf(&b, "moved %s\n", name)
	}
	return h.replace(string(of), []byte(b.String()))
}

// replace writes a file aside and gives it its name: apt sees the old bytes or the new ones.
func (h *Host) replace(name string, data []byte) error {
	t, err := h.files()
	if err != nil {
		return err
	}
	if err := makeDirs(t, path.Dir(name)); err != nil {
		return err
	}
	return durable.WriteFileIn(t, name, data, 0o644) // apt ignores the name that it has at first
}

// makeDirs makes a directory and those above it. Everybody may read those that it makes, whatever the
// umask: apt reads keys as the user _apt.
func makeDirs(t tree, name string) error {
	var missing []string
	for dir := name; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if _, err := t.Lstat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	if err := t.MkdirAll(name, 0o755); err != nil {
		return err
	}
	for _, dir := range missing {
		f, err := t.OpenFile(dir, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		err = f.Chmod(0o755)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// putOptions of put; the zero value refuses what is not ours, and keeps to the files that are named.
type putOptions struct{ replace, keep bool }

// put writes the files of a set, moves the named files of others aside, and removes what an
// earlier call for the set wrote and this one does not. It returns the paths that changed.
//
// The manifest is written first: killed anywhere, [Host.Undo] and a rerun know all
// that was touched. A file in the way that is not ours is refused before anything changes, unless o.replace is set; one
// that is as it should be already stays somebody else's. With o.keep nothing that an earlier call wrote is removed.
func (h *Host) put(of set, files map[string][]byte, aside []string, o putOptions) (changed []string, err error) {
	old, err := h.readManifest(of)
	if err != nil {
		return nil, err
	}
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	now := &manifest{files: map[string]string{}, moved: slices.Clone(old.moved)}
	if o.keep {
		maps.Copy(now.files, old.files)
	}
	for _, name := range aside {
		if _, err := t.Lstat(name + disabledEnding); err == nil {
			return nil, fmt.Errorf("%w: %s is there, and so is %s of an earlier run", ErrForeign, h.Path(name), h.Path(name)+disabledEnding)
		}
		if !slices.Contains(now.moved, name) {
			now.moved = append(now.moved, name)
		}
	}
	for name, data := range files {
		there, err := t.ReadFile(name)
		_, ours := old.files[name]
		if err == nil && !ours && bytes.Equal(there, data) {
			continue
		}
		now.files[name] = snapshot.Sum(data).Hex()
		if err == nil && !ours && !o.replace {
			return nil, fmt.Errorf("%w: %s is there and not of mmoci's making; move it away", ErrForeign, h.Path(name))
		}
	}
	both := &manifest{files: map[string]string{}, moved: now.moved}
	for _, m := range []*manifest{old, now} {
		maps.Copy(both.files, m.files)
	}
	if err := h.writeManifest(of, both); err != nil {
		return nil, err
	}
	if changed, err = h.apply(files, aside, old, now); err != nil {
		return changed, err
	}
	return changed, h.writeManifest(of, now)
}

func (h *Host) apply(files map[string][]byte, aside []string, old, now *manifest) (changed []string, err error) {
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if there, err := t.ReadFile(name); err == nil && bytes.Equal(there, files[name]) {
			continue
		}
		if err := h.replace(name, files[name]); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	for _, name := range aside {
		if err := t.Rename(name, name+disabledEnding); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	for _, name := range slices.Sorted(maps.Keys(old.files)) {
		if _, stays := now.files[name]; stays {
			continue
		}
		if err := h.remove(t, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
		changed = append(changed, name)
	}
	return changed, nil
}

// remove removes a file of ours. A unit of this machine's systemd is ended and disabled before.
func (h *Host) remove(t tree, name string) error {
	unit, isUnit := strings.CutPrefix(name, unitsDir+"/")
	running := false
	if isUnit && h.Root == "" {
		_, err := t.Lstat("run/systemd/system") // sd_booted(3)
		running = err == nil
	}
	if running {
		if err := h.systemctl("disable", "--now", unit); err != nil {
			return err
		}
	}
	err := t.Remove(name)
	if running && err == nil {
		err = h.systemctl("daemon-reload")
	}
	if dir := path.Dir(name); err == nil && path.Dir(dir) == certsDir {
		_ = t.Remove(dir) // made for this one file; it stays if there are others
	}
	return err
}

const unitsDir = "etc/systemd/system"

func (h *Host) systemctl(args ...string) error {
	cmd := exec.Command("systemctl", args...)
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = h.Out, h.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// PutService writes the files by which the mirror runs on this host, a unit of systemd's or a static pod, and what they
// need beside: as one set, so that what an earlier call wrote and this one does not is removed. It returns the paths that
// changed. A file in the way that is not ours is refused with [ErrForeign] before anything changes, unless replace is set.
//
// With keep what earlier calls wrote stays.
func (h *Host) PutService(files map[string][]byte, replace, keep bool) (changed []string, err error) {
	return h.put(serviceFiles, files, nil, putOptions{replace: replace, keep: keep})
}

// Undo undoes what [Host.UseMirror], [Host.UseRegistry] and [Host.PutService] did, and nothing else: a file that was
// changed since stays, and is named in kept. It returns the paths that changed.
func (h *Host) Undo() (changed, kept []string, err error) {
	for _, of := range sets {
		c, k, err := h.undo(of)
		changed, kept = append(changed, c...), append(kept, k...)
		if err != nil {
			return changed, kept, err
		}
	}
	return changed, kept, nil
}

func (h *Host) undo(of set) (changed, kept []string, err error) {
	m, err := h.readManifest(of)
	if err != nil {
		return nil, nil, err
	}
	t, err := h.files()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		data, err := t.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return changed, kept, err
		case snapshot.Sum(data).Hex() != m.files[name]:
			kept = append(kept, name)
			continue
		}
		if err := h.remove(t, name); err != nil {
			return changed, kept, err
		}
		changed = append(changed, name)
	}
	for _, name := range m.moved {
		from := name + disabledEnding
		if _, err := t.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue // never moved by a run that was killed, or brought back by somebody
		}
		if _, err := t.Lstat(name); err == nil {
			kept = append(kept, name+disabledEnding) // somebody made a new one
			continue
		}
		if err := t.Rename(from, name); err != nil {
			return changed, kept, err
		}
		changed = append(changed, name)
	}
	if err := t.Remove(string(of)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return changed, kept, err
	}
	return changed, kept, nil
}
