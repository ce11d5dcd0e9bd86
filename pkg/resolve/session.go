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

	options [][]*version // by clause, see session.options
	rivals  []*version   // see session.enemies
	rivalry bool         // rivals are known

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

// matching appends each version that a relation concerns: those of the name,
// then those that provide it.
func (s *session) matching(to []*version, r *deb.Relation, fits func(*candidate) bool) []*version {
	add := func(v *version) {
		if c := s.relations(v); c.fault == nil && fits(c) && !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	for _, arch := range s.arches {
		sl := s.slot(r.Name, arch)
		if sl.installed != nil {
			add(sl.installed)
		}
		for _, v := range sl.versions {
			if r.Op == deb.Any || r.Satisfied(v.version) {
				add(v)
			}
		}
	}
	for _, c := range s.hosts[r.Name] {
		if sl := s.slot(c.pkg.Name, s.archOf(c)); sl.installed != nil {
			add(sl.installed)
		}
	}
	for _, id := range s.u.table.provided(r.Name) {
		if v := s.versionOf(id); v != nil {
			add(v)
		}
	}
	return to
}

// options are the versions that satisfy clause k of v, in the order in which
// they are tried: for each alternative apt's candidates, upgrades of what is
// installed first, and when all that fails, other versions.
func (s *session) options(v *version, k int) []*version {
	c := s.relations(v)
	if v.options == nil {
		v.options = make([][]*version, len(c.clauses))
	}
	if v.options[k] != nil {
		return v.options[k]
	}
	from := v.slot.arch
	var present, upgrades, fresh, rest []*version
	for i := range c.clauses[k].alternatives {
		r := &c.clauses[k].alternatives[i]
		s.found = s.matching(s.found[:0], r, func(c *candidate) bool { return s.satisfies(c, r, from) })
		s.sortByPreference(s.found, r.Name)
		for _, o := range s.found {
			switch {
			case o == o.slot.installed:
				present = append(present, o)
			case !o.candidate:
				rest = append(rest, o)
			case o.slot.installed != nil:
				upgrades = append(upgrades, o)
			default:
				fresh = append(fresh, o)
			}
		}
	}
	all := make([]*version, 0, len(present)+len(upgrades)+len(fresh)+len(rest))
	for _, list := range [][]*version{present, upgrades, fresh, rest} {
		for _, o := range list {
			if !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	v.options[k] = all
	return all
}

// sortByPreference orders the versions that could satisfy one alternative as
// apt does: the package of that name before those that provide it, essential
// ones, the native architecture, higher priority.
func (s *session) sortByPreference(vs []*version, name string) {
	if len(vs) < 2 {
		return
	}
	first := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(vs, func(a, b *version) int {
		x, y := s.relations(a), s.relations(b)
		return cmp.Or(
			cmp.Compare(first(a.slot.name == name), first(b.slot.name == name)),
			cmp.Compare(first(x.essential), first(y.essential)),
			cmp.Compare(first(x.important), first(y.important)),
			cmp.Compare(slices.Index(s.arches, a.slot.arch), slices.Index(s.arches, b.slot.arch)),
			cmp.Compare(x.priority, y.priority),
			s.compareMention(a.slot, b.slot),
		)
	})
}

// compareMention settles what is equal in all else: the name that the indices
// mention later comes first.
func (s *session) compareMention(a, b *slot) int {
	if a == b {
		return 0
	}
	return cmp.Or(cmp.Compare(s.u.mentioned(b.name), s.u.mentioned(a.name)), strings.Compare(b.name, a.name))
}

// enemies are the versions that must not be installed together with v: what it
// Conflicts with or Breaks, and its own name in another architecture unless
// both are Multi-Arch: same in one version. A package is no enemy of itself by
// what it provides (deb-control(5)).
func (s *session) enemies(v *version) []*version {
	if v.rivalry {
		return v.rivals
	}
	v.rivalry = true
	c := s.relations(v)
	for i := range c.against {
		for j := range c.against[i].alternatives {
			r := &c.against[i].alternatives[j]
			v.rivals = s.matching(v.rivals, r, func(o *candidate) bool {
				return o.pkg.Name != v.slot.name && s.hits(o, r)
			})
		}
	}
	for _, arch := range s.arches {
		if arch == v.slot.arch {
			continue
		}
		sibling := s.slot(v.slot.name, arch)
		for _, o := range sibling.all() {
			if oc := s.relations(o); c.multi != multiSame || oc.multi != multiSame || o.version != v.version {
				v.rivals = append(v.rivals, o)
			}
		}
	}
	return v.rivals
}

// all are the installed and the offered versions.
func (sl *slot) all() []*version {
	if sl.installed == nil {
		return sl.versions
	}
	return append([]*version{sl.installed}, sl.versions...)
}
