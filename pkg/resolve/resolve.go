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
	a := &answer{u: u, req: &req, reasons: map[*Package]Reason{}, known: map[*Root]bool{}, noted: map[string]bool{}, missing: map[*Root][][]string{}}
	for i := range req.Roots {
		if req.Roots[i].Query == nil {
			return nil, errors.New("root without a query")
		}
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
	roots   []*Root // in canonical order
	chosen  []*Package
	reasons map[*Package]Reason
	known   map[*Root]bool       // those that select something
	missing map[*Root][][]string // chains of those that fail: one each package that they select
	common  []commonFailure
	joint   *RootFailure
	notes   []string
	noted   map[string]bool // what is among the notes of whole archives
}

// commonFailure is a root of architecture "all" that fails on one of several
// machines. That is none if there is another on which it does not.
type commonFailure struct {
	pkg   *Package
	root  *Root
	arch  string
	chain []string
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
		a.known[r] = a.known[r] || known
	}
	if a.req.NoClosure {
		for _, g := range goals {
			a.add(a.u.pkg(g.options[0].id), g.reason)
		}
	} else if why := a.close(s, goals); why != nil {
		a.closeEach(s, goals, why)
	}
	for _, archive := range a.req.Whole {
		a.whole(s, archive)
	}
}

// closeEach closes the goals apart after they could not be closed together,
// for the reason given. On a host that alone is a failure; in a mirror it is
// one if a goal cannot be had by itself.
func (a *answer) closeEach(s *session, goals []goal, together *failure) {
	if a.req.Host == nil && a.closeGroups(s, goals, together) {
		return
	}
	failed := false
	for i := range goals {
		why := a.close(s, goals[i:i+1])
		if why == nil {
			continue
		}
		failed = true
		root, chain := goals[i].reason.Root, s.explain(why)
		if v := goals[i].options[0]; v.arch == "all" && a.req.Host == nil {
			a.common = append(a.common, commonFailure{a.u.pkg(v.id), root, s.native, chain})
			continue
		}
		a.missing[root] = append(a.missing[root], chain)
	}
	switch {
	case failed:
	case a.req.Host != nil:
		a.joint = &RootFailure{Root: rootOf(together), Chain: s.explain(together)}
	default:
		a.notes = append(a.notes, s.native+": not everything that is asked for can be installed together; each is closed by itself: "+
			strings.Join(s.explain(together), "; "))
	}
}

// rootOf is the root that a failure came from.
func rootOf(f *failure) *Root {
	if f.goal != nil {
		return f.goal.reason.Root
	}
	return nil
}

// close resolves goals together and takes what was found.
func (a *answer) close(s *session, goals []goal) *failure {
	x := s.newSearch(goals)
	defer x.reset()
	if why := x.run(); why != nil {
		return why
	}
	for _, p := range x.trail {
		if p.v.id >= 0 {
			a.add(a.u.pkg(p.v.id), p.v.reason)
		}
		for _, t := range s.twins[p.v] {
			a.add(a.u.pkg(t.id), Reason{Root: t.root})
		}
	}
	return nil
}

// result is the answer, or the reasons why there is none.
func (a *answer) result() (*Result, error) {
	for _, f := range a.common {
		if _, elsewhere := a.reasons[f.pkg]; elsewhere {
			a.notes = append(a.notes, fmt.Sprintf("%s: %s cannot be installed: %s", f.arch, f.pkg.Name, f.chain[len(f.chain)-1]))
		} else {
			a.missing[f.root] = append(a.missing[f.root], f.chain)
		}
	}
	var e Unsatisfied
	for _, r := range a.roots {
		chains := a.missing[r]
		if !a.known[r] {
			chains = [][]string{{a.u.nothing(r, a.req.Host)}}
		}
		for i, chain := range chains {
			if i == 0 || !slices.Equal(chain, chains[i-1]) {
				e.Roots = append(e.Roots, RootFailure{Root: r, Chain: chain})
			}
		}
	}
	if a.joint != nil {
		e.Roots = append(e.Roots, *a.joint)
	}
	if len(e.Roots) > 0 {
		return nil, &e
	}
	slices.SortFunc(a.chosen, comparePackages)
	res := &Result{Notes: a.notes, Packages: make([]Chosen, 0, len(a.chosen))}
	for _, p := range a.chosen {
		res.Packages = append(res.Packages, Chosen{p, a.reasons[p]})
	}
	return res, nil
}
