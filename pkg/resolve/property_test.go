package resolve

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// world is a small archive that can be searched by trying everything: names
// a..e in versions 1 and 2, what each needs and must not be with.
type world struct {
	needs    map[string][][]string // "a1" needs one of these ("b", "b1", "v", ...) for each
	against  map[string][]string
	provides map[string]string
	versions map[string]int // how many there are of a name
}

const worldNames = "abcde"

func newWorld(rng *rand.Rand) *world {
	w := &world{needs: map[string][][]string{}, against: map[string][]string{}, provides: map[string]string{}, versions: map[string]int{}}
	target := func() string {
		t := string(worldNames[rng.IntN(len(worldNames))])
		switch rng.IntN(6) {
		case 0:
			return "v"
		case 1, 2:
			return t + fmt.Sprint(1+rng.IntN(2))
		}
		return t
	}
	for _, n := range worldNames {
		w.versions[string(n)] = 1 + rng.IntN(2)
		for v := range w.versions[string(n)] {
			id := fmt.Sprintf("%c%d", n, v+1)
			for range rng.IntN(3) {
				w.needs[id] = append(w.needs[id], []string{target(), target()}[:1+rng.IntN(2)])
			}
			for range rng.IntN(5) / 3 {
				w.against[id] = append(w.against[id], target())
			}
			if rng.IntN(4) == 0 {
				w.provides[id] = "v"
			}
		}
	}
	return w
}

// index writes the world for the resolver, or what of it is installed for a status.
func (w *world) lines(ids []string) []string {
	relation := func(t string) string {
		if len(t) == 2 {
			return fmt.Sprintf("%s (= %s)", t[:1], t[1:])
		}
		return t
	}
	var out []string
	for _, id := range ids {
		line := id[:1] + " " + id[1:]
		var depends, conflicts []string
		for _, alternatives := range w.needs[id] {
			var parts []string
			for _, t := range alternatives {
				parts = append(parts, relation(t))
			}
			depends = append(depends, strings.Join(parts, " | "))
		}
		for _, t := range w.against[id] {
			conflicts = append(conflicts, relation(t))
		}
		if len(depends) > 0 {
			line += "; Depends: " + strings.Join(depends, ", ")
		}
		if len(conflicts) > 0 {
			line += "; Conflicts: " + strings.Join(conflicts, ", ")
		}
		if w.provides[id] != "" {
			line += "; Provides: " + w.provides[id]
		}
		out = append(out, line)
	}
	return out
}

func (w *world) all() []string {
	var ids []string
	for _, n := range worldNames {
		for v := range w.versions[string(n)] {
			ids = append(ids, fmt.Sprintf("%c%d", n, v+1))
		}
	}
	return ids
}

// meets tells whether an installed package is what a relation names.
func (w *world) meets(id, target string) bool {
	return id == target || id[:1] == target || w.provides[id] == target
}

// holds tells whether a set of packages can be on one machine.
func (w *world) holds(set []string) bool {
	for _, id := range set {
		for _, alternatives := range w.needs[id] {
			if !slices.ContainsFunc(set, func(o string) bool {
				return slices.ContainsFunc(alternatives, func(t string) bool { return w.meets(o, t) })
			}) {
				return false
			}
		}
		for _, t := range w.against[id] {
			if slices.ContainsFunc(set, func(o string) bool { return o[0] != id[0] && w.meets(o, t) }) {
				return false
			}
		}
	}
	return true
}

// sets yields every set with at most one version of each name.
func (w *world) sets(yield func([]string)) {
	var walk func(i int, set []string)
	walk = func(i int, set []string) {
		if i == len(worldNames) {
			yield(set)
			return
		}
		walk(i+1, set)
		for v := range w.versions[worldNames[i:i+1]] {
			walk(i+1, append(slices.Clone(set), fmt.Sprintf("%c%d", worldNames[i], v+1)))
		}
	}
	walk(0, nil)
}

// reachable tells whether there is a set that has the newest of a name, keeps
// what is installed or something newer, and holds.
func (w *world) reachable(root string, installed []string) bool {
	found := false
	w.sets(func(set []string) {
		if found || !slices.Contains(set, root) || !w.holds(set) {
			return
		}
		found = !slices.ContainsFunc(installed, func(i string) bool {
			return !slices.ContainsFunc(set, func(o string) bool { return o[0] == i[0] && o >= i })
		})
	})
	return found
}

func ids(pkgs []*Package) []string {
	var out []string
	for _, p := range pkgs {
		out = append(out, p.Name+p.Version)
	}
	return out
}

// Closures hold, hosts are not broken, and what is called unsatisfied is so:
// tried on thousands of small worlds against trying everything.
func TestAgainstTryingEverything(t *testing.T) {
	t.Parallel()
	const worlds = 800
	found, none := 0, 0
	for seed := range uint64(worlds) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(rng)
		u := newUniverse(t, index(w.lines(w.all())...))
		var installed []string
		var host *Host
		if seed%2 == 1 {
			var possible [][]string
			w.sets(func(set []string) {
				if w.holds(set) {
					possible = append(possible, set)
				}
			})
			installed = possible[rng.IntN(len(possible))]
			host = status(t, w.lines(installed)...)
		}
		for _, n := range worldNames {
			name := string(n)
			if slices.ContainsFunc(installed, func(id string) bool { return id[:1] == name }) {
				continue
			}
			root := fmt.Sprintf("%s%d", name, w.versions[name])
			res, err := u.Resolve(Request{Roots: roots(t, name), Architectures: []string{"amd64"}, Host: host})
			want := w.reachable(root, installed)
			if err != nil {
				none++
				if !errors.Is(err, ErrUnsatisfied) || want {
					t.Fatalf("seed %d: %s on %v: %v, but there is a way\n%s", seed, name, installed, err, strings.Join(w.lines(w.all()), "\n"))
				}
				continue
			}
			found++
			chosen := ids(packages(res))
			after := slices.Clone(chosen)
			for _, i := range installed {
				if !slices.ContainsFunc(chosen, func(o string) bool { return o[0] == i[0] }) {
					after = append(after, i)
				} else if slices.ContainsFunc(chosen, func(o string) bool { return o[0] == i[0] && o <= i }) {
					t.Fatalf("seed %d: %s on %v: %v replaces with nothing newer", seed, name, installed, chosen)
				}
			}
			if !slices.Contains(chosen, root) || !w.holds(after) {
				t.Fatalf("seed %d: %s on %v: %v does not hold\n%s", seed, name, installed, chosen, strings.Join(w.lines(w.all()), "\n"))
			}
		}
	}
	if found < worlds || none < worlds/10 {
		t.Errorf("%d found, %d not: the worlds show too little", found, none)
	}
	t.Logf("%d found, %d not", found, none)
}
