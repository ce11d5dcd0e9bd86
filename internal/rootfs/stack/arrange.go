package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/deb"
)

// Group is a layer: one package, or several in the order of their entries.
type Group struct {
	// Name is NAME of a single package; "source NAME" of the packages of a
	// source; "bin N" of one of the eight bins.
	Name  string
	Notes []*rootfs.Note
}

// bins is how many layers hold what the largest sources leave.
const bins = 8

// Arrange orders packages and groups them into at most most layers: the layers of
// an image from below, after the skeleton. It is a function of the set: nothing
// earlier counts, so that images with common packages have common first layers.
//
// First come Essential packages, then those of priority required, then the
// others, each by the depth of what they depend on, then by name. If there are
// more packages than layers, those of one source share one, in the place of the
// first of them. If there are more sources than layers, the largest keep theirs
// and the others go into eight bins by the SHA-256 of their names, behind them.
//
// Errors wrap [outcome.ErrUsage] for most below 1, and [outcome.ErrNotFound] for
// two packages of one name or of two architectures.
func Arrange(notes []*rootfs.Note, most int) ([]Group, error) {
	if most < 1 {
		return nil, fmt.Errorf("%d layers for packages%w", most, rootfs.Usage{})
	}
	order, err := arrangeOrder(notes)
	if err != nil {
		return nil, err
	}
	if len(order) <= most {
		var out []Group
		for _, n := range order {
			out = append(out, Group{Name: n.Name(), Notes: []*rootfs.Note{n}})
		}
		return out, nil
	}
	groups := bySource(order)
	if len(groups) <= most {
		return groups, nil
	}
	return intoBins(groups, most), nil
}

// Grouped tells of packages, by their control files, which ones [Arrange] will put into a layer with others whatever their
// sizes are: of more packages than layers, those that share their source.
func Grouped(stanzas []deb.Stanza, most int) []bool {
	out := make([]bool, len(stanzas))
	if len(stanzas) <= most {
		return out
	}
	count := map[string]int{}
	for _, s := range stanzas {
		source, _ := s.Source()
		count[source]++
	}
	for i, s := range stanzas {
		source, _ := s.Source()
		out[i] = count[source] > 1
	}
	return out
}

// notFound marks an error as something that is not there, without a word of its own.
type notFound struct{}

func (notFound) Error() string { return "" }
func (notFound) Unwrap() error { return outcome.ErrNotFound }

// arrangeOrder is the order of packages, and refuses sets that dpkg would.
func arrangeOrder(notes []*rootfs.Note) ([]*rootfs.Note, error) {
	byName := map[string]*rootfs.Note{}
	arch := ""
	for _, n := range notes {
		if o := byName[n.Name()]; o != nil {
			return nil, fmt.Errorf("%s and %s: one package twice%w", o, n, notFound{})
		}
		byName[n.Name()] = n
		switch a := n.Architecture(); {
		case a == "all" || a == arch:
		case arch == "":
			arch = a
		default:
			return nil, fmt.Errorf("%s: an image of %s takes no packages of another architecture%w", n, arch, notFound{})
		}
	}
	depth := depths(notes)
	order := slices.Clone(notes)
	slices.SortFunc(order, func(a, b *rootfs.Note) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(depth[a], depth[b]), strings.Compare(a.Name(), b.Name()))
	})
	return order, nil
}

// rank is 0 for Essential, 1 for priority required, 2 for the rest.
func rank(n *rootfs.Note) int {
	switch {
	case strings.EqualFold(n.Stanza.Get("Essential"), "yes"):
		return 0
	case strings.EqualFold(n.Stanza.Get("Priority"), "required"):
		return 1
	}
	return 2
}

// bySource joins the packages of each source, in the place of the first of them.
func bySource(order []*rootfs.Note) []Group {
	var groups []Group
	at := map[string]int{}
	for _, n := range order {
		source, _ := n.Stanza.Source()
		i, ok := at[source]
		if !ok {
			i = len(groups)
			at[source] = i
			groups = append(groups, Group{Name: "source " + source})
		}
		groups[i].Notes = append(groups[i].Notes, n)
	}
	return groups
}

