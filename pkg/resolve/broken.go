package resolve

import (
	"fmt"
	"slices"
)

// brokenDependencies watches over a host: nothing that is installed may end up
// with an unmet dependency or beside something it conflicts with. Where a
// choice breaks a package, that one is upgraded or what it misses is installed;
// where neither can be, the choice is taken back.
//
// What was broken before is left as it is.
type brokenDependencies struct {
	installed []*version          // by name and architecture
	before    map[dependency]bool // unmet before anything was chosen
}

// dependency is a clause of an installed package.
type dependency struct {
	v      *version
	clause int
}

// newBrokenDependencies looks at the host before anything is chosen.
func newBrokenDependencies(s *session) *brokenDependencies {
	b := &brokenDependencies{before: map[dependency]bool{}}
	for _, c := range s.host.installed {
		v := s.slot(c.Pkg.Name, s.ArchOf(c.Pkg)).installed
		if v.parsed != c {
			continue // "all" and native under one name: dpkg has no such status
		}
		b.installed = append(b.installed, v)
		for k := range c.Clauses {
			if !reached(s.choices(v, k)) {
				b.before[dependency{v, k}] = true
			}
		}
	}
	return b
}

// nextBroken finds something that the choices have broken. Every choice is
// looked at again each time, since a later one may break or mend it.
func (x *search) nextBroken() (task, bool) {
	if x.host == nil {
		return task{}, false
	}
	for _, p := range x.trail {
		if todo, found := x.unmet(p.v); found {
			return todo, true
		}
		if todo, found := x.conflicting(p.v); found {
			return todo, true
		}
	}
	for _, v := range x.broken.installed {
		if v.slot.current != v {
			continue
		}
		if todo, found := x.conflicting(v); found {
			return todo, true
		}
		if todo, found := x.unmet(v); found {
			return todo, true
		}
	}
	return task{}, false
}

// unmet finds a clause of v that the choices have left unmet. An installed
// package may be upgraded instead of meeting it.
func (x *search) unmet(v *version) (task, bool) {
	clauses := x.control(v).Clauses
	for k := range clauses {
		options := x.choices(v, k)
		if clauses[k].Optional() || reached(options) || x.broken.before[dependency{v, k}] {
			continue
		}
		if v == v.slot.installed {
			options = slices.Concat(v.slot.versions, options)
		}
		return task{owner: v, clause: &clauses[k], options: options}, true
	}
	return task{}, false
}

// conflicting finds an installed package that a chosen version v must not be
// with, or for installed v a chosen version. The installed one is to be
// upgraded; an upgrade that conflicts as well is refused when it is tried.
func (x *search) conflicting(v *version) (task, bool) {
	for _, o := range x.conflicts(v) {
		if o.slot.current != o || o.slot.decided == v.slot.decided {
			continue
		}
		installed, chosen := o, v
		if o.slot.decided {
			installed, chosen = v, o
		}
		why := x.conflict(v, o)
		return task{owner: installed, options: installed.slot.versions, causes: []*version{chosen}, reason: why,
			text: fmt.Sprintf("%s %s: %s, and %s would have to be upgraded", x.title(v), why.Field, why.Clause, x.title(installed))}, true
	}
	return task{}, false
}

// conflict tells by which relation v must not be with o.
func (x *search) conflict(v, o *version) Reason {
	c := x.control(v)
	for i := range c.Against {
		for j := range c.Against[i].Alternatives {
			if r := &c.Against[i].Alternatives[j]; x.Excludes(x.control(o), r) {
				return Reason{Parent: c.Pkg, Field: c.Against[i].Field, Clause: r.String()}
			}
		}
	}
	return Reason{Parent: c.Pkg, Field: "Multi-Arch", Clause: fmt.Sprintf("%s:%s (= %s)", o.slot.name, o.slot.arch, v.number)}
}
