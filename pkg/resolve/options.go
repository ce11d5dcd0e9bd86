package resolve

import (
	"cmp"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

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

// choices are versions in the order in which they are tried. Where that
// order is known but for what sortByMention would say, it is left open:
// finding out is dear, and most choices are never tried.
type choices struct {
	versions []*version
	class    []int32 // of each version; equal ones in a row are in no order yet
}

// settle orders the class that begins at i.
func (s *session) settle(c *choices, i int) {
	if i > 0 && c.class[i-1] == c.class[i] {
		return // done when its first was tried
	}
	end := i + 1
	for end < len(c.class) && c.class[end] == c.class[i] {
		end++
	}
	s.sortByMention(c.versions[i:end])
}

// settled are the versions in their final order.
func (s *session) settled(c *choices) []*version {
	for i := range c.versions {
		s.settle(c, i)
	}
	return c.versions
}

// options are the versions that satisfy clause k of v, in no order to rely on.
func (s *session) options(v *version, k int) []*version { return s.choices(v, k).versions }

// choices are the versions that satisfy clause k of v, in the order in which
// they are tried: for each alternative apt's candidates, upgrades of what is
// installed first, and when all that fails, other versions.
func (s *session) choices(v *version, k int) *choices {
	c := s.relations(v)
	if v.choices == nil {
		v.choices = make([]*choices, len(c.clauses))
	}
	if v.choices[k] != nil {
		return v.choices[k]
	}
	from, class := v.slot.arch, int32(0)
	var present, upgrades, fresh, rest choices
	for i := range c.clauses[k].alternatives {
		r := &c.clauses[k].alternatives[i]
		s.found = s.matching(s.found[:0], r, func(c *candidate) bool { return s.satisfies(c, r, from) })
		s.sortByPreference(s.found, r.Name)
		for j, o := range s.found {
			if j == 0 || s.comparePreference(s.found[j-1], o, r.Name) != 0 {
				class++
			}
			switch {
			case o == o.slot.installed:
				present.add(o, class)
			case !o.candidate:
				rest.add(o, class)
			case o.slot.installed != nil:
				upgrades.add(o, class)
			default:
				fresh.add(o, class)
			}
		}
	}
	all := &choices{make([]*version, 0, class), make([]int32, 0, class)}
	for kind, list := range []*choices{&present, &upgrades, &fresh, &rest} {
		for j, o := range list.versions {
			if !slices.Contains(all.versions, o) {
				all.add(o, list.class[j]*4+int32(kind))
			}
		}
	}
	v.choices[k] = all
	return all
}

func (c *choices) add(v *version, class int32) {
	c.versions, c.class = append(c.versions, v), append(c.class, class)
}

// sortByPreference orders the versions that could satisfy one alternative, but
// for what sortByMention tells.
func (s *session) sortByPreference(vs []*version, name string) {
	if len(vs) > 1 {
		slices.SortStableFunc(vs, func(a, b *version) int { return s.comparePreference(a, b, name) })
	}
}

// comparePreference is apt's order: the package of that name before those that
// provide it, essential ones, the native architecture, higher priority.
func (s *session) comparePreference(a, b *version, name string) int {
	first := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	x, y := s.relations(a), s.relations(b)
	return cmp.Or(
		cmp.Compare(first(a.slot.name == name), first(b.slot.name == name)),
		cmp.Compare(first(x.essential), first(y.essential)),
		cmp.Compare(first(x.important), first(y.important)),
		cmp.Compare(slices.Index(s.arches, a.slot.arch), slices.Index(s.arches, b.slot.arch)),
		cmp.Compare(x.priority, y.priority),
	)
}

// sortByMention settles what is equal in all else: the name that the indices
// mention later comes first.
func (s *session) sortByMention(vs []*version) {
	var names []string
	for _, v := range vs {
		if !slices.Contains(names, v.slot.name) {
			names = append(names, v.slot.name)
		}
	}
	if len(names) < 2 {
		return
	}
	rank := s.u.mentioned(names)
	slices.SortStableFunc(vs, func(a, b *version) int {
		x, y := a.slot.name, b.slot.name
		return cmp.Or(cmp.Compare(rank[y], rank[x]), strings.Compare(y, x))
	})
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
