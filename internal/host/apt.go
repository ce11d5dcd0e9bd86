package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// Where apt looks (apt.conf(5), sources.list(5), apt_preferences(5)).
const (
	sourcesDir = "etc/apt/sources.list.d"
	keysDir    = "etc/apt/keyrings"
	confFile   = "etc/apt/apt.conf.d/90mmoci"
	prefFile   = "etc/apt/preferences.d/mmoci.pref"
)

// Archive is an archive that apt is to use.
type Archive struct {
	Prefix  string
	Sources []archive.Source
	Key     []byte // armoured; of the site, or of upstream
}

// Apt is the configuration of apt for a mirror.
type Apt struct {
	Archives []Archive
	Mirror   string // URL of the mirror, which apt reaches without a proxy
	KeyFiles bool   // keys as files in /etc/apt/keyrings, else inline
	Policy   []byte // apt preferences; nil: none
	// Alone moves all other sources aside: a host without the internet cannot update with them.
	Alone bool
}

// UseMirror points apt at a mirror. It returns the paths that changed; called
// again with the same it changes nothing.
func (h *Host) UseMirror(a Apt) ([]string, error) {
	files := map[string][]byte{}
	for _, ar := range a.Archives {
		stanzas := slices.Clone(ar.Sources)
		keyName := path.Join(keysDir, "mmoci-"+ar.Prefix+".asc")
		for i := range stanzas {
			stanzas[i].SignedBy, stanzas[i].SignedByKey = "", ar.Key
			if a.KeyFiles {
				stanzas[i].SignedBy, stanzas[i].SignedByKey = "/"+keyName, nil
			}
		}
		if a.KeyFiles {
			files[keyName] = ar.Key
		}
		files[sources.File(ar.Prefix)] = []byte(archive.Format(stanzas))
	}
	conf, err := direct(a.Mirror)
	if err != nil {
		return nil, err
	}
	files[confFile] = conf
	if a.Policy != nil {
		files[prefFile] = a.Policy
	}
	var aside []string
	if a.Alone {
		if aside, err = h.otherSources(files); err != nil {
			return nil, err
		}
	}
	return h.Put(files, aside)
}

// direct is the exception from the proxies that apt is configured with elsewhere.
func direct(mirror string) ([]byte, error) {
	u, err := url.Parse(mirror)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Hostname(), `"; `) {
		return nil, fmt.Errorf("mirror %q is no http(s) URL", mirror)
	}
	return fmt.Appendf(nil, "// Written by mmoci host sources; mmoci host undo removes it.\nAcquire::%s::Proxy::%s \"DIRECT\";\n", u.Scheme, u.Hostname()), nil
}

// otherSources are the source lists of apt that are not ours.
func (h *Host) otherSources(ours map[string][]byte) ([]string, error) {
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	var out []string
	if _, err := t.Lstat("etc/apt/sources.list"); err == nil {
		out = append(out, "etc/apt/sources.list")
	}
	entries, err := readDir(t, sourcesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		name := path.Join(sourcesDir, e.Name())
		if _, own := ours[name]; own || strings.HasPrefix(e.Name(), "mmoci-") {
			continue
		}
		if ending := path.Ext(name); ending == ".list" || ending == ".sources" {
			out = append(out, name)
		}
	}
	return out, nil
}

// manifestFile records what was written, so that exactly that can be undone. It is
// not in the state directory of the server, which belongs to a user without rights:
// root must not remove what that user names.
const manifestFile = "var/lib/mmoci-host/files"

// manifest is that record. Its lines are
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

func (h *Host) readManifest() (*manifest, error) {
	m := &manifest{files: map[string]string{}}
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	data, err := t.ReadFile(manifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != manifestHead {
		return nil, fmt.Errorf("%s: not of this version of mmoci", h.Path(manifestFile))
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
			return nil, fmt.Errorf("%s: line %d: %.100q", h.Path(manifestFile), i+2, line)
		}
	}
	return m, nil
}

func (h *Host) writeManifest(m *manifest) error {
	var b strings.Builder
	fmt.Fprintln(&b, manifestHead)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		fmt.Fprintf(&b, "file %s %s\n", m.files[name], name)
	}
	for _, name := range m.moved {
		fmt.Fprintf(&b, "moved %s\n", name)
	}
	return h.replace(manifestFile, []byte(b.String()))
}

// replace writes a file aside and gives it its name: apt sees the old bytes or the new ones.
func (h *Host) replace(name string, data []byte) error {
	t, err := h.files()
	if err != nil {
		return err
	}
	if err := t.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return durable.WriteFileIn(t, name, data, 0o644) // apt ignores the name that it has at first
}

// Put writes files, moves the named files of others aside, and removes what an
// earlier call wrote and this one does not. It returns the paths that changed.
//
// The manifest is written first: killed anywhere, [Host.Undo] and a rerun know all
// that was touched. A file in the way that is not ours is refused before anything changes.
func (h *Host) Put(files map[string][]byte, aside []string) (changed []string, err error) {
	old, err := h.readManifest()
	if err != nil {
		return nil, err
	}
	t, err := h.files()
	if err != nil {
		return nil, err
	}
	now := &manifest{files: map[string]string{}, moved: slices.Clone(old.moved)}
	for _, name := range aside {
		if _, err := t.Lstat(name + disabledEnding); err == nil {
			return nil, fmt.Errorf("%w: %s is there, and so is %s of an earlier run", ErrForeign, h.Path(name), h.Path(name)+disabledEnding)
		}
		if !slices.Contains(now.moved, name) {
			now.moved = append(now.moved, name)
		}
	}
	for name, data := range files {
		now.files[name] = snapshot.Sum(data).Hex()
		there, err := t.ReadFile(name)
		if _, ours := old.files[name]; err == nil && !ours && !bytes.Equal(there, data) {
			return nil, fmt.Errorf("%w: %s is there and not of mmoci's making; move it away", ErrForeign, h.Path(name))
		}
	}
	both := &manifest{files: map[string]string{}, moved: now.moved}
	for _, m := range []*manifest{old, now} {
		maps.Copy(both.files, m.files)
	}
	if err := h.writeManifest(both); err != nil {
		return nil, err
	}
	if changed, err = h.apply(files, aside, old, now); err != nil {
		return changed, err
	}
	return changed, h.writeManifest(now)
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
		if err := t.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
		changed = append(changed, name)
	}
	return changed, nil
}

// Undo undoes what [Host.Put] did, and nothing else: a file that was changed since
// stays, and is named in kept. It returns the paths that changed.
func (h *Host) Undo() (changed, kept []string, err error) {
	m, err := h.readManifest()
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
		if err := t.Remove(name); err != nil {
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
	if err := t.Remove(manifestFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return changed, kept, err
	}
	return changed, kept, nil
}
