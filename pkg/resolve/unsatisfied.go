package resolve

import (
	"fmt"
	"slices"
	"strings"
)

// rejectionKind is why an option was not taken.
type rejectionKind uint8

const (
	rejectedBad   rejectionKind = iota // something it needs cannot be had
	rejectedFault                      // its relations cannot be read
	rejectedSlot                       // another version was chosen
	rejectedHold                       // the host holds another version
	rejectedEnemy                      // a conflict with something chosen
	rejectedSteps                      // the search was given up
)

// rejection is an option that was not taken.
type rejection struct {
	v       *version
	kind    rejectionKind
	by      *version   // rejectedSlot, rejectedEnemy
	because *failure   // rejectedBad
	causes  []*version // chosen versions that had a part in it
}

// failure is a goal or a clause that nothing could satisfy.
type failure struct {
	goal    *goal
	owner   *version
	clause  *clause
	text    string // if neither says it
	rejects []rejection
}

// Unsatisfied is the answer when there is none. It wraps ErrUnsatisfied. A root
// that selects several packages is in it once for each that cannot be had.
type Unsatisfied struct {
	Roots []RootFailure
}

// RootFailure is one root that cannot be had, and why.
type RootFailure struct {
	Root  *Root
	Chain []string // from what was asked for to what is missing, one sentence each
}

// Error has a summary in its first line, and below it for each root the chain
// from what was asked for to what is missing.
func (e *Unsatisfied) Error() string {
	var b strings.Builder
	if len(e.Roots) == 1 && len(e.Roots[0].Chain) == 1 {
		fmt.Fprintf(&b, "%v: %s%s", ErrUnsatisfied, e.Roots[0].Chain[0], e.Roots[0].origin())
		return b.String()
	}
	if len(e.Roots) == 1 {
		chain := e.Roots[0].Chain
		fmt.Fprintf(&b, "%v: %s%s: %s", ErrUnsatisfied, e.Roots[0].name(), e.Roots[0].origin(), chain[len(chain)-1])
	} else {
		var names []string
		for i := range e.Roots {
			if n := e.Roots[i].name(); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		fmt.Fprintf(&b, "%v: %d of what was asked for: %s", ErrUnsatisfied, len(e.Roots), strings.Join(names, "; "))
	}
	for i := range e.Roots {
		r := &e.Roots[i]
		if len(e.Roots) > 1 {
			fmt.Fprintf(&b, "\n  %s%s", r.name(), r.origin())
		}
		for _, line := range r.Chain {
			fmt.Fprintf(&b, "\n    %s", line)
		}
	}
	return b.String()
}

// Unwrap gives ErrUnsatisfied.
func (e *Unsatisfied) Unwrap() error { return ErrUnsatisfied }

func (r *RootFailure) name() string {
	if r.Root == nil {
		return "all of it together"
	}
	return r.Root.Query.String()
}

func (r *RootFailure) origin() string {
	if r.Root == nil || r.Root.Origin == "" {
		return ""
	}
	return " (" + r.Root.Origin + ")"
}
