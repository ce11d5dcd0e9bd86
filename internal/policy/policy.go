package policy

import (
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Policy is a list of rules and what holds when none of them does. Immutable;
// safe for concurrent use. The nil Policy allows everything.
type Policy struct {
	allow bool // when no rule matches
	rules []rule
}

// Decision is what a policy says of one package.
type Decision struct {
	Allow bool
	// Rule is the name of the first rule that matched, "default" if none did, "" without a policy.
	Rule string
	// Reason is the rule's, for people.
	Reason string
}

// rule matches a package when each of its lists that is not empty has a match.
type rule struct {
	name   string
	allow  bool
	reason string

	packages      []glob
	versions      []deb.Relation
	architectures []glob
	sources       []glob
	archives      []glob
}

// Decide returns the decision of the first rule that matches. A package that is
// not a binary one (a source package's file) has Architecture "source".
func (p *Policy) Decide(pkg snapshot.Package, archive string) Decision {
	if p == nil {
		return Decision{Allow: true}
	}
	for i := range p.rules {
		if r := &p.rules[i]; r.matches(pkg, archive) {
			return Decision{Allow: r.allow, Rule: r.name, Reason: r.reason}
		}
	}
	if p.allow {
		return Decision{Allow: true, Rule: defaultRule}
	}
	return Decision{Rule: defaultRule, Reason: "not on this site's list"}
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
	return anyGlob(r.packages, pkg.Name) && anyGlob(r.sources, pkg.Source) && anyGlob(r.archives, archive) &&
		anyGlob(r.architectures, pkg.Architecture) && allVersions(r.versions, pkg.Version)
}

func allVersions(relations []deb.Relation, version string) bool {
	for _, r := range relations {
		if !r.Satisfied(version) {
			return false
		}
	}
	return true
}
