// Command parity-query compares what queries select with what aptly selects,
// over one synthetic archive. It is run by scripts/e2e/36-aptly-query.sh; the
// argument is an empty directory. Each difference must be of a kind that is
// meant (explain.go), and each of these kinds must still occur.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: parity-query DIR")
		os.Exit(2)
	}
	good, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity-query:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

func run(dir string) (good bool, err error) {
	data, err := build(dir)
	if err != nil {
		return false, err
	}
	u, err := resolve.NewUniverse([]resolve.Index{{Archive: "synthetic", Data: data}})
	if err != nil {
		return false, err
	}
	if len(u.Skipped()) > 0 {
		return false, fmt.Errorf("malformed: %s", strings.Join(u.Skipped(), "\n"))
	}
	theirs, err := newAptly(dir)
	if err != nil {
		return false, err
	}
	all, err := ask(u, theirs)
	if err != nil {
		return false, err
	}
	return report(all), nil
}

// ask puts all queries to both, to aptly by its server and by its command.
func ask(u *resolve.Universe, theirs *aptly) ([]answers, error) {
	everything, err := query.Parse("Name")
	if err != nil {
		return nil, err
	}
	packages := u.Matches(everything, "")
	var all []answers
	for _, q := range queries() {
		a := answers{asked: q, all: packages}
		parsed, err := query.Parse(q.query)
		if a.refused = err; err == nil {
			for _, p := range u.Matches(parsed, "") {
				a.ours = append(a.ours, key(p))
			}
			slices.Sort(a.ours)
		}
		all = append(all, a)
	}
	err = theirs.serve(func() error {
		for i := range all {
			all[i].theirs, all[i].theyRefuse = theirs.filter(all[i].query)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range all {
		if a := &all[i]; i%commandEvery == 0 {
			if keys, _ := theirs.search(a.query); !slices.Equal(keys, a.theirs) {
				return nil, fmt.Errorf("aptly contradicts itself: %s: %v by its command, %v by its server", a.query, keys, a.theirs)
			}
		}
	}
	return all, nil
}

// commandEvery is how many queries are asked of the server for one that is
// asked of the command too.
const commandEvery = 8

// leastEqual is the share of queries, per cent, that must be answered alike
// whatever explanations there are.
const leastEqual = 90

// report prints the figures and tells whether they are good.
func report(all []answers) bool {
	good, equal := true, 0
	classes, found := map[string]int{}, map[string][]string{}
	for i := range all {
		a := &all[i]
		classes[a.class]++
		if a.equal() {
			equal++
			continue
		}
		k := slices.IndexFunc(kinds, func(k kind) bool { return k.explains(a) })
		if k < 0 {
			good = false
			fmt.Printf("UNEXPLAINED %s: %s\n  ours  %v %v\n  aptly %v %v\n", a.class, a.query, a.ours, a.refused, a.theirs, a.theyRefuse)
			continue
		}
		found[kinds[k].name] = append(found[kinds[k].name], a.query)
	}
	fmt.Printf("queries: %d, of them equal: %d\n", len(all), equal)
	for _, k := range kinds {
		fmt.Printf("%3d  %s, as in %s\n", len(found[k.name]), k.name, strings.Join(found[k.name][:min(1, len(found[k.name]))], ""))
		good = good && len(found[k.name]) > 0
	}
	count(classes)
	return good && equal*100 >= leastEqual*len(all)
}

// count prints how many queries there are of each operator, field and class of precedence.
func count(classes map[string]int) {
	sums := map[string]int{}
	for class, n := range classes {
		subject, op, ok := strings.Cut(class, " operator ")
		if ok {
			sums["operator "+op] += n
		}
		sums[subject] += n
	}
	for _, s := range slices.Sorted(maps.Keys(sums)) {
		fmt.Printf("%3d  of %s\n", sums[s], s)
	}
}
