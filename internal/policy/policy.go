// Package policy decides which packages and container images a site hands out: rules in, a decision
// with its reason out, and the same decisions as pins for apt, so that hosts
// choose what they can get. It never changes a byte of a snapshot.
package policy

import (
	"path"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Policy is a list of rules, and the decision where none of them matches. Immutable;
// safe for concurrent use. The nil Policy allows everything.
type Policy struct {
	allow bool // when no rule matches
	rules []rule
}

// Decision is what a policy says of a package.
type Decision struct {
	Allow bool
	// Rule is the name of the first rule that matched, "default" if none did, "" without a policy.
	Rule string
	// Reason is the rule's, for people.
	Reason string
}

// rule matches a package when each of its lists that is not empty has a match. One
// with images matches images, and no package.
type rule struct {
	name   string
	allow  bool
	reason string

	packages      []glob
	versions      []deb.Relation
	architectures []glob
	sources       []glob
	archives      []glob
	images        []glob // of names with slashAs in the place of slashes
}

// Decide returns the decision of the first rule that matches. A file of a source
// package has Architecture "source".
func (p *Policy) Decide(pkg snapshot.Package, archive string) Decision {
	return p.first(func(r *rule) bool { return r.matches(pkg, archive) })
}

// DecideImage returns the decision of the first rule that matches a container image
// by its name, HOST/REPO:TAG. Rules without image: say nothing of images; the default does.
func (p *Policy) DecideImage(name string) Decision {
	return p.first(func(r *rule) bool { return r.matchesImage(name) })
}

func (p *Policy) first(matches func(*rule) bool) Decision {
	if p == nil {
		return Decision{Allow: true}
	}
	for i := range p.rules {
		if r := &p.rules[i]; matches(r) {
			return Decision{Allow: r.allow, Rule: r.name, Reason: r.reason}
		}
	}
	if p.allow {
		return Decision{Allow: true, Rule: defaultRule}
	}
	return Decision{Rule: defaultRule, Reason: "not on this site's list"}
}

// Restricts tells whether there is anything that the policy may deny.
func (p *Policy) Restricts() bool {
	return p != nil && (!p.allow || slices.ContainsFunc(p.rules, func(r rule) bool { return !r.allow }))
}

// Rules is how many rules there are.
func (p *Policy) Rules() int {
	if p == nil {
		return 0
	}
	return len(p.rules)
}

const defaultRule = "default"

func (r *rule) matches(pkg snapshot.Package, archive string) bool {
	return len(r.images) == 0 && anyGlob(r.packages, pkg.Name) && anyGlob(r.sources, pkg.Source) && anyGlob(r.archives, archive) &&
		anyGlob(r.architectures, pkg.Architecture) && allVersions(r.versions, pkg.Version)
}

// slashAs stands for a slash where images are matched, so that a * of path.Match
// reaches over it. No pattern and no name has it: it is a control character.
const slashAs = "\x01"

// matchesImage tells whether the rule is about an image: by its name, or by its
// name without the tag.
func (r *rule) matchesImage(name string) bool {
	if len(r.images) == 0 {
		return false
	}
	name = strings.ReplaceAll(name, "/", slashAs)
	if anyGlob(r.images, name) {
		return true
	}
	i := strings.LastIndexByte(name, ':')
	return i > strings.LastIndex(name, slashAs) && anyGlob(r.images, name[:i])
}

func allVersions(relations []deb.Relation, version string) bool {
	for _, r := range relations {
		if !r.Satisfied(version) {
			return false
		}
	}
	return true
}

// glob is a pattern of path.Match. Most are plain names, which need no matching.
type glob struct {
	pattern string
	kind    globKind
	begin   string // what comes before the first special character of a pattern
}

type globKind uint8

const (
	plain globKind = iota
	everything
	pattern
)

// special are the characters that path.Match reads as more than themselves.
const special = `*?[\`

// newGlob takes a pattern that path.Match understands.
func newGlob(s string) glob {
	switch {
	case s == "*":
		return glob{pattern: s, kind: everything}
	case strings.ContainsAny(s, special):
		return glob{pattern: s, kind: pattern, begin: s[:strings.IndexAny(s, special)]}
	}
	return glob{pattern: s}
}

// match tells whether all of s matches. There is no slash in a name.
func (g glob) match(s string) bool {
	switch g.kind {
	case everything:
		return true
	case plain:
		return g.pattern == s
	}
	if !strings.HasPrefix(s, g.begin) {
		return false
	}
	ok, err := path.Match(g.pattern, s)
	return ok && err == nil
}

// anyGlob tells whether one of the globs matches, or there are none.
func anyGlob(globs []glob, s string) bool {
	for _, g := range globs {
		if g.match(s) {
			return true
		}
	}
	return len(globs) == 0
}
