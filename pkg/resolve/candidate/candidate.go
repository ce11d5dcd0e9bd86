// Package candidate is one package that may be chosen: where it comes from, and what its control fields say of others.
// deb-control(5) and Debian Policy, chapter 7, are the source of every rule. Values are immutable, and safe for concurrent use.
package candidate

import (
	"cmp"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// Package is one candidate of several archives.
type Package struct {
	archive.PackageFile
	Archive, Suite, Component string
	Index                     int // which Index it came from
	Stanza                    deb.Stanza
}

// Control is what a closure needs to know of a package's control fields.
// Immutable once made.
type Control struct {
	Pkg       *Package
	Multi     MultiArch
	Priority  Priority
	Essential bool
	Important bool // Important: yes or Protected: yes
	Provides  []deb.Relation
	Clauses   []Clause // what it needs, in apt's order
	Against   []Clause // what it must not be installed with, one alternative each
	Fault     error    // a relation that cannot be read: the package cannot be chosen
}

// Clause is one part of a relation field: any of its alternatives will do.
type Clause struct {
	Field        string
	Alternatives []deb.Relation
}

// Optional tells whether the clause need not hold.
func (c *Clause) Optional() bool { return c.Field == FieldRecommends }

// String is the clause as a control file has it.
func (c *Clause) String() string {
	var parts []string
	for _, r := range c.Alternatives {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, " | ")
}

// The fields that matter, in the order in which apt looks at them.
const (
	FieldPreDepends = "Pre-Depends"
	FieldDepends    = "Depends"
	FieldConflicts  = "Conflicts"
	FieldBreaks     = "Breaks"
	FieldRecommends = "Recommends"
)

// Read reads the control fields of a package.
func Read(p *Package) *Control {
	var v [10]string
	p.Stanza.Values(v[:], FieldPreDepends, FieldDepends, FieldRecommends, FieldConflicts, FieldBreaks,
		"Provides", "Multi-Arch", "Priority", "Essential", "Important")
	c := &Control{Pkg: p, Multi: readMultiArch(v[6]), Priority: readPriority(v[7]),
		Essential: v[8] == "yes", Important: v[9] == "yes" || p.Stanza.Get("Protected") == "yes"}
	c.Clauses = c.read(c.Clauses, FieldPreDepends, v[0])
	c.Clauses = c.read(c.Clauses, FieldDepends, v[1])
	c.Clauses = c.read(c.Clauses, FieldRecommends, v[2])
	c.Against = c.read(c.Against, FieldConflicts, v[3])
	c.Against = c.read(c.Against, FieldBreaks, v[4])
	for _, p := range c.read(nil, "Provides", v[5]) {
		c.Provides = append(c.Provides, p.Alternatives...)
	}
	return c
}

// read appends the clauses of one field.
func (c *Control) read(to []Clause, field, value string) []Clause {
	if value == "" || c.Fault != nil {
		return to
	}
	relations, err := deb.ParseRelations(value, c.Pkg.Architecture)
	if err != nil {
		c.Fault = fmt.Errorf("%s: %w", field, err)
		return to
	}
	if to == nil {
		to = make([]Clause, 0, len(relations))
	}
	for _, alternatives := range relations {
		if len(alternatives) > 0 {
			to = append(to, Clause{field, alternatives})
		}
	}
	return to
}

// has tells whether the package has, or provides, what a relation names. The
// version of a Provides counts, never the package's own for a provided name: an
// unversioned Provides fulfils no versioned relation (deb-control(5)).
func (c *Control) has(r *deb.Relation) bool {
	if c.Pkg.Name == r.Name && r.Satisfied(c.Pkg.Version) {
		return true
	}
	for i := range c.Provides {
		p := &c.Provides[i]
		if p.Name == r.Name && (r.Op == deb.Any || p.Op == deb.EQ && r.Satisfied(p.Version)) {
			return true
		}
	}
	return false
}

// Machine is where packages are to be installed together: its native
// architecture counts for packages of architecture "all" (multiarch
// specification; dpkg(1) --add-architecture).
type Machine struct {
	Native string
	Arches []string // native first
}

// ArchOf is the architecture that a package has on the machine.
func (m *Machine) ArchOf(p *Package) string { return m.OnMachine(p.Architecture) }

// OnMachine is what an architecture is on the machine.
func (m *Machine) OnMachine(arch string) string {
	if arch == "all" {
		return m.Native
	}
	return arch
}

// Satisfies tells whether package c fulfils a dependency of a package whose
// architecture on the machine is from. Without a qualifier, a dependency wants
// its own architecture or Multi-Arch: foreign.
func (m *Machine) Satisfies(c *Control, r *deb.Relation, from string) bool {
	return (r.Qualifier != "" || m.ArchOf(c.Pkg) == from || c.Multi == MultiForeign) && m.Excludes(c, r)
}

// Excludes tells whether package c is what Conflicts or Breaks name. Without a
// qualifier these concern every architecture; ":any" concerns, for apt,
// Multi-Arch: allowed only.
func (m *Machine) Excludes(c *Control, r *deb.Relation) bool {
	switch r.Qualifier {
	case "":
	case "any":
		if c.Multi != MultiAllowed {
			return false
		}
	default:
		if arch := m.ArchOf(c.Pkg); arch != r.Qualifier && (r.Qualifier != "native" || arch != m.Native) {
			return false
		}
	}
	return c.has(r)
}

// MultiArch is the field Multi-Arch.
type MultiArch uint8

// The values of Multi-Arch.
const (
	MultiNo MultiArch = iota
	MultiSame
	MultiForeign
	MultiAllowed
)

func readMultiArch(s string) MultiArch {
	switch s {
	case "same":
		return MultiSame
	case "foreign":
		return MultiForeign
	case "allowed":
		return MultiAllowed
	}
	return MultiNo
}

// Priority is the Priority of a package in apt's order; what has none comes
// first there.
type Priority uint8

const (
	priorityNone Priority = iota
	priorityRequired
	priorityImportant
	priorityStandard
	priorityOptional
	priorityExtra
)

func readPriority(s string) Priority {
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

// Compare orders by name, version, architecture and index.
func Compare(a, b *Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c // cmp.Or would compare the versions all the same, of each pair of a release
	}
	return cmp.Or(deb.Compare(a.Version, b.Version),
		cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Index, b.Index))
}
