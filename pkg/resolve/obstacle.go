package resolve

import "slices"

// obstacle tells why v cannot be chosen now; nil if it can be tried.
func (x *search) obstacle(v *version) *rejection {
	sl := v.slot
	switch {
	case v.bad != nil:
		return &rejection{v: v, kind: rejectedBad, because: v.bad}
	case x.relations(v).fault != nil:
		return &rejection{v: v, kind: rejectedFault}
	case sl.decided && sl.current != v:
		return &rejection{v: v, kind: rejectedSlot, by: sl.current, causes: []*version{sl.current}}
	case sl.held && v != sl.installed:
		return &rejection{v: v, kind: rejectedHold}
	case len(v.bans) > 0:
		return &rejection{v: v, kind: rejectedEnemy, by: v.bans[0], causes: v.bans[:1]}
	}
	for _, e := range x.enemies(v) {
		if e.slot.decided && e.slot.current == e {
			return &rejection{v: v, kind: rejectedEnemy, by: e, causes: []*version{e}}
		}
	}
	return x.hopeless(v)
}

// hopeless looks one step ahead: a clause of v for which nothing can be chosen
// any more. apt does the same before it marks a package.
func (x *search) hopeless(v *version) *rejection {
	clauses := x.relations(v).clauses
	for k := range clauses {
		if clauses[k].soft() {
			continue
		}
		why := &failure{owner: v, clause: &clauses[k]}
		if !slices.ContainsFunc(x.options(v, k), func(o *version) bool { return x.possible(o, v, why) }) {
			r := &rejection{v: v, kind: rejectedBad, because: why}
			for i := range why.rejects {
				for _, c := range why.rejects[i].causes {
					if c != v && !slices.Contains(r.causes, c) {
						r.causes = append(r.causes, c)
					}
				}
			}
			if len(r.causes) == 0 {
				x.mark(v, why)
			}
			return r
		}
	}
	return nil
}

// possible is the cheap part of obstacle, for an option of v.
func (x *search) possible(o, v *version, why *failure) bool {
	var r rejection
	switch sl := o.slot; {
	case sl.current == o || o == v:
		return true
	case o.bad != nil:
		r = rejection{v: o, kind: rejectedBad, because: o.bad}
	case sl.decided:
		r = rejection{v: o, kind: rejectedSlot, by: sl.current, causes: []*version{sl.current}}
	case sl.held && o != sl.installed:
		r = rejection{v: o, kind: rejectedHold}
	case len(o.bans) > 0:
		r = rejection{v: o, kind: rejectedEnemy, by: o.bans[0], causes: o.bans[:1]}
	default:
		return true
	}
	why.rejects = append(why.rejects, r)
	return false
}