// intoBins leaves the largest groups alone and joins the others by hash.
func intoBins(groups []Group, most int) []Group {
	n := min(bins, most)
	bySize := make([]int, len(groups))
	for i := range bySize {
		bySize[i] = i
	}
	size := func(g Group) (sum int64) {
		for _, n := range g.Notes {
			sum += n.Layer.Size
		}
		return sum
	}
	slices.SortFunc(bySize, func(a, b int) int {
		return cmp.Or(-cmp.Compare(size(groups[a]), size(groups[b])), strings.Compare(groups[a].Name, groups[b].Name))
	})
	keep := map[int]bool{}
	for _, i := range bySize[:most-n] {
		keep[i] = true
	}
	var out []Group
	rest := make([]Group, n)
	for i, g := range groups {
		if keep[i] {
			out = append(out, g)
			continue
		}
		b := bin(strings.TrimPrefix(g.Name, "source "), n)
		rest[b].Name = fmt.Sprintf("bin %d", b)
		rest[b].Notes = append(rest[b].Notes, g.Notes...)
	}
	for _, g := range rest {
		if len(g.Notes) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// bin is the number of the bin that a source goes to.
func bin(source string, n int) int {
	sum := sha256.Sum256([]byte(source))
	return int(binary.BigEndian.Uint64(sum[:8]) % uint64(n))
}

// depths tells for each package the length of the longest chain of dependencies
// below it within the set; the packages of a loop have one depth. A package
// depends on every package of the set that an alternative of its Depends or
// Pre-Depends names or that provides it, whatever the version.
func depths(notes []*rootfs.Note) map[*rootfs.Note]int {
	g := &graph{index: make([]int, len(notes)), low: make([]int, len(notes)), on: make([]bool, len(notes)), depth: make([]int, len(notes)), needs: make([][]int, len(notes))}
	by := map[string][]int{}
	for i, n := range notes {
		by[n.Name()] = append(by[n.Name()], i)
		provides, _ := deb.ParseRelations(n.Stanza.Get("Provides"), "")
		for _, c := range provides {
			for _, r := range c {
				by[r.Name] = append(by[r.Name], i)
			}
		}
	}
	for i, n := range notes {
		for _, field := range []string{"Pre-Depends", "Depends"} {
			clauses, _ := deb.ParseRelations(n.Stanza.Get(field), "")
			for _, c := range clauses {
				for _, r := range c {
					g.needs[i] = append(g.needs[i], by[r.Name]...)
				}
			}
		}
	}
	for i := range notes {
		if g.index[i] == 0 {
			g.visit(i)
		}
	}
	out := map[*rootfs.Note]int{}
	for i, n := range notes {
		out[n] = g.depth[i]
	}
	return out
}

// graph finds the components of a dependency graph (Tarjan), dependencies first.
type graph struct {
	needs      [][]int
	index, low []int // from 1; 0: not visited
	on         []bool
	stack      []int
	count      int
	depth      []int
}

// visit goes down from one package. Chains of dependencies are some dozen long;
// a set of packages has at most some thousands.
func (g *graph) visit(i int) {
	g.count++
	g.index[i], g.low[i] = g.count, g.count
	g.stack, g.on[i] = append(g.stack, i), true
	for _, m := range g.needs[i] {
		if g.index[m] == 0 {
			g.visit(m)
			g.low[i] = min(g.low[i], g.low[m])
		} else if g.on[m] {
			g.low[i] = min(g.low[i], g.index[m])
		}
	}
	if g.low[i] != g.index[i] {
		return
	}
	at := slices.Index(g.stack, i)
	loop := slices.Clone(g.stack[at:])
	g.stack = g.stack[:at]
	depth := 0
	for _, n := range loop {
		for _, m := range g.needs[n] {
			if !slices.Contains(loop, m) {
				depth = max(depth, g.depth[m]+1)
			}
		}
	}
	for _, n := range loop {
		g.on[n], g.depth[n] = false, depth
	}
}
