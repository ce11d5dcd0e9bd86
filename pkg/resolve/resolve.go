// Package resolve computes the closure of a selection over several archives,
// with a reason for every package in it. The same input gives the same result.
//
// A Universe holds the packages of some indices. A query (package query)
// selects among them. Resolve closes over what is selected, choosing as apt's
// classic solver does on an empty machine without Recommends: of each name the
// version with the best pin, then the newest; of alternatives the one that is
// there already, else the first that can be had; of providers the essential,
// then the one with the highest priority. Unlike apt it goes back on a choice
// that turns out to be wrong, and it never removes anything from a host or
// leaves it broken. Room order tells in which calls of dpkg to install.
package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve/candidate"
)

// Resolve returns the closure of a request. An *Unsatisfied (wrapping
// ErrUnsatisfied) lists every root that fails by itself.
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
		a.closeOn(req.Architectures)
	} else {
		for _, arch := range req.Architectures {
			a.closeOn([]string{arch})
		}
	}
	if err := u.Err(); err != nil {
		return nil, err
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
	missing map[*Root][][]string // those that fail: a chain for each package that they select
	common  []commonFailure
	joint   *RootFailure
	notes   []string
	noted   map[string]bool // what is among the notes of whole archives
}

// commonFailure is a root of architecture "all" that fails on one of several
// machines. It counts only if it fails on all of them.
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

// closeOn closes the roots on one machine.
func (a *answer) closeOn(arches []string) {
	s := newSession(a.u, a.req, arches)
	var targets []target
	for _, r := range a.roots {
		found, known := s.targetsOf(r)
		targets = append(targets, found...)
		a.known[r] = a.known[r] || known
	}
	if a.req.NoClosure {
		for _, t := range targets {
			a.add(s.pkg(t.options[0]), t.reason)
		}
	} else if why := a.close(s, targets); why != nil {
		a.closeEach(s, targets, why)
	}
	for _, archive := range a.req.AllOf {
		a.closeArchive(s, archive)
	}
}

// closeEach closes the targets one by one after they could not be closed together,
// for the reason given. On a host that alone is a failure; in a mirror it is
// one if a target cannot be had by itself.
func (a *answer) closeEach(s *session, targets []target, together *failure) {
	if a.req.Host == nil && a.closeGroups(s, targets, together) {
		return
	}
	failed := false
	for i := range targets {
		why := a.close(s, targets[i:i+1])
		if why == nil {
			continue
		}
		failed = true
		root, chain := targets[i].reason.Root, s.explain(why)
		if v := targets[i].options[0]; v.arch == "all" && a.req.Host == nil {
			a.common = append(a.common, commonFailure{s.pkg(v), root, s.Native, chain})
			continue
		}
		a.missing[root] = append(a.missing[root], chain)
	}
	switch {
	case failed:
	case a.req.Host != nil:
		a.joint = &RootFailure{Root: rootOf(together), Chain: s.explain(together)}
	default:
		a.notes = append(a.notes, s.Native+": not everything that is asked for can be installed together; each is closed by itself: "+
			strings.Join(s.explain(together), "; "))
	}
}

// rootOf is the root that a failure came from.
func rootOf(f *failure) *Root {
	if f.target != nil {
		return f.target.reason.Root
	}
	return nil
}

// close resolves targets together and takes what was found.
func (a *answer) close(s *session, targets []target) *failure {
	x := s.newSearch(targets)
	defer x.reset()
	if why := x.run(); why != nil {
		return why
	}
	for _, p := range x.trail {
		a.add(s.pkg(p.v), p.v.reason)
		for _, d := range s.duplicates[p.v] {
			a.add(d.pkg, Reason{Root: d.root})
		}
	}
	return nil
}

// result returns the closure, or why there is none.
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
			chains = [][]string{{a.u.notFound(r, a.req.Host)}}
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
	slices.SortFunc(a.chosen, candidate.Compare)
	res := &Result{Notes: a.notes, Packages: make([]Chosen, 0, len(a.chosen))}
	for _, p := range a.chosen {
		res.Packages = append(res.Packages, Chosen{p, a.reasons[p]})
	}
	return res, nil
}

