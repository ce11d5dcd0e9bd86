package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Resolve answers. An *Unsatisfied (wrapping ErrUnsatisfied) lists every root that fails by itself.
//
// A root that is a plain dependency query takes, in each architecture, the one
// version that apt would choose among those that match: best pin, then newest;
// where no package has the name, the provider that apt would prefer. Any other
// query takes all that match, of each name the newest. A root is never
// exchanged for an older version to make things fit; dependencies may be.
func (u *Universe) Resolve(req Request) (*Result, error) {
	if len(req.Architectures) == 0 {
		return nil, errors.New("no architecture to resolve for")
	}
	a := &answer{u: u, req: &req, reasons: map[*Package]Reason{}, missing: map[*Root][]string{}}
	for i := range req.Roots {
		a.roots = append(a.roots, &req.Roots[i])
	}
	slices.SortStableFunc(a.roots, func(x, y *Root) int {
		return cmp.Or(cmp.Compare(x.Query.String(), y.Query.String()), cmp.Compare(x.Archive, y.Archive))
	})
	if req.Host != nil {
		a.machine(req.Architectures)
	} else {
		for _, arch := range req.Architectures {
			a.machine([]string{arch})
		}
	}
	return a.result()
}

// answer gathers what the sessions of one request find.
type answer struct {
	u       *Universe
	req     *Request
	roots   []*Root
	chosen  []*Package
	reasons map[*Package]Reason
	found   map[*Root]bool
	missing map[*Root][]string // chains of roots that fail
	joint   *RootFailure
	notes   []string
}

// add takes a package with the first reason there is for it.
func (a *answer) add(p *Package, why Reason) {
	if _, known := a.reasons[p]; !known {
		a.reasons[p] = why
		a.chosen = append(a.chosen, p)
	}
}

// machine closes the roots on one machine.
func (a *answer) machine(arches []string) {
	s := newSession(a.u, a.req, arches)
	var goals []goal
	for _, r := range a.roots {
		found, known := s.goalsOf(r)
		goals = append(goals, found...)
		if known {
			if a.found == nil {
				a.found = map[*Root]bool{}
			}
			a.found[r] = true
		}
	}
	if a.req.NoClosure {
		for _, g := range goals {
			a.add(a.u.pkg(g.options[0].id), g.reason)
		}
		return
	}
	why := a.close(s, goals)
	if why == nil {
		return
	}
	failed := false
	for i := range goals {
		if why := a.close(s, goals[i:i+1]); why != nil {
			failed = true
			a.missing[goals[i].reason.Root] = append(a.missing[goals[i].reason.Root], s.explain(why)...)
		}
	}
	if !failed && a.req.Host != nil {
		a.joint = &RootFailure{Root: a.rootOf(why), Chain: s.explain(why)}
	}
	if !failed && len(arches) > 0 {
		a.notes = append(a.notes, fmt.Sprintf("%s: what is asked for cannot be installed together, each is closed by itself", arches[0]))
	}
}

// rootOf is the root that a failure came from.
func (a *answer) rootOf(f *failure) *Root {
	if f.goal != nil {
		return f.goal.reason.Root
	}
	return nil
}

// close resolves goals together and takes what was found.
func (a *answer) close(s *session, goals []goal) *failure {
	x := &search{session: s, goals: goals}
	defer x.reset()
	if why := x.run(); why != nil {
		return why
	}
	for _, p := range x.trail {
		if p.v.id >= 0 {
			a.add(a.u.pkg(p.v.id), p.v.reason)
		}
	}
	return nil
}

// reset leaves the session as it was before the search.
func (x *search) reset() {
	for _, p := range x.trail {
		p.v.level = -1
	}
	x.undo(0)
}

// result is the answer, or the reasons why there is none.
func (a *answer) result() (*Result, error) {
	var e Unsatisfied
	for _, r := range a.roots {
		chain := a.missing[r]
		if !a.found[r] {
			chain = []string{a.u.nothing(r)}
		}
		if len(chain) > 0 {
			e.Roots = append(e.Roots, RootFailure{Root: r, Chain: chain})
		}
	}
	if a.joint != nil {
		e.Roots = append(e.Roots, *a.joint)
	}
	if len(e.Roots) > 0 {
		return nil, &e
	}
	slices.SortFunc(a.chosen, comparePackages)
	res := &Result{Notes: a.notes}
	for _, p := range a.chosen {
		res.Packages = append(res.Packages, Chosen{p, a.reasons[p]})
	}
	return res, nil
}

// nothing tells that a root selects nothing, and what there is instead.
func (u *Universe) nothing(r *Root) string {
	text := r.Query.String()
	where := "the archives"
	if r.Archive != "" {
		where = "archive " + r.Archive
	}
	name := ""
	switch n := r.Query.root.(type) {
	case dependencyNode:
		name = n.name
	case exactNode:
		name = n.name
	default:
		return fmt.Sprintf("%s: selects nothing in %s", text, where)
	}
	var seen []string
	for _, p := range u.Versions(name) {
		seen = append(seen, fmt.Sprintf("%s (%s) in %s/%s", p.Version, p.Architecture, p.Archive, p.Suite))
	}
	switch {
	case len(seen) > maxVersions:
		seen = append(seen[:maxVersions:maxVersions], fmt.Sprintf("and %d more", len(seen)-maxVersions))
		fallthrough
	case len(seen) > 0:
		return fmt.Sprintf("%s: not in %s; seen: %s", text, where, strings.Join(seen, ", "))
	}
	if near := u.near(name); len(near) > 0 {
		return fmt.Sprintf("%s: not in %s; seen: none; near: %s", text, where, strings.Join(near, ", "))
	}
	return fmt.Sprintf("%s: not in %s; seen: none", text, where)
}

// maxVersions bounds the versions listed for a root that is not there.
const maxVersions = 20
