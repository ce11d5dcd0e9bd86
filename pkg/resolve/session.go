package resolve

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
)

// session is what one request knows of the packages on one machine: slots and
// versions, made as they are visited. Not safe for concurrent use.
type session struct {
	candidate.Machine
	u          *Universe
	host       *Host
	pins       map[string]string
	recommends bool

	slots      map[slotKey]*slot
	hosts      map[string][]*candidate.Control // installed packages by name and provided name
	asked      map[*version]bool               // see prefer
	duplicates map[*version][]duplicate        // see prefer
	broken     *brokenDependencies             // made by the first search on a host
}

type slotKey struct{ name, arch string }

// slot is a place that one version of a package can take on the machine.
type slot struct {
	name, arch string
	rank       int        // of the name
	versions   []*version // on offer and not older than what is installed; apt's candidate first
	installed  *version
	held       bool

	current *version // installed or chosen
	decided bool     // current was chosen
}

// version is a package that could be in a slot.
type version struct {
	slot      *slot
	of        id
	number    string   // its Version
	arch      string   // of its package
	seen      *Package // see session.pkg
	pin       int
	candidate bool // what apt would take for the name

	parsed    *candidate.Control // see session.control
	choices   [][]*version       // by clause, see session.choices
	conflicts []*version         // see session.conflicts
	compared  bool               // conflicts are known

	excludedBy []*version // chosen versions that conflict with this one
	level      int        // of the frame that chose it, or -1
	bad        *failure   // why it cannot be installed on this machine at all
	reason     Reason
}

// duplicate is a package equal to a version's that a root wants from its own
// archive or suite.
type duplicate struct {
	pkg  *Package
	root *Root
}

func newSession(u *Universe, req *Request, arches []string) *session {
	s := &session{u: u, host: req.Host, pins: req.Pins, recommends: req.Recommends,
		Machine: candidate.Machine{Native: arches[0], Arches: arches}, slots: map[slotKey]*slot{},
		asked: map[*version]bool{}, duplicates: map[*version][]duplicate{}}
	if s.host != nil {
		s.Arches = s.host.architectures(arches)
		s.hosts = map[string][]*candidate.Control{}
		for _, c := range s.host.installed {
			s.hosts[c.Pkg.Name] = append(s.hosts[c.Pkg.Name], c)
			for _, p := range c.Provides {
				if p.Name != c.Pkg.Name {
					s.hosts[p.Name] = append(s.hosts[p.Name], c)
				}
			}
		}
	}
	return s
}

// control parses the version's package at its first use.
func (s *session) control(v *version) *candidate.Control {
	if v.parsed == nil {
		v.parsed = candidate.Read(s.pkg(v))
	}
	return v.parsed
}

// pkg is the version's package. Most versions are ruled out by their number, and
// are never looked at.
func (s *session) pkg(v *version) *Package {
	if v.seen == nil {
		v.seen = s.u.look(v.of)
	}
	return v.seen
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
		if c.Pkg.Name == name && s.ArchOf(c.Pkg) == arch {
			sl.installed = &version{slot: sl, seen: c.Pkg, number: c.Pkg.Version, arch: c.Pkg.Architecture, parsed: c, level: -1}
			sl.current = sl.installed
			sl.held = s.host.held[c]
		}
	}
	sl.rank = s.u.rank(name)
	for _, p := range s.u.named(name) {
		s.offer(sl, p)
	}
	slices.SortStableFunc(sl.versions, func(a, b *version) int { return cmp.Compare(b.pin, a.pin) })
	if len(sl.versions) > 0 {
		sl.versions[0].candidate = true
	}
	return sl
}

// offer adds a package to its slot, if it can be there. Equal packages of
// several suites are one version, of the first suite and with the best pin.
func (s *session) offer(sl *slot, p id) {
	arch, number, pin := s.u.architecture(p), s.u.version(p), s.u.pin(p)
	if s.OnMachine(arch) != sl.arch || pin < 0 || !s.pinned(sl, number, arch) {
		return
	}
	if sl.installed != nil && deb.Compare(number, sl.installed.number) <= 0 {
		return
	}
	for _, known := range sl.versions {
		if known.is(number, arch) {
			known.pin = max(known.pin, pin)
			return
		}
	}
	sl.versions = append(sl.versions, &version{slot: sl, of: p, number: number, arch: arch, pin: pin, level: -1})
}

// is tells whether the version has this number and architecture.
func (v *version) is(number, arch string) bool {
	return v.number == number && v.arch == arch
}

// pinned tells whether the lock lets a version of an architecture be in the slot.
func (s *session) pinned(sl *slot, number, arch string) bool {
	if len(s.pins) == 0 {
		return true
	}
	if want, ok := s.pins[sl.name+":"+arch]; ok {
		return slices.Contains(strings.Fields(want), number)
	}
	_, other := s.pins[sl.name+":"+sl.arch]
	if !other && sl.arch == s.Native {
		_, other = s.pins[sl.name+":all"]
	}
	return !other
}

// versionOf is the version that stands for a package, nil if it has no place.
func (s *session) versionOf(p id) *version {
	own := s.u.architecture(p)
	arch := s.OnMachine(own)
	if !slices.Contains(s.Arches, arch) {
		return nil
	}
	number := s.u.version(p)
	for _, known := range s.slot(s.u.names[s.u.record(p).name], arch).versions {
		if known.is(number, own) {
			return known
		}
	}
	return nil
}