// groupSteps bounds how often targets are tried together, in multiples of their
// number, before what is left is closed one by one.
const groupSteps = 4

// closeGroups closes targets that no one machine can have together in groups
// that one can, as few as are found quickly: a target that stands in the way of
// the others is put into the next group. It returns false, and takes nothing,
// if a target fails by itself.
func (a *answer) closeGroups(s *session, targets []target, together *failure) bool {
	before := len(a.chosen)
	steps := groupSteps * len(targets)
	why, groups := together, 0
	for rest := targets; len(rest) > 0; groups++ {
		group, later := slices.Clone(rest), []int(nil)
		at := make([]int, len(rest)) // of each member of the group, in rest
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
		next := make([]target, len(later))
		for i, k := range later {
			next[i] = rest[k]
		}
		rest = next
	}
	a.notes = append(a.notes, fmt.Sprintf("%s: not everything that is asked for can be installed together; it is closed in %d groups: %s",
		s.Native, groups, strings.Join(s.explain(together), "; ")))
	return true
}

// forget takes back what was added since there were n packages.
func (a *answer) forget(n int) {
	for _, p := range a.chosen[n:] {
		delete(a.reasons, p)
	}
	a.chosen = a.chosen[:n]
}

// blamed is the target that could not be reached beside the others, the last if
// that cannot be told.
func blamed(group []target, why *failure) int {
	if why.target != nil {
		for i := range group {
			if group[i].reason == why.target.reason && slices.Equal(group[i].options, why.target.options) {
				return i
			}
		}
	}
	return len(group) - 1
}

// closeArchive takes every package of an archive that the machine can have, and
// closes over what none of them satisfies.
func (a *answer) closeArchive(s *session, archive string) {
	taken := map[*version]bool{}
	var versions []*version
	for _, l := range a.u.listings {
		for i := range l.records {
			if l.Archive != archive {
				break
			}
			p := l.first + id(i)
			if v := s.versionOf(p); v != nil {
				a.add(a.u.look(p), Reason{AllOf: archive})
				if !taken[v] {
					taken[v] = true
					versions = append(versions, v)
				}
			}
		}
	}
	if a.req.NoClosure {
		return
	}
	for _, v := range versions {
		c := s.control(v)
		if c.Fault != nil {
			a.notes = append(a.notes, fmt.Sprintf("%s: %s cannot be read: %v", s.Native, s.title(v), c.Fault))
		}
		for k := range c.Clauses {
			if !c.Clauses[k].Optional() || s.recommends {
				a.supply(s, v, k, taken)
			}
		}
	}
}

// supply closes over what satisfies one clause of v, unless something that is
// taken or installed does.
func (a *answer) supply(s *session, v *version, k int, taken map[*version]bool) {
	c := &s.control(v).Clauses[k]
	for i := range c.Alternatives {
		r := &c.Alternatives[i]
		for o := range s.named(r) {
			if (taken[o] || o == o.slot.installed) && s.meets(o, r, v.slot.arch) {
				return
			}
		}
	}
	var problem string
	if options := s.choices(v, k); len(options) == 0 {
		problem = "; seen: " + s.seen(c.Alternatives[0].Name)
	} else {
		x := s.newSearch([]target{{options: options, text: c.String(),
			reason: Reason{Parent: s.pkg(v), Field: c.Field, Clause: c.String()}}})
		defer x.reset()
		why := x.run()
		if why == nil {
			for _, p := range x.trail {
				taken[p.v] = true
				a.add(s.pkg(p.v), p.v.reason)
			}
			return
		}
		chain := s.explain(why)
		problem = ": " + chain[len(chain)-1]
	}
	// Several versions of a package often lack the same.
	if note := fmt.Sprintf("%s: %s needs %s%s", s.Native, s.title(v), c, problem); !c.Optional() && !a.noted[note] {
		a.noted[note] = true
		a.notes = append(a.notes, note)
	}
}
