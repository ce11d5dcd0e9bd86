package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// rootsOfGroup is how many packages are asked for beside two that contradict each other.
const rootsOfGroup = 4

// quarrel is a question of several packages of which two cannot be installed
// together: what a mirror closes in groups.
type quarrel struct {
	roots  []string
	a, b   string // the two
	size   int
	failed []string
}

// quarrels draws packages that conflict with one that is there, and others beside them.
func (p *parity) quarrels(n int) []quarrel {
	rng := rand.New(rand.NewPCG(p.seed, 1))
	q, err := query.Parse("$Version")
	if err != nil {
		panic(err)
	}
	var pairs [][2]string
	var all []string
	for _, c := range p.first.Matches(q, "") {
		all = append(all, c.Name)
		conflicts, _ := deb.ParseRelations(c.Stanza.Get("Conflicts"), p.arch)
		for _, r := range slices.Concat(conflicts...) {
			if r.Op == deb.Any && r.Name != c.Name && len(p.first.Versions(r.Name)) > 0 {
				pairs = append(pairs, [2]string{c.Name, r.Name})
			}
		}
	}
	var out []quarrel
	for range 50 * n {
		if len(out) == n || len(pairs) == 0 {
			break
		}
		pair := pairs[rng.IntN(len(pairs))]
		k := quarrel{a: pair[0], b: pair[1]}
		if !p.possible(k.a) || !p.possible(k.b) || p.possible(k.a, k.b) {
			continue
		}
		for len(k.roots) < rootsOfGroup {
			if name := all[rng.IntN(len(all))]; p.possible(name) && !slices.Contains(k.roots, name) {
				k.roots = append(k.roots, name)
			}
		}
		k.roots = append(k.roots, k.a, k.b)
		slices.Sort(k.roots)
		out = append(out, k)
	}
	return out
}

// possible tells whether packages can be installed together on an empty machine.
func (p *parity) possible(names ...string) bool {
	_, err := p.ask(&resolve.Host{}, names...)
	return err == nil
}

func (p *parity) ask(h *resolve.Host, names ...string) (*resolve.Result, error) {
	return p.askIn(p.first, h, names...)
}

func (p *parity) askIn(u *resolve.Universe, h *resolve.Host, names ...string) (*resolve.Result, error) {
	req := resolve.Request{Architectures: []string{p.arch}, Host: h}
	for _, name := range names {
		q, err := query.Parse(name)
		if err != nil {
			return nil, err
		}
		req.Roots = append(req.Roots, resolve.Root{Query: q})
	}
	return u.Resolve(req)
}

// judge asks for all of it as a mirror does. Each package must then be
// installable from nothing but the answer, and so must all of those that
// agree with each other: everything without the one, or without the other of the two.
func (p *parity) judge(k *quarrel, slot int) {
	fail := func(format string, args ...any) { k.failed = append(k.failed, fmt.Sprintf(format, args...)) }
	res, err := p.ask(nil, k.roots...)
	if err != nil {
		fail("no answer: %v", err)
		return
	}
	reversed := slices.Clone(k.roots)
	slices.Reverse(reversed)
	if again, err := p.askIn(p.second, nil, reversed...); err != nil || !same(res, again) {
		fail("another answer in another order (%v)", err)
	}
	if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, "closed in ") }) {
		fail("not closed in groups: %q", res.Notes)
	}
	k.size = len(res.Packages)
	var stanzas []deb.Stanza
	for _, c := range res.Packages {
		stanzas = append(stanzas, c.Stanza)
	}
	sets := [][]string{}
	for _, name := range k.roots {
		sets = append(sets, []string{name})
	}
	for _, set := range sets {
		if why := p.refusedFrom(stanzas, set, slot); why != "" {
			fail("%s alone: %s", set[0], why)
		}
	}
	var reasons []string
	for _, without := range []string{k.a, k.b} {
		set := slices.DeleteFunc(slices.Clone(k.roots), func(n string) bool { return n == without })
		if p.possible(set...) {
			why := p.refusedFrom(stanzas, set, slot)
			if why == "" {
				return
			}
			reasons = append(reasons, why)
		}
	}
	if len(reasons) > 0 {
		fail("neither all but %s nor all but %s: %s", k.a, k.b, strings.Join(reasons, "; "))
	}
}

// refusedFrom lets both judges install packages with nothing but these stanzas to be seen.
func (p *parity) refusedFrom(stanzas []deb.Stanza, names []string, slot int) string {
	dir := filepath.Join(p.apt.dir, fmt.Sprintf("group%d", slot))
	config, err := p.apt.prepare(dir, "")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	var index []byte
	for _, s := range stanzas {
		index = s.Append(index)
	}
	file := filepath.Join(dir, "Packages")
	if err := os.WriteFile(file, index, 0o644); err != nil {
		return err.Error()
	}
	if out, err := p.apt.run(config, append([]string{"-s", "--no-remove", "--with-source", file, "install"}, names...)...); err != nil {
		return "apt: " + lastLines(out)
	}
	if why := p.dose.lacks(slot, stanzas, names); why != "" {
		return "dose-debcheck: " + why
	}
	return ""
}

// reportGroups prints the figures of what was closed in groups.
func reportGroups(quarrels []quarrel, seed uint64) bool {
	good, packages := 0, 0
	for _, k := range quarrels {
		packages += k.size
		if len(k.failed) == 0 {
			good++
		}
		for _, why := range k.failed {
			fmt.Printf("GROUPS   %s (%s against %s): %s\n", strings.Join(k.roots, " "), k.a, k.b, why)
		}
	}
	fmt.Printf("seed %d: %d questions of %d packages of which two contradict each other, %d packages in the answers\n", seed, len(quarrels), rootsOfGroup+2, packages)
	fmt.Printf("groups accepted: %d/%d\n", good, len(quarrels))
	return good == len(quarrels) && good > 0
}
