package resolve

import (
	"fmt"
	"slices"
)

// wounds watches over a host: nothing that is installed may end up with a
// dependency unmet or beside something it conflicts with. The cure of a wound
// is to upgrade what is hurt, or to install what it misses; where neither can
// be, the choice that hurt it is taken back.
//
// What was broken before is not ours to mend, and is left as it is.
type wounds struct {
	present []*version         // what is installed, by name and architecture
	broken  map[wound]struct{} // unmet before anything was chosen
}

// wound is an unmet clause of an installed package.
type wound struct {
	v      *version
	clause int
}

// newWounds looks at the host before anything is chosen.
func newWounds(s *session) *wounds {
	w := &wounds{broken: map[wound]struct{}{}}
	for _, c := range s.host.installed {
		if arch := s.archOf(c); !slices.Contains(s.arches, arch) {
			continue // an architecture that nobody asked about can neither help nor be hurt
		}
		v := s.slot(c.pkg.Name, s.archOf(c)).installed
		w.present = append(w.present, v)
		for k := range c.clauses {
			if !reached(s.options(v, k)) {
				w.broken[wound{v, k}] = struct{}{}
			}
		}
	}
	return w
}

// wound finds something that the choices have broken. Each choice that put a
// version in the place of another, or beside what does not bear it, is looked
// at again, since what is chosen later may cure or cause it.
func (x *search) wound() (open, bool) {
	if x.host == nil {
		return open{}, false
	}
	for _, p := range x.trail {
		if todo, found := x.unmet(p.v); found {
			return todo, true
		}
		if todo, found := x.disturbs(p.v); found {
			return todo, true
		}
	}
	for _, v := range x.wounds.present {
		if v.slot.current != v {
			continue
		}
		if todo, found := x.disturbed(v); found {
			return todo, true
		}
		if todo, found := x.bereft(v); found {
			return todo, true
		}
	}
	return open{}, false
}

// unmet finds a clause of a chosen version that lost what met it.
func (x *search) unmet(v *version) (open, bool) {
	clauses := x.relations(v).clauses
	for k := range clauses {
		if !clauses[k].soft() && !reached(x.options(v, k)) {
			return open{owner: v, clause: &clauses[k], options: x.settled(x.choices(v, k))}, true
		}
	}
	return open{}, false
}

// disturbs finds an installed package that a chosen version must not be with.
func (x *search) disturbs(v *version) (open, bool) {
	for _, e := range x.enemies(v) {
		if e.slot.current == e && !e.slot.decided {
			return x.upgradeOf(e, v, x.clash(v, e)), true
		}
	}
	return open{}, false
}

// disturbed finds a chosen version that installed v must not be with.
func (x *search) disturbed(v *version) (open, bool) {
	for _, e := range x.enemies(v) {
		if e.slot.current == e && e.slot.decided {
			return x.upgradeOf(v, e, x.clash(v, e)), true
		}
	}
	return open{}, false
}

// upgradeOf asks for another version of installed v because of what was chosen.
// A version that minds that too is turned down when it is tried.
func (x *search) upgradeOf(v, because *version, why Reason) open {
	return open{owner: v, options: v.slot.versions, causes: []*version{because}, reason: why,
		text: fmt.Sprintf("%s %s: %s, and %s would have to be upgraded", x.title(x.of(why, v, because)), why.Field, why.Clause, x.title(v))}
}

// of is the one of two versions whose package a reason names.
func (x *search) of(why Reason, a, b *version) *version {
	if x.relations(a).pkg == why.Parent {
		return a
	}
	return b
}

// clash tells by which relation v must not be with e.
func (x *search) clash(v, e *version) Reason {
	c := x.relations(v)
	for i := range c.against {
		for j := range c.against[i].alternatives {
			if r := &c.against[i].alternatives[j]; x.hits(x.relations(e), r) {
				return Reason{Parent: c.pkg, Field: c.against[i].field, Clause: r.String()}
			}
		}
	}
	return Reason{Parent: c.pkg, Field: "Multi-Arch", Clause: fmt.Sprintf("%s:%s (= %s)", e.slot.name, e.slot.arch, v.version)}
}

// bereft finds a clause of installed v that was met before and is not now.
func (x *search) bereft(v *version) (open, bool) {
	clauses := x.relations(v).clauses
	for k := range clauses {
		if clauses[k].soft() || reached(x.options(v, k)) {
			continue
		}
		if _, before := x.wounds.broken[wound{v, k}]; before {
			continue
		}
		return open{owner: v, clause: &clauses[k],
			options: slices.Concat(v.slot.versions, x.settled(x.choices(v, k)))}, true
	}
	return open{}, false
}
