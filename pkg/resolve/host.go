package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
)

// MaxStatus bounds a dpkg status file, in bytes.
const MaxStatus = 512 << 20

// Host is the dpkg status of a machine. Immutable; safe for concurrent use.
type Host struct {
	installed []*candidate.Control // ordered by name and architecture
	held      map[*candidate.Control]bool
	notes     []string
}

// noArchive is the Index of a package that is installed, not on offer.
const noArchive = -1

// ParseStatus reads /var/lib/dpkg/status (dpkg(1), "package states"). Only
// packages that are installed and configured satisfy anything; others that
// left something on the machine (half-installed, unpacked, half-configured)
// are named in Notes. A package whose selection is "hold" is never changed.
//
// An empty status is a machine without packages. A stanza that cannot be read
// is an error: what cannot be seen could be broken.
func ParseStatus(data []byte) (*Host, error) {
	if len(data) > MaxStatus {
		return nil, fmt.Errorf("dpkg status: %d bytes, over the limit of %d", len(data), MaxStatus)
	}
	h := &Host{held: map[*candidate.Control]bool{}}
	sc := deb.NewScanner(data)
	for {
		s, err := sc.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = h.add(s)
		}
		if err != nil {
			return nil, fmt.Errorf("dpkg status: line %d: %w", sc.Line(), err)
		}
	}
	slices.SortStableFunc(h.installed, func(a, b *candidate.Control) int {
		return cmp.Or(cmp.Compare(a.Pkg.Name, b.Pkg.Name), cmp.Compare(a.Pkg.Architecture, b.Pkg.Architecture))
	})
	for i := 1; i < len(h.installed); i++ {
		a, b := h.installed[i-1].Pkg, h.installed[i].Pkg
		if a.Name == b.Name && a.Architecture == b.Architecture {
			return nil, fmt.Errorf("dpkg status: %s:%s is there twice", a.Name, a.Architecture)
		}
	}
	return h, nil
}

// Notes are the packages in a state between, one line each.
func (h *Host) Notes() []string { return h.notes }

// Installed tells the version of a package that is installed and configured,
// "" if none is. Architecture "" means the first in alphabetical order.
func (h *Host) Installed(name, arch string) string {
	i, _ := slices.BinarySearchFunc(h.installed, name, func(c *candidate.Control, name string) int {
		return cmp.Compare(c.Pkg.Name, name)
	})
	for ; i < len(h.installed) && h.installed[i].Pkg.Name == name; i++ {
		if a := h.installed[i].Pkg.Architecture; arch == "" || a == arch || a == "all" {
			return h.installed[i].Pkg.Version
		}
	}
	return ""
}

// add reads one package of the status.
func (h *Host) add(s deb.Stanza) error {
	var v [5]string
	s.Values(v[:], "Package", "Version", "Architecture", "Status", "Source")
	words := strings.Fields(v[3])
	if v[0] == "" || len(words) != 3 {
		return fmt.Errorf("package %.80q: status %.80q", v[0], v[3])
	}
	switch words[2] {
	case "not-installed", "config-files":
		return nil
	case "installed", "triggers-pending":
		if words[1] == "ok" {
			return h.addInstalled(s, v[0], v[1], v[2], words[0] == "hold")
		}
	}
	h.notes = append(h.notes, fmt.Sprintf("%s %s is %s %s: it satisfies nothing", v[0], v[1], words[1], words[2]))
	return nil
}

func (h *Host) addInstalled(s deb.Stanza, name, version, arch string, held bool) error {
	if !deb.ValidName(name) || !deb.ValidArchitecture(arch) {
		return fmt.Errorf("package %.80q: architecture %.80q", name, arch)
	}
	if _, err := deb.ParseVersion(version); err != nil {
		return fmt.Errorf("package %s: version %.80q: %w", name, version, err)
	}
	source, _ := s.Source()
	c := candidate.Read(&Package{Index: noArchive, Stanza: s, PackageFile: archive.PackageFile{
		Name: name, Version: version, Architecture: arch, Source: source}})
	if c.Fault != nil {
		return errors.Join(fmt.Errorf("package %s", name), c.Fault)
	}
	h.installed = append(h.installed, c)
	h.held[c] = held
	return nil
}

// Foreign are the architectures other than arch of which something is installed, in order.
func (h *Host) Foreign(arch string) []string { return h.architectures([]string{arch})[1:] }

// architectures are the given ones and after them all others of the host.
func (h *Host) architectures(given []string) []string {
	all := slices.Clone(given)
	for _, c := range h.installed {
		if a := c.Pkg.Architecture; a != "all" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	slices.Sort(all[len(given):])
	return all
}
