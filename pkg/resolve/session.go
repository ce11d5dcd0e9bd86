package resolve

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// session is what one question knows of the packages on one machine: slots and
// versions, made as they are visited. Not safe for concurrent use.
type session struct {
	machine
	u          *Universe
	host       *Host
	pins       map[string]string
	recommends bool

	slots  map[slotKey]*slot
	hosts  map[string][]*candidate // installed packages by name and provided name
	found  []*version              // scratch
	asked  map[*version]bool       // roots, see prefer
	twins  map[*version][]twin     // likewise
	wounds *wounds                 // made by the first search on a host
}

type slotKey struct{ name, arch string }

// slot is a place that one version of a package can take on the machine.
type slot struct {
	name, arch string
	versions   []*version // on offer and not older than what is installed; apt's candidate first
	installed  *version
	held       bool

	current *version // installed or chosen
	decided bool     // current was chosen
}

// version is a package that could be in a slot.
type version struct {
	slot      *slot
	id        int32 // record in the universe; -1: installed
	version   string
	arch      string
	pin       int
	candidate bool       // what apt would take for the name
	parsed    *candidate // by relations()

	choices []*choices // by clause, see session.choices
	rivals  []*version // see session.enemies
	rivalry bool       // rivals are known

	bans  []*version // chosen versions that must not be with this one
	level int        // frame that chose it, or -1
	bad   *failure   // cannot be installed on this machine at all

	reason Reason
}

func newSession(u *Universe, req *Request, arches []string) *session {
	s := &session{u: u, host: req.Host, pins: req.Pins, recommends: req.Recommends,
		machine: machine{native: arches[0], arches: arches}, slots: map[slotKey]*slot{},
		asked: map[*version]bool{}, twins: map[*version][]twin{}}
	if s.host != nil {
		s.arches = s.host.architectures(arches)
		s.hosts = map[string][]*candidate{}
		for _, c := range s.host.installed {
			s.hosts[c.pkg.Name] = append(s.hosts[c.pkg.Name], c)
			for _, p := range c.provides {
				if p.Name != c.pkg.Name {
					s.hosts[p.Name] = append(s.hosts[p.Name], c)
				}
			}
		}
	}
	return s
}

// relations parses the version's package at its first use.
func (s *session) relations(v *version) *candidate {
	if v.parsed == nil {
		v.parsed = s.u.candidate(v.id)
	}
	return v.parsed
}

// slot is the place of a name and architecture.
func (s *session) slot(name, arch string) *slot {
	key := slotKey{name, arch}
	if sl := s.slots[key]; sl != nil {
		return sl
	}
	sl := &slot{name: name, arch: arch}
	s.slots[key] = sl
	for _, c := range s.hosts[name] {
		if c.pkg.Name == name && s.archOf(c) == arch {
			sl.installed = &version{slot: sl, id: -1, version: c.pkg.Version, arch: c.pkg.Architecture, parsed: c, level: -1}
			sl.current = sl.installed
			sl.held = s.host.held[c]
		}
	}
	for _, id := range s.u.table.named(name) {
		s.offer(sl, id)
	}
	slices.SortStableFunc(sl.versions, func(a, b *version) int {
		return cmp.Or(cmp.Compare(b.pin, a.pin), deb.Compare(b.version, a.version), cmp.Compare(a.id, b.id))
	})
	if len(sl.versions) > 0 {
		sl.versions[0].candidate = true
	}
	return sl
}

// offer adds a record to its slot, if it can be there. Equal packages of
// several suites are one version, of the first suite and with the best pin.
func (s *session) offer(sl *slot, id int32) {
	arch := s.u.archOf(id)
	if arch != sl.arch && (arch != "all" || sl.arch != s.native) {
		return
	}
	v, pin := s.u.version(id), s.u.pin(id)
	if pin < 0 || !s.pinned(sl, arch, v) {
		return
	}
	if sl.installed != nil && deb.Compare(v, sl.installed.version) <= 0 {
		return
	}
	for _, known := range sl.versions {
		if known.version == v && known.arch == arch {
			known.pin = max(known.pin, pin)
			return
		}
	}
	sl.versions = append(sl.versions, &version{slot: sl, id: id, version: v, arch: arch, pin: pin, level: -1})
}

// pinned tells whether the lock lets a version be in the slot.
func (s *session) pinned(sl *slot, arch, v string) bool {
	if len(s.pins) == 0 {
		return true
	}
	if want, ok := s.pins[sl.name+":"+arch]; ok {
		return slices.Contains(strings.Fields(want), v)
	}
	_, other := s.pins[sl.name+":"+sl.arch]
	if !other && sl.arch == s.native {
		_, other = s.pins[sl.name+":all"]
	}
	return !other
}

// versionOf is the version that stands for a record, nil if it has no place.
func (s *session) versionOf(id int32) *version {
	arch := s.u.archOf(id)
	at := arch
	if arch == "all" {
		at = s.native
	}
	if !slices.Contains(s.arches, at) {
		return nil
	}
	v := s.u.version(id)
	for _, known := range s.slot(s.u.name(id), at).versions {
		if known.id == id || known.version == v && known.arch == arch {
			return known
		}
	}
	return nil
}
