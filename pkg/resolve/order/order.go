// Package order is the order in which dpkg can take packages.
package order

import (
	"cmp"
	"container/heap"
	"slices"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve/candidate"
)

// Groups sorts packages into groups that can be given to "dpkg -i" one after the
// other: dependencies before dependants, Pre-Depends configured first, a
// dependency loop in one group. Deterministic: what is free is ordered by name,
// architecture and version.
//
// A package that Breaks or Conflicts with older versions of another comes
// behind that one where dependencies allow it: the older version may be
// installed, and dpkg does not put up with both.
//
// Inside a loop, what others of it Pre-Depend on comes first: dpkg unpacks in
// the order given and configures a pre-dependency that it has unpacked before
// it unpacks what needs it (dpkg(1), --install).
func Groups(pkgs []*candidate.Package) [][]*candidate.Package {
	o := newOrdering(pkgs)
	groups := o.arrange(o.components())
	out := make([][]*candidate.Package, len(groups))
	for i, g := range groups {
		for _, n := range o.insideLoop(g) {
			out[i] = append(out[i], o.nodes[n].Pkg)
		}
	}
	return out
}

// ordering is the graph of a set of packages.
type ordering struct {
	nodes  []*candidate.Control
	byName map[string][]int // by name and provided name
	needs  [][]int          // dependencies
	pre    [][]int          // Pre-Depends among them
	after  [][]int          // what should be upgraded before
}

func newOrdering(pkgs []*candidate.Package) *ordering {
	o := &ordering{byName: map[string][]int{}}
	sorted := slices.Clone(pkgs)
	slices.SortStableFunc(sorted, func(a, b *candidate.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), candidate.Compare(a, b))
	})
	for i, p := range slices.Compact(sorted) {
		c := candidate.Read(p)
		o.nodes = append(o.nodes, c)
		o.byName[p.Name] = append(o.byName[p.Name], i)
		for _, r := range c.Provides {
			if r.Name != p.Name {
				o.byName[r.Name] = append(o.byName[r.Name], i)
			}
		}
	}
	o.needs, o.pre, o.after = make([][]int, len(o.nodes)), make([][]int, len(o.nodes)), make([][]int, len(o.nodes))
	for i := range o.nodes {
		o.link(i)
	}
	return o
}

// link finds the edges from node i.
func (o *ordering) link(i int) {
	c := o.nodes[i]
	for k := range c.Clauses {
		n, ok := o.provider(c, &c.Clauses[k])
		if !ok || n == i || c.Clauses[k].Optional() {
			continue
		}
		o.needs[i] = append(o.needs[i], n)
		if c.Clauses[k].Field == candidate.FieldPreDepends {
			o.pre[i] = append(o.pre[i], n)
		}
	}
	for k := range c.Against {
		for _, r := range c.Against[k].Alternatives {
			for _, n := range o.byName[r.Name] {
				if n != i && o.nodes[n].Pkg.Name == r.Name && (r.Op == deb.LT || r.Op == deb.LE) {
					o.after[i] = append(o.after[i], n)
				}
			}
		}
	}
}

// provider is the first package of the set that satisfies a clause. A package
// of architecture "all" takes the architecture of the other side.
func (o *ordering) provider(c *candidate.Control, cl *candidate.Clause) (int, bool) {
	for i := range cl.Alternatives {
		r := &cl.Alternatives[i]
		for _, n := range o.byName[r.Name] {
			d := o.nodes[n]
			m := candidate.Machine{Native: c.Pkg.Architecture}
			if m.Native == "all" {
				m.Native = d.Pkg.Architecture
			}
			if m.Satisfies(d, r, m.Native) {
				return n, true
			}
		}
	}
	return 0, false
}

// components are the strongly connected components, dependencies first
// (Tarjan's algorithm, without recursion: chains are long).
func (o *ordering) components() [][]int {
	t := &tarjan{ordering: o, index: make([]int, len(o.nodes)), low: make([]int, len(o.nodes)), onStack: make([]bool, len(o.nodes))}
	for n := range o.nodes {
		if t.index[n] == 0 {
			t.visit(n)
		}
	}
	return t.found
}

type tarjan struct {
	*ordering
	index, low []int // from 1; 0: not visited
	onStack    []bool
	stack      []int
	count      int
	found      [][]int
}

// call is a suspended visit: the next edge of node n to follow.
type call struct{ n, edge int }

