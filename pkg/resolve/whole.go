package resolve

import (
	"fmt"
	"slices"
)

// whole takes every package of an archive that the machine can have, and
// closes over what none of them satisfies.
func (a *answer) whole(s *session, archive string) {
	m := newMembers(s, archive)
	claims := m.look(!a.req.NoClosure)
	if len(a.reasons) == 0 {
		a.reasons = make(map[*Package]Reason, len(m.ids))
	}
	a.chosen = slices.Grow(a.chosen, len(m.ids))
	for _, id := range m.ids {
		a.add(a.u.pkg(id), Reason{Whole: archive})
	}
	for _, c := range claims {
		v := s.versionOf(c.member)
		if c.clause != everyClause {
			a.supply(m, v, c.clause)
			continue
		}
		if err := s.relations(v).fault; err != nil {
			a.notes = append(a.notes, fmt.Sprintf("%s: %s cannot be read: %v", s.native, s.title(v), err))
		}
		for k := range s.relations(v).clauses {
			a.supply(m, v, k)
		}
	}
}

// supply closes over what satisfies one clause of a member, if no member does.
func (a *answer) supply(m *members, v *version, k int) {
	s := m.session
	c := &s.relations(v).clauses[k]
	if c.soft() && !s.recommends {
		return
	}
	options := s.options(v, k)
	for _, o := range options {
		if m.have(o) || o == o.slot.installed {
			return
		}
	}
	if len(options) == 0 {
		if !c.soft() {
			a.note(fmt.Sprintf("%s: %s needs %s; seen: %s", s.native, s.title(v), c, s.seen(c.alternatives[0].Name)))
		}
		return
	}
	x := s.newSearch([]goal{{options: options, text: c.String(),
		reason: Reason{Parent: s.relations(v).pkg, Field: c.field, Clause: c.String()}}})
	defer x.reset()
	if why := x.run(); why != nil {
		if !c.soft() {
			a.note(fmt.Sprintf("%s: %s needs %s: %s", s.native, s.title(v), c, lastOf(s.explain(why))))
		}
		return
	}
	for _, p := range x.trail {
		m.drawn[p.v] = true
		if p.v.id >= 0 {
			a.add(a.u.pkg(p.v.id), p.v.reason)
		}
	}
}

// note says something once: several versions of a package often lack the same.
func (a *answer) note(text string) {
	if !a.noted[text] {
		a.noted[text] = true
		a.notes = append(a.notes, text)
	}
}

func lastOf(lines []string) string { return lines[len(lines)-1] }
