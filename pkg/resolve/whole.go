package resolve

import "fmt"

// whole takes every package of an archive that the machine can have, and
// closes over what none of them satisfies.
func (a *answer) whole(s *session, archive string) {
	var members []*version
	in := map[*version]bool{}
	for id := range int32(len(a.u.records)) {
		if s.archive(id) != archive {
			continue
		}
		v := s.versionOf(id)
		if v == nil {
			continue
		}
		a.add(a.u.pkg(id), Reason{Whole: archive})
		if !in[v] {
			in[v] = true
			members = append(members, v)
		}
	}
	if a.req.NoClosure {
		return
	}
	for _, v := range members {
		if err := s.relations(v).fault; err != nil {
			a.notes = append(a.notes, fmt.Sprintf("%s: %s cannot be read: %v", s.native, s.title(v), err))
		}
		for k := range s.relations(v).clauses {
			a.supply(s, v, k, in)
		}
	}
}

// supply closes over what satisfies one clause of a member, if no member does.
func (a *answer) supply(s *session, v *version, k int, in map[*version]bool) {
	c := &s.relations(v).clauses[k]
	if c.soft() && !s.recommends {
		return
	}
	options := s.options(v, k)
	for _, o := range options {
		if in[o] || o == o.slot.installed {
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
		in[p.v] = true
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
