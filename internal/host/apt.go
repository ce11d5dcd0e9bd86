package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// Where apt looks (apt.conf(5), sources.list(5), apt_preferences(5)).
const (
	sourcesDir = "etc/apt/sources.list.d"
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
	Mirror   string // URL of the mirror, which apt reaches without a proxy; or oci://.. of a registry
	// KeyFiles puts keys into files in /etc/apt/keyrings. It is so anyway where the
	// host's own apt takes none inline.
	KeyFiles bool
	Policy   []byte // apt preferences; nil: none
	// Alone moves all other sources aside: a host without the internet cannot update with them.
	Alone bool
}

// UseMirror points apt at a mirror. It returns the paths that changed; called
// again with the same it changes nothing.
func (h *Host) UseMirror(a Apt) ([]string, error) {
	a.KeyFiles = a.KeyFiles || h.oldApt()
	files := map[string][]byte{}
	for _, ar := range a.Archives {
		stanzas := slices.Clone(ar.Sources)
		keyName := sources.KeyFile(ar.Prefix)
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
	if !strings.HasPrefix(a.Mirror, "oci") { // of a registry, proxies are the environment's
		conf, err := direct(a.Mirror)
		if err != nil {
			return nil, err
		}
		files[confFile] = conf
	}
	if a.Policy != nil {
		files[prefFile] = a.Policy
	}
	var aside []string
	if a.Alone {
		var err error
		if aside, err = h.otherSources(files); err != nil {
			return nil, err
		}
	}
	return h.put(sourceFiles, files, aside, putOptions{})
}

// oldApt tells whether the apt of the host takes no key inline, by dpkg's status.
// A host without a status, or without apt in it, has none that could be old; of a status
// that cannot be read nobody knows, and files suit every apt.
func (h *Host) oldApt() (old bool) {
	err := h.eachPackage(func(s deb.Stanza, word string) {
		if s.Get("Package") == "apt" && word == "installed" && deb.Compare(s.Get("Version"), sources.InlineKeys) < 0 {
			old = true
		}
	})
	return old || err != nil && !errors.Is(err, fs.ErrNotExist)
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
