package resolve

import (
	"fmt"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// control is what a closure needs to know of a package's control fields.
// Immutable once made.
type control struct {
	pkg       *Package
	multi     multiArch
	priority  priority
	essential bool
	important bool // Important: yes or Protected: yes
	provides  []deb.Relation
	clauses   []clause // what it needs, in apt's order
	against   []clause // what it must not be installed with, one alternative each
	fault     error    // a relation that cannot be read: the package cannot be chosen
}

// clause is one part of a relation field: any of its alternatives will do.
type clause struct {
	field        string
	alternatives []deb.Relation
}

// optional tells whether the clause need not hold.
func (c *clause) optional() bool { return c.field == fieldRecommends }

// String is the clause as a control file has it.
func (c *clause) String() string {
	var parts []string
	for _, r := range c.alternatives {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, " | ")
}

// The fields that matter, in the order in which apt looks at them.
const (
	fieldPreDepends = "Pre-Depends"
	fieldDepends    = "Depends"
	fieldConflicts  = "Conflicts"
	fieldBreaks     = "Breaks"
	fieldRecommends = "Recommends"
)

// newControl reads the control fields of a package.
func newControl(p *Package) *control {
	var v [10]string
	p.Stanza.Values(v[:], fieldPreDepends, fieldDepends, fieldRecommends, fieldConflicts, fieldBreaks,
		"Provides", "Multi-Arch", "Priority", "Essential", "Important")
	c := &control{pkg: p, multi: readMultiArch(v[6]), priority: readPriority(v[7]),
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
func (c *control) read(to []clause, field, value string) []clause {
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

// has tells whether the package has, or provides, what a relation names. The
// version of a Provides counts, never the package's own for a provided name: an
// unversioned Provides fulfils no versioned relation (deb-control(5)).
func (c *control) has(r *deb.Relation) bool {
	if c.pkg.Name == r.Name && r.Satisfied(c.pkg.Version) {
		return true
	}
	for i := range c.provides {
		p := &c.provides[i]
		if p.Name == r.Name && (r.Op == deb.Any || p.Op == deb.EQ && r.Satisfied(p.Version)) {
			return true
		}
	}
	return false
}

// machine is where packages are to be installed together: its native
// architecture counts for packages of architecture "all" (multiarch
// specification; dpkg(1) --add-architecture).
type machine struct {
	native string
	arches []string // native first
}

// archOf is the architecture that a package has on the machine.
func (m *machine) archOf(p *Package) string { return m.onMachine(p.Architecture) }

// onMachine is what an architecture is on the machine.
func (m *machine) onMachine(arch string) string {
	if arch == "all" {
		return m.native
	}
	return arch
}

// satisfies tells whether package c fulfils a dependency of a package whose
// architecture on the machine is from. Without a qualifier, a dependency wants
// its own architecture or Multi-Arch: foreign.
func (m *machine) satisfies(c *control, r *deb.Relation, from string) bool {
	return (r.Qualifier != "" || m.archOf(c.pkg) == from || c.multi == multiForeign) && m.excludes(c, r)
}

// excludes tells whether package c is what Conflicts or Breaks name. Without a
// qualifier these concern every architecture; ":any" concerns, for apt,
// Multi-Arch: allowed only.
func (m *machine) excludes(c *control, r *deb.Relation) bool {
	switch r.Qualifier {
	case "":
	case "any":
		if c.multi != multiAllowed {
			return false
		}
	default:
		if arch := m.archOf(c.pkg); arch != r.Qualifier && (r.Qualifier != "native" || arch != m.native) {
			return false
		}
	}
	return c.has(r)
}

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

// priority is the Priority of a package in apt's order; what has none comes
// first there.
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