// prefer lets the version's package be the one of the archive or suite it was
// asked from, if several have it. Asked for from several, it is taken from
// each.
func (s *session) prefer(v *version, p *Package, r *Root) {
	bySuite := r.Query.Suite() != ""
	if r.Archive == "" && !bySuite {
		return
	}
	if had := s.pkg(v); p.Archive != had.Archive || bySuite && p.Suite != had.Suite {
		if s.asked[v] {
			s.duplicates[v] = append(s.duplicates[v], duplicate{p, r})
		} else {
			v.seen, v.parsed = p, nil
		}
	}
	s.asked[v] = true
}

// named yields the versions that a relation may mean: those of its name, then
// those that provide it. One may be yielded twice.
func (s *session) named(r *deb.Relation) iter.Seq[*version] {
	return func(yield func(*version) bool) {
		for _, arch := range s.Arches {
			sl := s.slot(r.Name, arch)
			if sl.installed != nil && !yield(sl.installed) {
				return
			}
			for _, v := range sl.versions {
				if r.Satisfied(v.number) && !yield(v) {
					return
				}
			}
		}
		for _, c := range s.hosts[r.Name] {
			if sl := s.slot(c.Pkg.Name, s.ArchOf(c.Pkg)); sl.installed != nil && !yield(sl.installed) {
				return
			}
		}
		for _, p := range s.u.providing(r.Name) {
			if v := s.versionOf(p); v != nil && !yield(v) {
				return
			}
		}
	}
}

// meets tells whether v satisfies a relation of a package of architecture from.
func (s *session) meets(v *version, r *deb.Relation, from string) bool {
	c := s.control(v)
	return c.Fault == nil && s.Satisfies(c, r, from)
}

// choices are the versions that satisfy clause k of v, in the order in which
// they are tried: for each alternative apt's candidates, upgrades of what is
// installed first, and when all that fails, other versions.
func (s *session) choices(v *version, k int) []*version {
	c := s.control(v)
	if v.choices == nil {
		v.choices = make([][]*version, len(c.Clauses))
	}
	if v.choices[k] != nil {
		return v.choices[k]
	}
	var present, upgrades, fresh, rest, found []*version
	for i := range c.Clauses[k].Alternatives {
		r := &c.Clauses[k].Alternatives[i]
		found = found[:0]
		for o := range s.named(r) {
			if s.meets(o, r, v.slot.arch) && !slices.Contains(found, o) {
				found = append(found, o)
			}
		}
		s.sortByPreference(found, r.Name)
		for _, o := range found {
			kind := &fresh
			switch {
			case o == o.slot.installed:
				kind = &present
			case !o.candidate:
				kind = &rest
			case o.slot.installed != nil:
				kind = &upgrades
			}
			if !slices.Contains(*kind, o) {
				*kind = append(*kind, o)
			}
		}
	}
	all := make([]*version, 0, len(present)+len(upgrades)+len(fresh)+len(rest))
	v.choices[k] = append(append(append(append(all, present...), upgrades...), fresh...), rest...)
	return v.choices[k]
}

// sortByPreference orders the versions that could satisfy one alternative as
// apt does: the package of that name before those that provide it, essential
// ones, the native architecture, higher priority, the name of higher rank.
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
		x, y := s.control(a), s.control(b)
		return cmp.Or(
			cmp.Compare(first(a.slot.name == name), first(b.slot.name == name)),
			cmp.Compare(first(x.Essential), first(y.Essential)),
			cmp.Compare(first(x.Important), first(y.Important)),
			cmp.Compare(slices.Index(s.Arches, a.slot.arch), slices.Index(s.Arches, b.slot.arch)),
			cmp.Compare(x.Priority, y.Priority),
			cmp.Compare(b.slot.rank, a.slot.rank),
			strings.Compare(b.slot.name, a.slot.name),
		)
	})
}

// conflicts are the versions that must not be installed together with v: what
// it Conflicts with or Breaks, and its own name in another architecture unless
// both are Multi-Arch: same in one version. A package does not conflict with
// itself by what it provides (deb-control(5)).
func (s *session) conflicts(v *version) []*version {
	if v.compared {
		return v.conflicts
	}
	v.compared = true
	c := s.control(v)
	for i := range c.Against {
		for j := range c.Against[i].Alternatives {
			r := &c.Against[i].Alternatives[j]
			for o := range s.named(r) {
				if oc := s.control(o); oc.Fault == nil && o.slot.name != v.slot.name && s.Excludes(oc, r) && !slices.Contains(v.conflicts, o) {
					v.conflicts = append(v.conflicts, o)
				}
			}
		}
	}
	for _, arch := range s.Arches {
		if arch == v.slot.arch {
			continue
		}
		other := s.slot(v.slot.name, arch)
		versions := other.versions
		if other.installed != nil {
			versions = append([]*version{other.installed}, versions...)
		}
		for _, o := range versions {
			if c.Multi != candidate.MultiSame || s.control(o).Multi != candidate.MultiSame || o.number != v.number {
				v.conflicts = append(v.conflicts, o)
			}
		}
	}
	return v.conflicts
}
