package resolve

import (
	"slices"
)

// MaxSteps bounds how many versions one search tries beyond those there are.
// The largest closures of a release need some thousands; what needs more is a
// knot that nobody wants.
const MaxSteps = 50_000

// search finds versions for a list of goals: depth first in the order of the
// stanzas, as apt marks packages, going back where that fails. When a choice
// fails, the choices that had a part in it are known (its causes), and the
// search returns to the last of these (conflict-directed backjumping); a
// version that fails without any is never tried again.
//
// With a host, what is installed is in its slot from the begin, undecided.
// Once all goals are reached, whatever was broken by that is a goal again,
// until nothing is.
type search struct {
	*session
	goals  []goal
	frames []*frame
	trail  []placed
	steps  int
	marked []*version // found bad
}

// goal is something asked for: one of these versions, the first that works.
type goal struct {
	options []*version
	reason  Reason
	text    string // for messages
}

// newSearch prepares a search for goals; reset must follow.
func (s *session) newSearch(goals []goal) *search {
	x := &search{session: s, goals: goals}
	if s.host != nil {
		if s.wounds == nil {
			s.wounds = newWounds(s)
		}
	}
	return x
}

// agenda is what is still to be looked at: an immutable list.
type agenda struct {
	goal   int      // this goal, if owner is nil and expand is not set
	expand bool     // the clauses of the version chosen for goal
	owner  *version // the clauses of owner from clause on
	clause int
	rest   *agenda
}

// open is a thing to be done: a goal, a clause of owner or a wound of owner.
type open struct {
	owner   *version
	clause  *clause
	goal    *goal
	options []*version
	// unsettled, if not nil, are the options with what is known of their order.
	unsettled *choices
	soft      bool
	causes    []*version // chosen versions that made it necessary, owner aside
	reason    Reason     // if neither clause nor goal tells it
	text      string     // likewise, for messages
	rest      *agenda
}

// frame is a choice that was made.
type frame struct {
	open
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

// run reaches all goals, or tells why that cannot be.
func (x *search) run() *failure {
	var at *agenda
	for i := len(x.goals) - 1; i >= 0; i-- {
		at = &agenda{goal: i, expand: true, rest: at}
	}
	for i := len(x.goals) - 1; i >= 0; i-- {
		at = &agenda{goal: i, rest: at}
	}
	for {
		todo, found := x.advance(at)
		if !found {
			if todo, found = x.wound(); !found {
				return nil
			}
		}
		f := &frame{open: todo, trail: len(x.trail), failed: slices.Clone(todo.causes)}
		x.frames = append(x.frames, f)
		for !x.try(f) {
			if f.soft {
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

// spent tells that the search has gone on for too long.
func (x *search) spent() bool { return x.steps > MaxSteps+len(x.u.records) }

// advance finds the next thing on the agenda that is not done.
func (x *search) advance(at *agenda) (open, bool) {
	for at != nil {
		owner := at.owner
		switch {
		case owner == nil && !at.expand:
			g := &x.goals[at.goal]
			if !reached(g.options) {
				return open{goal: g, options: g.options, rest: at.rest}, true
			}
			at = at.rest
			continue
		case owner == nil:
			owner = x.chosenFor(&x.goals[at.goal])
		}
		clauses := x.relations(owner).clauses
		for k := at.clause; k < len(clauses); k++ {
			soft := clauses[k].soft()
			if soft && !x.recommends || reached(x.options(owner, k)) {
				continue
			}
			choices := x.choices(owner, k)
			return open{owner: owner, clause: &clauses[k], options: choices.versions, unsettled: choices, soft: soft,
				rest: &agenda{owner: owner, clause: k + 1, rest: at.rest}}, true
		}
		at = at.rest
	}
	return open{}, false
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

func (x *search) chosenFor(g *goal) *version {
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
		if f.unsettled != nil {
			x.settle(f.unsettled, f.next)
		}
		v := f.options[f.next]
		f.next++
		if x.steps++; x.spent() {
			return false
		}
		if r := x.obstacle(v); r != nil {
			f.blame(r.causes)
			f.reject = append(f.reject, *r)
			continue
		}
		x.place(v)
		f.chosen, v.level = v, len(x.frames)-1
		f.agenda = &agenda{owner: v, rest: f.rest}
		switch {
		case f.goal != nil:
			f.agenda = f.rest
			v.reason = f.goal.reason
		case f.clause != nil:
			v.reason = Reason{Parent: x.relations(f.owner).pkg, Field: f.clause.field, Clause: f.clause.String()}
		default:
			v.reason = f.reason
		}
		return true
	}
	return false
}

// place puts v into its slot.
func (x *search) place(v *version) {
	x.trail = append(x.trail, placed{v, v.slot.current, v.slot.decided})
	v.slot.current, v.slot.decided = v, true
	for _, e := range x.enemies(v) {
		e.bans = append(e.bans, v)
	}
}

// undo takes versions out of their slots until the trail is as short as it was.
func (x *search) undo(length int) {
	for len(x.trail) > length {
		p := x.trail[len(x.trail)-1]
		x.trail = x.trail[:len(x.trail)-1]
		p.v.slot.current, p.v.slot.decided = p.before, p.decided
		for _, e := range x.enemies(p.v) {
			e.bans = e.bans[:len(e.bans)-1]
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

// backjump goes back to the last choice that had a part in the failure of f;
// there is none (nil) if the goals cannot be reached.
func (x *search) backjump(f *frame) (*frame, *failure) {
	why := &failure{owner: f.owner, clause: f.clause, goal: f.goal, text: f.text, rejects: f.reject}
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
	case x.spent():
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
// learned. What several goals taught may be true of these goals only.
func (x *search) reset() {
	for _, p := range x.trail {
		p.v.level = -1
	}
	x.undo(0)
	if len(x.goals) > 1 {
		for _, v := range x.marked {
			v.bad = nil
		}
	}
}
