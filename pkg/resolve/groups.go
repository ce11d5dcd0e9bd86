package resolve

import (
	"fmt"
	"slices"
	"strings"
)

// groupSteps bounds how often goals are tried together, in multiples of their
// number, before what is left is closed one by one.
const groupSteps = 4

// closeGroups closes goals that no one machine can have together, in as few
// groups as are found quickly: what stands in the way of the others is put
// into the next group. So a contradiction between two of them leaves the rest a
// closure that one machine can install as a whole. False, and nothing taken, if a goal fails by itself.
func (a *answer) closeGroups(s *session, goals []goal, together *failure) bool {
	before := len(a.chosen)
	steps := groupSteps * len(goals)
	why, groups := together, 0
	for rest := goals; len(rest) > 0; groups++ {
		group, later := slices.Clone(rest), []int(nil)
		at := make([]int, len(rest)) // of each of the group in rest
		for i := range at {
			at[i] = i
		}
		for {
			if why == nil {
				why = a.close(s, group)
			}
			if why == nil {
				break
			}
			if len(group) == 1 {
				a.forget(before)
				return false
			}
			if steps--; steps < 0 {
				later, group, at = append(later, at[1:]...), group[:1], at[:1]
			} else {
				i := blamed(group, why)
				later, group, at = append(later, at[i]), slices.Delete(group, i, i+1), slices.Delete(at, i, i+1)
			}
			why = nil
		}
		slices.Sort(later)
		next := make([]goal, len(later))
		for i, k := range later {
			next[i] = rest[k]
		}
		rest = next
	}
	a.notes = append(a.notes, fmt.Sprintf("%s: not everything that is asked for can be installed together; it is closed in %d groups: %s",
		s.native, groups, strings.Join(s.explain(together), "; ")))
	return true
}

// forget takes back what was added since there were n packages.
func (a *answer) forget(n int) {
	for _, p := range a.chosen[n:] {
		delete(a.reasons, p)
	}
	a.chosen = a.chosen[:n]
}

// blamed is the goal that could not be reached beside the others, the last if
// that cannot be told.
func blamed(group []goal, why *failure) int {
	if why.goal != nil {
		for i := range group {
			if group[i].reason == why.goal.reason && slices.Equal(group[i].options, why.goal.options) {
				return i
			}
		}
	}
	return len(group) - 1
}