func (t *tarjan) enter(n int) call {
	t.count++
	t.index[n], t.low[n] = t.count, t.count
	t.stack, t.onStack[n] = append(t.stack, n), true
	return call{n: n}
}

func (t *tarjan) visit(root int) {
	calls := []call{t.enter(root)}
	for len(calls) > 0 {
		c := &calls[len(calls)-1]
		if c.edge < len(t.needs[c.n]) {
			m := t.needs[c.n][c.edge]
			c.edge++
			if t.index[m] == 0 {
				calls = append(calls, t.enter(m))
			} else if t.onStack[m] {
				t.low[c.n] = min(t.low[c.n], t.index[m])
			}
			continue
		}
		n := c.n
		calls = calls[:len(calls)-1]
		if len(calls) > 0 {
			parent := calls[len(calls)-1].n
			t.low[parent] = min(t.low[parent], t.low[n])
		}
		if t.low[n] == t.index[n] {
			t.leave(n)
		}
	}
}

// leave takes the component of n off the stack.
func (t *tarjan) leave(n int) {
	i := slices.Index(t.stack, n)
	group := slices.Clone(t.stack[i:])
	t.stack = t.stack[:i]
	for _, m := range group {
		t.onStack[m] = false
	}
	slices.Sort(group)
	t.found = append(t.found, group)
}

// arrange puts components into an order that has dependencies first and, where
// there is a choice, heeds what should come after what; then by name.
func (o *ordering) arrange(components [][]int) [][]int {
	of := make([]int, len(o.nodes))
	for i, g := range components {
		for _, n := range g {
			of[n] = i
		}
	}
	q := &queue{components: components, hard: make([]int, len(components)), soft: make([]int, len(components))}
	dependants, followers := make([][]int, len(components)), make([][]int, len(components))
	count := func(edges [][]int, waits []int, back [][]int) {
		for n := range edges {
			for _, m := range edges[n] {
				if of[m] != of[n] {
					waits[of[n]]++
					back[of[m]] = append(back[of[m]], of[n])
				}
			}
		}
	}
	count(o.needs, q.hard, dependants)
	count(o.after, q.soft, followers)
	for i := range components {
		if q.hard[i] == 0 {
			q.ready = append(q.ready, i)
		}
	}
	heap.Init(q)
	out := make([][]int, 0, len(components))
	for q.Len() > 0 {
		i := q.ready[0]
		heap.Pop(q)
		out = append(out, components[i])
		q.hard[i] = -1 // done
		for _, d := range followers[i] {
			if q.soft[d]--; q.soft[d] == 0 && q.hard[d] == 0 {
				heap.Fix(q, slices.Index(q.ready, d))
			}
		}
		for _, d := range dependants[i] {
			if q.hard[d]--; q.hard[d] == 0 {
				heap.Push(q, d)
			}
		}
	}
	return out
}

// queue holds the components whose dependencies are done: those first that
// follow nothing that is still to come, then by their first node.
type queue struct {
	components [][]int
	hard, soft []int // what each component waits for; hard -1: done
	ready      []int
}

func (q *queue) Len() int { return len(q.ready) }

func (q *queue) Less(i, j int) bool {
	a, b := q.ready[i], q.ready[j]
	if waits := q.soft[a] > 0; waits != (q.soft[b] > 0) {
		return !waits
	}
	return q.components[a][0] < q.components[b][0]
}

func (q *queue) Swap(i, j int) { q.ready[i], q.ready[j] = q.ready[j], q.ready[i] }

func (q *queue) Push(x any) { q.ready = append(q.ready, x.(int)) }

func (q *queue) Pop() any {
	last := q.ready[len(q.ready)-1]
	q.ready = q.ready[:len(q.ready)-1]
	return last
}

// insideLoop orders a component: pre-dependencies and what should be upgraded
// before come first, else by name.
func (o *ordering) insideLoop(group []int) []int {
	var out []int
	in, seen := map[int]bool{}, map[int]bool{}
	for _, n := range group {
		in[n] = true
	}
	var visit func(n int)
	visit = func(n int) {
		if seen[n] || !in[n] {
			return
		}
		seen[n] = true
		for _, m := range o.pre[n] {
			visit(m)
		}
		for _, m := range o.after[n] {
			visit(m)
		}
		out = append(out, n)
	}
	for _, n := range group {
		visit(n)
	}
	return out
}
