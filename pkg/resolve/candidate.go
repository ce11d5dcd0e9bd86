package resolve

import (
	"fmt"

	"example.org/mmoci/pkg/deb"
)

// candidate is what a closure needs to know of a package. Immutable once made.
type candidate struct {
	pkg       *Package
	multi     multiArch
	priority  priority
	essential bool
	important bool // Important: yes or Protected: yes
	provides  []deb.Relation
	clauses   []clause // what it needs, in apt's order
	against   []clause // what it must not be installed with, one alternative each
	fault     error    // a relation that cannot be read: not a candidate after all
}

// clause is one part of a relation field: any of its alternatives will do.
type clause struct {
	field        string
	alternatives []deb.Relation
}

// soft tells of a clause that need not hold.
func (c *clause) soft() bool { return c.field == fieldRecommends }

// The fields that matter, in the order in which apt looks at them.
const (
	fieldPreDepends = "Pre-Depends"
	fieldDepends    = "Depends"
	fieldConflicts  = "Conflicts"
	fieldBreaks     = "Breaks"
	fieldRecommends = "Recommends"
)

// multiArch is the field Multi-Arch.
type multiArch uint8

const (
	multiNo multiArch = iota
	multiSame
	multiForeign
	multiAllowed
)

func readMultiArch(s string) multiArch {
	switch s {
	case "same":
		return multiSame
	case "foreign":
		return multiForeign
	case "allowed":
		return multiAllowed
	}
	return multiNo
}

// newCandidate reads the relations of a package.
func newCandidate(p *Package) *candidate {
	var v [10]string
	p.Stanza.Values(v[:], fieldPreDepends, fieldDepends, fieldRecommends, fieldConflicts, fieldBreaks,
		"Provides", "Multi-Arch", "Priority", "Essential", "Important")
	c := &candidate{pkg: p, multi: readMultiArch(v[6]), priority: readPriority(v[7]),
		essential: v[8] == "yes", important: v[9] == "yes" || p.Stanza.Get("Protected") == "yes"}
	c.clauses = c.read(c.clauses, fieldPreDepends, v[0])
	c.clauses = c.read(c.clauses, fieldDepends, v[1])
	c.clauses = c.read(c.clauses, fieldRecommends, v[2])
	c.against = c.read(c.against, fieldConflicts, v[3])
	c.against = c.read(c.against, fieldBreaks, v[4])
	for _, p := range c.read(nil, "Provides", v[5]) {
		c.provides = append(c.provides, p.alternatives...)
	}
	return c
}

// read appends the clauses of one field.
func (c *candidate) read(to []clause, field, value string) []clause {
	if value == "" || c.fault != nil {
		return to
	}
	relations, err := deb.ParseRelations(value, c.pkg.Architecture)
	if err != nil {
		c.fault = fmt.Errorf("%s: %w", field, err)
		return to
	}
	if to == nil {
		to = make([]clause, 0, len(relations))
	}
	for _, alternatives := range relations {
		if len(alternatives) > 0 {
			to = append(to, clause{field, alternatives})
		}
	}
	return to
}

// candidate is the parsed form of a record, the same pointer each time.
func (u *universe) candidate(id int32) *candidate {
	if c := u.parsed[id].Load(); c != nil {
		return c
	}
	c := newCandidate(u.pkg(id))
	if !u.parsed[id].CompareAndSwap(nil, c) {
		c = u.parsed[id].Load()
	}
	return c
}

// priority is the Priority of a package in apt's order; what has none comes first there.
type priority uint8

const (
	priorityNone priority = iota
	priorityRequired
	priorityImportant
	priorityStandard
	priorityOptional
	priorityExtra
)

func readPriority(s string) priority {
	switch s {
	case "required":
		return priorityRequired
	case "important":
		return priorityImportant
	case "standard":
		return priorityStandard
	case "optional":
		return priorityOptional
	case "extra":
		return priorityExtra
	}
	return priorityNone
}
