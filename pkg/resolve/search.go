package resolve

import (
	"slices"

	"example.org/mmoci/pkg/resolve/candidate"
)

// MaxSteps bounds how many versions one search tries beyond those there are.
// The largest closures of a release need some thousands.
const MaxSteps = 50_000

// search finds versions for a list of targets. It goes depth first in the order
// of the stanzas, as apt marks packages, and backtracks where that fails: it
// records which choices caused a failure and returns to the last of them
// (conflict-directed backjumping). A version that fails without such a cause is
// never tried again.
//
// With a host, every installed version is in its slot from the start,
// undecided. Once all targets are reached, the dependencies that the choices
// broke on the host become tasks, until none is broken.
type search struct {
	*session
	targets []target
	frames  []*frame
	trail   []placed
	steps   int
	marked  []*version // found bad
}

// target is something asked for: one of these versions, the first that works.
type target struct {
	options []*version
	reason  Reason
	text    string // for messages
}

// newSearch prepares a search for targets; reset must follow.
func (s *session) newSearch(targets []target) *search {
	x := &search{session: s, targets: targets}
	if s.host != nil && s.broken == nil {
		s.broken = newBrokenDependencies(s)
	}
	return x
}

// agenda is what is still to be looked at: an immutable list.
type agenda struct {
	target int      // this target, if owner is nil and expand is not set
	expand bool     // the clauses of the version chosen for target
	owner  *version // the clauses of owner from clause on
	clause int
	rest   *agenda
}

// task is something to choose a version for: a target, a clause of owner or,
// with neither, an upgrade of owner.
type task struct {
	owner    *version
	clause   *candidate.Clause
	target   *target
	options  []*version
	optional bool
	causes   []*version // chosen versions that made it necessary, owner aside
	reason   Reason     // if neither clause nor target tells it
	text     string     // likewise, for messages
	rest     *agenda
}

// frame is a choice that was made.
type frame struct {
	task
	next   int // option to try next
	trail  int // length of the trail before the choice
	chosen *version
	agenda *agenda    // after the choice
	failed []*version // causes of the failures so far
	reject []rejection
}

// placed is a step to be undone.
type placed struct {
	v       *version
	before  *version
	decided bool
}

// run reaches all targets, or tells why that cannot be.
func (x *search) run() *failure {
	var at *agenda
	for i := len(x.targets) - 1; i >= 0; i-- {
		at = &agenda{target: i, expand: true, rest: at}
	}
	for i := len(x.targets) - 1; i >= 0; i-- {
		at = &agenda{target: i, rest: at}
	}
	for {
		todo, found := x.advance(at)
		if !found {
			if todo, found = x.nextBroken(); !found {
				return nil
			}
		}
		f := &frame{task: todo, trail: len(x.trail), failed: slices.Clone(todo.causes)}
		x.frames = append(x.frames, f)
		for !x.try(f) {
			if f.optional {
				x.frames = x.frames[:len(x.frames)-1]
				f.agenda = f.rest
				break
			}
			var why *failure
			if f, why = x.backjump(f); f == nil {
				return why
			}
		}
		at = f.agenda
	}
}

// exhausted tells that the search has gone on for too long.
func (x *search) exhausted() bool { return x.steps > MaxSteps+len(x.u.packages) }

// advance finds the next task on the agenda.
func (x *search) advance(at *agenda) (task, bool) {
	for at != nil {
		owner := at.owner
		switch {
		case owner == nil && !at.expand:
			g := &x.targets[at.target]
			if !reached(g.options) {
				return task{target: g, options: g.options, rest: at.rest}, true
			}
			at = at.rest
			continue
		case owner == nil:
			owner = x.chosenFor(&x.targets[at.target])
		}
		clauses := x.control(owner).Clauses
		for k := at.clause; k < len(clauses); k++ {
			optional := clauses[k].Optional()
			if optional && !x.recommends || reached(x.choices(owner, k)) {
				continue
			}
			return task{owner: owner, clause: &clauses[k], options: x.choices(owner, k), optional: optional,
				rest: &agenda{owner: owner, clause: k + 1, rest: at.rest}}, true
		}
		at = at.rest
	}
	return task{}, false
}

// reached tells whether one of the versions is in its slot.
func reached(options []*version) bool {
	for _, o := range options {
		if o.slot.current == o {
			return true
		}
	}
	return false
}

func (x *search) chosenFor(g *target) *version {
	for _, o := range g.options {
		if o.slot.current == o {
			return o
		}
	}
	return nil
}

// try makes the next choice that is possible.
func (x *search) try(f *frame) bool {
	x.undo(f.trail)
	if f.chosen != nil {
		f.chosen.level = -1
		f.chosen = nil
	}
	for f.next < len(f.options) {
		v := f.options[f.next]
		f.next++
		if x.steps++; x.exhausted() {
			return false
		}
		if r := x.refusal(v); r != nil {
			f.blame(r.causes)
			f.reject = append(f.reject, *r)
			continue
		}
		x.place(v)
		f.chosen, v.level = v, len(x.frames)-1
		f.agenda = &agenda{owner: v, rest: f.rest}
		switch {
		case f.target != nil:
			f.agenda = f.rest
			v.reason = f.target.reason
		case f.clause != nil:
			v.reason = Reason{Parent: x.control(f.owner).Pkg, Field: f.clause.Field, Clause: f.clause.String()}
		default:
			v.reason = f.reason
		}
		return true
	}
	return false
}

