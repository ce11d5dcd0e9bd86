package resolve

import (
	"cmp"
	"slices"
)

// Order sorts packages into groups that can be given to "dpkg -i" one after the
// other: dependencies before dependants, Pre-Depends configured first, a
// dependency loop in one group. Deterministic: what is free is ordered by name,
// architecture and version.
//
// Inside a loop, what others of it Pre-Depend on comes first: dpkg unpacks in
// the order given and configures a pre-dependency that it has unpacked before
// it unpacks what needs it (dpkg(1), --install).
func Order(pkgs []*Package) [][]*Package {
	o := newOrdering(pkgs)
	groups := o.components()
	out := make([][]*Package, len(groups))
	for i, g := range groups {
		for _, n := range o.insideLoop(g) {
			out[i] = append(out[i], o.nodes[n].pkg)
		}
	}
	return out
}

// ordering is the graph of a set of packages.
type ordering struct {
	nodes []*candidate
	needs [][]int // all dependencies
	pre   [][]int // Pre-Depends
}

func newOrdering(pkgs []*Package) *ordering {
	o := &ordering{}
	byName := map[string][]int{}
	sorted := slices.Clone(pkgs)
	slices.SortStableFunc(sorted, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), comparePackages(a, b))
	})
	for i, p := range slices.Compact(sorted) {
		c := newCandidate(p)
		o.nodes = append(o.nodes, c)
		byName[p.Name] = append(byName[p.Name], i)
		for _, r := range c.provides {
			if r.Name != p.Name {
				byName[r.Name] = append(byName[r.Name], i)
			}
		}
	}
	o.needs, o.pre = make([][]int, len(o.nodes)), make([][]int, len(o.nodes))
	for i, c := range o.nodes {
		for k := range c.clauses {
			n, ok := o.provider(c, &c.clauses[k], byName)
			if !ok || n == i || c.clauses[k].soft() {
				continue
			}
			o.needs[i] = append(o.needs[i], n)
			if c.clauses[k].field == fieldPreDepends {
				o.pre[i] = append(o.pre[i], n)
			}
		}
	}
	return o
}

// provider is the first package of the set that satisfies a clause. Packages
// of architecture "all" count as of the dependant's, and it as of theirs.
func (o *ordering) provider(c *candidate, cl *clause, byName map[string][]int) (int, bool) {
	for i := range cl.alternatives {
		r := &cl.alternatives[i]
		for _, n := range byName[r.Name] {
			d := o.nodes[n]
			m := machine{native: c.pkg.Architecture}
			if m.native == "all" {
				m.native = d.pkg.Architecture
			}
			if m.satisfies(d, r, m.native) {
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

// insideLoop orders a component: pre-dependencies first, else by name.
func (o *ordering) insideLoop(group []int) []int {
	var out []int
	seen := map[int]bool{}
	var visit func(n int)
	visit = func(n int) {
		if seen[n] || !slices.Contains(group, n) {
			return
		}
		seen[n] = true
		for _, m := range o.pre[n] {
			visit(m)
		}
		out = append(out, n)
	}
	for _, n := range group {
		visit(n)
	}
	return out
}