// refusal tells why v cannot be chosen now; nil if it can be tried.
func (x *search) refusal(v *version) *rejection {
	if r := x.blocked(v); r != nil {
		return r
	}
	for _, o := range x.conflicts(v) {
		if o.slot.decided && o.slot.current == o {
			return &rejection{v: v, kind: rejectedConflict, by: o, causes: []*version{o}}
		}
	}
	return x.unsatisfiable(v)
}

// blocked is the cheap part of refusal: what is known of v without looking at
// other versions.
func (x *search) blocked(v *version) *rejection {
	sl := v.slot
	switch {
	case v.bad != nil:
		return &rejection{v: v, kind: rejectedBad, because: v.bad}
	case x.control(v).Fault != nil:
		return &rejection{v: v, kind: rejectedFault}
	case sl.decided && sl.current != v:
		return &rejection{v: v, kind: rejectedSlot, by: sl.current, causes: []*version{sl.current}}
	case sl.held && v != sl.installed:
		return &rejection{v: v, kind: rejectedHold}
	case len(v.excludedBy) > 0:
		return &rejection{v: v, kind: rejectedConflict, by: v.excludedBy[0], causes: v.excludedBy[:1]}
	}
	return nil
}

// unsatisfiable looks one step ahead, as apt does before it marks a package: at
// a clause of v for which nothing can be chosen any more.
func (x *search) unsatisfiable(v *version) *rejection {
	clauses := x.control(v).Clauses
	for k := range clauses {
		options := x.choices(v, k)
		if clauses[k].Optional() || slices.ContainsFunc(options, func(o *version) bool {
			return o.slot.current == o || o == v || x.blocked(o) == nil
		}) {
			continue
		}
		why := &failure{owner: v, clause: &clauses[k]}
		r := &rejection{v: v, kind: rejectedBad, because: why}
		for _, o := range options {
			blocked := x.blocked(o)
			why.rejects = append(why.rejects, *blocked)
			for _, c := range blocked.causes {
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
	return nil
}

// place puts v into its slot.
func (x *search) place(v *version) {
	x.trail = append(x.trail, placed{v, v.slot.current, v.slot.decided})
	v.slot.current, v.slot.decided = v, true
	for _, o := range x.conflicts(v) {
		o.excludedBy = append(o.excludedBy, v)
	}
}

// undo takes versions out of their slots until the trail is as short as it was.
func (x *search) undo(length int) {
	for len(x.trail) > length {
		p := x.trail[len(x.trail)-1]
		x.trail = x.trail[:len(x.trail)-1]
		p.v.slot.current, p.v.slot.decided = p.before, p.decided
		for _, o := range x.conflicts(p.v) {
			o.excludedBy = o.excludedBy[:len(o.excludedBy)-1]
		}
	}
}

// blame notes choices that had a part in a failure.
func (f *frame) blame(causes []*version) {
	for _, c := range causes {
		if !slices.Contains(f.failed, c) {
			f.failed = append(f.failed, c)
		}
	}
}

// backjump goes back to the last choice that had a part in the failure of f and
// returns its frame, or nil and the failure if the targets cannot be reached.
func (x *search) backjump(f *frame) (*frame, *failure) {
	why := &failure{owner: f.owner, clause: f.clause, target: f.target, text: f.text, rejects: f.reject}
	if f.owner != nil {
		f.blame([]*version{f.owner})
	}
	level := -1
	for _, c := range f.failed {
		level = max(level, c.level)
	}
	for len(x.frames) > level+1 {
		last := x.frames[len(x.frames)-1]
		x.undo(last.trail)
		if last.chosen != nil {
			last.chosen.level = -1
		}
		x.frames = x.frames[:len(x.frames)-1]
	}
	switch {
	case x.exhausted():
		why.rejects = []rejection{{kind: rejectedSteps}}
		return nil, why
	case level < 0:
		return nil, why
	}
	g := x.frames[level]
	others := slices.DeleteFunc(slices.Clone(f.failed), func(c *version) bool { return c == g.chosen || c.level < 0 })
	g.blame(others)
	g.reject = append(g.reject, rejection{v: g.chosen, kind: rejectedBad, because: why})
	if len(others) == 0 {
		x.mark(g.chosen, why)
	}
	return g, nil
}

// mark notes that v can never be installed.
func (x *search) mark(v *version, why *failure) {
	if v.bad == nil {
		v.bad = why
		x.marked = append(x.marked, v)
	}
}

// reset leaves the session as it was before the search, but for what it has
// learned. What several targets taught may be true of these targets only.
func (x *search) reset() {
	for _, p := range x.trail {
		p.v.level = -1
	}
	x.undo(0)
	if len(x.targets) > 1 {
		for _, v := range x.marked {
			v.bad = nil
		}
	}
}
